import type { AwsEnvironment } from "#aws/identity.ts";
import type { CommitTarget } from "#collect/progress-store.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { CollectorPlace } from "./storage.ts";
import type { Config } from "#config.ts";

/** The configuration that the work on clusters needs: JSON, so that it can be sent to a worker. */
const WORK_VARIABLES = [
  "ALLOW_PRIVATE_API_SERVERS",
  "API_SERVER_CIDRS",
  "CATALOGUE_SERIES_MAX",
  "COLLECTION_INTERVAL",
  "COLLECTION_LAG",
  "EXPORT_RETRY_MAX_ELAPSED",
  "EXPORT_TIMEOUT",
  "INITIAL_LOOKBACK",
  "LOG_LEVEL",
  "MAX_BACKFILL",
  "MAX_CONCURRENT_CLUSTERS",
  "MAX_QUERY_WINDOW",
  "MEMORY_BUDGET",
  "METRICS_BATCH_BYTES",
  "METRICS_BATCH_SIZE",
  "METRICS_COLLECTION_TIMEOUT",
  "OTLP_COMPRESSION",
  "PROOF_DELAY",
  "PROMETHEUS_SERVICE_NAME",
  "PROOF_STRETCH",
  "QUERY_CONCURRENCY",
  "REMOTE_READ",
] as const satisfies readonly (keyof Config)[];

export type WorkConfig = Pick<Config, (typeof WORK_VARIABLES)[number]>;

export function workConfig(config: Config): WorkConfig {
  return Object.fromEntries(WORK_VARIABLES.map((name) => [name, config[name]])) as unknown as WorkConfig;
}

/** What the work on clusters is made of, besides its ports: JSON and secrets. */
export interface WorkSettings {
  config: WorkConfig;
  queries: readonly Query[];
  collector: CollectorPlace;
  version: string;
  /** Where this program's own identity in AWS comes from. */
  aws: AwsEnvironment;
  /** Where what is committed ends up; absent where only the Collector knows. */
  database?: CommitTarget;
}
