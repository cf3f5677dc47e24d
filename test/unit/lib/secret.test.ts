import { format, inspect } from "node:util";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createSecret, hideSecrets, secretsOfHeader } from "#lib/secret.ts";

const TEXT = "s3cr3t-token";
const secret = createSecret(TEXT);

test("only expose gives the text", () => {
  expect(secret.expose()).toBe(TEXT);
});

test.each([
  ["a joined list", ["no", secret].join(" ")],
  ["concatenation", "a" + String(secret)],
  ["JSON", JSON.stringify({ secret })],
  ["inspect", inspect({ secret }, { showHidden: true, depth: 9 })],
  ["format", format("%s %o %j", secret, secret, secret)],
  ["keys and values", inspect(Object.entries(secret))],
  ["a message", new Error(String(secret)).message],
])("a secret does not show in %s", (_way, shown) => {
  expect(shown).not.toContain(TEXT);
});

test("a secret can't be changed", () => {
  expect(Object.isFrozen(secret)).toBe(true);
});

test.each([
  ["a header that is quoted", `401: Authorization: Bearer ${TEXT}`, "401: Authorization: [secret]"],
  ["the token alone, each time", `${TEXT}, ${TEXT}!`, "[secret], [secret]!"],
  ["nothing of it", "401: who are you?", "401: who are you?"],
])("what others quote of a request is hidden: %s", (_what, text, hidden) => {
  expect(hideSecrets(text, secretsOfHeader(`Bearer ${TEXT}`))).toBe(hidden);
});

test("a text too short to be a secret is left", () => {
  expect(hideSecrets("an insert failed", ["ins"])).toBe("an insert failed");
});

const PASSWORD = 'p"ä&ss\\w/rd +7';
const bytes = Buffer.from(PASSWORD);
const hex = bytes.toString("hex");
const basic = Buffer.from(`scraper:${PASSWORD}`);

test.each([
  ["as it is", PASSWORD],
  ["in JSON", JSON.stringify(PASSWORD).slice(1, -1)],
  ["in JSON in JSON", JSON.stringify(JSON.stringify(PASSWORD).slice(1, -1)).slice(1, -1)],
  ["in JSON with \\u escapes", Array.from(PASSWORD, (c) => `\\u00${c.charCodeAt(0).toString(16)}`).join("")],
  ["in a URL", encodeURIComponent(PASSWORD)],
  ["in a URL, lower case", encodeURIComponent(PASSWORD).replaceAll(/%../g, (code) => code.toLowerCase())],
  ["in a form", new URLSearchParams({ p: PASSWORD }).toString().slice(2)],
  ["in a URL twice", encodeURIComponent(encodeURIComponent(PASSWORD))],
  ["every byte in percents", hex.replaceAll(/../g, "%$&")],
  ["in HTML", PASSWORD.replaceAll("&", "&amp;").replaceAll('"', "&quot;")],
  ["in HTML by numbers", Array.from(PASSWORD, (c) => `&#${c.charCodeAt(0)};`).join("")],
  ["in hexadecimal", hex],
  ["in upper case hexadecimal", hex.toUpperCase()],
  ["in hexadecimal with colons", hex.replaceAll(/..(?=.)/g, "$&:")],
  ["in base64", bytes.toString("base64")],
  ["in base64 without padding", bytes.toString("base64").replaceAll("=", "")],
  ["in base64url", bytes.toString("base64url")],
  ["in a Basic header", `Basic ${basic.toString("base64")}`],
  ["in a Basic header without padding", basic.toString("base64url")],
  ["in base64 in a URL", encodeURIComponent(basic.toString("base64"))],
  ["in a longer base64", Buffer.from(`GET / HTTP/1.1\r\nx: ${PASSWORD}\r\n\r\n`).toString("base64")],
  ["in a longer hexadecimal", Buffer.from(`Bearer ${PASSWORD}!`).toString("hex")],
])("a secret that is echoed %s is hidden", (_form, echoed) => {
  const hidden = hideSecrets(`before <${echoed}> after`, [PASSWORD]);
  expect(hidden).toMatch(/^before <(Basic )?\[secret\](!|%3D|=)*> after$/);
});

test("in each form, for any secret, nothing of it is left and the rest stays", () => {
  const forms: ((secret: string) => string)[] = [
    (secret) => secret,
    (secret) => JSON.stringify(secret),
    (secret) => encodeURIComponent(secret),
    ...["hex", "base64", "base64url"].map(
      (encoding) => (secret: string) => Buffer.from(secret).toString(encoding as BufferEncoding),
    ),
    ...[1, 2, 3].map(
      (n) => (secret: string) => Buffer.from("u".repeat(n) + secret + "v".repeat(n)).toString("base64"),
    ),
  ];
  const secrets = fc.string({
    unit: fc.constantFrom(...Array.from('abzABZ019+/=-_.~%"\\ äß€')),
    minLength: 8,
    maxLength: 300,
  });
  fc.assert(
    fc.property(secrets, fc.constantFrom(...forms), (secret, form) => {
      const echoed = form(secret);
      const hidden = hideSecrets(`<<${echoed}>>`, [secret]);
      expect(hidden).toContain("[secret]");
      expect(hidden.startsWith("<<") && hidden.endsWith(">>")).toBe(true);
      expect(hidden).not.toContain(echoed);
    }),
  );
});

test("long texts that nearly hold a secret cost no more than their length", () => {
  const secret = "aaaaaaaaaaabcdef";
  for (const piece of ["a", "\\", "%25", "61", "YWFh", "&#0"]) {
    expect(hideSecrets(piece.repeat(60_000 / piece.length), [secret])).not.toContain("[secret]");
  }
});
