import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CollectionStatus, RoundResult } from "#collect/status.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import {
  startSourcePrometheus,
  type SourceCall,
  type SourcePrometheus,
  type StandIn,
} from "../helpers/source-prometheus.ts";
import { createClustersApi } from "../helpers/clusters-api.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The whole program before stand-ins of programs that speak Prometheus' API: each is a cluster, behind one port-forward by its path_prefix.
// They answer as documentation, source code and bug reports of the products show it.

const MINUTE = 60_000;
const TENANT = "tenant-0123456789";
const NO_STORES = "No StoreAPIs matched for this query";
const GONE =
  "receive series from Addr: 10.0.0.9:10901: rpc error: code = Unavailable desc = connection refused";

const send = ({ response }: SourceCall, body: unknown, status = 200): true => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  return true;
};
const sendText = ({ response }: SourceCall, status: number, text: string, headers = {}): true => {
  response.writeHead(status, { "content-type": "text/plain", ...headers }).end(text);
  return true;
};

/** VictoriaMetrics: MetricsQL has no scalars, and each answer has `isPartial` (evcc#23437). */
const victoria: StandIn = (call) => {
  const query = call.form.get("query");
  if (query === null || call.data === undefined) return false;
  const at = Date.now() / 1000;
  const vector = { resultType: "vector", result: [{ metric: {}, value: [at, String(at)] }] };
  return send(call, { status: "success", isPartial: false, data: query === "time()" ? vector : call.data });
};

/** Thanos whose stores have data since 5 minutes ago. */
const youngThanos =
  (oldestMs: number): StandIn =>
  (call) => {
    const { form, path } = call;
    const query = form.get("query") ?? "";
    const at = Number(form.get("time")) * 1000;
    if (path === "/api/v1/query_range") {
      const [start, end, step] = ["start", "end", "step"].map((name) => Number(form.get(name)) * 1000);
      const values: [number, string][] = [];
      for (let t = start!; t <= end!; t += step!) if (t >= oldestMs) values.push([t / 1000, "1"]);
      const result = values.length > 0 ? [{ metric: {}, values }] : [];
      return send(call, { status: "success", data: { resultType: "matrix", result } });
    }
    if (path !== "/api/v1/query" || query === "time()") return false;
    const resultType = query.endsWith("]") ? "matrix" : "vector";
    if (at < oldestMs)
      return send(call, { status: "success", data: { resultType, result: [] }, warnings: [NO_STORES] });
    if (resultType === "vector") return false;
    const { result } = call.data as { result: { metric: object; values: [number, string][] }[] };
    const kept = result
      .map(({ metric, values }) => ({ metric, values: values.filter(([t]) => t * 1000 >= oldestMs) }))
      .filter(({ values }) => values.length > 0);
    return send(call, { status: "success", data: { resultType, result: kept } });
  };

/** Thanos with a store that was there before, and has gone from the list. */
const emptiedThanos: StandIn = (call) => {
  if (!call.form.get("query")?.endsWith("]")) return false;
  return send(call, {
    status: "success",
    data: { resultType: "matrix", result: [] },
    warnings: [NO_STORES],
  });
};

/** Thanos with a store that does not answer: whole data of the others, and a warning (thanos#3332). */
const brokenThanos: StandIn = (call) =>
  call.form.get("query")?.endsWith("]") === true &&
  send(call, { status: "success", data: call.data, warnings: [GONE] });

const noPost: StandIn = (call) => call.request.method === "POST" && sendText(call, 403, "Forbidden\n");

const gzipping: StandIn = (call) => {
  const body = gzipSync(JSON.stringify({ status: "success", data: call.data }));
  call.response.writeHead(200, { "content-encoding": "gzip", "content-length": body.length }).end(body);
  return true;
};

/** Mimir and Cortex with multi-tenancy (mimir#2310). */
const mimir: StandIn = (call) =>
  call.request.headers["x-scope-orgid"] !== TENANT && sendText(call, 401, "no org id\n");

const timeAs =
  (resultType: string, result: (at: number) => unknown): StandIn =>
  (call) => {
    if (call.form.get("query") !== "time()") return false;
    return send(call, { status: "success", data: { resultType, result: result(Date.now() / 1000) } });
  };

const encoded =
  (encoding: string, body: (json: Buffer) => Buffer): StandIn =>
  (call) => {
    const bytes = body(Buffer.from(JSON.stringify({ status: "success", data: call.data })));
    call.response.writeHead(200, { "content-encoding": encoding, "content-length": bytes.length });
    call.response.end(bytes);
    return true;
  };

/** Two members, one after the other (RFC 1952 section 2.2). */
const members = (json: Buffer): Buffer =>
  Buffer.concat([gzipSync(json.subarray(0, 20)), gzipSync(json.subarray(20))]);

const redirect =
  (status: number, location: string): StandIn =>
  (call) =>
    sendText(call, status, "", { location });

const NGINX =
  "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head><body><center><h1>400 Bad Request</h1></center></body></html>";

const STAND_INS: Readonly<Record<string, StandIn>> = {
  "time-vector": timeAs("vector", (at) => [{ metric: {}, value: [at, String(at)] }]),
  "time-matrix": timeAs("matrix", (at) => [{ metric: {}, values: [[at, String(at)]] }]),
  "time-number": timeAs("scalar", (at) => [at, at]),
  "time-nothing": timeAs("vector", () => []),
  "gzip-members": encoded("gzip", members),
  "gzip-x": encoded("X-GZIP", (json) => gzipSync(json)),
  "gzip-false": encoded("gzip", (json) => json),
  "gzip-cut": encoded("gzip", (json) => gzipSync(json).subarray(0, -9)),
  "gzip-unnamed": encoded("identity", (json) => gzipSync(json)),
  deflate: encoded("deflate", (json) => deflateSync(json)),
  zstd: encoded("zstd", (json) => zstdCompressSync(json)),
  "301": redirect(301, "/prometheus/graph"),
  "303-login": redirect(303, "login?rd=%2Fapi"),
  "307-https": (call) =>
    sendText(call, 307, "", { location: `https://prometheus.example.com${call.request.url?.split("?")[0]}` }),
  "302-nowhere": (call) => sendText(call, 302, ""),
  "401-page": (call) =>
    sendText(call, 401, "<html><body>401 Authorization Required</body></html>", {
      "content-type": "text/html",
    }),
  nginx: (call) => sendText(call, 400, NGINX, { "content-type": "text/html" }),
  page: (call) =>
    sendText(call, 200, "<!doctype html><title>Grafana</title>", { "content-type": "text/html" }),
  "page-unnamed": (call) =>
    sendText(call, 200, "<!doctype html><title>Sign in</title>", { "content-type": "application/json" }),
  victoria,
  "thanos-young": youngThanos(Date.now() - 7 * MINUTE),
  "thanos-emptied": emptiedThanos,
  "thanos-broken": brokenThanos,
  "thanos-accepted": brokenThanos,
  "no-post": noPost,
  gzip: gzipping,
  "pod-port": () => false,
  "pod-port-closed": () => false,
  "port-unknown": () => false,
  mimir,
  "mimir-tenant": mimir,
  brotli: (call) => sendText(call, 200, "\u001B", { "content-encoding": "br" }),
  tls: (call) => sendText(call, 400, "Client sent an HTTP request to an HTTPS server.\n"),
  login: (call) => sendText(call, 302, "Found", { location: "https://dex.example.com/auth?client_id=x" }),
  "login-page": (call) =>
    sendText(call, 200, '<form><input type="password"></form>', { "content-type": "text/html" }),
};

const MORE: Readonly<Record<string, object>> = {
  // OpenShift: the Service has the proxy's port only, and Prometheus listens on localhost of its Pod.
  "pod-port": { port: 9091, pod_port: 9090 },
  "pod-port-closed": { pod_port: 9999 },
  "port-unknown": { port: 9091 },
  "thanos-accepted": { accept_partial: true },
  "mimir-tenant": { headers: { "X-Scope-OrgID": TENANT } },
};

const folder = createTemporaryFolder();
let simulator: Simulator | undefined;
let prometheus: SourcePrometheus | undefined;
let end = (): Promise<void> => Promise.resolve();
let round: RoundResult;
let status: CollectionStatus;
let child: BridgeChild;
let target: (id: string) => Record<string, unknown>;

beforeAll(async () => {
  prometheus = await startSourcePrometheus(
    [{ name: "node_load1", labels: { instance: "a" }, valueAt: () => 1 }],
    {},
    STAND_INS,
  );
  simulator = await startSimulator({
    clusters: 1,
    shape: { nodes: 1, pods: 0 },
    realPrometheus: { host: "127.0.0.1", port: prometheus.port },
  });
  const { kubeconfig } = simulator.cluster("sim-1");
  const service = "bud-metrics-kube-prometheu-prometheus";
  target = (id) => ({ namespace: "bud-system", service, port: 9090, path_prefix: `/${id}` });
  const clusters = Object.keys(STAND_INS).map((id) => {
    return { id, kubeconfig, prometheus: { ...target(id), ...MORE[id] } };
  });
  writeFileSync(join(folder, "clusters.yaml"), JSON.stringify({ clusters }));
  const queries = [{ name: "node_load1", group: "test" }];
  writeFileSync(join(folder, "queries.yaml"), JSON.stringify({ extends: "none", queries }));
  const environment = {
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: join(folder, "clusters.yaml"),
    QUERIES_FILE: join(folder, "queries.yaml"),
    ALLOW_PRIVATE_API_SERVERS: "true",
    OWN_METRICS_INTERVAL: "0",
  };
  child = startBridgeChild(environment, [], { atEnd: (kill) => (end = kill) });
  round = await child.collect();
  status = await child.status();
}, 240_000);

afterAll(async () => {
  await end();
  await simulator?.stop();
  await prometheus?.stop();
});

const resultOf = (id: string): RoundResult["clusters"][number] =>
  round.clusters.find((each) => each.cluster_id === id)!;
const statusOf = (id: string): CollectionStatus["clusters"][number] =>
  status.clusters.find((each) => each.cluster_id === id)!;

test.each([
  // 15 minutes of INITIAL_LOOKBACK: a sample every 30 s.
  ["victoria", 30],
  ["no-post", 30],
  ["gzip", 30],
  ["mimir-tenant", 30],
  ["pod-port", 30],
  ["time-vector", 30],
  ["gzip-members", 30],
  ["gzip-x", 30],
  ["thanos-accepted", 30],
])("%s is collected", (id, samples) => {
  expect(resultOf(id)).toMatchObject({ outcome: "successful", error: null });
  expect(resultOf(id).series).toBeGreaterThanOrEqual(1);
  expect(resultOf(id).points).toBeGreaterThanOrEqual(samples);
});

test("a window before the data of any store of Thanos is before the oldest sample: nothing fails, nothing is lost", () => {
  expect(resultOf("thanos-young")).toMatchObject({ outcome: "successful", error: null });
  expect(resultOf("thanos-young").series).toBeGreaterThanOrEqual(1);
  expect(statusOf("thanos-young").gaps.filter(({ state }) => state === "lost")).toEqual([]);
});

test("accept_partial takes an answer that lacks a store, and the status says so", () => {
  expect(statusOf("thanos-accepted").warnings).toEqual([
    expect.stringMatching(/clear text/),
    expect.stringMatching(
      /^node_load1: a part of the data may be missing: receive series from .*Unavailable/,
    ),
  ]);
});

test.each([
  ["thanos-broken", "prometheus_answer_partial", /prometheus\.accept_partial: true/],
  ["thanos-emptied", "prometheus_answer_partial", /Bring the store/],
  ["pod-port-closed", "tunnel_refused", /prometheus\.pod_port/],
  ["port-unknown", "prometheus_port_not_found", /prometheus\.pod_port/],
  ["time-matrix", "prometheus_answer_invalid", /./],
  ["time-number", "prometheus_answer_invalid", /./],
  ["time-nothing", "prometheus_answer_invalid", /./],
  ["gzip-false", "prometheus_unexpected_answer", /./],
  ["gzip-cut", "prometheus_answer_truncated", /./],
  ["gzip-unnamed", "prometheus_unexpected_answer", /./],
  ["deflate", "prometheus_unexpected_answer", /./],
  ["zstd", "prometheus_unexpected_answer", /./],
  ["301", "prometheus_unexpected_answer", /path_prefix/],
  ["303-login", "prometheus_login_required", /behind the login proxy/],
  ["307-https", "prometheus_tls_required", /prometheus\.scheme to https/],
  ["302-nowhere", "prometheus_unexpected_answer", /path_prefix/],
  ["401-page", "prometheus_unauthorized", /bearer_token/],
  ["nginx", "prometheus_tls_required", /prometheus\.scheme to https/],
  ["page", "prometheus_unexpected_answer", /another program|path_prefix/i],
  ["page-unnamed", "prometheus_unexpected_answer", /path_prefix/],
  ["brotli", "prometheus_unexpected_answer", /./],
  ["mimir", "prometheus_unauthorized", /prometheus\.headers, for example X-Scope-OrgID/],
  ["tls", "prometheus_tls_required", /prometheus\.scheme to https/],
  ["login", "prometheus_login_required", /behind the login proxy/],
  ["login-page", "prometheus_login_required", /bearer_token/],
])("%s fails with %s", (id, code, hint) => {
  expect(resultOf(id)).toMatchObject({
    outcome: "failed",
    error: { code, hint: expect.stringMatching(hint) },
  });
});

test("headers over the API are checked with the cluster, sealed, merged by a patch and never shown", async () => {
  const url = await child.url;
  const api = createClustersApi(() => url);
  const { kubeconfig } = simulator!.cluster("sim-1");
  const input = (headers: object): object => {
    const prometheus = { ...target("mimir"), headers };
    return { id: "api", name: "Api", platform: "kind", kubeconfig, prometheus };
  };
  const wrong = await api.create(input({ "X-Scope-OrgID": "another-tenant" }));
  expect(wrong).toMatchObject({ status: 422, error: { code: "prometheus_unauthorized" } });
  for (const headers of [{ Host: "x" }, { "X A": "x" }, { "X-A": `${TENANT}\nX-B: y` }])
    expect(await api.create(input(headers))).toMatchObject({
      status: 400,
      error: { code: "request_invalid" },
    });
  const made = await api.create(input({ "x-scope-orgid": TENANT, "X-Old": TENANT }));
  expect(made.status).toBe(201);
  const patched = await api.patch("api", { prometheus: { headers: { "X-Old": null, "X-New": TENANT } } });
  expect(patched).toMatchObject({
    status: 200,
    cluster: { prometheus: { headers: ["x-scope-orgid", "X-New"], auth: null } },
  });
  // A new kubeconfig keeps the headers; without them the check would fail.
  expect((await api.patch("api", { kubeconfig })).cluster).toEqual(
    expect.objectContaining({ prometheus: expect.objectContaining({ headers: ["x-scope-orgid", "X-New"] }) }),
  );
  expect(await api.patch("api", { prometheus: { headers: null } })).toMatchObject({ status: 422 });
  const { clusters } = await child.collect();
  expect(clusters.find((each) => each.cluster_id === "api")).toMatchObject({ outcome: "successful" });
  const told = [wrong, made, patched, await api.get("api")].map(({ text }) => text).join("\n");
  const state = ["state.sqlite", "state.sqlite-wal", "registry-copy.sqlite"]
    .map((name) => join(folder, "data", name))
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, "latin1"))
    .join("\n");
  expect(state).toContain("x-scope-orgid");
  expect(`${told}${child.stdout()}${child.stderr()}${state}`).not.toContain(TENANT);
}, 240_000);
