import { ERRORS, type ErrorCode } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import {
  createTally,
  SAMPLE_COUNTS,
  type CompletenessSummary,
  type SampleCount,
  type StretchReport,
} from "#lib/completeness.ts";
import { reasonOfNumber, stateOfNumber } from "#lib/stretch-states.ts";
import type { Database } from "#storage/database.ts";
import { samplesSource } from "#storage/samples-sql.ts";
import { createCollectionRecords } from "./collection-record.ts";
import {
  checkClusterId,
  limitDatabase,
  refuseSize,
  type LimitedDatabase,
  type QueryLimits,
  clusterNotFound,
} from "./limits.ts";
import { checkRange, RANGE_FIELDS, type TimeRange } from "./range.ts";

interface ClusterCompletenessRequest {
  clusterId: string;
  fromMs?: number | undefined;
  toMs?: number | undefined;
  /** Only this query. */
  query?: string | undefined;
  signal: AbortSignal;
}

/** What the bridge reported of a cluster's completeness (collect/completeness-report.ts). */
export interface ClusterCompletenessAnswer extends CompletenessSummary, TimeRange {
  clusterId: string;
  /** When the bridge reported last, ms; null: never. */
  reportedAtMs: number | null;
  /** null: not reported. */
  stretchSeconds: number | null;
  /** The error of the last collection that was reported. */
  lastError: { code: ErrorCode; cause: string; hint: string; atMs: number } | null;
  sources: { pod: string; transport: string }[];
  gaps: { query: string; state: string; reason: string; seconds: number }[];
  /** The oldest first. */
  stretches: StretchReport[];
}

/**
 * Throws BridgeError `request_invalid` (with the field), `cluster_not_found`, `query_too_large`, `query_timeout`, and what a Database throws.
 */
export type ReadClusterCompleteness = (
  request: ClusterCompletenessRequest,
) => Promise<ClusterCompletenessAnswer>;

const DAY_MS = 86_400_000;
const RANGE_MS_MAX = 31 * DAY_MS;
const STRETCHES_MAX = 10_000;
const ROWS_MAX = 5000;

const LENGTH = "budcluster_stretch_length_seconds";
const ERROR = "budcluster_cluster_error";
const SOURCE = "budcluster_cluster_source";
const GAP = "budcluster_query_gap";
const STATE = "budcluster_stretch_state";
const REASON = "budcluster_stretch_reason";
const SAMPLES = "budcluster_stretch_samples";
const COMPARED = "budcluster_stretch_compared_seconds";

export function createReadClusterCompleteness(
  deps: { database: Database; clock: Clock },
  settings: { databaseName: string; limits: QueryLimits },
): ReadClusterCompleteness {
  const { databaseName, limits } = settings;
  const database = limitDatabase(deps.database, limits);
  const records = createCollectionRecords(database, { databaseName });
  const rangeMsMax = Math.min(RANGE_MS_MAX, limits.rangeMaxMs);
  return async ({ clusterId, query, signal, ...requested }) => {
    checkClusterId(clusterId);
    const nowMs = deps.clock.now();
    const { toMs = nowMs } = requested;
    const range = { fromMs: requested.fromMs ?? toMs - DAY_MS, toMs };
    checkRange(range, RANGE_FIELDS, nowMs, rangeMsMax);
    const parts = { database, databaseName, clusterId, signal };
    const [first, report, lastError] = await Promise.all([
      records.firstAttempt(clusterId, signal),
      readReport(parts),
      readLastError(parts),
    ]);
    if (first === undefined) {
      throw clusterNotFound(clusterId);
    }
    const stretches = report ? await readStretches(parts, range, { ...report, query }) : [];
    const tally = createTally({ from: range.fromMs, to: range.toMs });
    tally.add(stretches);
    return {
      clusterId,
      ...range,
      reportedAtMs: report?.atMs ?? null,
      stretchSeconds: report?.stretchSeconds ?? null,
      ...tally.summary(),
      lastError,
      sources: report?.sources ?? [],
      gaps: report?.gaps ?? [],
      stretches,
    };
  };
}

interface Parts {
  database: LimitedDatabase;
  databaseName: string;
  clusterId: string;
  signal: AbortSignal;
}

interface Report extends Pick<ClusterCompletenessAnswer, "sources" | "gaps"> {
  atMs: number;
  stretchSeconds: number;
}

interface ReportRow {
  metric_name: string;
  labels: Record<string, string>;
  value: number;
  at_ms: string;
}

const inCluster = "cluster_id = {cluster:String} AND metric_name";

/** The newest report. Its samples have one time. */
async function readReport({ database, databaseName, clusterId, signal }: Parts): Promise<Report | undefined> {
  const newest = samplesSource(databaseName, ["gauge"], "time", `${inCluster} = {length:String}`);
  const rows = await database.query<ReportRow>(
    `SELECT metric_name, labels, value, toUnixTimestamp64Milli(time) AS at_ms
     FROM (${samplesSource(
       databaseName,
       ["gauge"],
       "metric_name, labels, value, time",
       `${inCluster} IN {names:Array(String)} AND time = (SELECT max(time) FROM (${newest}))`,
     )})
     ORDER BY metric_name, value DESC LIMIT ${ROWS_MAX}`,
    { cluster: clusterId, length: LENGTH, names: [LENGTH, SOURCE, GAP] },
    signal,
  );
  const length = rows.find((row) => row.metric_name === LENGTH);
  if (!length) return undefined;
  const of = (metric: string): ReportRow[] => rows.filter((row) => row.metric_name === metric);
  return {
    atMs: Number(length.at_ms),
    stretchSeconds: length.value,
    sources: of(SOURCE).map(({ labels }) => ({
      pod: labels["pod"] ?? "",
      transport: labels["transport"] ?? "",
    })),
    gaps: of(GAP).map(({ labels, value }) => ({
      query: labels["query"] ?? "",
      state: labels["state"] ?? "",
      reason: labels["reason"] ?? "",
      seconds: value,
    })),
  };
}

/** The newest error that was not reported as over since. */
async function readLastError({
  database,
  databaseName,
  clusterId,
  signal,
}: Parts): Promise<ClusterCompletenessAnswer["lastError"]> {
  const rows = await database.query<{ code: string; at_ms: string }>(
    `SELECT code, toUnixTimestamp64Milli(max(time)) AS at_ms
     FROM (${samplesSource(
       databaseName,
       ["gauge"],
       "labels['code'] AS code, time, value",
       `${inCluster} = {error:String}`,
     )})
     GROUP BY code HAVING argMax(value, time) = 1 ORDER BY at_ms DESC LIMIT 1`,
    { cluster: clusterId, error: ERROR },
    signal,
  );
  const [row] = rows;
  // A code of a newer bridge is unknown here.
  if (!row || !Object.hasOwn(ERRORS, row.code)) return null;
  const code = row.code as ErrorCode;
  const { cause, remedy } = ERRORS[code];
  return { code, cause, hint: remedy, atMs: Number(row.at_ms) };
}

interface StretchRow extends Record<SampleCount, number | null> {
  query: string;
  end_ms: string;
  state: number | null;
  reason: number | null;
  compared: number | null;
}

async function readStretches(
  { database, databaseName, clusterId, signal }: Parts,
  { fromMs, toMs }: TimeRange,
  { stretchSeconds, query }: { stretchSeconds: number; query: string | undefined },
): Promise<StretchReport[]> {
  const lengthMs = stretchSeconds * 1000;
  const known = (metric: string, more = ""): string =>
    `anyIfOrNull(value, metric_name = '${metric}'${more} AND isFinite(value))`;
  const counts = SAMPLE_COUNTS.map((name) => `${known(SAMPLES, ` AND sample_count = '${name}'`)} AS ${name}`);
  const rows = await database.query<StretchRow>(
    `SELECT query, toUnixTimestamp64Milli(time) AS end_ms, ${known(STATE)} AS state, ${known(REASON)} AS reason,
       ${known(COMPARED)} AS compared, ${counts.join(", ")}
     FROM (${samplesSource(
       databaseName,
       ["gauge"],
       "metric_name, labels['query'] AS query, labels['count'] AS sample_count, time, value",
       `${inCluster} IN {names:Array(String)} AND labels['stretch_seconds'] = {length:String}
         AND time > fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})
         ${query === undefined ? "" : "AND query = {query:String}"}`,
     )})
     GROUP BY query, time ORDER BY time, query LIMIT ${STRETCHES_MAX + 1}`,
    {
      cluster: clusterId,
      names: [STATE, REASON, SAMPLES, COMPARED],
      length: String(stretchSeconds),
      from: fromMs,
      to: toMs + lengthMs,
      ...(query === undefined ? {} : { query }),
    },
    signal,
  );
  if (rows.length > STRETCHES_MAX) {
    throw refuseSize(
      "stretches",
      `from: the range has more than ${STRETCHES_MAX} stretches of queries`,
      "Send a later from, an earlier to, or the name of one query.",
    );
  }
  return rows.map((row) => toReport(row, lengthMs));
}

function toReport(row: StretchRow, lengthMs: number): StretchReport {
  const { query, end_ms, state, reason, compared, source, read, acknowledged, refused, late } = row;
  const to = Number(end_ms);
  return {
    query,
    from: to - lengthMs,
    to,
    state: stateOfNumber(state),
    reason: reasonOfNumber(reason),
    source,
    read,
    acknowledged,
    refused,
    late,
    comparedAt: compared === null ? null : Math.round(compared * 1000),
  };
}
