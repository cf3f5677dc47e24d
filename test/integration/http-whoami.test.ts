import { afterEach, expect, it } from "vitest";
import { ACCESS, errorOf, startHarness, TOKENS } from "./http-harness.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start(options: Parameters<typeof startHarness>[0] = {}): Promise<string> {
  const { server, url } = await startHarness(options);
  ends.push(() => server.stop());
  return `${url}/whoami`;
}

const ALL = ["read", "collect", "admin"];

it("names each token with what it may do; admin includes the others", async () => {
  const url = await start({ access: ACCESS });
  for (const [caller, name, scopes] of [
    ["read", "reader", ["read"]],
    ["collect", "collecter", ["collect"]],
    ["admin", "adminer", ALL],
  ] as const) {
    const answer = await fetch(url, { headers: { authorization: `Bearer ${TOKENS[caller]}` } });
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(await answer.json()).toEqual({ name, access: "tokens", scopes, clusters: null });
  }
  const sidecar = await fetch(url, { headers: { "dapr-api-token": TOKENS.dapr } });
  expect(await sidecar.json()).toMatchObject({ name: "dapr", scopes: ["collect"] });
});

it("says nothing to callers without a valid token", async () => {
  const url = await start({ access: ACCESS });
  for (const headers of [{}, { authorization: "Bearer nobody-knows-this" }]) {
    const answer = await fetch(url, { headers });
    expect(answer.status).toBe(401);
    expect((await errorOf(answer)).code).toBe("unauthenticated");
  }
});

it("says without tokens that everybody on this machine may do everything", async () => {
  const url = await start();
  expect(await (await fetch(url)).json()).toEqual({
    name: "local",
    access: "loopback",
    scopes: ALL,
    clusters: null,
  });
});

it("says with AUTH_ENABLED=false that everybody may do everything", async () => {
  const url = await start({ access: { enabled: false, tokens: [] } });
  expect(await (await fetch(url)).json()).toEqual({
    name: "anonymous",
    access: "off",
    scopes: ALL,
    clusters: null,
  });
});
