import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { assert, pre, property, string } from "fast-check";
import { describe, expect, it } from "vitest";
import { type AccessDecision, type AccessSettings, createAccess } from "#http/auth.ts";
import { isLoopback, refuseOpenBind } from "#http/loopback.ts";
import type { ApiToken, GrantedScope, Scope } from "#http/tokens.ts";
import { createSecret } from "#lib/secret.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
const token = (text: string, ...scopes: GrantedScope[]): ApiToken => ({
  name: `name-of-${text}`,
  sha256: hash(text),
  scopes,
});

function setUp(settings: AccessSettings) {
  const lines: unknown[] = [];
  const clock = createManualClock();
  const access = createAccess(
    { clock, logger: { warn: (line: unknown) => void lines.push(line) } },
    settings,
  );
  const decide = (
    headers: IncomingHttpHeaders,
    scope: Scope,
    { address = "192.0.2.1", method = "GET" } = {},
  ): AccessDecision => access.decide({ method, headers, address, scope });
  const as = (text: string, scope: Scope, address?: string): string => {
    const { caller, refusal } = decide(
      { authorization: `Bearer ${text}` },
      scope,
      address === undefined ? {} : { address },
    );
    return refusal ? refusal.code : (caller ?? "nobody");
  };
  return { access, clock, lines, decide, as };
}

describe("createAccess", () => {
  it("lets in by the scopes of the token; only admin implies others", () => {
    const { access, as, decide } = setUp({
      tokens: [token("r", "read"), token("rc", "read", "collect"), token("a", "admin")],
    });
    expect(access.mode).toBe("tokens");
    expect(as("r", "read")).toBe("name-of-r");
    expect(as("r", "collect")).toBe("forbidden");
    expect(as("rc", "collect")).toBe("name-of-rc");
    for (const scope of ["read", "collect", "admin"] as const) expect(as("a", scope)).toBe("name-of-a");
    const refused = decide({ authorization: "Bearer rc" }, "admin");
    expect(refused).toMatchObject({
      caller: "name-of-rc",
      clustersSeen: "none",
      refusal: { code: "forbidden", message: '"name-of-rc" lacks the scope admin' },
    });
  });

  it("never lets in a text that is not a token", () => {
    const { decide, clock } = setUp({
      tokens: [token("the-token", "admin")],
      daprToken: createSecret("the-dapr-token"),
    });
    assert(
      property(string(), string(), (bearer, dapr) => {
        pre(bearer.trim() !== "the-token" && dapr !== "the-dapr-token");
        clock.advance(60_000);
        const decision = decide({ authorization: `Bearer ${bearer}`, "dapr-api-token": dapr }, "collect");
        expect(decision).toMatchObject({ caller: null, refusal: { message: "the token is not known" } });
      }),
    );
  });

  it("is closed when only Dapr's token is configured", () => {
    const { access, decide } = setUp({ tokens: [], daprToken: createSecret("d") });
    expect(access.mode).toBe("tokens");
    const headers = { "dapr-api-token": "d" };
    expect(decide(headers, "collect")).toEqual({
      caller: "dapr",
      scopes: ["collect"],
      clustersSeen: "all",
      viaDapr: true,
    });
    expect(decide(headers, "read").refusal?.message).toBe('"dapr" lacks the scope read');
    expect(decide({}, "read").refusal?.message).toBe("a token is needed");
  });

  it("takes the better of two credentials", () => {
    const { decide } = setUp({ tokens: [token("r", "read")], daprToken: createSecret("d") });
    const headers = { authorization: "Bearer r", "dapr-api-token": "d" };
    expect(decide(headers, "collect").caller).toBe("dapr");
    expect(decide(headers, "read").caller).toBe("name-of-r");
  });

  it("knows which clusters a token is for; an open route and a refused caller see none", () => {
    const { decide } = setUp({
      tokens: [{ ...token("few", "read"), clusters: ["edge-1"] }, token("r", "read")],
    });
    expect(decide({ authorization: "Bearer few" }, "read").clustersSeen).toEqual(new Set(["edge-1"]));
    expect(decide({ authorization: "Bearer r" }, "read").clustersSeen).toBe("all");
    expect(decide({ authorization: "Bearer r" }, "open").clustersSeen).toBe("none");
    expect(decide({ authorization: "Bearer r" }, "admin").clustersSeen).toBe("none");
    expect(decide({}, "read").clustersSeen).toBe("none");
  });

  it("says what a caller may do, to every valid token and to no other", () => {
    const { decide, as } = setUp({ tokens: [token("c", "collect"), token("a", "admin")] });
    expect(decide({ authorization: "Bearer c" }, "any").scopes).toEqual(["collect"]);
    expect(decide({ authorization: "Bearer a" }, "any").scopes).toEqual(["read", "collect", "admin"]);
    expect(as("x", "any")).toBe("unauthenticated");
    expect(decide({ authorization: "Bearer c" }, "read").scopes).toEqual([]);
  });

  it("takes other tokens from the next request on, and never none", () => {
    const { access, as } = setUp({ tokens: [token("old", "read")] });
    access.replaceTokens([token("new", "read")]);
    expect(as("old", "read")).toBe("unauthenticated");
    expect(as("new", "read")).toBe("name-of-new");
    access.replaceTokens([]);
    expect(as("new", "read")).toBe("name-of-new");
  });

  it("tells who sends too many unknown tokens to wait, and lets a known one in all the same", () => {
    const { as, decide, clock, lines } = setUp({ tokens: [token("r", "read")] });
    const guesses = Array.from({ length: 12 }, (_, i) => as(`guess-${i}`, "read"));
    expect(guesses).toEqual([
      ...Array.from({ length: 10 }, () => "unauthenticated"),
      ...Array.from({ length: 2 }, () => "too_many_failed_logins"),
    ]);
    expect(decide({ authorization: "Bearer x" }, "read").refusal?.details).toMatchObject({
      retry_after_seconds: 6,
    });
    // One line, however often.
    expect(lines).toEqual([{ address: "192.0.2.1", limit: "address" }]);
    expect(as("r", "read")).toBe("name-of-r");
    expect(as("x", "read", "192.0.2.2")).toBe("unauthenticated");
    // No token and a missing scope are no guesses.
    expect(decide({}, "read").refusal?.code).toBe("unauthenticated");
    expect(as("r", "admin")).toBe("forbidden");
    clock.advance(6000);
    expect(as("x", "read")).toBe("unauthenticated");
    expect(as("x", "read")).toBe("too_many_failed_logins");
  });

  it("with AUTH_ENABLED=false lets in everybody by any name, but no page of another origin", () => {
    const { access, decide } = setUp({ enabled: false, tokens: [] });
    expect(access.mode).toBe("off");
    const host = "bridge.example.com";
    const scopes = ["read", "collect", "admin"];
    const everybody = { caller: "anonymous", scopes, clustersSeen: "all", viaDapr: false };
    for (const scope of ["open", "any", "read", "collect", "admin"] as const) {
      expect(decide({ host }, scope, { method: "POST" })).toEqual(everybody);
    }
    expect(decide({ host, origin: `https://${host}` }, "collect", { method: "POST" })).toEqual(everybody);
    for (const headers of [{ origin: "https://evil.example" }, { "sec-fetch-site": "cross-site" }]) {
      const { refusal } = decide({ host, ...headers }, "collect", { method: "POST" });
      expect(refusal?.code).toBe("cross_origin_refused");
    }
  });
});

describe("the bind without tokens", () => {
  it.each(["localhost", "127.0.0.1", "127.8.9.10", "::1", "[::1]", "::ffff:127.0.0.1"])(
    "%s is loopback",
    (host) => {
      expect(isLoopback(host)).toBe(true);
      expect(() => refuseOpenBind(host, false)).not.toThrow();
    },
  );

  it.each([
    "0.0.0.0",
    "::",
    "",
    "10.0.0.1",
    "localhost.example",
    "127.0.0.1.example",
    "::ffff:10.0.0.1",
    "1127.0.0.1",
  ])("%j is not, and refused with the remedy", (host) => {
    expect(isLoopback(host)).toBe(false);
    expect(() => refuseOpenBind(host, true)).not.toThrow();
    expect(() => refuseOpenBind(host, false)).toThrow(
      expect.objectContaining({ code: "config_invalid", hint: expect.stringContaining("HOST=127.0.0.1") }),
    );
  });
});
