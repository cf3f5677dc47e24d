import { describe, expect, test } from "vitest";
import { scrubText } from "#telemetry/scrub.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe("words that are no secrets stay", () => {
  test.each([
    "basic authentication is not supported; use `token`",
    "Basic Authentication is not supported",
    "BASIC AUTHENTICATION",
    "wants basic authentication: give prometheus.basic_auth",
    "basic credentials, basic functionality and basic information",
    "the bearer token is missing",
    "a bearer token.",
    "Bearer tokens, or bearer authentication (RFC 6750)",
    'asked for "bearer authorization"',
  ])("%s", (text) => {
    expect(scrubText(text)).toBe(text);
  });
});

describe("credentials are hidden", () => {
  test.each([
    ["Basic dXNlcjpwYXNz", "Basic [redacted]"],
    ["basic dXNlcjpwYXNz", "basic [redacted]"],
    ["BASIC dXNlcjpwYXNz", "BASIC [redacted]"],
    [`sent Basic ${base64("a:b+/c??>>")} to it`, "sent Basic [redacted] to it"],
    [`Basic ${base64("admin:")}`, "Basic [redacted]"],
    [`Basic ${base64("ädmin:pässwört")}`, "Basic [redacted]"],
    ["Bearer abcdefgh", "Bearer [redacted]"],
    ["bearer token-abcdef", "bearer [redacted]"],
    ["bearer tokens.abc.def", "bearer [redacted]"],
    ["Bearer token=abcdef", "Bearer [redacted]"],
    ["bearer authentication-secret", "bearer [redacted]"],
  ])("%s", (text, shown) => {
    expect(scrubText(text)).toBe(shown);
  });

  test("of random names and passwords, all", () => {
    // A generator that is the same each time (Numerical Recipes' constants).
    let state = 1;
    const next = (bound: number): number => (state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32) % bound;
    const word = (): string =>
      Array.from({ length: 4 + next(12) }, () => String.fromCharCode(97 + next(26))).join("");
    const seen = Array.from({ length: 2000 }, () => base64(`${word()}:${word()}`)).filter((credentials) =>
      scrubText(`sent Basic ${credentials}`).includes(credentials.slice(0, 8)),
    );
    expect(seen).toEqual([]);
  });
});
