import { resolve } from "node:path";
import { z } from "zod";
import { didYouMean } from "#lib/near-miss.ts";
import { BridgeError } from "#errors/error.ts";
import { createSecret } from "#lib/secret.ts";
import { CATALOGUES } from "#prometheus/query-spec.ts";
import {
  SECONDS,
  HOURS,
  DAYS,
  duration,
  stretch,
  wholeDays,
  integer,
  boolean,
  oneOf,
  httpUrl,
  httpUrls,
  text,
  IDENTIFIER,
  dnsLabel,
  path,
  cidrs,
  token,
  threshold,
  headers,
} from "#config-values.ts";

/** Names this short (PORT, HOST) are too similar to other programs' variables. */
const SHORT_NAME = 5;
const SHOWN_CHARS_MAX = 80;
const WORKER_MEMORY_BYTES = 640 << 20;
const WORKER_BASE_BYTES = 192 << 20;
const BATCHES_IN_BUDGET_MIN = 2;
const MAX_BACKFILL_MS = 24 * HOURS;
const STRETCHES_MAX = 2000;
const CLUSTER_DEADLINE_MS = 240 * SECONDS;

/**
 * Every environment variable of the program. Users depend on the names and defaults of the first block. An empty variable counts as not
 * set.
 */
const schema = z.object({
  METRICS_COLLECTION_ENABLED: boolean.default(true),
  OTEL_COLLECTOR_ENDPOINT: httpUrl.default(new URL("http://bud-otel-collector:4318")),
  PROMETHEUS_SERVICE_NAME: dnsLabel.default("bud-metrics-kube-prometheu-prometheus"),
  PROMETHEUS_NAMESPACE: dnsLabel.default("bud-system"),
  PROMETHEUS_PORT: integer(1, 65535).default(9090),
  METRICS_COLLECTION_TIMEOUT: duration(SECONDS, HOURS).default(30 * SECONDS),
  METRICS_BATCH_SIZE: integer(1, 1_000_000).default(20_000),
  VALIDATE_CERTS: boolean.default(true),

  ROLE: oneOf("all-in-one", "bridge", "query", "migrate").default("all-in-one"),
  HOST: text(/^[0-9a-zA-Z.:-]+$/, "an address or host name").default("127.0.0.1"),
  PORT: integer(0, 65535).default(9081),
  LOG_LEVEL: oneOf("trace", "debug", "info", "warn", "error", "fatal").default("info"),
  DATA_DIR: path.default(resolve("data")),
  CLUSTERS_FILE: path.optional(),
  CREDENTIALS_KEYS_DIR: path.optional(),
  ALLOW_PRIVATE_API_SERVERS: boolean.default(false),
  API_SERVER_CIDRS: cidrs.default([]),
  CATALOGUE: oneOf(...CATALOGUES).default("base"),
  CATALOGUE_SERIES_MAX: integer(1, 100_000_000).default(200_000),
  QUERIES_FILE: path.optional(),
  AUTH_ENABLED: boolean.default(true),
  API_TOKENS_FILE: path.optional(),
  APP_API_TOKEN: token.optional(),
  PAGE_ENABLED: boolean.default(true),
  PAGE_BRIDGE_URL: httpUrl.optional(),
  SCHEDULER: oneOf("dapr", "internal").optional(),
  DAPR_STATE_STORE: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/, "a component's name").optional(),
  DAPR_HTTP_PORT: integer(1, 65535).default(3500),
  DAPR_API_TOKEN: token.optional(),
  REPLICA_NAME: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "a name (letters, digits, . _ -)").optional(),

  COLLECTION_INTERVAL: duration(SECONDS, DAYS).default(300 * SECONDS),
  COLLECTION_LAG: duration(0, HOURS).default(90 * SECONDS),
  INITIAL_LOOKBACK: duration(SECONDS, 7 * DAYS).default(15 * 60 * SECONDS),
  MAX_BACKFILL: duration(60 * SECONDS, 30 * DAYS).default(MAX_BACKFILL_MS),
  PROOF_STRETCH: stretch.default(HOURS),
  PROOF_DELAY: duration(0, HOURS).default(15 * 60 * SECONDS),
  MAX_CONCURRENT_CLUSTERS: integer(1, 500).default(10),
  COLLECTION_WORKERS: integer(1, 64).default(1),
  WORKER_MEMORY_MAX: integer(256 << 20, 2 ** 40).optional(),
  QUERY_CONCURRENCY: integer(1, 16).default(2),
  CLUSTER_DEADLINE: duration(SECONDS, DAYS).optional(),
  MAX_QUERY_WINDOW: duration(10 * SECONDS, DAYS).default(HOURS),
  REMOTE_READ: oneOf("auto", "off").default("auto"),

  OTLP_HEADERS: headers.default({}),
  OTLP_COMPRESSION: oneOf("gzip", "zstd", "none").default("gzip"),
  METRICS_BATCH_BYTES: integer(128 << 10, 16 << 20).default(8 << 20),
  MEMORY_BUDGET: integer(256 << 10, 2 ** 40).default(256 << 20),
  EXPORT_TIMEOUT: duration(SECONDS, HOURS).default(30 * SECONDS),
  EXPORT_RETRY_MAX_ELAPSED: duration(0, HOURS).default(60 * SECONDS),
  OWN_METRICS_INTERVAL: duration(0, HOURS).default(60 * SECONDS),

  CLICKHOUSE_URL: httpUrl.default(new URL("http://localhost:8123")),
  CLICKHOUSE_USER: z.string().max(200).default("default"),
  CLICKHOUSE_PASSWORD: z
    .string()
    .transform((value) => createSecret(value))
    .default(createSecret("")),
  CLICKHOUSE_DATABASE: text(IDENTIFIER, "a database name ([A-Za-z_][A-Za-z0-9_]*)").default("metrics"),
  CLICKHOUSE_TIMEOUT: duration(SECONDS, HOURS).default(30 * SECONDS),
  CLICKHOUSE_RETENTION: wholeDays(3650).default(90 * DAYS),
  CLICKHOUSE_ROLLUP_RETENTION: wholeDays(3650).optional(),
  CLICKHOUSE_SERIES_RETENTION: wholeDays(3650).optional(),
  CLICKHOUSE_CLUSTER: text(IDENTIFIER, "a cluster's name ([A-Za-z_][A-Za-z0-9_]*)").optional(),
  CLICKHOUSE_SHARD_URLS: httpUrls.optional(),
  CLICKHOUSE_DISTRIBUTED_DATABASE: text(IDENTIFIER, "a database name ([A-Za-z_][A-Za-z0-9_]*)").optional(),
  CLICKHOUSE_DISTRIBUTED_CLUSTER: text(IDENTIFIER, "a cluster's name ([A-Za-z_][A-Za-z0-9_]*)").optional(),
  ROLLUP_INTERVAL: duration(10 * SECONDS, DAYS).default(300 * SECONDS),

  QUERY_RANGE_MAX: duration(HOURS, 3650 * DAYS).default(100 * DAYS),
  QUERY_POINTS_MAX: integer(1, 10_000_000).default(200_000),
  QUERY_SERIES_POINTS_MAX: integer(2, 1_000_000).default(11_000),
  QUERY_SERIES_MAX: integer(1, 10_000_000).default(10_000),
  QUERY_ROWS_READ_MAX: integer(1, 1e12).default(100_000_000),
  QUERY_MEMORY_MAX: integer(1 << 20, 2 ** 40).default(600_000_000),
  QUERY_PARALLEL_MAX: integer(1, 1000).default(8),
  QUERY_QUEUE_MAX: integer(2, 10_000).default(128),
  QUERY_TIMEOUT: duration(SECONDS, HOURS).default(30 * SECONDS),
  PROMQL_SAMPLES_MAX: integer(1000, 1e9).default(10_000_000),
  PROMQL_SERIES_MAX: integer(1, 10_000_000).default(100_000),
  PROMQL_LOOKBACK: duration(SECONDS, DAYS).default(300 * SECONDS),

  STALE_AFTER: duration(SECONDS, DAYS).default(15 * 60 * SECONDS),
  HEALTH_CPU_PERCENT: threshold(100).default({ warning: 70, critical: 80 }),
  HEALTH_MEMORY_PERCENT: threshold(100).default({ warning: 80, critical: 90 }),
  HEALTH_DISK_PERCENT: threshold(100).default({ warning: 80, critical: 90 }),
  HEALTH_LOAD_PER_CORE: integer(1, 1000).default(2),
  HEALTH_POD_RESTARTS: threshold(1_000_000).default({ warning: 3, critical: 10 }),
  HEALTH_GPU_TEMPERATURE: threshold(200).default({ warning: 80, critical: 90 }),
  EMBEDDED_MEMORY_MAX: integer(256 << 20, 2 ** 40).default(1 << 30),
});

export type Environment = Readonly<Record<string, string | undefined>>;

/** The validated configuration, by variable name. Durations are ms. */
export type Config = Omit<
  z.infer<typeof schema>,
  "SCHEDULER" | "CLUSTER_DEADLINE" | "WORKER_MEMORY_MAX" | "OTEL_COLLECTOR_ENDPOINT"
> & {
  SCHEDULER: "dapr" | "internal";
  /** At most COLLECTION_INTERVAL, also when it is not set. */
  CLUSTER_DEADLINE: number;
  /** Bytes. At least 192 MiB and the worker's share of MEMORY_BUDGET. */
  WORKER_MEMORY_MAX: number;
  /** The Collector's OTLP/HTTP metrics URL, with its path. */
  OTEL_COLLECTOR_ENDPOINT: URL;
};

export const VARIABLES = Object.keys(schema.shape);

const SECRET_VARIABLES: ReadonlySet<string> = new Set([
  "APP_API_TOKEN",
  "DAPR_API_TOKEN",
  "OTLP_HEADERS",
  "CLICKHOUSE_PASSWORD",
]);

/**
 * Reads the configuration from the environment. Throws BridgeError `config_invalid`; its `details.problems` name every invalid variable with
 * its value and the allowed values, and every unknown variable that is similar to a known one. `hasKubeconfig`: the command line names the
 * cluster.
 */
export function loadConfig(environment: Environment, options: { hasKubeconfig?: boolean } = {}): Config {
  const given = Object.fromEntries(
    VARIABLES.map((name) => [name, environment[name]]).filter(
      ([, value]) => value !== undefined && value !== "",
    ),
  ) as Record<string, string>;
  const parsed = schema.safeParse(given);
  const problems = nearMisses(environment);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const name = String(issue.path[0]);
      problems.push(`${name}=${toShown(name, given[name] ?? "")}: ${issue.message}`);
    }
  }
  problems.push(...contradictions(given, options.hasKubeconfig ?? false));
  if (!parsed.success || problems.length > 0) throw invalid(problems);
  const { data } = parsed;
  return {
    ...data,
    SCHEDULER: data.SCHEDULER ?? (data.ROLE === "bridge" ? "dapr" : "internal"),
    // Like Prometheus' scrape_timeout: the default follows a shorter interval; an explicit value must not exceed it.
    CLUSTER_DEADLINE: data.CLUSTER_DEADLINE ?? Math.min(CLUSTER_DEADLINE_MS, data.COLLECTION_INTERVAL),
    WORKER_MEMORY_MAX:
      data.WORKER_MEMORY_MAX ??
      Math.max(WORKER_MEMORY_BYTES, workerBytesMin(data.MEMORY_BUDGET, data.COLLECTION_WORKERS)),
    OTEL_COLLECTOR_ENDPOINT: withMetricsPath(data.OTEL_COLLECTOR_ENDPOINT),
  };
}

/** What a worker needs besides its share of the budget: the program itself, its heap, answers that are being read. */
function workerBytesMin(budget: number, workers: number): number {
  return WORKER_BASE_BYTES + Math.ceil(budget / workers);
}

/**
 * The environment of a collection worker. Exec plugins of a trusted kubeconfig need the operator's variables; the program's own secrets reach a
 * worker by its channel only.
 */
export function workerEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !SECRET_VARIABLES.has(name)));
}

/** Variables that are no configuration of this program, as far as they are set. */
export function variablesOf<Name extends string>(names: readonly Name[]): { [Each in Name]?: string } {
  const given = names.map((name) => [name, process.env[name]]).filter(([, value]) => value);
  return Object.fromEntries(given) as { [Each in Name]?: string };
}

/** A BridgeError `config_invalid` about these variables. */
export function invalid(problems: string[]): BridgeError {
  return new BridgeError("config_invalid", `configuration: ${problems.join("; ")}`, {
    details: { problems },
  });
}

/** `/v1/metrics` is appended unless the endpoint has a path (OTLP exporter specification). */
function withMetricsPath(endpoint: URL): URL {
  return endpoint.pathname === "/" ? new URL("/v1/metrics", endpoint) : endpoint;
}

/** The value for an error message, without secrets and without a URL's user info. */
function toShown(name: string, value: string): string {
  if (SECRET_VARIABLES.has(name)) return "(hidden)";
  return JSON.stringify(value.replace(/\/\/.*@/s, "//(hidden)@").slice(0, SHOWN_CHARS_MAX));
}

function contradictions(given: Readonly<Record<string, string>>, hasKubeconfig: boolean): string[] {
  const problems: string[] = [];
  const lookback = schema.shape.INITIAL_LOOKBACK.safeParse(given["INITIAL_LOOKBACK"]).data;
  const backfill = schema.shape.MAX_BACKFILL.safeParse(given["MAX_BACKFILL"]).data;
  if (lookback !== undefined && backfill !== undefined && lookback > backfill) {
    problems.push("INITIAL_LOOKBACK: must not be longer than MAX_BACKFILL");
  }
  problems.push(...proofContradictions(given, backfill ?? MAX_BACKFILL_MS));
  const interval = schema.shape.COLLECTION_INTERVAL.safeParse(given["COLLECTION_INTERVAL"]).data;
  const deadline = schema.shape.CLUSTER_DEADLINE.safeParse(given["CLUSTER_DEADLINE"]).data;
  if (interval !== undefined && deadline !== undefined && deadline > interval) {
    problems.push(
      `CLUSTER_DEADLINE: ${deadline / SECONDS} s must not be longer than COLLECTION_INTERVAL (${interval / SECONDS} s): lower the first or raise the second`,
    );
  }
  const budget = schema.shape.MEMORY_BUDGET.safeParse(given["MEMORY_BUDGET"]).data;
  const batchBytes = schema.shape.METRICS_BATCH_BYTES.safeParse(given["METRICS_BATCH_BYTES"]).data;
  if (budget !== undefined && batchBytes !== undefined && budget < BATCHES_IN_BUDGET_MIN * batchBytes) {
    problems.push(
      `MEMORY_BUDGET: ${budget} bytes are too few for one batch being written and one being sent, twice METRICS_BATCH_BYTES (${batchBytes}): raise the first to ${BATCHES_IN_BUDGET_MIN * batchBytes} or lower the second`,
    );
  }
  const workers = schema.shape.COLLECTION_WORKERS.safeParse(given["COLLECTION_WORKERS"]).data;
  const memory = schema.shape.WORKER_MEMORY_MAX.safeParse(given["WORKER_MEMORY_MAX"]).data;
  if (budget !== undefined && workers !== undefined && memory !== undefined) {
    const min = workerBytesMin(budget, workers);
    if (memory < min) {
      problems.push(
        `WORKER_MEMORY_MAX: ${memory} bytes are too few for a worker's share of MEMORY_BUDGET: raise it to ${min} or lower MEMORY_BUDGET`,
      );
    }
  }
  if (hasKubeconfig && given["CLUSTERS_FILE"] !== undefined) {
    problems.push("CLUSTERS_FILE: can't be used together with --kubeconfig: remove one of them");
  }
  if (given["AUTH_ENABLED"] === "false" && given["API_TOKENS_FILE"] !== undefined) {
    problems.push("AUTH_ENABLED: false disables the tokens of API_TOKENS_FILE: remove one of the two");
  }
  problems.push(...shardContradictions(given));
  return problems;
}

const SHARD_VARIABLES = [
  "CLICKHOUSE_SHARD_URLS",
  "CLICKHOUSE_DISTRIBUTED_DATABASE",
  "CLICKHOUSE_DISTRIBUTED_CLUSTER",
] as const;

function shardContradictions(given: Readonly<Record<string, string>>): string[] {
  const missing = SHARD_VARIABLES.filter((name) => given[name] === undefined);
  if (missing.length === SHARD_VARIABLES.length) return [];
  if (missing.length > 0) {
    return [
      `${missing.join(", ")}: needed with the other variables of shards: set all three of them or none`,
    ];
  }
  const role = given["ROLE"] ?? "all-in-one";
  if (role === "all-in-one")
    return ["CLICKHOUSE_SHARD_URLS: all-in-one's own engine has no shards: remove it"];
  if (given["CLICKHOUSE_DISTRIBUTED_DATABASE"] !== (given["CLICKHOUSE_DATABASE"] ?? "metrics")) return [];
  return ["CLICKHOUSE_DISTRIBUTED_DATABASE: must not be CLICKHOUSE_DATABASE: choose another name"];
}

function proofContradictions(given: Readonly<Record<string, string>>, backfillMs: number): string[] {
  const stretchMs = schema.shape.PROOF_STRETCH.safeParse(given["PROOF_STRETCH"]).data;
  if (!stretchMs || backfillMs / stretchMs <= STRETCHES_MAX) return [];
  return [
    `PROOF_STRETCH: ${stretchMs / SECONDS} s divide MAX_BACKFILL into more than ${STRETCHES_MAX} stretches: raise the first or lower the second`,
  ];
}

/** Unknown variables that are probably misspelt: METRICS_BATCHSIZE, PROMETHEUS_NAMESPCE. */
function nearMisses(environment: Environment): string[] {
  const candidates = VARIABLES.filter((name) => name.length > SHORT_NAME);
  return Object.keys(environment).flatMap((name) => {
    if (VARIABLES.includes(name) || name.length <= SHORT_NAME) return [];
    const question = didYouMean(name, candidates);
    return question === "" ? [] : [`${name}: unknown; ${question}`];
  });
}
