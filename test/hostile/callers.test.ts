import { createHash } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { apiEnvironment } from "../helpers/clusters-api.ts";
import { textOf } from "../helpers/event-reader.ts";
import { tokenKubeconfig } from "../helpers/keys.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// Every route of every role, asked by every kind of caller. Nothing listens where the clusters and ClickHouse should be: whoever is let in gets
// some other error.

const TOKENS = {
  read: { token: "read-token-0123456789", scopes: ["read"] },
  cluster: { token: "cluster-token-0123456789", scopes: ["read"], clusters: ["own"] },
  collect: { token: "collect-token-0123456789", scopes: ["collect"] },
  admin: { token: "admin-token-0123456789", scopes: ["admin"] },
} as const;
type Caller = keyof typeof TOKENS | "nobody" | "stranger" | "dapr";
const DAPR_TOKEN = "dapr-token-0123456789";
const CALLERS: readonly Caller[] = ["nobody", "stranger", "read", "cluster", "collect", "admin", "dapr"];

/** What a route is about, which decides who may call it. */
type Kind = "open" | "any" | "read" | "list" | "cluster" | "collect" | "admin";

/** "in": whatever the answer is, it is not about who asks. */
const EXPECTED: Record<Kind, Record<Caller, number | "in">> = {
  open: { nobody: "in", stranger: "in", read: "in", cluster: "in", collect: "in", admin: "in", dapr: "in" },
  any: { nobody: 401, stranger: 401, read: "in", cluster: "in", collect: "in", admin: "in", dapr: "in" },
  read: { nobody: 401, stranger: 401, read: "in", cluster: 403, collect: 403, admin: "in", dapr: 403 },
  list: { nobody: 401, stranger: 401, read: "in", cluster: "in", collect: 403, admin: "in", dapr: 403 },
  // The token is for another cluster than the one that is asked for.
  cluster: { nobody: 401, stranger: 401, read: "in", cluster: 404, collect: 403, admin: "in", dapr: 403 },
  collect: { nobody: 401, stranger: 401, read: 403, cluster: 403, collect: "in", admin: "in", dapr: "in" },
  admin: { nobody: 401, stranger: 401, read: 403, cluster: 403, collect: 403, admin: "in", dapr: 403 },
};

const COMMON: Record<string, Kind> = {
  "GET /": "open",
  "GET /healthz": "open",
  "GET /readyz": "open",
  "GET /metrics": "read",
  "GET /whoami": "any",
};
const BRIDGE: Record<string, Kind> = {
  "OPTIONS /metrics/collect-all": "open",
  "POST /metrics/collect-all": "collect",
  "GET /metrics/status": "list",
  "GET /metrics/events": "list",
  "GET /metrics/completeness": "cluster",
  "GET /clusters": "list",
  "POST /clusters": "admin",
  "GET /clusters/{id}": "cluster",
  "PATCH /clusters/{id}": "admin",
  "DELETE /clusters/{id}": "admin",
  "POST /clusters/{id}/diagnose": "admin",
  "POST /onboard/inspect": "admin",
  "POST /onboard/services": "admin",
  "POST /onboard/diagnose": "admin",
  "GET /onboard/manifest": "read",
};
const QUERY: Record<string, Kind> = {
  "GET /diagnose": "read",
  "POST /cluster-metrics/query": "cluster",
  "GET /cluster-metrics/{cluster_id}/completeness": "cluster",
  "GET /cluster-metrics/{cluster_id}/health": "cluster",
  "GET /cluster-metrics/{cluster_id}/labels": "cluster",
  "GET /cluster-metrics/{cluster_id}/latest": "cluster",
  "GET /cluster-metrics/{cluster_id}/metrics": "cluster",
  "GET /cluster-metrics/{cluster_id}/summary": "cluster",
  "GET /cluster-metrics/{cluster_id}/nodes": "cluster",
  "GET /cluster-metrics/{cluster_id}/pods": "cluster",
  "GET /cluster-metrics/{cluster_id}/gpus": "cluster",
  "GET /cluster-metrics/{cluster_id}/gpus/usage": "cluster",
  "GET /cluster-metrics/gpus/usage": "list",
  "GET /cluster-metrics": "list",
  "GET /api/v1/query": "list",
  "POST /api/v1/query": "list",
  "GET /api/v1/query_range": "list",
  "POST /api/v1/query_range": "list",
  "GET /api/v1/format_query": "list",
  "POST /api/v1/format_query": "list",
  "GET /api/v1/parse_query": "list",
  "POST /api/v1/parse_query": "list",
  "GET /api/v1/query_exemplars": "list",
  "POST /api/v1/query_exemplars": "list",
  "GET /api/v1/series": "list",
  "POST /api/v1/series": "list",
  "GET /api/v1/labels": "list",
  "POST /api/v1/labels": "list",
  "GET /api/v1/label/{name}/values": "list",
  "POST /api/v1/read": "list",
  "GET /api/v1/metadata": "list",
  "GET /api/v1/rules": "list",
  "GET /api/v1/alerts": "list",
  "GET /api/v1/status/buildinfo": "list",
  "GET /api/v1/status/runtimeinfo": "list",
  "GET /api/v1/status/flags": "list",
};
const ROLES: Record<string, Record<string, Kind>> = {
  bridge: { ...COMMON, ...BRIDGE },
  query: { ...COMMON, ...QUERY },
  "all-in-one": { ...COMMON, ...BRIDGE, ...QUERY },
};

const folder = createTemporaryFolder();

function environmentOf(role: string): Record<string, string> {
  const directory = mkdtempSync(join(folder, "role-"));
  const tokensFile = join(directory, "tokens.yaml");
  const tokens = Object.entries(TOKENS).map(([name, { token, ...rest }]) => ({
    name,
    sha256: createHash("sha256").update(token).digest("hex"),
    ...rest,
  }));
  writeFileSync(tokensFile, JSON.stringify(tokens), { mode: 0o600 });
  const clustersFile = join(directory, "clusters.yaml");
  const kubeconfig = tokenKubeconfig("a-token-of-a-cluster", "https://127.0.0.1:1");
  const clusters = ["own", "foreign"].map((id) => ({ id, name: id, platform: "kubeadm", kubeconfig }));
  writeFileSync(clustersFile, JSON.stringify({ clusters }));
  const collects = role !== "query";
  return {
    ROLE: role,
    PORT: "0",
    DATA_DIR: join(directory, "data"),
    API_TOKENS_FILE: tokensFile,
    APP_API_TOKEN: DAPR_TOKEN,
    OWN_METRICS_INTERVAL: "0",
    ALLOW_PRIVATE_API_SERVERS: "true",
    METRICS_COLLECTION_TIMEOUT: "5",
    ...(collects ? { ...apiEnvironment(directory), CLUSTERS_FILE: clustersFile, SCHEDULER: "dapr" } : {}),
    ...(role === "bridge" ? { OTEL_COLLECTOR_ENDPOINT: "http://127.0.0.1:1" } : {}),
    ...(role === "query" ? { CLICKHOUSE_URL: "http://127.0.0.1:1", CLICKHOUSE_TIMEOUT: "5" } : {}),
  };
}

function headersOf(caller: Caller): Record<string, string> {
  if (caller === "nobody") return {};
  if (caller === "dapr") return { "dapr-api-token": DAPR_TOKEN };
  const token = caller === "stranger" ? "nobody-knows-this-0123456789" : TOKENS[caller].token;
  return { authorization: `Bearer ${token}` };
}

function bodyOf(route: string): { body?: string; headers: Record<string, string> } {
  if (!/^(POST|PATCH)/.test(route) || route.endsWith("{id}/diagnose") || route.endsWith("collect-all")) {
    return { headers: {} };
  }
  const seconds = Math.floor(Date.now() / 1000);
  const query = {
    cluster_id: "foreign",
    metric_name: "up",
    aggregation: "avg",
    start_time: seconds - 3600,
    end_time: seconds,
  };
  const body = JSON.stringify(route.includes("cluster-metrics") ? query : {});
  return { body, headers: { "content-type": "application/json" } };
}

function queryOf(path: string): string {
  if (path === "/metrics/completeness") return "?cluster=foreign";
  return /\/(latest|labels)$/.test(path) ? "?metric=up" : "";
}

describe.each(Object.entries(ROLES))("the role %s", (role, routes) => {
  let url: string;
  let kill = async (): Promise<void> => {};
  beforeAll(async () => {
    const child = startBridgeChild(environmentOf(role), [], { atEnd: (end) => void (kill = end) });
    url = await child.url;
  });
  afterAll(() => kill());

  test("has these routes and no others", async () => {
    const document = (await (await fetch(`${url}/docs/json`)).json()) as { paths: Record<string, object> };
    const found = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(found.sort()).toEqual(Object.keys(routes).sort());
  });

  test.each(Object.entries(routes))("%s is for callers of %s", async (route, kind) => {
    const [method = "", path = ""] = route.replace(/\{\w+\}/, "foreign").split(" ");
    const { body, headers } = bodyOf(route);
    const got: Record<string, number | "in"> = {};
    for (const caller of CALLERS) {
      const answer = await fetch(`${url}${path}${queryOf(path)}`, {
        method,
        headers: { ...headers, ...headersOf(caller) },
        ...(body === undefined ? {} : { body }),
      });
      const text = await textOf(answer);
      // After some unknown tokens the address has to wait.
      const status = answer.status === 429 && caller === "stranger" ? 401 : answer.status;
      // 404 is also what a route says of a cluster that it has nothing of.
      const isAboutCaller = [401, 403].includes(status) || (caller === "cluster" && status === 404);
      got[caller] = isAboutCaller ? status : "in";
      expect(text).not.toMatch(/-token-0123456789|a-token-of-a-cluster/);
    }
    expect(got).toEqual(EXPECTED[kind]);
  });
});
