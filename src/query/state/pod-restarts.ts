import type { LimitedDatabase } from "#query/limits.ts";
import type { StateContext } from "./context.ts";
import { INFO, RESTARTS } from "./pod-series.ts";
import { createPodSql, toPodParameters, toPodSeries, type PodRow } from "./pod-sql.ts";
import { nodeOf, restarts, toMeasures } from "./pod-state.ts";
import { allRows } from "./sql.ts";

/** A Pod whose containers were restarted in the window. */
export interface RestartedPod {
  namespace: string;
  pod: string;
  node: string | null;
  restarts: number;
}

/** The Pods with at least `least` restarts, at most 100, sorted by restarts. */
export type RestartReader = (
  context: StateContext,
  least: number,
  signal: AbortSignal | undefined,
) => Promise<RestartedPod[]>;

export const POD_RESTART_METRICS = [INFO, RESTARTS];
const PODS_MAX = 100;

export function createRestartReader(
  database: LimitedDatabase,
  settings: { databaseName: string; lookbackMs: number },
): RestartReader {
  const sql = createPodSql(settings.databaseName);
  return async ({ clusterId, fromMs, asOfMs }, least, signal) => {
    if (asOfMs === null) return [];
    const window = { clusterId, fromMs, asOfMs };
    const parameters = toPodParameters(POD_RESTART_METRICS, window, settings.lookbackMs);
    const rows = allRows(await database.query<PodRow>(sql.restarted, parameters, signal));
    const times = { windowFromMs: fromMs, sinceMs: asOfMs - settings.lookbackMs };
    return rows
      .map((row) => toMeasures(row.pod_key, toPodSeries(row.series), times))
      .map((pod) => ({
        namespace: pod.key[0],
        pod: pod.key[1],
        node: nodeOf(pod),
        restarts: restarts(pod),
      }))
      .filter((pod) => pod.restarts >= least)
      .sort((a, b) => b.restarts - a.restarts || (a.namespace + a.pod < b.namespace + b.pod ? -1 : 1))
      .slice(0, PODS_MAX);
  };
}
