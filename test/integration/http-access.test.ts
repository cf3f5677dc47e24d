import { request as httpRequest } from "node:http";
import { afterEach, beforeAll, afterAll, beforeEach, describe, expect, it } from "vitest";
import { createHttpServer } from "#http/server.ts";
import { systemClock } from "#lib/clock.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { ACCESS, type ErrorJson, type Harness, startHarness, TOKENS } from "./http-harness.ts";

type Caller = "none" | "wrong" | "read" | "collect" | "admin" | "dapr";
const CALLERS: readonly Caller[] = ["none", "wrong", "read", "collect", "admin", "dapr"];

function credentials(caller: Caller): Record<string, string> {
  if (caller === "none") return {};
  if (caller === "dapr") return { "dapr-api-token": TOKENS.dapr };
  return { authorization: `Bearer ${caller === "wrong" ? "no-such-token-0123456789" : TOKENS[caller]}` };
}

/** Every route with its scope: a new route must be added here. */
const ROUTES: readonly [method: string, path: string, scope: "open" | "any" | "read" | "collect"][] = [
  ["GET", "/", "open"],
  ["GET", "/healthz", "open"],
  ["GET", "/readyz", "open"],
  ["GET", "/docs/", "open"],
  ["GET", "/docs/json", "open"],
  ["OPTIONS", "/metrics/collect-all", "open"],
  ["POST", "/metrics/collect-all", "collect"],
  ["GET", "/whoami", "any"],
  ["GET", "/metrics", "read"],
  ["HEAD", "/metrics", "read"],
  ["GET", "/metrics/status", "read"],
  ["GET", "/metrics/completeness?cluster=edge-1", "read"],
  ["GET", "/clusters", "read"],
  ["GET", "/clusters/edge-1", "read"],
  ["GET", "/cluster-metrics/edge-1/latest?metric=up", "read"],
];

const ALLOWED: Record<"open" | "any" | "read" | "collect" | "admin", readonly Caller[]> = {
  open: CALLERS,
  any: ["read", "collect", "admin", "dapr"],
  read: ["read", "admin"],
  collect: ["collect", "admin", "dapr"],
  admin: ["admin"],
};

describe("with tokens", () => {
  let harness: Harness;
  const clock = createManualClock();
  beforeAll(async () => (harness = await startHarness({ access: ACCESS, deps: { clock } })));
  // No test's wrong tokens count for the next one.
  beforeEach(() => clock.advance(60_000));
  afterAll(() => harness.server.stop());

  const matrix = ROUTES.flatMap(([method, path, scope]) =>
    CALLERS.map((caller) => ({ method, path, scope, caller })),
  );
  it.each(matrix)("$method $path ($scope) for $caller", async ({ method, path, scope, caller }) => {
    const answer = await fetch(harness.url + path, { method, headers: credentials(caller) });
    const text = await answer.text();
    const expected = ALLOWED[scope].includes(caller)
      ? 200
      : caller === "none" || caller === "wrong"
        ? 401
        : 403;
    expect(answer.status).toBe(expected);
    if (expected === 200 || method === "HEAD") return;
    const { error } = JSON.parse(text) as ErrorJson;
    expect(error).toMatchObject({
      code: expected === 401 ? "unauthenticated" : "forbidden",
      message: expect.any(String),
      hint: expect.any(String),
      details: { required_scope: scope },
    });
    expect(answer.headers.has("www-authenticate")).toBe(expected === 401);
    expect(answer.headers.get("content-type")).toContain("application/json");
  });

  it("covers every route of the OpenAPI document", async () => {
    const document = (await (await fetch(`${harness.url}/docs/json`)).json()) as {
      paths: Record<string, object>;
    };
    const listed = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const tested = new Set(
      ROUTES.map(([method, path]) => `${method} ${path.split("?")[0]?.replace("edge-1", "{id}")}`),
    );
    for (const route of listed) expect(tested).toContain(route.replace("{cluster_id}", "{id}"));
  });

  it("takes a name other than loopback in Host and cross-origin posts: the token decides", async () => {
    const answer = await raw(harness, "POST", {
      host: "bridge.example.com",
      origin: "https://ui.example.com",
      ...credentials("collect"),
    });
    expect(answer.status).toBe(200);
  });

  it.each([
    "Bearer",
    "Bearer ",
    "bearer",
    "Basic cmVhZDp4",
    `Token ${TOKENS.admin}`,
    TOKENS.admin,
    "Bearer a b",
  ])("refuses Authorization: %s", async (authorization) => {
    const answer = await fetch(`${harness.url}/clusters`, { headers: { authorization } });
    expect(answer.status).toBe(401);
  });

  it("does not take a Bearer token as Dapr's, Dapr's as a Bearer token, or a hash as a token", async () => {
    const tries: Record<string, string>[] = [
      { "dapr-api-token": TOKENS.admin },
      { authorization: `Bearer ${TOKENS.dapr}` },
      { authorization: `Bearer ${ACCESS.tokens[2]?.sha256}` },
    ];
    for (const headers of tries) {
      const answer = await fetch(`${harness.url}/metrics/collect-all`, { method: "POST", headers });
      expect(answer.status).toBe(401);
    }
  });

  it("names the caller in the access log, never the token", async () => {
    const line = harness.nextLine((fields) => fields["path"] === "/clusters");
    await fetch(`${harness.url}/clusters`, { headers: credentials("read") });
    expect(await line).toMatchObject({ caller: "reader", status: 200 });
    for (const token of Object.values(TOKENS)) expect(harness.lines.join("")).not.toContain(token);
  });
});

describe("every route of a program that has all of them", () => {
  const never = (): Promise<never> => Promise.reject(new Error("it was called"));
  let harness: Harness;
  let operations: { method: string; path: string; scope: string }[];
  beforeAll(async () => {
    harness = await startHarness({
      access: ACCESS,
      deps: {
        clock: createManualClock(),
        clusterAdmin: { create: never, draft: never, update: never, remove: never },
        onboarding: {
          prometheusNamespace: "monitoring",
          inspect: () => ({ contexts: [], currentContext: null }),
          draft: never,
          findServices: never,
          diagnose: never,
        },
        diagnoseCluster: never,
        diagnoseStorage: never,
        clusterState: {
          summary: never,
          health: never,
          nodes: never,
          pods: never,
          gpus: never,
          gpuUsage: never,
          fleetGpuUsage: never,
          listClusters: never,
        },
        metricQueries: { series: never, metrics: never, labels: never },
      },
    });
    const document = (await (await fetch(`${harness.url}/docs/json`)).json()) as {
      paths: Record<string, Record<string, { security: unknown[]; description?: string }>>;
    };
    operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { security, description = "" }]) => ({
        method: method.toUpperCase(),
        path: path.replaceAll(/\{\w+\}/g, "edge-1"),
        scope: security.length === 0 ? "open" : (/Scope: `(\w+)`/.exec(description)?.[1] ?? "unknown"),
      })),
    );
  });
  afterAll(() => harness.server.stop());

  it("is closed to who has no token or lacks its scope, before anything of the request is looked at", async () => {
    const scoped = operations.filter(({ scope }) => scope !== "open");
    expect(scoped.length).toBeGreaterThan(17);
    for (const { method, path, scope } of scoped) {
      const others = (["read", "collect", "dapr"] as const).filter(
        (caller) => !ALLOWED[scope as keyof typeof ALLOWED].includes(caller),
      );
      for (const caller of ["none", ...others] as const) {
        const headers = { "content-type": "application/json", ...credentials(caller) };
        const body = method === "GET" ? {} : { body: "not JSON" };
        const answer = await fetch(harness.url + path, { method, headers, ...body });
        await answer.arrayBuffer();
        const expected = caller === "none" ? 401 : 403;
        expect(`${method} ${path} ${caller} ${answer.status}`).toBe(
          `${method} ${path} ${caller} ${expected}`,
        );
      }
    }
  });

  it("that changes something needs admin and is in the audit log; rounds need collect, who the caller is any token, the rest read", () => {
    const changing = operations.filter(
      ({ method, path }) => method !== "GET" && method !== "OPTIONS" && path !== "/cluster-metrics/query",
    );
    expect(changing.map(({ method, path, scope }) => `${method} ${path} ${scope}`).sort()).toEqual([
      "DELETE /clusters/edge-1 admin",
      "PATCH /clusters/edge-1 admin",
      "POST /clusters admin",
      "POST /clusters/edge-1/diagnose admin",
      "POST /metrics/collect-all collect",
      "POST /onboard/diagnose admin",
      "POST /onboard/inspect admin",
      "POST /onboard/services admin",
    ]);
    const audited = harness.lines
      .map((line) => JSON.parse(line) as { audit?: { action: string } })
      .flatMap(({ audit }) => (audit ? [audit.action] : []));
    expect([...new Set(audited)].sort()).toEqual([
      "cluster.create",
      "cluster.delete",
      "cluster.diagnose",
      "cluster.find_services",
      "cluster.update",
      "collection.start",
      "kubeconfig.inspect",
    ]);
    expect(new Set(operations.map(({ scope }) => scope))).toEqual(
      new Set(["open", "any", "read", "collect", "admin"]),
    );
  });
});

describe("without tokens", () => {
  let harness: Harness;
  beforeAll(async () => (harness = await startHarness()));
  afterAll(() => harness.server.stop());

  it.each(ROUTES)("%s %s is allowed", async (method, path) => {
    const answer = await fetch(harness.url + path, { method });
    await answer.text();
    expect(answer.status).toBe(200);
  });

  it.each(["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "LOCALHOST"])("answers to %s", async (name) => {
    expect((await raw(harness, "POST", { host: `${name}:${harness.port}` })).status).toBe(200);
    expect((await raw(harness, "POST", { host: name })).status).toBe(200);
  });

  it.each([
    "evil.example.com",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "0.0.0.0",
    "[::2]",
  ])("refuses the rebound name %s, for pages and data alike", async (name) => {
    for (const [method, path] of [
      ["POST", undefined],
      ["GET", "/clusters"],
      ["GET", "/nothing"],
      ["GET", "/docs/"],
    ] as const) {
      const answer = await raw(harness, method, { host: `${name}:${harness.port}` }, path);
      expect(answer.status).toBe(421);
      expect((JSON.parse(answer.text) as ErrorJson).error.code).toBe("host_refused");
    }
  });

  it.each<Record<string, string>>([
    { origin: "https://evil.example.com" },
    { origin: "null" },
    { origin: "http://localhost:3000" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
    { origin: "http://127.0.0.1:1", "sec-fetch-site": "same-origin" },
  ])("refuses a post by a page of another origin: %j", async (headers) => {
    const before = harness.rounds.length;
    const answer = await raw(harness, "POST", { host: `127.0.0.1:${harness.port}`, ...headers });
    expect(answer.status).toBe(403);
    expect((JSON.parse(answer.text) as ErrorJson).error.code).toBe("cross_origin_refused");
    expect(harness.rounds).toHaveLength(before);
  });

  it("takes a post from its own page (the docs), and never allows another origin to read", async () => {
    const host = `127.0.0.1:${harness.port}`;
    const own = await raw(harness, "POST", {
      host,
      origin: `http://${host}`,
      "sec-fetch-site": "same-origin",
    });
    expect(own.status).toBe(200);
    const preflight = await raw(harness, "OPTIONS", {
      host,
      origin: "https://evil.example.com",
      "access-control-request-method": "POST",
    });
    expect(preflight.headers["access-control-allow-origin"]).toBeUndefined();
  });
});

describe("the bind", () => {
  const ends: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });

  it.each(["0.0.0.0", "::", "192.0.2.1", "example.com", ""])(
    "to %j is refused without tokens",
    async (host) => {
      await expect(startHarness({ settings: { host } })).rejects.toMatchObject({
        code: "config_invalid",
        hint: expect.stringContaining("API_TOKENS_FILE"),
      });
    },
  );

  it("to every address works with tokens, and the URL can be opened", async () => {
    const harness = await startHarness({ access: ACCESS, settings: { host: "0.0.0.0" } });
    ends.push(() => harness.server.stop());
    expect(harness.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await fetch(`${harness.url}/healthz`)).status).toBe(200);
  });

  it("to a port in use says so", async () => {
    const harness = await startHarness();
    ends.push(() => harness.server.stop());
    await expect(startHarness({ settings: { port: harness.port } })).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringContaining("EADDRINUSE"),
    });
  });
});

describe("a route without a scope", () => {
  it("fails at registration", async () => {
    const server = createHttpServer(
      {
        logger: (await startOnce()).logger,
        clock: systemClock,
        ownMetrics: { prometheusText: async () => "", requestAnswered: () => {} },
        readiness: () => [],
        routes: [(app) => void app.get("/leak", () => "secret")],
      },
      {
        host: "127.0.0.1",
        port: 0,
        service: { name: "x", version: "0" },
        access: { tokens: [] },
      },
    );
    await expect(server.start()).rejects.toThrow(/GET.*\/leak declares no scope/);
    await server.stop();
  });
});

async function startOnce(): Promise<Harness> {
  const harness = await startHarness();
  await harness.server.stop();
  return harness;
}

/** A request with headers that fetch would not send (Host, Origin, Sec-Fetch-Site). */
function raw(
  harness: Harness,
  method: string,
  headers: Record<string, string>,
  path = "/metrics/collect-all",
) {
  return new Promise<{ status: number; text: string; headers: Record<string, unknown> }>(
    (resolve, reject) => {
      const request = httpRequest(
        { host: "127.0.0.1", port: harness.port, method, path, headers, agent: false },
        (response) => {
          let text = "";
          response.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
          response.on("end", () =>
            resolve({ status: response.statusCode ?? 0, text, headers: response.headers }),
          );
        },
      );
      request.on("error", reject);
      request.end();
    },
  );
}
