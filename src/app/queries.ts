import type { HttpServerDeps } from "#http/server.ts";
import type { Clock } from "#lib/clock.ts";
import { createQueryAdmission, type AdmissionLimits } from "#query/admission.ts";
import { createReadClusterCompleteness } from "#query/cluster-completeness.ts";
import { createPromql, type PromqlSettings } from "#query/promql/promql.ts";
import type { QueryLimits } from "#query/limits.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery } from "#query/series/series.ts";
import { createClusterState } from "#query/state/cluster-state.ts";
import type { HealthThresholds } from "#query/state/health-judgement.ts";
import type { Database } from "#storage/database.ts";
import { readDatabaseName } from "./storage.ts";
import { createStorageDiagnosis } from "./storage-diagnosis.ts";
import type { Config } from "#config.ts";

/** The settings of everything that queries ClickHouse. */
export interface QuerySettings {
  databaseName: string;
  limits: QueryLimits;
  admission: AdmissionLimits;
  promql: PromqlSettings;
  staleAfterMs: number;
  thresholds: HealthThresholds;
}

export function toQuerySettings(config: Config): QuerySettings {
  return {
    databaseName: readDatabaseName(config),
    limits: {
      rangeMaxMs: config.QUERY_RANGE_MAX,
      pointsPerSeriesMax: config.QUERY_SERIES_POINTS_MAX,
      pointsMax: config.QUERY_POINTS_MAX,
      seriesMax: config.QUERY_SERIES_MAX,
      rowsReadMax: config.QUERY_ROWS_READ_MAX,
      memoryBytesMax: config.QUERY_MEMORY_MAX,
      timeoutMs: config.QUERY_TIMEOUT,
    },
    admission: {
      parallelMax: config.QUERY_PARALLEL_MAX,
      queueMax: config.QUERY_QUEUE_MAX,
      timeoutMs: config.QUERY_TIMEOUT,
    },
    promql: {
      limits: { samplesMax: config.PROMQL_SAMPLES_MAX, seriesMax: config.PROMQL_SERIES_MAX },
      lookbackMs: config.PROMQL_LOOKBACK,
      timeoutMs: config.QUERY_TIMEOUT,
    },
    staleAfterMs: config.STALE_AFTER,
    thresholds: {
      cpuPercent: config.HEALTH_CPU_PERCENT,
      memoryPercent: config.HEALTH_MEMORY_PERCENT,
      diskPercent: config.HEALTH_DISK_PERCENT,
      loadPerCore: config.HEALTH_LOAD_PER_CORE,
      podRestarts: config.HEALTH_POD_RESTARTS,
      gpuTemperatureCelsius: config.HEALTH_GPU_TEMPERATURE,
    },
  };
}

/** What the HTTP API answers from ClickHouse. */
export function queryPorts(config: Config, database: Database, clock: Clock): Partial<HttpServerDeps> {
  const deps = { database, clock };
  const settings = toQuerySettings(config);
  const { latest, metrics, labels } = createMetricLookup(deps, settings);
  return {
    latest,
    metricQueries: { metrics, labels, series: createSeriesQuery(deps, settings) },
    promql: createPromql(deps, {
      ...settings.promql,
      databaseName: settings.databaseName,
      queryLimits: settings.limits,
    }),
    admission: createQueryAdmission(deps, settings.admission),
    diagnoseStorage: createStorageDiagnosis(config, database, clock),
    clusterState: createClusterState(deps, settings),
    clusterCompleteness: createReadClusterCompleteness(deps, settings),
  };
}
