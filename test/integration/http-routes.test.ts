import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { LatestSamples } from "#http/routes/cluster-metrics.ts";
import { errorOf, type Harness, startHarness, STATUS, talk } from "./http-harness.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start(options: Parameters<typeof startHarness>[0] = {}): Promise<Harness> {
  const harness = await startHarness(options);
  ends.push(() => harness.server.stop());
  return harness;
}

describe("POST /metrics/collect-all", () => {
  const url = "/metrics/collect-all";

  it.each<[string, RequestInit]>([
    ["no body", {}],
    [
      "an empty body as JSON, as Dapr sends it",
      { headers: { "content-type": "application/json" }, body: "" },
    ],
    [
      "an empty body as JSON with a charset",
      { headers: { "content-type": "application/json; charset=utf-8" } },
    ],
    ["a JSON body", { headers: { "content-type": "application/json" }, body: '{"a":1}' }],
    ["broken JSON", { headers: { "content-type": "application/json" }, body: "{" }],
    ["text", { headers: { "content-type": "text/plain" }, body: "hello" }],
    ["a form", { body: new URLSearchParams({ a: "1" }) }],
    ["bytes without a type", { body: new Uint8Array([0, 255, 1]) }],
  ])("with %s answers at once", async (_name, init) => {
    const harness = await start();
    const answer = await fetch(harness.url + url, { method: "POST", ...init });
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({
      status: "started",
      round: { id: "r1", finished_at: null, trigger: "request" },
      busy: [],
    });
    expect(harness.rounds).toMatchObject([{ finished: false }]);
  });

  it("over the wire exactly as Dapr sends it", async () => {
    const harness = await start();
    const answer = await talk(
      harness.port,
      `POST ${url} HTTP/1.1\r\nHost: 127.0.0.1:${harness.port}\r\nUser-Agent: fasthttp\r\nContent-Type: application/json\r\nContent-Length: 0\r\nreadtimeutc: 2025-06-01 12:00:00\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/);
    const probe = await talk(
      harness.port,
      `OPTIONS ${url} HTTP/1.1\r\nHost: 127.0.0.1:${harness.port}\r\nContent-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    );
    expect(probe).toMatch(/^HTTP\/1\.1 200 OK/);
  });

  it("names the clusters that are busy", async () => {
    const harness = await start();
    harness.setBusy(["edge-2", "edge-3"]);
    const answer = await fetch(harness.url + url, { method: "POST" });
    expect(await answer.json()).toMatchObject({ status: "started", busy: ["edge-2", "edge-3"] });
  });

  it("answers 200 when the collection is disabled, also with wait", async () => {
    const harness = await start();
    harness.disable();
    for (const query of ["", "?wait=true"]) {
      const answer = await fetch(harness.url + url + query, { method: "POST" });
      expect(answer.status).toBe(200);
      expect(await answer.json()).toEqual({
        status: "disabled",
        message: expect.stringContaining("METRICS_COLLECTION_ENABLED"),
        hint: expect.stringContaining("METRICS_COLLECTION_ENABLED=true"),
      });
    }
  });

  it("answers 503 when the program ends", async () => {
    const harness = await start();
    harness.fail(new BridgeError("shutting_down", "the program ends"));
    const answer = await fetch(harness.url + url, { method: "POST" });
    expect(answer.status).toBe(503);
    expect((await errorOf(answer)).code).toBe("shutting_down");
  });

  it("with wait=true answers with the finished result", async () => {
    const harness = await start();
    const begun = harness.started();
    const answered = fetch(`${harness.url}${url}?wait=true`, { method: "POST" });
    await begun;
    harness.rounds[0]?.finish();
    const answer = await answered;
    expect(await answer.json()).toMatchObject({
      status: "finished",
      round: {
        id: "r1",
        finished_at: "2025-06-01T12:00:02.000Z",
        clusters: [{ cluster_id: "edge-1", error: { code: "cluster_timeout", details: { attempt: 1 } } }],
      },
      busy: [],
    });
  });

  it("goes on with the round when the waiting client goes away", async () => {
    const harness = await start();
    const begun = harness.started();
    const client = new AbortController();
    const answered = fetch(`${harness.url}${url}?wait=true`, { method: "POST", signal: client.signal });
    await begun;
    const line = harness.nextLine((fields) => fields["path"] === url);
    client.abort();
    await expect(answered).rejects.toThrow("abort");
    expect(await line).toMatchObject({ aborted: true, level: "info" });
    expect(harness.rounds[0]?.finished).toBe(false);
    harness.rounds[0]?.finish();
    expect((await fetch(`${harness.url}/healthz`)).status).toBe(200);
    expect(harness.lines.filter((each) => each.includes('"error"'))).toEqual([]);
  });

  it("lets waiting clients go when the server stops", async () => {
    const harness = await start();
    const begun = harness.started();
    const answered = fetch(`${harness.url}${url}?wait=true`, { method: "POST" });
    await begun;
    await harness.server.stop();
    const answer = await answered;
    expect(answer.status).toBe(503);
    expect((await errorOf(answer)).code).toBe("shutting_down");
    await harness.server.stop();
  });

  it.each([
    ["?wait=maybe", "wait", /must be "true" or "false"/],
    ["?wait=", "wait", /must be "true" or "false"/],
    ["?wiat=true", "", /unknown "wiat"; allowed: wait/],
  ])("refuses %s and says what is allowed", async (query, field, problem) => {
    const harness = await start();
    const answer = await fetch(harness.url + url + query, { method: "POST" });
    expect(answer.status).toBe(400);
    const error = await errorOf(answer);
    expect(error.code).toBe("request_invalid");
    expect(error.message).toMatch(problem);
    expect(error.details).toMatchObject({ fields: [{ in: "query", field }] });
    expect(harness.rounds).toHaveLength(0);
  });

  it("refuses a body over the limit, announced or not", async () => {
    const harness = await start({ settings: { limits: { bodyBytesMax: 1000 } } });
    for (const body of ["x".repeat(1001), new Blob(["x".repeat(1001)]).stream()]) {
      const answer = await fetch(harness.url + url, { method: "POST", body, duplex: "half" });
      expect(answer.status).toBe(413);
      expect((await errorOf(answer)).code).toBe("body_too_large");
    }
    expect((await fetch(harness.url + url, { method: "POST", body: "x".repeat(1000) })).status).toBe(200);
    expect(harness.rounds).toHaveLength(1);
  });

  it.each(["GET", "HEAD", "PUT", "DELETE", "PATCH"])("does not take %s", async (method) => {
    const harness = await start();
    const answer = await fetch(harness.url + url, {
      method,
      ...(method === "PUT" ? { headers: { "content-type": "image/png" }, body: "x" } : {}),
    });
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toBe("OPTIONS, POST");
    expect(harness.rounds).toHaveLength(0);
  });
});

describe("what can be read", () => {
  let harness: Harness;
  beforeAll(async () => (harness = await startHarness()));
  afterAll(() => harness.server.stop());

  it("GET /metrics/status is the collection's status, unchanged", async () => {
    expect(await (await fetch(`${harness.url}/metrics/status`)).json()).toEqual(STATUS);
  });

  it("GET /clusters and /clusters/{id} show no credentials", async () => {
    const list = await (await fetch(`${harness.url}/clusters`)).text();
    const one = await (await fetch(`${harness.url}/clusters/edge-1`)).text();
    expect(JSON.parse(list)).toEqual({ clusters: [JSON.parse(one)] });
    expect(JSON.parse(one)).toEqual({
      id: "edge-1",
      name: "Edge 1",
      platform: "eks",
      enabled: true,
      validate_certs: true,
      source: "file",
      labels: {},
      prometheus: {
        namespace: "bud-system",
        url: null,
        service: "prometheus",
        port: 9090,
        scheme: "https",
        path_prefix: "/prom",
        accept_partial: false,
        pod_port: null,
        shards: "auto",
        auth: null,
        headers: [],
        client_certificate: false,
      },
      credentials: {
        sealed: false,
        server: null,
        user: null,
        certificate_expires_at: null,
        token_expires_at: null,
        ca_sha256: [],
      },
      warnings: [],
      created_at: null,
      updated_at: null,
    });
  });

  it("GET /clusters/{id} of an unknown or impossible id", async () => {
    const unknown = await fetch(`${harness.url}/clusters/edge-9`);
    expect(unknown.status).toBe(404);
    expect((await errorOf(unknown)).code).toBe("cluster_not_found");
    for (const id of ["a%20b", "x".repeat(65), "%2e%2e%2fetc"]) {
      const impossible = await fetch(`${harness.url}/clusters/${id}`);
      expect(impossible.status).toBe(400);
      expect((await errorOf(impossible)).details).toMatchObject({ fields: [{ in: "path", field: "id" }] });
    }
  });

  it("GET /cluster-metrics/{id}/latest shows labels that every object has by birth", async () => {
    const labels = JSON.parse(
      '{"__proto__":"a","constructor":"b","toString":"c","hasOwnProperty":"d"}',
    ) as Record<string, string>;
    const latest: LatestSamples = async () => ({
      cluster_id: "edge-1",
      metric: "m",
      as_of: "2025-06-01T11:58:30.000Z",
      unit: "",
      type: "gauge",
      series_total: 1,
      series: [{ labels, timestamp: "2025-06-01T11:58:30.000Z", value: 1 }],
    });
    const own = await start({ deps: { latest } });
    const text = await (await fetch(`${own.url}/cluster-metrics/edge-1/latest?metric=m`)).text();
    expect(text).toContain('{"__proto__":"a","constructor":"b","toString":"c","hasOwnProperty":"d"}');
  });

  it("GET /cluster-metrics/{id}/latest carries NaN and infinities", async () => {
    const answer = await fetch(`${harness.url}/cluster-metrics/edge-1/latest?metric=node_load1`);
    expect(answer.status).toBe(200);
    const body = (await answer.json()) as { series: { value: unknown }[] };
    expect(body).toMatchObject({
      cluster_id: "edge-1",
      metric: "node_load1",
      as_of: "2025-06-01T11:58:30.000Z",
    });
    expect(body.series.map(({ value }) => value)).toEqual([1.5, "NaN", "+Inf", "-Inf"]);
    const limited = await fetch(`${harness.url}/cluster-metrics/edge-1/latest?metric=node_load1&limit=2`);
    expect(((await limited.json()) as { series: unknown[] }).series).toHaveLength(2);
  });

  it.each([
    ["edge-9/latest?metric=up", 404, "cluster_not_found"],
    ["edge-1/latest?metric=absent", 404, "metric_not_found"],
    ["edge-1/latest", 400, "request_invalid"],
    ["edge-1/latest?metric=", 400, "request_invalid"],
    ["edge-1/latest?metric=up&limit=0", 400, "request_invalid"],
    ["edge-1/latest?metric=up&limit=", 400, "request_invalid"],
    ["edge-1/latest?metric=up&limit=many", 400, "request_invalid"],
    ["edge-1/latest?metric=up&metric=down", 400, "request_invalid"],
  ])("GET /cluster-metrics/%s is %i %s", async (path, status, code) => {
    const answer = await fetch(`${harness.url}/cluster-metrics/${path}`);
    expect(answer.status).toBe(status);
    expect((await errorOf(answer)).code).toBe(code);
  });

  it("GET /metrics is Prometheus text and counts the requests", async () => {
    await fetch(`${harness.url}/healthz`);
    const answer = await fetch(`${harness.url}/metrics`);
    expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await answer.text()).toMatch(
      /http_server_request_duration_count\{[^}]*http_route="\/healthz"[^}]*\} \d/,
    );
  });

  it("GET /readyz names the problems, GET /healthz does not care", async () => {
    expect(await (await fetch(`${harness.url}/readyz`)).json()).toEqual({ status: "ready" });
    harness.problems.push("the state store can't be written");
    const answer = await fetch(`${harness.url}/readyz`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toEqual({ status: "not_ready", problems: harness.problems });
    expect((await fetch(`${harness.url}/healthz`)).status).toBe(200);
    harness.problems.pop();
  });

  it("GET / names only what exists", async () => {
    const { links } = (await (await fetch(`${harness.url}/`)).json()) as { links: Record<string, string> };
    for (const path of Object.values(links)) expect((await fetch(harness.url + path)).status).toBe(200);
    expect(Object.keys(links)).toEqual([
      "docs",
      "openapi",
      "health",
      "readiness",
      "metrics",
      "status",
      "whoami",
      "clusters",
    ]);
    const bare = await start({ bare: true });
    const { links: few } = (await (await fetch(bare.url)).json()) as { links: Record<string, string> };
    expect(Object.keys(few)).toEqual(["docs", "openapi", "health", "readiness", "metrics", "whoami"]);
    expect((await fetch(`${bare.url}/metrics/status`)).status).toBe(404);
  });

  it("GET /docs is a page that may load only from here", async () => {
    const answer = await fetch(`${harness.url}/docs`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toContain("text/html");
    expect(answer.headers.get("content-security-policy")).toContain("default-src 'self'");
    const page = await answer.text();
    const sources = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? "");
    expect(sources.length).toBeGreaterThan(3);
    for (const source of sources) {
      const asset = await fetch(new URL(source, `${harness.url}/docs/`));
      await asset.arrayBuffer();
      expect(asset.status).toBe(200);
    }
  });
});
