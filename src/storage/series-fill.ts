import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { HOUR_MS, planTasks, type BusyHour, type HourTask } from "./hour-tasks.ts";
import { BEFORE_MARKING_MS, readNow, SETTLE_MS } from "./rollups.ts";
import type { SampleTable } from "./samples-sql.ts";
import { addMissingSeries } from "./series-sql.ts";
import { readSeriesStart } from "./series.ts";
import { STALE_PREFIX } from "./stale-markers.ts";

export interface FillSettings {
  /** Of letters, digits and _. */
  databaseName: string;
  /** No INSERT takes longer, and replicas lag behind less. Default 10 minutes. */
  settleMs?: number;
  /** Samples that one statement reads, about: bounds its memory. Default 2,000,000. */
  rowsMax?: number;
  /** After so long it begins no other day. */
  budgetMs: number;
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
}

export interface FillResult {
  /** Days that were filled now. */
  days: number;
  /** True: every sample has its row. False: call it again. */
  isComplete: boolean;
}

const VERSION_OF_VIEWS = 5;
/** What readSeriesStart gives when every day is filled. */
const EVERYTHING = 0;
const TABLES: readonly SampleTable[] = ["gauge", "sum"];
/** `from` is part of a day, its end is part of the next one. */
const IN_HOURS = `cluster_id = {cluster:String}
  AND time >= fromUnixTimestamp64Milli({from:Int64}) AND time < fromUnixTimestamp64Milli({to:Int64})`;

const IN_SLICE = "series_id % {slices:UInt32} = {slice:UInt32}";

/**
 * Fills the table `series` for samples that were stored before its views existed: day by day, the newest first. Each day that is done is recorded in `series_days`, so a
 * process that is killed goes on with the day that it was at; several at once do the same work twice, with the same result.
 *
 * Throws what a Database throws, and the signal's reason.
 */
export async function fillSeries(database: Database, settings: FillSettings): Promise<FillResult> {
  const { databaseName, budgetMs, clock, logger, signal } = settings;
  const startedAt = clock.monotonic();
  const start = await readSeriesStart(database, databaseName, signal);
  if (start === EVERYTHING) return { days: 0, isComplete: true };
  if (!(await isSettled(database, settings))) return { days: 0, isComplete: false };
  const missing = (await readDays(database, databaseName, signal)).filter((day) => day < (start ?? Infinity));
  let days = 0;
  for (const day of missing) {
    if (clock.monotonic() - startedAt >= budgetMs) return { days, isComplete: false };
    await fillDay(database, settings, day);
    await recordDay(database, settings, day);
    days++;
    const date = new Date(day).toISOString().slice(0, 10);
    logger.info({ day: date, days_left: missing.length - days }, "filled the table series for a day");
  }
  await recordDay(database, settings, EVERYTHING);
  logger.info({ days }, "the table series has every stored sample's series");
  return { days, isComplete: true };
}

/** Have all INSERTs ended that began before the views existed? */
async function isSettled(database: Database, settings: FillSettings): Promise<boolean> {
  const { databaseName, settleMs = SETTLE_MS, signal } = settings;
  const [row] = await database.query<{ made: string }>(
    `SELECT toUnixTimestamp64Milli(max(applied_at)) AS made FROM ${databaseName}.migrations WHERE version = ${VERSION_OF_VIEWS} HAVING count() > 0`,
    {},
    signal,
  );
  return row !== undefined && Number(row.made) <= (await readNow(database, signal)) - settleMs;
}

/** Starts of the days with samples, Unix ms, the newest first. */
async function readDays(database: Database, databaseName: string, signal: AbortSignal): Promise<number[]> {
  // Grouped by the key of the partitions, ClickHouse reads no rows.
  const days = TABLES.map(
    (table) => `SELECT toDate(TimeUnix) AS day FROM ${databaseName}.otel_metrics_${table} GROUP BY day`,
  );
  const rows = await database.query<{ start: number }>(
    `SELECT DISTINCT toUnixTimestamp(toDateTime(day, 'UTC')) AS start FROM (${days.join(" UNION ALL ")}) ORDER BY start DESC`,
    {},
    signal,
  );
  return rows.map((row) => row.start * 1000);
}

async function fillDay(database: Database, settings: FillSettings, day: number): Promise<void> {
  const { databaseName, rowsMax = 2_000_000, signal } = settings;
  for (const table of TABLES) {
    const hours = await database.query<BusyHour>(
      `SELECT cluster_id, toUnixTimestamp(toStartOfHour(TimeUnix)) + ${HOUR_MS / 1000} AS hour_end, count() AS rows
       FROM ${databaseName}.otel_metrics_${table}
       WHERE cluster_id != '' AND NOT startsWith(cluster_id, '${STALE_PREFIX}') AND toDate(TimeUnix) = toDate(fromUnixTimestamp64Milli({day:Int64}, 'UTC'))
       GROUP BY cluster_id, hour_end ORDER BY cluster_id, hour_end`,
      { day: String(day) },
      signal,
    );
    for (const task of planTasks(hours, rowsMax)) await fillHours(database, settings, table, task);
  }
}

async function fillHours(
  database: Database,
  { databaseName, rowsMax = 2_000_000, signal }: FillSettings,
  table: SampleTable,
  { cluster, fromMs, toMs, rows }: HourTask,
): Promise<void> {
  const slices = Math.max(1, Math.ceil(rows / rowsMax));
  for (let slice = 0; slice < slices; slice++) {
    const parameters = { cluster, from: String(fromMs), to: String(toMs), slices, slice };
    await database.command(addMissingSeries(databaseName, table, IN_HOURS, IN_SLICE), parameters, signal);
  }
}

async function recordDay(database: Database, settings: FillSettings, day: number): Promise<void> {
  const { databaseName, clock, signal } = settings;
  await clock.sleep(BEFORE_MARKING_MS, signal);
  await database.command(
    `INSERT INTO ${databaseName}.series_days (day) SELECT toDate(fromUnixTimestamp64Milli({day:Int64}, 'UTC'))`,
    { day: String(day) },
    signal,
  );
}
