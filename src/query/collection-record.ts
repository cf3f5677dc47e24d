import { BridgeError } from "#errors.ts";
import type { LimitedDatabase } from "./limits.ts";

/** What the last collection of a cluster said about one query of the catalogue. */
export interface QueryRecord {
  query: string;
  /** Everything up to here is stored or named as a gap; ms. */
  watermarkMs: number;
  openGaps: number;
  lostGaps: number;
  samplesRead: number;
  samplesSent: number;
}

/** What ClickHouse knows of the collection of a cluster: the `budcluster_*` rows (collect/report.ts). */
export interface CollectionRecord {
  /** Could the cluster's Prometheus be reached at the last attempt? null: no attempt is on record. */
  up: { value: boolean; atMs: number } | null;
  /** Of the last collection that sent its queries' state; sorted by name. */
  queries: QueryRecord[];
}

const UP = "budcluster_cluster_up";
const WATERMARK = "budcluster_query_watermark_seconds";
const OPEN_GAPS = "budcluster_query_open_gaps";
const LOST_GAPS = "budcluster_query_lost_gaps";
const READ = "budcluster_query_samples_read_total";
const SENT = "budcluster_query_samples_sent_total";

const RECENT_MS = 2 * 3_600_000;
const MARGIN_MS = 60_000;
const ROWS_MAX = 50_000;

interface Row {
  metric_name: string;
  query: string;
  latest: number;
  at_ms: string;
}

export interface CollectionRecords {
  /** The newest record. Throws `cluster_not_found` when there is none, at any time. */
  latest(clusterId: string, nowMs: number, signal: AbortSignal | undefined): Promise<CollectionRecord>;
  /** The queries' records as they were at a time; empty when there is none from the two hours before it. */
  at(clusterId: string, timeMs: number, signal: AbortSignal | undefined): Promise<QueryRecord[]>;
  /** When the first attempt to collect was that is on record. */
  began(clusterId: string, signal: AbortSignal | undefined): Promise<number | undefined>;
}

export function createCollectionRecords(
  database: LimitedDatabase,
  settings: { databaseName: string },
): CollectionRecords {
  const read = (clusterId: string, range: { fromMs: number; toMs: number }, signal?: AbortSignal) =>
    database.query<Row>(
      `SELECT metric_name, labels['query'] AS query, argMax(value, time) AS latest, toUnixTimestamp64Milli(max(time)) AS at_ms
       FROM ${settings.databaseName}.samples
       WHERE cluster_id = {cluster:String} AND metric_name IN {names:Array(String)} AND isFinite(value)
         AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
       GROUP BY metric_name, query LIMIT ${ROWS_MAX}`,
      {
        cluster: clusterId,
        names: [UP, WATERMARK, OPEN_GAPS, LOST_GAPS, READ, SENT],
        from: range.fromMs,
        to: range.toMs,
      },
      signal,
    );

  /** The first or last row of each of the metrics, whenever that was; the earliest of these times. */
  const find = async (
    bound: "min" | "max",
    clusterId: string,
    names: readonly string[],
    signal?: AbortSignal,
  ): Promise<number | undefined> => {
    const rows = await database.query<{ at_ms: string }>(
      `SELECT toUnixTimestamp64Milli(${bound}(time)) AS at_ms FROM ${settings.databaseName}.samples_gauge
       WHERE cluster_id = {cluster:String} AND metric_name IN {names:Array(String)} GROUP BY metric_name`,
      { cluster: clusterId, names },
      signal,
    );
    return rows.length === 0 ? undefined : Math.min(...rows.map((row) => Number(row.at_ms)));
  };

  return {
    latest: async (clusterId, nowMs, signal) => {
      // The bridge's clock may run ahead of this one.
      const toMs = nowMs + RECENT_MS;
      let rows = await read(clusterId, { fromMs: nowMs - RECENT_MS, toMs }, signal);
      if (!rows.some((row) => row.metric_name === WATERMARK)) {
        const olderMs = await find("max", clusterId, [UP, WATERMARK], signal);
        if (olderMs === undefined) {
          throw new BridgeError("cluster_not_found", `nothing is stored of a cluster ${clusterId}`, {
            hint: "Check the id (GET /clusters of the bridge lists them); a new cluster appears with its first collection.",
          });
        }
        rows = await read(clusterId, { fromMs: olderMs - MARGIN_MS, toMs }, signal);
      }
      const up = rows.find((row) => row.metric_name === UP);
      return {
        up: up === undefined ? null : { value: up.latest === 1, atMs: Number(up.at_ms) },
        queries: toQueryRecords(rows),
      };
    },
    at: async (clusterId, timeMs, signal) =>
      toQueryRecords(await read(clusterId, { fromMs: timeMs - RECENT_MS, toMs: timeMs }, signal)),
    began: (clusterId, signal) => find("min", clusterId, [UP], signal),
  };
}

/** The queries of the newest report; one that left the catalogue has only older rows. */
function toQueryRecords(rows: readonly Row[]): QueryRecord[] {
  const reported = rows.filter((row) => row.metric_name === WATERMARK);
  const newestMs = Math.max(...reported.map((row) => Number(row.at_ms)));
  const values = new Map(rows.map((row) => [`${row.metric_name}/${row.query}`, row.latest]));
  return reported
    .filter((row) => Number(row.at_ms) === newestMs)
    .map(({ query, latest }) => ({
      query,
      watermarkMs: Math.round(latest * 1000),
      openGaps: values.get(`${OPEN_GAPS}/${query}`) ?? 0,
      lostGaps: values.get(`${LOST_GAPS}/${query}`) ?? 0,
      samplesRead: values.get(`${READ}/${query}`) ?? 0,
      samplesSent: values.get(`${SENT}/${query}`) ?? 0,
    }))
    .sort((a, b) => (a.query < b.query ? -1 : 1));
}
