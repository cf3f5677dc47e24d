import { resolve } from "node:path";
import { inspect } from "node:util";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toQuerySettings } from "#app/queries.ts";
import { toParameters } from "#app/storage.ts";
import { loadConfig, VARIABLES, type Environment } from "#config.ts";
import { BridgeError } from "#errors/error.ts";

/** Problems of an environment; none when it is valid. Any other failure fails the test. */
function problemsOf(environment: Environment): string[] {
  try {
    loadConfig(environment);
    return [];
  } catch (error) {
    if (!(error instanceof BridgeError) || error.code !== "config_invalid") throw error;
    return error.details!["problems"] as string[];
  }
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

test("the defaults that the product's users rely on", () => {
  const config = loadConfig({});
  expect(config).toMatchObject({
    METRICS_COLLECTION_ENABLED: true,
    PROMETHEUS_SERVICE_NAME: "bud-metrics-kube-prometheu-prometheus",
    PROMETHEUS_NAMESPACE: "bud-system",
    PROMETHEUS_PORT: 9090,
    METRICS_COLLECTION_TIMEOUT: 30 * SECOND,
    METRICS_BATCH_SIZE: 20_000,
    VALIDATE_CERTS: true,
    PORT: 9081,
  });
  expect(config.OTEL_COLLECTOR_ENDPOINT.href).toBe("http://bud-otel-collector:4318/v1/metrics");
});

test("the other defaults", () => {
  expect(loadConfig({})).toMatchObject({
    ROLE: "all-in-one",
    HOST: "127.0.0.1",
    LOG_LEVEL: "info",
    DATA_DIR: resolve("data"),
    SCHEDULER: "internal",
    COLLECTION_INTERVAL: 300 * SECOND,
    COLLECTION_LAG: 90 * SECOND,
    INITIAL_LOOKBACK: 15 * MINUTE,
    MAX_BACKFILL: 24 * HOUR,
    OTLP_HEADERS: {},
    OTLP_COMPRESSION: "gzip",
    CLICKHOUSE_DATABASE: "metrics",
  });
  expect(loadConfig({})).not.toHaveProperty("CLUSTERS_FILE");
  expect(loadConfig({})).not.toHaveProperty("APP_API_TOKEN");
});

test("the memory budget holds at least one batch being written and one on its way", () => {
  expect(loadConfig({}).MEMORY_BUDGET).toBe(268_435_456);
  expect(problemsOf({ MEMORY_BUDGET: "16777216" })).toEqual([]);
  expect(problemsOf({ MEMORY_BUDGET: "262144", METRICS_BATCH_BYTES: "131072" })).toEqual([]);
  for (const environment of [
    { MEMORY_BUDGET: "16777215" },
    { MEMORY_BUDGET: "1048576" },
    { MEMORY_BUDGET: "16777216", METRICS_BATCH_BYTES: "8388609" },
  ])
    expect(problemsOf(environment).join()).toMatch(/^MEMORY_BUDGET: .* raise the first to \d+ or lower/);
  for (const text of ["1000", "256Mi", "256MB", "-1", "1e9", "0x10000000", "1.5"])
    expect(problemsOf({ MEMORY_BUDGET: text }).join()).toMatch(/^MEMORY_BUDGET=".*": must be a whole number/);
});

test("a variable that is empty counts as not set", () => {
  const empty = Object.fromEntries(VARIABLES.map((name) => [name, ""]));
  expect(inspect(loadConfig(empty))).toBe(inspect(loadConfig({})));
});

test("the role bridge waits for Dapr unless told otherwise", () => {
  const bridge = { ROLE: "bridge", CLUSTERS_FILE: "clusters.yaml" };
  expect(loadConfig(bridge).SCHEDULER).toBe("dapr");
  expect(loadConfig({ ...bridge, SCHEDULER: "internal" }).SCHEDULER).toBe("internal");
  expect(loadConfig(bridge).CLUSTERS_FILE).toBe(resolve("clusters.yaml"));
  expect(loadConfig({ ROLE: "bridge" })).not.toHaveProperty("CLUSTERS_FILE");
});

test("all problems at once, each with the variable, its value and what is allowed", () => {
  const problems = problemsOf({
    METRICS_BATCH_SIZE: "many",
    PROMETHEUS_PORT: "70000",
    VALIDATE_CERTS: "yes",
    ROLE: "bridge",
    LOG_LEVEL: "loud",
    PROMETHEUS_NAMESPACE: "Bud_System",
    COLLECTION_INTERVAL: "5 minutes",
    INITIAL_LOOKBACK: "48h",
    PROMETHEUS_NAMESPCE: "typo",
  });
  expect(problems.toSorted()).toEqual([
    'COLLECTION_INTERVAL="5 minutes": must be seconds or a duration like 90s, 15m, 24h, from 1 s to 86400 s',
    "INITIAL_LOOKBACK: must not be longer than MAX_BACKFILL",
    'LOG_LEVEL="loud": must be one of trace, debug, info, warn, error, fatal',
    'METRICS_BATCH_SIZE="many": must be a whole number from 1 to 1000000',
    'PROMETHEUS_NAMESPACE="Bud_System": must be a Kubernetes name (lower case letters, digits, -)',
    "PROMETHEUS_NAMESPCE: unknown; did you mean PROMETHEUS_NAMESPACE?",
    'PROMETHEUS_PORT="70000": must be a whole number from 1 to 65535',
    'VALIDATE_CERTS="yes": must be true or false',
  ]);
});

test.each([
  ["METRICS_BATCHSIZE", "METRICS_BATCH_SIZE"],
  ["PROMETHEUS_NAMESPCE", "PROMETHEUS_NAMESPACE"],
  ["metrics_batch_size", "METRICS_BATCH_SIZE"],
  ["COLECTION_INTERVAL", "COLLECTION_INTERVAL"],
  ["OTEL_COLLECTOR_ENDPOINTS", "OTEL_COLLECTOR_ENDPOINT"],
])("%s is a misspelt %s", (given, meant) => {
  expect(problemsOf({ [given]: "secret value" })).toEqual([`${given}: unknown; did you mean ${meant}?`]);
});

test("variables of other programs are left alone", () => {
  const others = [
    ..."PATH HOME USER SHELL TERM LANG PWD HOSTNAME LOGNAME TZ ROOT POST GHOST NODE_ENV NODE_OPTIONS".split(
      " ",
    ),
    ..."KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT CLICKHOUSE_PORT CLICKHOUSE_HOST CLICKHOUSE_DB".split(
      " ",
    ),
    ..."OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_HEADERS OTEL_SERVICE_NAME APP_ID APP_PORT DAPR_GRPC_PORT DAPR_METRICS_PORT DAPR_HTTP_ENDPOINT".split(
      " ",
    ),
    ..."PROMETHEUS_SERVICE_HOST PROMETHEUS_SERVICE_PORT APP_PORT npm_config_cache SSL_CERT_FILE".split(" "),
  ];
  expect(problemsOf(Object.fromEntries(others.map((name) => [name, "x"])))).toEqual([]);
});

test.each([
  ["30", 30 * SECOND],
  ["1.5", 1.5 * SECOND],
  ["1500ms", 1.5 * SECOND],
  ["90s", 90 * SECOND],
  ["15m", 15 * MINUTE],
  ["24h", 24 * HOUR],
  ["1d", 24 * HOUR],
  [" 30 ", 30 * SECOND],
])("the duration %j is %i ms", (text, ms) => {
  expect(loadConfig({ COLLECTION_INTERVAL: text }).COLLECTION_INTERVAL).toBe(ms);
});

test.each(["0", "-1", "1e3", "15 m", "15M", "m", "NaN", "Infinity", "25h", "999ms", "1,5"])(
  "the duration %j is refused",
  (text) => {
    expect(problemsOf({ COLLECTION_INTERVAL: text })).toHaveLength(1);
  },
);

test.each([
  ["http://collector:4318", "http://collector:4318/v1/metrics"],
  ["http://collector:4318/", "http://collector:4318/v1/metrics"],
  ["https://host/otlp/metrics", "https://host/otlp/metrics"],
  ["https://host/otlp/", "https://host/otlp/"],
  ["http://[::1]:4318", "http://[::1]:4318/v1/metrics"],
])("the endpoint %s is posted to as %s", (given, posted) => {
  expect(loadConfig({ OTEL_COLLECTOR_ENDPOINT: given }).OTEL_COLLECTOR_ENDPOINT.href).toBe(posted);
});

test.each(["collector:4318", "grpc://collector:4317", "ftp://x", "http://", "/v1/metrics"])(
  "the endpoint %j is refused",
  (given) => {
    const [problem] = problemsOf({ OTEL_COLLECTOR_ENDPOINT: given });
    expect(problem).toContain(given);
    expect(problem).toContain("http:// or https://");
  },
);

test("a URL with user info is refused without showing it", () => {
  for (const url of ["http://user:hunter22@host:4318", "ftp://us/er:hunter22@host", "http://hunter22@host"]) {
    const [problem] = problemsOf({ OTEL_COLLECTOR_ENDPOINT: url, CLICKHOUSE_URL: "http://localhost" });
    expect(problem).toContain("(hidden)@");
    expect(problem).not.toContain("hunter22");
  }
});

test("headers: names in lower case, values percent-decoded, all of them secrets", () => {
  const { OTLP_HEADERS } = loadConfig({
    OTLP_HEADERS: "Authorization=Bearer%20abc%2C1, x-scope = one==two ,",
  });
  const shown = Object.entries(OTLP_HEADERS).map(([name, value]) => [name, value.expose()]);
  expect(shown).toEqual([
    ["authorization", "Bearer abc,1"],
    ["x-scope", "one==two"],
  ]);
  expect(inspect(OTLP_HEADERS)).not.toContain("Bearer");
});

test.each(["no-value", "a=", "=b", "a b=c", "a=%zz", "a=x%0d%0ainjected: y", "a=%00"])(
  "the headers %j are refused without showing them",
  (text) => {
    expect(problemsOf({ OTLP_HEADERS: text })).toEqual([
      "OTLP_HEADERS=(hidden): must be name=value pairs separated by commas",
    ]);
  },
);

test("secrets show neither in the configuration nor in a problem", () => {
  const config = loadConfig({ APP_API_TOKEN: "dapr-token-1", CLICKHOUSE_PASSWORD: "hunter22" });
  expect(config.APP_API_TOKEN?.expose()).toBe("dapr-token-1");
  expect(config.CLICKHOUSE_PASSWORD.expose()).toBe("hunter22");
  expect(inspect(config) + JSON.stringify(config)).not.toMatch(/dapr-token-1|hunter22/);
  expect(JSON.stringify(loadConfig({ DAPR_API_TOKEN: "dapr-token-2" }))).not.toContain("dapr-token-2");
  expect(problemsOf({ DAPR_API_TOKEN: "short" }).join()).toContain("DAPR_API_TOKEN=(hidden)");
  expect(problemsOf({ APP_API_TOKEN: "short" })).toEqual([
    "APP_API_TOKEN=(hidden): must have at least 8 characters",
  ]);
});

test.each([
  ["METRICS_BATCH_SIZE", ["1", "1000000"], ["0", "1000001", "1.5", "0x10", "-5", "1e3"]],
  ["PORT", ["0", "65535"], ["65536", "http"]],
  ["METRICS_COLLECTION_ENABLED", ["true", "false"], ["TRUE", "1", "no"]],
  ["OTLP_COMPRESSION", ["gzip", "zstd", "none"], ["brotli"]],
  ["CLICKHOUSE_DATABASE", ["metrics", "_a1"], ["a-b", "1a", "a;drop", "a".repeat(65)]],
  ["HOST", ["0.0.0.0", "::1", "localhost"], ["a b", "http://x"]],
  ["COLLECTION_LAG", ["0"], ["2h"]],
  ["PROOF_STRETCH", ["0", "1m", "15m", "1h", "1d"], ["30s", "7h", "2d"]],
  ["PROOF_DELAY", ["0", "15m"], ["2h"]],
  ["DAPR_STATE_STORE", ["statestore", "bud.state-store_2"], ["a/b", "-a", "a b"]],
  ["DAPR_HTTP_PORT", ["3500"], ["0", "65536", "tcp://10.0.0.1:3500"]],
])("%s takes %j and refuses %j", (name, taken, refused) => {
  for (const value of taken) expect(problemsOf({ [name]: value })).toEqual([]);
  for (const value of refused) {
    expect(problemsOf({ [name]: value })).toEqual([
      expect.stringContaining(`${name}=${JSON.stringify(value.slice(0, 80))}: must be`),
    ]);
  }
});

test("whatever the environment holds, the answer is a configuration or named problems, of bounded length", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...VARIABLES), fc.string({ unit: "binary", maxLength: 300 })),
      (environment) => {
        for (const problem of problemsOf(environment)) expect(problem.length).toBeLessThan(800);
      },
    ),
  );
});

test.each([
  ["36h", "1d or 2d"],
  ["25h", "1d or 2d"],
  ["1.5d", "1d or 2d"],
  ["12h", "1d"],
  ["0.5d", "1d"],
  ["90000", "1d or 2d"],
  ["2161h", "90d or 91d"],
  ["86400001ms", "1d or 2d"],
])("CLICKHOUSE_RETENTION=%s is no whole number of days", (value, use) => {
  expect(problemsOf({ CLICKHOUSE_RETENTION: value })).toEqual([
    `CLICKHOUSE_RETENTION=${JSON.stringify(value)}: must be a whole number of days: use ${use}`,
  ]);
});

test.each([
  ["1d", 1],
  ["24h", 1],
  ["48h", 2],
  ["86400", 1],
  ["3650d", 3650],
])("CLICKHOUSE_RETENTION=%s is %i days", (value, days) => {
  const config = loadConfig({ CLICKHOUSE_RETENTION: value });
  expect(toParameters(config).retentionDays).toBe(days);
});

test("the variables of shards are all there or none, and no role contradicts them", () => {
  const all = {
    ROLE: "query",
    CLICKHOUSE_SHARD_URLS: "http://a:8123, https://b:8443/clickhouse",
    CLICKHOUSE_DISTRIBUTED_DATABASE: "metrics_all",
    CLICKHOUSE_DISTRIBUTED_CLUSTER: "shards",
  };
  const config = loadConfig(all);
  expect(config.CLICKHOUSE_SHARD_URLS?.map(({ href }) => href)).toEqual([
    "http://a:8123/",
    "https://b:8443/clickhouse",
  ]);
  expect(toParameters(config).shards).toEqual({ database: "metrics_all", cluster: "shards", count: 2 });
  expect(toQuerySettings(config).databaseName).toBe("metrics_all");
  expect(toQuerySettings(loadConfig({ ROLE: "query" })).databaseName).toBe("metrics");
  expect(problemsOf({ ...all, CLICKHOUSE_DISTRIBUTED_CLUSTER: "" })).toEqual([
    "CLICKHOUSE_DISTRIBUTED_CLUSTER: needed with the other variables of shards: set all three of them or none",
  ]);
  expect(problemsOf({ ...all, CLICKHOUSE_DATABASE: "metrics_all" })).toEqual([
    "CLICKHOUSE_DISTRIBUTED_DATABASE: must not be CLICKHOUSE_DATABASE: choose another name",
  ]);
  expect(problemsOf({ ...all, ROLE: "all-in-one" })).toEqual([
    "CLICKHOUSE_SHARD_URLS: all-in-one's own engine has no shards: remove it",
  ]);
  for (const wrong of ["a:8123", "http://a:8123,", "http://u:p@a:8123"]) {
    expect(problemsOf({ ...all, CLICKHOUSE_SHARD_URLS: wrong })).toEqual([
      expect.stringContaining("with commas between them"),
    ]);
  }
});

test("a cluster's deadline is at most the interval between rounds", () => {
  const both = (deadline: string, interval?: string): string[] =>
    problemsOf({ CLUSTER_DEADLINE: deadline, ...(interval ? { COLLECTION_INTERVAL: interval } : {}) });
  expect(both("600", "5m")).toEqual([
    "CLUSTER_DEADLINE: 600 s must not be longer than COLLECTION_INTERVAL (300 s): lower the first or raise the second",
  ]);
  expect(both("301")).toHaveLength(1);
  expect(both("300001ms")).toHaveLength(1);
  expect(both("300")).toEqual([]);
  expect(both("600", "15m")).toEqual([]);
  expect(both("90", "1m")).toHaveLength(1);
});

test.each([
  [{}, 240],
  [{ COLLECTION_INTERVAL: "60" }, 60],
  [{ COLLECTION_INTERVAL: "1h" }, 240],
  [{ COLLECTION_INTERVAL: "60", CLUSTER_DEADLINE: "45" }, 45],
])("with %j a cluster's deadline is %i s", (environment, seconds) => {
  expect(loadConfig(environment).CLUSTER_DEADLINE).toBe(seconds * SECOND);
});

test("MAX_BACKFILL has a limited number of stretches", () => {
  expect(problemsOf({ PROOF_STRETCH: "1m" })).toEqual([]);
  expect(problemsOf({ PROOF_STRETCH: "1m", MAX_BACKFILL: "2d" })).toEqual([
    "PROOF_STRETCH: 60 s divide MAX_BACKFILL into more than 2000 stretches: raise the first or lower the second",
  ]);
});

test("AUTH_ENABLED=false and tokens contradict each other", () => {
  expect(loadConfig({}).AUTH_ENABLED).toBe(true);
  expect(problemsOf({ AUTH_ENABLED: "false", API_TOKENS_FILE: "tokens.yaml" })).toEqual([
    expect.stringMatching(/^AUTH_ENABLED: false .* API_TOKENS_FILE/),
  ]);
  expect(problemsOf({ AUTH_ENABLED: "true", API_TOKENS_FILE: "tokens.yaml" })).toEqual([]);
  expect(problemsOf({ AUTH_ENABLED: "no" })).toEqual(['AUTH_ENABLED="no": must be true or false']);
});

test("networks are addresses with or without a length", () => {
  const list = "127.0.0.1, 10.0.0.0/8,fd00::/8,::1";
  expect(loadConfig({ API_SERVER_CIDRS: list }).API_SERVER_CIDRS).toEqual([
    "127.0.0.1",
    "10.0.0.0/8",
    "fd00::/8",
    "::1",
  ]);
  for (const wrong of [
    "10.0.0.0/33",
    "fd00::/129",
    "localhost",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "1.2.3.4,",
    "10/8",
  ]) {
    expect(problemsOf({ API_SERVER_CIDRS: wrong })).toEqual([expect.stringContaining("must be networks")]);
  }
});
