import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { IS_DIRTY, IS_SETTLED, markRolled, rollHours, type RollupKind } from "./rollup-sql.ts";

export interface RefreshSettings {
  /** Of letters, digits and _. */
  databaseName: string;
  /**
   * An hour is rolled up when nothing was inserted into it for so long. Must be longer than any INSERT takes and than replicas lag behind: a
   * mark may be visible before its samples. Default 10 minutes.
   */
  settleMs?: number;
  /** Samples that one statement computes from, about: bounds the memory (some 50 bytes each). Default 2,000,000. */
  rowsMax?: number;
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
}

export interface RefreshResult {
  /** (cluster, hour) pairs that were recomputed. */
  hours: number;
  durationMs: number;
}

/** The work of one statement: consecutive hours of a cluster. */
interface RollTask {
  cluster: string;
  fromMs: number;
  toMs: number;
  rows: number;
}

const HOUR_MS = 3_600_000;
const TASK_HOURS_MAX = 24;
/** (cluster, hour) pairs between two declarations of what was done. */
const PAGE_MAX = 2000;
/** One query of a reader takes the parts of the tables at slightly different moments: the rows must be there well before the mark that says so. */
const BEFORE_MARKING_MS = 1000;
const KINDS: readonly RollupKind[] = ["gauge", "counter"];

/**
 * Recomputes every settled hour that got samples since it was last computed. Call it every few minutes, from any number of processes at once
 * (they do the same work twice, with the same result). Work that was done before an error or an abort is kept.
 *
 * Throws what a Database throws, and the signal's reason.
 */
export async function refreshRollups(database: Database, settings: RefreshSettings): Promise<RefreshResult> {
  const { databaseName, clock, logger, signal, settleMs = 600_000, rowsMax = 2_000_000 } = settings;
  const startedAt = clock.monotonic();
  const until = (await readNow(database, signal)) - settleMs;
  let hours = 0;
  for (;;) {
    const page = await readDirty(database, databaseName, until, signal);
    if (page.length === 0) break;
    const tasks = planTasks(page, rowsMax);
    for (const task of tasks) {
      const slices = Math.max(1, Math.ceil(task.rows / rowsMax));
      for (let slice = 0; slice < slices; slice++) {
        for (const kind of KINDS) {
          const parameters = { ...toParameters(task, until), slices, slice };
          await database.command(rollHours(databaseName, kind), parameters, signal);
        }
      }
    }
    await clock.sleep(BEFORE_MARKING_MS, signal);
    for (const task of tasks) {
      await database.command(markRolled(databaseName), toParameters(task, until), signal);
    }
    hours += page.length;
    logger.debug({ hours: page.length, statements: tasks.length }, "rolled up hours");
    if (page.length < PAGE_MAX) break;
  }
  return { hours, durationMs: Math.round(clock.monotonic() - startedAt) };
}

function toParameters(task: RollTask, until: number): Record<string, string | number> {
  const { cluster, fromMs, toMs } = task;
  return { cluster, from: String(fromMs), to: String(toMs), until: String(until) };
}

async function readNow(database: Database, signal: AbortSignal): Promise<number> {
  const rows = await database.query<{ now: string }>(
    "SELECT toUnixTimestamp64Milli(now64(3)) AS now",
    {},
    signal,
  );
  return Number(rows[0]?.now);
}

interface DirtyHour {
  cluster_id: string;
  /** Unix time of the hour's end, s. */
  hour_end: number;
  rows: string;
}

async function readDirty(
  database: Database,
  databaseName: string,
  until: number,
  signal: AbortSignal,
): Promise<DirtyHour[]> {
  return await database.query<DirtyHour>(
    `SELECT cluster_id, toUnixTimestamp(hour_end) AS hour_end, sum(inserted) AS rows
     FROM (
       SELECT cluster_id, metric_name, hour_end, sum(rows) AS inserted FROM ${databaseName}.rollup_marks
       GROUP BY cluster_id, metric_name, hour_end HAVING ${IS_DIRTY} AND ${IS_SETTLED}
     )
     GROUP BY cluster_id, hour_end ORDER BY cluster_id, hour_end LIMIT ${PAGE_MAX}
     SETTINGS optimize_aggregation_in_order = 1`,
    { until: String(until) },
    signal,
  );
}

/** Hours of one cluster go together while they are of one day and few rows. */
function planTasks(hours: readonly DirtyHour[], rowsMax: number): RollTask[] {
  const tasks: RollTask[] = [];
  for (const hour of hours) {
    const toMs = hour.hour_end * 1000;
    const rows = Number(hour.rows);
    const last = tasks.at(-1);
    const joins =
      last !== undefined &&
      last.cluster === hour.cluster_id &&
      toMs - last.fromMs <= TASK_HOURS_MAX * HOUR_MS &&
      last.rows + rows <= rowsMax;
    if (joins) {
      last.toMs = toMs;
      last.rows += rows;
    } else tasks.push({ cluster: hour.cluster_id, fromMs: toMs - HOUR_MS, toMs, rows });
  }
  return tasks;
}
