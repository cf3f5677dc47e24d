import type { Clock } from "#lib/clock.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import type { IsInSeriesTable } from "#query/series/series-table.ts";
import { STALE_PREFIX } from "#storage/stale-markers.ts";
import type { StoredCluster } from "./cluster-labels.ts";

/** All clusters with samples, by id. What is there is remembered for ten seconds. */
export type ReadClusters = (signal: AbortSignal) => Promise<readonly StoredCluster[]>;

const AGE_MS_MAX = 10_000;
/** Of these, `series` has few rows; a cluster that the bridge collects has the first one. */
const REPORT = "budcluster_cluster_up";

interface Row {
  cluster_id: string;
  name: string;
}

export function createReadClusters(
  deps: { database: LimitedDatabase; isInSeriesTable: IsInSeriesTable; clock: Clock },
  { databaseName }: { databaseName: string },
): ReadClusters {
  const { database, clock } = deps;
  let known: { clusters: readonly StoredCluster[]; readAtMs: number } | undefined;

  const read = async (signal: AbortSignal): Promise<readonly StoredCluster[]> => {
    const named = (where: string): string =>
      `SELECT cluster_id, argMax(resource['cluster_name'], last_time) AS name FROM ${databaseName}.series WHERE ${where} GROUP BY cluster_id`;
    const [ids, reported] = await Promise.all([
      database.query<Row>(await toIdsSql(signal), {}, signal),
      database.query<Row>(named(`metric_name = '${REPORT}'`), {}, signal),
    ]);
    const names = new Map(reported.map(({ cluster_id, name }) => [cluster_id, name]));
    const others = ids.filter(({ cluster_id }) => !names.has(cluster_id)).map(({ cluster_id }) => cluster_id);
    if (others.length > 0) {
      const rows = await database.query<Row>(
        named("cluster_id IN {ids:Array(String)}"),
        { ids: others },
        signal,
      );
      for (const { cluster_id, name } of rows) names.set(cluster_id, name);
    }
    return ids
      .map(({ cluster_id }) => ({ id: cluster_id, name: names.get(cluster_id) || cluster_id }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  };

  const toIdsSql = async (signal: AbortSignal): Promise<string> => {
    if (await deps.isInSeriesTable(0, signal))
      return `SELECT DISTINCT toString(cluster_id) AS cluster_id FROM ${databaseName}.series`;
    const samples = ["gauge", "sum"].map(
      (
        table,
      ) => `SELECT DISTINCT toString(cluster_id) AS cluster_id FROM ${databaseName}.otel_metrics_${table}
        WHERE cluster_id != '' AND NOT startsWith(cluster_id, '${STALE_PREFIX}')`,
    );
    return samples.join(" UNION DISTINCT ");
  };

  return async (signal) => {
    const nowMs = clock.monotonic();
    if (known === undefined || nowMs - known.readAtMs > AGE_MS_MAX)
      known = { clusters: await read(signal), readAtMs: nowMs };
    return known.clusters;
  };
}
