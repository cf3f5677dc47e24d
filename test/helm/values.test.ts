import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { describe, expect, test } from "vitest";
import { CHART, GIVEN_KEYS, MONITORING, overlay, render, type KubeObject, type Values } from "./helm.ts";
import { environmentOf, workloadsOf } from "./pods.ts";
import { at, DEFAULTS, LEAVES, SCHEMA, schemasOf, type Leaf } from "./values-schema.ts";

/** Other values that a value needs to have an effect: by the longest matching prefix of its path, in addition to those of its parts. */
const CONTEXT: Record<string, Values> = {
  "collection.schedule": { scheduler: "dapr" },
  "clusters.existingSecretKey": { clusters: { existingSecret: "s" } },
  "queries.existingConfigMapKey": { queries: { existingConfigMap: "c" } },
  "auth.existingSecretKey": { auth: { existingSecret: "s" } },
  "credentials.": { credentials: { existingSecret: "" } },
  "dapr.": { scheduler: "dapr" },
  "dapr.stateStore.": { dapr: { stateStore: { enabled: true } } },
  "dapr.stateStore.enabled": { dapr: { stateStore: { enabled: false } } },
  "bridge.autoscaling.": {
    bridge: { autoscaling: { enabled: true } },
    dapr: { stateStore: { enabled: true } },
  },
  "bridge.autoscaling.enabled": { bridge: { autoscaling: { enabled: false } } },
  "query.clickhouse.existingSecretKey": { query: { clickhouse: { existingSecret: "s" } } },
  "query.autoscaling.": { query: { autoscaling: { enabled: true } } },
  "query.autoscaling.enabled": { query: { autoscaling: { enabled: false } } },
  "migration.clickhouse.existingSecretKey": { migration: { clickhouse: { existingSecret: "s" } } },
  "otelCollector.enabled": { bridge: { collectorEndpoint: "http://collector:4318" } },
  "otelCollector.clickhouse.existingSecretKey": { otelCollector: { clickhouse: { existingSecret: "s" } } },
  "otelCollector.clickhouse.shards.": {
    clickhouse: { enabled: false },
    otelCollector: { clickhouse: { host: "a", shards: { urls: ["http://a:8123"], cluster: "all" } } },
  },
  "clickhouse.": { clickhouse: { enabled: true } },
  "clickhouse.enabled": { clickhouse: { enabled: false } },
  "grafana.dashboards.": { grafana: { dashboards: { enabled: true } } },
  "grafana.dashboards.enabled": { grafana: { dashboards: { enabled: false } } },
  "ingress.": { ingress: { enabled: true } },
  "ingress.enabled": { ingress: { enabled: false } },
  "ingress.query": { ingress: { bridge: true } },
  "httpRoute.": { httpRoute: { enabled: true, parentRefs: [{ name: "gateway" }] } },
  "httpRoute.enabled": { httpRoute: { enabled: false } },
  "serviceMonitor.existingTokenSecretKey": { serviceMonitor: { existingTokenSecret: "s" } },
  "httpRoute.query": { httpRoute: { bridge: true } },
};

/** Changed values, by the end of the path; else one is made of the default. */
const SAMPLES: Record<string, unknown> = {
  commonLabels: { team: "platform" },
  "image.digest": `sha256:${"0".repeat(64)}`,
  "otelCollector.image.tag": "0.162.0",
  "collection.schedule": "0 */10 * * * *",
  "clusters.list": [{ id: "edge-1" }],
  "queries.file": { disable: ["node_load15"] },
  "auth.tokens": [{ name: "grafana", sha256: "a".repeat(64), scopes: ["read"] }],
  "dapr.stateStore.metadata": [{ name: "redisHost", value: "other:6379" }],
  "dapr.stateStore.type": "state.postgresql",
  "bridge.replicas": 0,
  "bridge.collectorEndpoint": "http://collector.example.com",
  "page.bridgeUrl": "https://bridge.example.com",
  "bridge.env": { MAX_BACKFILL: "48h" },
  "query.env": { STALE_AFTER: "20m" },
  "migration.env": { CLICKHOUSE_CLUSTER: "main" },
  "persistence.accessModes": ["ReadWriteOncePod"],
  "persistence.size": "50Gi",
  "otelCollector.clickhouse.ttl": "30d",
  "otelCollector.clickhouse.rollupTtl": "300d",
  "otelCollector.clickhouse.seriesTtl": "300d",
  "otelCollector.clickhouse.shards.urls": ["http://a:8123", "https://b:8443/clickhouse"],
  "otelCollector.memoryLimit": "1Gi",
  "otelCollector.resourceAttributes": { region: "eu" },
  "otelCollector.extraConfig": { service: { telemetry: {} } },
  "clickhouse.config": { max_connections: 10 },
  "bridge.apiServerPorts": [16443],
  "serviceMonitor.interval": "60s",
  "prometheusRule.extraRules": [{ record: "a", expr: "1" }],
  "httpRoute.parentRefs": [{ name: "other" }],
  "httpRoute.hostnames": ["a.example.com"],
  imagePullSecrets: [{ name: "registry" }],
  extraEnv: [{ name: "EXTRA", value: "1" }],
  extraVolumes: [{ name: "extra", emptyDir: {} }],
  extraVolumeMounts: [{ name: "extra", mountPath: "/extra" }],
  tolerations: [{ operator: "Exists" }],
  affinity: { nodeAffinity: {} },
  resources: { limits: { memory: "3Gi" } },
  podSecurityContext: { runAsUser: 1000 },
  securityContext: { runAsUser: 1000 },
  topologySpreadConstraints: [{ maxSkew: 2, topologyKey: "zone", whenUnsatisfiable: "DoNotSchedule" }],
  from: [{ podSelector: {} }],
  extraEgress: [{ ports: [{ protocol: "TCP", port: 6379 }] }],
  clickhouseEgress: [{ ports: [{ protocol: "TCP", port: 9440 }] }],
};

function contextOf(path: string): Values {
  const layers = Object.keys(CONTEXT).filter(
    (key) => path === key || (key.endsWith(".") && path.startsWith(key)),
  );
  return overlay(
    GIVEN_KEYS,
    ...layers.toSorted((a, b) => a.length - b.length).map((key) => CONTEXT[key] ?? {}),
  );
}

function changed({ path, value, schema }: Leaf): unknown {
  const sample = Object.keys(SAMPLES).find((key) => path === key || path.endsWith(`.${key}`));
  if (sample !== undefined) return SAMPLES[sample];
  if (typeof value === "boolean") return !value;
  if (typeof value === "number") return value + 1;
  if (schema.enum) return schema.enum.find((other) => other !== value);
  if (typeof value === "string") return value === "" ? "changed" : `${value}x`;
  return { changed: "1" };
}

/** As text, without what is generated anew by each rendering. */
async function rendered(values: Values): Promise<string> {
  const objects = await render(values, { apiVersions: [MONITORING] });
  return JSON.stringify(objects.map(withoutRandom));
}

function withoutRandom(object: KubeObject): KubeObject {
  if (object.kind !== "Secret") return object;
  const masked = JSON.stringify(object["stringData"] ?? {}).replaceAll(
    /sha256: [0-9a-f]{64}/g,
    "sha256: ...",
  );
  return { ...object, data: Object.keys(object["data"] ?? {}), stringData: masked };
}

test("every value is described, and no other is taken", () => {
  const schemas = schemasOf(SCHEMA);
  expect(schemas.length).toBeGreaterThan(200);
  const isVague = ({ path, schema }: { path: string; schema: typeof SCHEMA }): boolean =>
    (path !== "values" && !schema.description) ||
    (schema.properties !== undefined && schema.additionalProperties === undefined);
  expect(schemas.filter(isVague).map(({ path }) => path)).toEqual([]);
});

test("values.yaml has every value of the schema", () => {
  const known = schemasOf(SCHEMA)
    .filter(({ schema }) => !schema.properties)
    .map(({ path }) => path.replace("values.", ""));
  const leaves = new Set(LEAVES.map(({ path }) => path));
  expect(known.filter((path) => !leaves.has(path))).toEqual(["global"]);
});

const unchanged = new Map<string, Promise<string>>();

test.concurrent.each(LEAVES.map((leaf) => [leaf.path, leaf] as const))(
  "%s has an effect",
  async (path, leaf) => {
    const context = contextOf(path);
    const key = JSON.stringify(context);
    unchanged.set(key, unchanged.get(key) ?? rendered(context));
    const value = changed(leaf);
    expect(await rendered(overlay(context, at(path, value)))).not.toBe(await unchanged.get(key));
  },
);

interface Variable {
  in?: string[];
  by?: string;
}

const VARIABLES = parse(readFileSync(join(CHART, "files", "variables.yaml"), "utf8")) as Record<
  string,
  Variable
>;
const EXAMPLES = [
  ...readFileSync(join(CHART, "..", ".env.example"), "utf8").matchAll(/^(?:# )?([A-Z][A-Z0-9_]*)=/gm),
].map(([, name]) => name ?? "");

describe("environment variables", () => {
  test("the chart knows those of .env.example, and no other", () => {
    expect(Object.keys(VARIABLES).toSorted()).toEqual(EXAMPLES.toSorted());
  });

  const names = { bridge: "budcluster", query: "budmetrics", migration: "bud-migrate" };
  const free = Object.entries(VARIABLES).filter(([, { in: places }]) => places !== undefined);

  test.each(Object.entries(names))("%s.env sets each that it may", async (part, name) => {
    const own = free.filter(([, { in: places }]) => places?.includes(part)).map(([variable]) => variable);
    const env = Object.fromEntries(own.map((variable, index) => [variable, 1_000_000 + index]));
    const environment = environmentOf(await render(overlay(GIVEN_KEYS, { [part]: { env } })), name);
    expect(own.length).toBeGreaterThan(0);
    expect(environment).toMatchObject(
      Object.fromEntries(own.map((variable) => [variable, String(env[variable])])),
    );
  });

  test("every other is set by the value that is named for it", async () => {
    const fixed = Object.entries(VARIABLES).filter(([, { by }]) => by !== undefined);
    const own = await render({
      ...GIVEN_KEYS,
      scheduler: "dapr",
      dapr: { stateStore: { enabled: true } },
      clusters: { list: [{ id: "a" }] },
      queries: { file: { disable: ["node_load15"] } },
      clickhouse: { enabled: true },
      page: { bridgeUrl: "https://bridge.example.com" },
    });
    // The chart's own ClickHouse has no shards.
    const sharded = await render(overlay(GIVEN_KEYS, CONTEXT["otelCollector.clickhouse.shards."] ?? {}));
    const set = new Set(
      workloadsOf([...own, ...sharded]).flatMap((one) =>
        one.containers.flatMap(({ env }) => (env ?? []).map(({ name }) => name)),
      ),
    );
    expect(fixed.map(([name]) => name).filter((name) => !set.has(name))).toEqual([]);
    const paths = fixed.flatMap(([, { by }]) => by?.split(", ") ?? []);
    const known = (path: string): boolean =>
      path.split(".").reduce<unknown>((below, key) => (below as Values | undefined)?.[key], DEFAULTS) !==
      undefined;
    expect(paths.filter((path) => !known(path))).toEqual([]);
  });

  test("with shards the Collector writes into the Distributed tables, and waits for their shard", async () => {
    const shards = overlay(GIVEN_KEYS, CONTEXT["otelCollector.clickhouse.shards."] ?? {});
    for (const [more, endpoint] of [
      [{}, "tcp://a:9000?distributed_foreground_insert=1"],
      [{ secure: true, port: 9440 }, "tcp://a:9440?secure=true&distributed_foreground_insert=1"],
      [{ protocol: "http" }, "http://a:8123?compress=none&distributed_foreground_insert=1"],
    ] as const) {
      const objects = await render(overlay(shards, { otelCollector: { clickhouse: more } }));
      expect(environmentOf(objects, "bud-otel-collector")).toMatchObject({
        CLICKHOUSE_ENDPOINT: endpoint,
        CLICKHOUSE_DATABASE: "metrics_all",
      });
      expect(environmentOf(objects, "budmetrics")).toMatchObject({
        CLICKHOUSE_DATABASE: "metrics",
        CLICKHOUSE_DISTRIBUTED_DATABASE: "metrics_all",
        CLICKHOUSE_DISTRIBUTED_CLUSTER: "all",
        CLICKHOUSE_SHARD_URLS: "http://a:8123",
      });
    }
  });

  test("numbers, truth values and texts arrive as they are written", async () => {
    const env = {
      METRICS_BATCH_BYTES: 16777216,
      MAX_BACKFILL: "48h",
      HOST: "::",
      ALLOW_PRIVATE_API_SERVERS: true,
    };
    const objects = await render(overlay(GIVEN_KEYS, { bridge: { env } }));
    expect(environmentOf(objects, "budcluster")).toMatchObject({
      METRICS_BATCH_BYTES: "16777216",
      MAX_BACKFILL: "48h",
      HOST: "::",
      ALLOW_PRIVATE_API_SERVERS: "true",
    });
  });
});
