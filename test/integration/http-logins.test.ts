import { createHash } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import type { ApiToken } from "#http/tokens.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import {
  ACCESS,
  errorOf,
  type Harness,
  type HarnessOptions,
  startHarness,
  talk,
  TOKENS,
  SECURITY_HEADERS,
} from "./http-harness.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start(options: HarnessOptions = {}): Promise<Harness> {
  const harness = await startHarness({ access: ACCESS, ...options });
  ends.push(() => harness.server.stop());
  return harness;
}

const get = (harness: Harness, token: string, path = "/clusters"): Promise<Response> =>
  fetch(harness.url + path, { headers: { authorization: `Bearer ${token}` } });

const tokenOf = (name: string, text: string): ApiToken => ({
  name,
  sha256: createHash("sha256").update(text).digest("hex"),
  scopes: ["read"],
});

describe("failed logins", () => {
  it("are 429 with Retry-After when there are too many, for any route and way to send a token; a known token goes through", async () => {
    const clock = createManualClock();
    const harness = await start({ deps: { clock } });
    for (let i = 0; i < 10; i++) expect((await get(harness, `guess-${i}`)).status).toBe(401);
    for (const path of ["/clusters", "/metrics", "/clusters/edge-1"]) {
      const refused = await get(harness, "guess", path);
      expect(refused.status).toBe(429);
      expect(refused.headers.get("retry-after")).toBe("6");
      expect(await errorOf(refused)).toMatchObject({ code: "too_many_failed_logins" });
    }
    const dapr = await fetch(`${harness.url}/metrics/collect-all`, {
      method: "POST",
      headers: { "dapr-api-token": "guess" },
    });
    expect(dapr.status).toBe(429);
    expect((await get(harness, TOKENS.read)).status).toBe(200);
    expect((await fetch(`${harness.url}/clusters`)).status).toBe(401);
    expect((await get(harness, "guess", "/healthz")).status).toBe(200);
    const warned = harness.lines.filter((line) => line.includes("too many failed logins"));
    expect(warned).toHaveLength(1);
    expect(warned[0]).toContain('"address":"127.0.0.1"');
    const lines = harness.lines.filter((line) => line.includes("too_many_failed_logins"));
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ level: "debug", msg: "request" });
    clock.advance(6000);
    expect((await get(harness, "guess")).status).toBe(401);
  });

  it("are those of the connection's address: X-Forwarded-For is not believed", async () => {
    const harness = await start({ deps: { clock: createManualClock() } });
    const statuses = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        fetch(`${harness.url}/clusters`, {
          headers: { authorization: "Bearer guess", "x-forwarded-for": `192.0.2.${i}` },
        }),
      ),
    );
    expect(statuses.filter(({ status }) => status === 429)).toHaveLength(2);
  });
});

describe("other tokens", () => {
  it("are in force from the next request on, also on open connections", async () => {
    const harness = await start();
    expect((await get(harness, TOKENS.read)).status).toBe(200);
    harness.server.replaceTokens([tokenOf("new", "new-token-0123456789")]);
    expect((await get(harness, TOKENS.read)).status).toBe(401);
    expect((await get(harness, "new-token-0123456789")).status).toBe(200);
    harness.server.replaceTokens([]);
    expect((await fetch(`${harness.url}/clusters`)).status).toBe(401);
    // Dapr's token is not of the file.
    const dapr = await fetch(`${harness.url}/metrics/collect-all`, {
      method: "POST",
      headers: { "dapr-api-token": TOKENS.dapr },
    });
    expect(dapr.status).toBe(200);
  });
});

describe("AUTH_ENABLED=false", () => {
  const access = { enabled: false, tokens: [] };

  it("serves everybody, on any address, by any name", async () => {
    const harness = await start({ access, settings: { host: "0.0.0.0" } });
    for (const host of ["bridge.example.com", "10.0.0.1:9081"]) {
      const answer = await talk(
        harness.port,
        `POST /metrics/collect-all HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 200/);
    }
    expect((await get(harness, "any-token-is-ignored")).status).toBe(200);
    const page = await fetch(`${harness.url}/metrics/collect-all`, {
      method: "POST",
      headers: { origin: "https://evil.example.com" },
    });
    expect(page.status).toBe(403);
    expect((await errorOf(page)).code).toBe("cross_origin_refused");
  });
});

describe("warnings of the program", () => {
  it("are in the status and in /readyz, which stays ready", async () => {
    const harness = await start({ access: { tokens: [] }, deps: { warnings: () => ["everything is open"] } });
    const status = (await (await fetch(`${harness.url}/metrics/status`)).json()) as { warnings: string[] };
    expect(status.warnings).toEqual(["everything is open"]);
    const ready = await fetch(`${harness.url}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({ status: "ready", warnings: ["everything is open"] });
    harness.problems.push("no disk");
    const notReady = await fetch(`${harness.url}/readyz`);
    expect(notReady.status).toBe(503);
    expect(await notReady.json()).toEqual({
      status: "not_ready",
      problems: ["no disk"],
      warnings: ["everything is open"],
    });
  });
});

describe("security headers", () => {
  it.each([
    ["a JSON answer", "/clusters", TOKENS.read, 200],
    ["the index", "/", TOKENS.read, 200],
    ["text", "/metrics", TOKENS.read, 200],
    ["a refused caller", "/clusters", "nobody", 401],
    ["an unknown path", "/nothing", TOKENS.read, 404],
    ["a path that is none", "/%", TOKENS.read, 400],
  ])("are on %s", async (_name, path, token, status) => {
    const harness = await start();
    const answer = await get(harness, token, path);
    expect(answer.status).toBe(status);
    expect(Object.fromEntries(answer.headers)).toMatchObject(SECURITY_HEADERS);
    // Only who ends TLS may promise TLS.
    expect(answer.headers.has("strict-transport-security")).toBe(false);
    expect(answer.headers.has("x-powered-by")).toBe(false);
    expect(answer.headers.has("access-control-allow-origin")).toBe(false);
  });

  it("let the page of /docs run its own scripts and no other", async () => {
    const harness = await start();
    const page = await get(harness, "", "/docs/");
    const policy = page.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("script-src 'self';");
    expect(policy).not.toMatch(/script-src[^;]*unsafe|unsafe-eval/);
    expect(policy).toContain("frame-ancestors 'none'");
    const html = await page.text();
    // Scripts are files; none is in the page or in an attribute.
    expect(html.match(/<script(?![^>]*\bsrc=)/g)).toBeNull();
    expect(html.match(/\son[a-z]+=/g)).toBeNull();
    expect(page.headers.get("x-frame-options")).toBe("DENY");
  });
});
