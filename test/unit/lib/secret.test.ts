import { format, inspect } from "node:util";
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
