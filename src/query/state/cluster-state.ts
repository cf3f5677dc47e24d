import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import { createCollectionRecords } from "#query/collection-record.ts";
import { createClusterList, type ClusterList } from "#query/cluster-list.ts";
import { createDeviceReader } from "#query/gpu-usage/devices.ts";
import { createFleetUsage, type FleetUsage } from "#query/gpu-usage/fleet-usage.ts";
import { createGpuUsage, type GpuUsage } from "#query/gpu-usage/gpu-usage.ts";
import { createGpuReader } from "./gpu-reader.ts";
import { createGpuRowReader } from "./gpu-rows.ts";
import { createGpuTargetReader } from "./gpu-targets.ts";
import { createGpus, type Gpus } from "./gpus.ts";
import { createHealth, type Health } from "./health.ts";
import type { HealthThresholds } from "./health-judgement.ts";
import { limitDatabase, type QueryLimits } from "#query/limits.ts";
import { createReadNodeAddresses } from "#query/node-addresses.ts";
import { createNodeResolver } from "#query/node-resolver.ts";
import { rememberRecords } from "#query/remembered-records.ts";
import { createNodeReader, createNodes, type Nodes } from "./nodes.ts";
import { createRestartReader } from "./pod-restarts.ts";
import { createPods, type Pods } from "./pods.ts";
import { createContextFactory } from "./context.ts";
import { createHourRowReader } from "./hours.ts";
import { createStateRowReader } from "./rows.ts";
import { withFiniteNumbers } from "./finite.ts";
import { createSummary, type Summary } from "./summary.ts";

/**
 * The answers about the state of one cluster. Each throws BridgeError `request_invalid` (with the field), `cluster_not_found`,
 * `query_too_large`, `query_timeout`, and what a Database throws.
 */
export interface ClusterState {
  summary: Summary;
  health: Health;
  nodes: Nodes;
  pods: Pods;
  gpus: Gpus;
  gpuUsage: GpuUsage;
  /** Of several clusters. */
  fleetGpuUsage: FleetUsage;
  listClusters: ClusterList;
}

export interface ClusterStateSettings {
  databaseName: string;
  limits: QueryLimits;
  thresholds: HealthThresholds;
  /** What is stored counts as stale when it is older than this. */
  staleAfterMs: number;
}

/** timeSeries*ToGrid compute what PromQL computes, but must be allowed: ClickHouse calls them experimental. */
const GRID_FUNCTIONS = "allow_experimental_time_series_aggregate_functions = 1";
const MINUTE_MS = 60_000;
/** How old a gauge's newest sample may be: Prometheus' default (--query.lookback-delta). */
const LOOKBACK_MS = 5 * MINUTE_MS;
const HOUR_MS = 60 * MINUTE_MS;
/** Steps bound what a summary of a long range costs; the others read every sample of their window. */
const SUMMARY_WINDOW = { defaultMs: HOUR_MS, maxMs: 31 * 24 * HOUR_MS };
const USAGE_WINDOW = { defaultMs: 24 * HOUR_MS, maxMs: 31 * 24 * HOUR_MS };
const STATE_WINDOW = { defaultMs: 15 * MINUTE_MS, maxMs: 24 * HOUR_MS };

export function createClusterState(
  deps: { database: Database; clock: Clock },
  settings: ClusterStateSettings,
): ClusterState {
  const { databaseName, limits, thresholds, staleAfterMs } = settings;
  const lookbackMs = LOOKBACK_MS;
  const database = limitDatabase(deps.database, limits, [GRID_FUNCTIONS]);
  const records = rememberRecords({
    records: createCollectionRecords(database, { databaseName }),
    clock: deps.clock,
  });
  const readNodeAddresses = createReadNodeAddresses(database, { databaseName });
  const resolveNodes = createNodeResolver({ database, clock: deps.clock }, { databaseName });
  const createContext = createContextFactory(
    { records, readNodeAddresses, resolveNodes, clock: deps.clock },
    { staleAfterMs, lookbackMs },
  );
  const readRows = createStateRowReader(database, { databaseName });
  const readNodes = createNodeReader(readRows, { lookbackMs, of: "nodes" });
  const readNodesHealth = createNodeReader(readRows, { lookbackMs, of: "health" });
  const readGpus = createGpuReader(
    {
      readRows: createGpuRowReader(database, { databaseName, lookbackMs }),
      readTargets: createGpuTargetReader({ database, clock: deps.clock }, { databaseName }),
    },
    { lookbackMs },
  );
  const readRestarts = createRestartReader(database, { databaseName, lookbackMs });
  const window = STATE_WINDOW;
  const finite =
    <Request, Answer>(answer: (request: Request) => Promise<Answer>) =>
    async (request: Request): Promise<Answer> =>
      withFiniteNumbers(await answer(request));
  const gpuUsage = createGpuUsage(
    { createContext, database, readDevices: createDeviceReader(database, { databaseName }) },
    { databaseName, lookbackMs, hotCelsius: thresholds.gpuTemperatureCelsius.warning, window: USAGE_WINDOW },
  );
  const listClusters = createClusterList({ database, clock: deps.clock }, { databaseName, staleAfterMs });
  return {
    listClusters,
    gpuUsage: finite(gpuUsage),
    fleetGpuUsage: createFleetUsage({ listClusters, gpuUsage }),
    summary: finite(
      createSummary(
        {
          createContext,
          readRows,
          readHourRows: createHourRowReader(database, { databaseName }),
        },
        { lookbackMs, window: SUMMARY_WINDOW },
      ),
    ),
    health: finite(
      createHealth(
        { createContext, readNodes: readNodesHealth, readGpus, readRestarts },
        { thresholds, staleAfterMs, window },
      ),
    ),
    nodes: finite(createNodes({ createContext, readNodes }, { window })),
    pods: finite(createPods({ createContext, database, readGpus }, { databaseName, lookbackMs, window })),
    gpus: finite(createGpus({ createContext, readGpus }, { window })),
  };
}
