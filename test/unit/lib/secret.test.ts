import { format, inspect } from "node:util";
import { expect, test } from "vitest";
import { createSecret } from "#lib/secret.ts";

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
