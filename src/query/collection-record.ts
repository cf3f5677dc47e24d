import { samplesSource } from "#storage/samples-sql.ts";
import { clusterNotFound, type LimitedDatabase } from "./limits.ts";

/** The last report of a cluster's collection about one query of the catalogue. */
export interface QueryRecord {
  query: string;
  /** Everything up to this time is stored or recorded as a gap; ms. */
  watermarkMs: number;
  openGaps: number;
  lostGaps: number;
  samplesRead: number;
  samplesSent: number;
}

/** What ClickHouse knows of the collection of a cluster: the `budcluster_*` rows (collect/cluster-report.ts). */
export interface CollectionRecord {
  /** Could the cluster's Prometheus be reached at the last attempt? null: no attempt is on record. */
  up: { value: boolean; atMs: number } | null;
  /** Expiry of the first of the credentials that the last attempt used; null: none is known. */
  credentialsExpireMs: number | null;
  /** From the last collection that reported its queries; sorted by name. */
  queries: QueryRecord[];
}

const UP = "budcluster_cluster_up";
const CREDENTIALS_EXPIRY = "budcluster_cluster_credentials_expiry_seconds";
const WATERMARK = "budcluster_query_watermark_seconds";
const OPEN_GAPS = "budcluster_query_open_gaps";
const LOST_GAPS = "budcluster_query_lost_gaps";
const READ = "budcluster_query_samples_read_total";
const SENT = "budcluster_query_samples_sent_total";

const RECENT_MS = 2 * 3_600_000;
/** The first look-up for a report: four collections of 5 minutes. To read two hours of reports costs more than the samples of most answers. */
const NEAR_MS = 20 * 60_000;
const MARGIN_MS = 60_000;
const ROWS_MAX = 50_000;

interface Row {
  metric_name: string;
  query: string;
  /** At the requested time, and the newest; a time of "0": none. */
  base: number;
  base_ms: string;
  latest: number;
  latest_ms: string;
  /** Time of the first after the requested one. */
  next_ms: string;
}

/** The newest record, and beside it the queries' records as they were at a time (empty when there is none from the two hours before that). */
export interface ReadRecords {
  record: CollectionRecord;
  before: QueryRecord[];
  /** `before` is the same for the times fromMs <= t < toMs, unless a report arrives late. */
  beforeHolds: { fromMs: number; toMs: number };
}

export interface CollectionRecords {
  /** The newest record, and those at `baseMs`. Throws `cluster_not_found` when nothing is on record, at any time. */
  read(
    clusterId: string,
    times: { nowMs: number; baseMs: number },
    signal: AbortSignal | undefined,
  ): Promise<ReadRecords>;
  /** Time of the first attempt to collect that is on record; Unix time in ms. */
  firstAttempt(clusterId: string, signal: AbortSignal | undefined): Promise<number | undefined>;
}

export function createCollectionRecords(
  database: LimitedDatabase,
  settings: { databaseName: string },
): CollectionRecords {
  const readRows = (
    clusterId: string,
    times: { sinceMs: number; untilMs: number; baseMs: number; baseSinceMs: number },
    signal: AbortSignal | undefined,
  ) =>
    database.query<Row>(
      `SELECT metric_name, query,
         argMaxIf(value, time, is_base) AS base, toUnixTimestamp64Milli(maxIf(time, is_base)) AS base_ms,
         argMaxIf(value, time, is_recent) AS latest, toUnixTimestamp64Milli(maxIf(time, is_recent)) AS latest_ms,
         toUnixTimestamp64Milli(minIf(time, is_next)) AS next_ms
       FROM (${samplesSource(
         settings.databaseName,
         ["gauge", "sum"],
         `metric_name, labels['query'] AS query, time, value,
           time > fromUnixTimestamp64Milli({since:Int64}) AS is_recent,
           time > fromUnixTimestamp64Milli({base_since:Int64}) AND time <= fromUnixTimestamp64Milli({base:Int64}) AS is_base,
           time > fromUnixTimestamp64Milli({base:Int64}) AND time <= fromUnixTimestamp64Milli({base_until:Int64}) AS is_next`,
         `cluster_id = {cluster:String} AND metric_name IN {names:Array(String)} AND isFinite(value)
           AND (is_base OR is_recent OR is_next) AND time <= fromUnixTimestamp64Milli({until:Int64})`,
       )})
       GROUP BY metric_name, query LIMIT ${ROWS_MAX}`,
      {
        cluster: clusterId,
        names: [UP, CREDENTIALS_EXPIRY, WATERMARK, OPEN_GAPS, LOST_GAPS, READ, SENT],
        base: times.baseMs,
        base_since: times.baseSinceMs,
        base_until: times.baseMs + NEAR_MS,
        since: times.sinceMs,
        until: times.untilMs,
      },
      signal,
    );

  /** The earliest of the times of the first (or last) row of each metric, at any time. */
  const find = async (
    bound: "min" | "max",
    clusterId: string,
    names: readonly string[],
    signal?: AbortSignal,
  ): Promise<number | undefined> => {
    const rows = await database.query<{ at_ms: string }>(
      `SELECT toUnixTimestamp64Milli(${bound}(time)) AS at_ms
       FROM (${samplesSource(
         settings.databaseName,
         ["gauge"],
         "metric_name, time",
         "cluster_id = {cluster:String} AND metric_name IN {names:Array(String)}",
       )})
       GROUP BY metric_name`,
      { cluster: clusterId, names },
      signal,
    );
    return rows.length === 0 ? undefined : Math.min(...rows.map((row) => Number(row.at_ms)));
  };

  return {
    read: async (clusterId, { nowMs, baseMs }, signal) => {
      // The bridge's clock may run ahead of this one.
      const untilMs = nowMs + RECENT_MS;
      const readBack = (backMs: number) => {
        const since = { sinceMs: nowMs - backMs, baseSinceMs: baseMs - backMs };
        return readRows(clusterId, { ...since, untilMs, baseMs }, signal);
      };
      let rows = await readBack(NEAR_MS);
      if (!hasReport(rows, "latest") || !hasReport(rows, "base")) rows = await readBack(RECENT_MS);
      if (!hasReport(rows, "latest")) {
        const olderMs = await find("max", clusterId, [UP, WATERMARK], signal);
        if (olderMs === undefined) {
          throw clusterNotFound(clusterId);
        }
        const since = { sinceMs: olderMs - MARGIN_MS, baseSinceMs: baseMs - RECENT_MS };
        rows = await readRows(clusterId, { ...since, untilMs, baseMs }, signal);
      }
      const latest = toReported(rows, "latest");
      const up = latest.find((row) => row.metric_name === UP);
      // From the same report: replaced credentials may have left an older one.
      const expiry = latest.find((row) => row.metric_name === CREDENTIALS_EXPIRY && row.atMs === up?.atMs);
      return {
        record: {
          up: up === undefined ? null : { value: up.value === 1, atMs: up.atMs },
          credentialsExpireMs: expiry === undefined ? null : expiry.value * 1000,
          queries: toQueryRecords(latest),
        },
        before: toQueryRecords(toReported(rows, "base")),
        beforeHolds: toHolds(rows, baseMs),
      };
    },
    firstAttempt: (clusterId, signal) => find("min", clusterId, [UP], signal),
  };
}

function hasReport(rows: readonly Row[], which: "latest" | "base"): boolean {
  return rows.some((row) => row.metric_name === WATERMARK && row[`${which}_ms`] !== "0");
}

/** From the newest row at `baseMs` up to the next row. */
function toHolds(rows: readonly Row[], baseMs: number): ReadRecords["beforeHolds"] {
  const times = (name: "base_ms" | "next_ms"): number[] =>
    rows.map((row) => Number(row[name])).filter((timeMs) => timeMs !== 0);
  const before = times("base_ms");
  return {
    fromMs: before.length === 0 ? baseMs : Math.max(...before),
    toMs: Math.min(...times("next_ms"), baseMs + NEAR_MS),
  };
}

interface Reported {
  metric_name: string;
  query: string;
  value: number;
  atMs: number;
}

function toReported(rows: readonly Row[], which: "latest" | "base"): Reported[] {
  return rows
    .filter((row) => row[`${which}_ms`] !== "0")
    .map((row) => ({
      metric_name: row.metric_name,
      query: row.query,
      value: row[which],
      atMs: Number(row[`${which}_ms`]),
    }));
}

/** The queries of the newest report. A query that was removed from the catalogue has only older rows. */
function toQueryRecords(rows: readonly Reported[]): QueryRecord[] {
  const reported = rows.filter((row) => row.metric_name === WATERMARK);
  const newestMs = Math.max(...reported.map((row) => row.atMs));
  const values = new Map(rows.map((row) => [`${row.metric_name}/${row.query}`, row.value]));
  return reported
    .filter((row) => row.atMs === newestMs)
    .map(({ query, value }) => ({
      query,
      watermarkMs: Math.round(value * 1000),
      openGaps: values.get(`${OPEN_GAPS}/${query}`) ?? 0,
      lostGaps: values.get(`${LOST_GAPS}/${query}`) ?? 0,
      samplesRead: values.get(`${READ}/${query}`) ?? 0,
      samplesSent: values.get(`${SENT}/${query}`) ?? 0,
    }))
    .sort((a, b) => (a.query < b.query ? -1 : 1));
}
