import { createHash } from "node:crypto";
import { assert, pre, property, string } from "fast-check";
import { describe, expect, it } from "vitest";
import { createAccess } from "#http/auth.ts";
import { isLoopback, refuseOpenBind } from "#http/loopback.ts";
import type { GrantedScope } from "#http/tokens.ts";
import { createSecret } from "#lib/secret.ts";

const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
const token = (text: string, ...scopes: GrantedScope[]) => ({
  name: `name-of-${text}`,
  sha256: hash(text),
  scopes,
});

describe("createAccess", () => {
  it("lets in by the scopes of the token; only admin implies others", () => {
    const access = createAccess({
      tokens: [token("r", "read"), token("rc", "read", "collect"), token("a", "admin")],
    });
    const tryAs = (text: string, scope: GrantedScope): string =>
      access.check({ method: "GET", headers: { authorization: `Bearer ${text}` }, scope });
    expect(access.open).toBe(false);
    expect(tryAs("r", "read")).toBe("name-of-r");
    expect(() => tryAs("r", "collect")).toThrow(/lacks the scope collect/);
    expect(tryAs("rc", "collect")).toBe("name-of-rc");
    expect(() => tryAs("rc", "admin")).toThrow(/lacks the scope admin/);
    for (const scope of ["read", "collect", "admin"] as const) expect(tryAs("a", scope)).toBe("name-of-a");
  });

  it("never lets in a text that is not a token", () => {
    const access = createAccess({
      tokens: [token("the-token", "admin")],
      daprToken: createSecret("the-dapr-token"),
    });
    assert(
      property(string(), string(), (bearer, dapr) => {
        pre(bearer.trim() !== "the-token" && dapr !== "the-dapr-token");
        const headers = { authorization: `Bearer ${bearer}`, "dapr-api-token": dapr };
        expect(() => access.check({ method: "POST", headers, scope: "collect" })).toThrow(
          "the token is not known",
        );
      }),
    );
  });

  it("is closed when only Dapr's token is configured", () => {
    const access = createAccess({ tokens: [], daprToken: createSecret("d") });
    expect(access.open).toBe(false);
    const headers = { "dapr-api-token": "d" };
    expect(access.check({ method: "POST", headers, scope: "collect" })).toBe("dapr");
    expect(() => access.check({ method: "GET", headers, scope: "read" })).toThrow(
      /"dapr" lacks the scope read/,
    );
    expect(() => access.check({ method: "GET", headers: {}, scope: "read" })).toThrow("a token is needed");
  });

  it("takes the better of two credentials", () => {
    const access = createAccess({ tokens: [token("r", "read")], daprToken: createSecret("d") });
    const headers = { authorization: "Bearer r", "dapr-api-token": "d" };
    expect(access.check({ method: "POST", headers, scope: "collect" })).toBe("dapr");
    expect(access.check({ method: "GET", headers, scope: "read" })).toBe("name-of-r");
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
