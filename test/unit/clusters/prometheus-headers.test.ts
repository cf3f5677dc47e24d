import { describe, expect, test } from "vitest";
import { keepsCredentials, patchedCredentials } from "#clusters/cluster-input.ts";
import type { CredentialFacts, PrometheusCredentials } from "#clusters/cluster.ts";
import { toCredentialFields, toPrometheusCredentials } from "#clusters/prometheus-credentials.ts";
import { headersProblem, headerValue, mergedHeaders } from "#clusters/prometheus-headers.ts";

const many = (count: number, value: string): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`X-${i}`, value]));

test.each<[string, Record<string, string>]>([
  ["a tenant", { "X-Scope-OrgID": "team-a|team-b" }],
  ["an own Authorization", { Authorization: "SigV4 x" }],
  ["twenty", many(20, "x")],
  ["8 KiB", { "X-A": "x".repeat(8 * 1024 - 3) }],
])("headers that can be sent: %s", (_what, headers) => {
  expect(headersProblem(headers)).toBeUndefined();
});

test.each<[string, Record<string, string>, RegExp]>([
  ...[
    "Host",
    "content-length",
    "Content-Type",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Upgrade",
    "TE",
    "Trailer",
    "Expect",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Accept",
    "Accept-Encoding",
  ].map((name): [string, Record<string, string>, RegExp] => [name, { [name]: "x" }, /^can't set [a-z-]+: /]),
  ["no token", { "X A": "x" }, /no header name/],
  ["a colon", { ":authority": "x" }, /no header name/],
  ["no name", { "": "x" }, /no header name/],
  ["a long name", { ["x".repeat(257)]: "x" }, /no header name/],
  ["twice", { "X-A": "1", "x-a": "2" }, /has x-a twice/],
  ["too many", many(21, "x"), /more than 20/],
  ["too large", many(10, "x".repeat(900)), /more than 8192 characters/],
])("headers that can't: %s", (_what, headers, problem) => {
  expect(headersProblem(headers)).toMatch(problem);
});

test.each([
  ["a", true],
  ["a b\tc", true],
  ["", false],
  [" a", false],
  ["a ", false],
  ["a\nb", false],
  ["a\r\nX-Evil: 1", false],
  ["a\0", false],
  ["ä", false],
  ["x".repeat(8193), false],
])("a value %j: %s", (value, isValid) => {
  expect(headerValue.safeParse(value).success).toBe(isValid);
});

describe("a patch", () => {
  const stored = toPrometheusCredentials({
    bearer_token: "t0ken",
    headers: { "X-Scope-OrgID": "a", "X-Other": "b" },
  })!;
  const after = (
    patch: Parameters<typeof patchedCredentials>[0],
    before?: PrometheusCredentials,
  ): unknown => {
    const credentials = patchedCredentials(patch, before ?? stored);
    return credentials && toCredentialFields(credentials);
  };

  test("merges headers as RFC 7396 does, but names without regard to case", () => {
    expect(mergedHeaders({ "X-A": "1", "X-B": "2" }, { "x-a": "3", "X-B": null, "X-C": "4" })).toEqual({
      "x-a": "3",
      "X-C": "4",
    });
    expect(after({ headers: { "x-scope-orgid": "c", "X-Other": null } })).toEqual({
      bearer_token: "t0ken",
      headers: { "x-scope-orgid": "c" },
    });
    expect(after({ headers: null })).toEqual({ bearer_token: "t0ken" });
    expect(after({ bearer_token: null })).toEqual({ headers: { "X-Scope-OrgID": "a", "X-Other": "b" } });
    expect(after({ bearer_token: null, headers: null })).toBeUndefined();
    expect(after(null)).toBeUndefined();
    expect(after({ port: 1 })).toEqual(toCredentialFields(stored));
    expect(after({ basic_auth: { username: "u", password: "p" } })).toMatchObject({
      basic_auth: { username: "u", password: "p" },
      headers: { "X-Other": "b" },
    });
  });

  test("that makes the whole wrong is refused", () => {
    const refused: [Parameters<typeof patchedCredentials>[0], RegExp][] = [
      [{ headers: { Host: "x" } }, /^body: prometheus\.headers can't set host/],
      [{ headers: many(19, "x") }, /^body: prometheus\.headers has more than 20/],
      [{ headers: { Authorization: "x" } }, /^body: prometheus has an Authorization in headers besides/],
      [{ bearer_token: "a", basic_auth: { username: "u", password: "p" } }, /give one of them/],
    ];
    for (const [patch, message] of refused) {
      expect(() => after(patch)).toThrow(
        expect.objectContaining({ code: "request_invalid", message: expect.stringMatching(message) }),
      );
    }
  });

  test("needs the stored credentials only where a part of them stays", () => {
    const facts = (more: Partial<CredentialFacts>): CredentialFacts => ({
      server: "",
      user: "token",
      certificate_expires_at: null,
      token_expires_at: null,
      ca_sha256: [],
      prometheus_auth: null,
      ...more,
    });
    const both = facts({ prometheus_auth: "bearer", prometheus_headers: ["X-A"] });
    const token = facts({ prometheus_auth: "bearer" });
    const cases: [Parameters<typeof keepsCredentials>[0], CredentialFacts, boolean][] = [
      [undefined, both, true],
      [undefined, facts({}), false],
      [null, both, false],
      [{ bearer_token: "x" }, both, true],
      [{ bearer_token: "x" }, token, false],
      [{ bearer_token: null, headers: null }, both, false],
      [{ headers: null }, both, true],
      [{ headers: { "X-A": "1" } }, token, true],
      [{ headers: { "X-A": "1" } }, facts({}), false],
    ];
    for (const [patch, before, keeps] of cases) expect(keepsCredentials(patch, before)).toBe(keeps);
  });
});
