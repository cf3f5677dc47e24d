import { expect, test } from "vitest";
import { GIVEN_KEYS, overlay, template, type Values } from "./helm.ts";

/** Values that are refused, and what Helm must say about them. */
const REFUSED: readonly [string, Values, RegExp][] = [
  [
    "two bridges with SQLite",
    { bridge: { replicas: 2 } },
    /bridge\.replicas: 2 needs dapr\.stateStore\.enabled=true: .*leases.*set bridge\.replicas=1/,
  ],
  [
    "two bridges with Dapr's cron, but SQLite",
    { scheduler: "dapr", bridge: { replicas: 2 } },
    /needs dapr\.stateStore\.enabled=true/,
  ],
  [
    "autoscaling with SQLite",
    { bridge: { autoscaling: { enabled: true } } },
    /bridge\.autoscaling\.enabled=true needs dapr\.stateStore\.enabled=true/,
  ],
  [
    "two bridges with a store in each Pod",
    { bridge: { replicas: 2 }, dapr: { stateStore: { enabled: true, type: "state.in-memory" } } },
    /state\.in-memory keeps the state in each Pod.*use state\.postgresql or state\.redis/,
  ],
  [
    "two bridges without the time to give leases back",
    {
      bridge: { replicas: 2, terminationGracePeriodSeconds: 10 },
      dapr: { stateStore: { enabled: true } },
    },
    /terminationGracePeriodSeconds: 10 is too short.*at least 20/,
  ],
  [
    "autoscaling from more to less",
    {
      bridge: { autoscaling: { enabled: true, minReplicas: 7 } },
      dapr: { stateStore: { enabled: true } },
    },
    /minReplicas \(7\) is more than maxReplicas \(6\)/,
  ],
  [
    "a Collector without create_schema",
    { otelCollector: { image: { tag: "0.91.0" } } },
    /0\.91\.0 is too old.*create_schema/,
  ],
  [
    "a Collector without the batch's sizer",
    { otelCollector: { image: { tag: "v0.129.1" } } },
    /too old.*batch\.sizer/,
  ],
  [
    "ClickHouse for the bridge",
    { bridge: { env: { CLICKHOUSE_URL: "http://c:8123" } } },
    /bridge never connects to ClickHouse/,
  ],
  [
    "ClickHouse for the bridge by another way",
    { bridge: { extraEnv: [{ name: "CLICKHOUSE_PASSWORD", value: "x" }] } },
    /bridge never connects to ClickHouse/,
  ],
  [
    "a misspelt variable",
    { bridge: { env: { METRICS_BATCHSIZE: 5 } } },
    /bridge\.env\.METRICS_BATCHSIZE: the program has no such variable/,
  ],
  [
    "a variable that has its own value",
    { bridge: { env: { PROMETHEUS_PORT: 9091 } } },
    /PROMETHEUS_PORT: set prometheus\.port instead/,
  ],
  ["a variable of another role", { query: { env: { MAX_BACKFILL: "48h" } } }, /belongs to bridge\.env/],
  [
    "a variable of the program as an extra one",
    { query: { extraEnv: [{ name: "STALE_AFTER", value: "1h" }] } },
    /STALE_AFTER is a variable of the program/,
  ],
  ["a misspelt value", { otelColector: { enabled: true } }, /'otelColector' not allowed/],
  ["a misspelt value further down", { bridge: { persistence: { sise: "1Gi" } } }, /'sise' not allowed/],
  ["an unknown scheduler", { scheduler: "cron" }, /\/scheduler': value must be one of 'internal', 'dapr'/],
  [
    "a schedule without seconds",
    { scheduler: "dapr", collection: { schedule: "*/5 * * * *" } },
    /\/collection\/schedule/,
  ],
  [
    "a retention that is no number of days",
    { otelCollector: { clickhouse: { ttl: "12h" } } },
    /\/otelCollector\/clickhouse\/ttl/,
  ],
  [
    "an unknown protocol",
    { otelCollector: { clickhouse: { protocol: "tcp" } } },
    /must be one of 'native', 'http'/,
  ],
  [
    "a memory limit above the container's",
    { otelCollector: { memoryLimit: "2Gi" } },
    /must be below otelCollector\.resources\.limits\.memory/,
  ],
  [
    "a memory limit without a known unit",
    { otelCollector: { memoryLimit: "2GB" } },
    /memoryLimit: 2GB: must be a quantity/,
  ],
  [
    "a cluster_id for all",
    { otelCollector: { resourceAttributes: { cluster_id: "a" } } },
    /cluster_id tells the managed clusters apart/,
  ],
  ["no Collector at all", { otelCollector: { enabled: false } }, /set bridge\.collectorEndpoint/],
  [
    "two ClickHouses",
    { clickhouse: { enabled: true }, otelCollector: { clickhouse: { host: "other" } } },
    /remove one of them/,
  ],
  [
    "TLS to the small ClickHouse",
    { clickhouse: { enabled: true }, otelCollector: { clickhouse: { secure: true } } },
    /has no TLS/,
  ],
  [
    "two lists of clusters",
    { clusters: { list: [{ id: "a" }], existingSecret: "b" } },
    /set only one of them/,
  ],
  [
    "tokens that would not be read",
    { auth: { enabled: false, tokens: [{ name: "a", sha256: "a".repeat(64), scopes: ["read"] }] } },
    /auth\.tokens has no effect/,
  ],
  [
    "a token instead of its hash",
    { auth: { tokens: [{ name: "a", sha256: "my-token", scopes: ["read"] }] } },
    /\/auth\/tokens\/0\/sha256/,
  ],
  [
    "shards of a cluster without a name",
    { otelCollector: { clickhouse: { host: "a", shards: { urls: ["http://a:8123"] } } } },
    /need otelCollector\.clickhouse\.shards\.cluster/,
  ],
  [
    "shards of the chart's own server",
    {
      clickhouse: { enabled: true },
      otelCollector: { clickhouse: { shards: { urls: ["http://a:8123"], cluster: "all" } } },
    },
    /is one server/,
  ],
  [
    "one database for tables and Distributed tables",
    {
      clickhouse: { enabled: false },
      otelCollector: {
        clickhouse: { host: "a", shards: { urls: ["http://a:8123"], cluster: "all", database: "metrics" } },
      },
    },
    /must not be otelCollector\.clickhouse\.database/,
  ],
  ["a route without a Gateway", { httpRoute: { enabled: true } }, /httpRoute\.parentRefs/],
  ["an Ingress to nothing", { ingress: { enabled: true, query: false } }, /nothing to route to/],
];

test.each(REFUSED)("%s is refused", async (_, values, words) => {
  const { ok, stderr } = await template(overlay(GIVEN_KEYS, values));
  expect([ok, stderr]).toEqual([false, expect.stringMatching(words)]);
});

test.each([
  ["1.27.0", true],
  ["1.26.9", false],
])("Kubernetes %s: %s", async (version, accepted) => {
  const { ok } = await template(GIVEN_KEYS, { args: ["--kube-version", version] });
  expect(ok).toBe(accepted);
});
