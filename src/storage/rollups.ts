import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { planTasks, type BusyHour, type HourTask } from "./hour-tasks.ts";
import { IS_DIRTY, IS_SETTLED, markRolled, repairHours, rollHours, type RollupKind } from "./rollup-sql.ts";
import type { SampleTable } from "./samples-sql.ts";

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

/** So long after the last INSERT its samples are visible everywhere: no INSERT takes longer, and replicas lag behind less. */
export const SETTLE_MS = 600_000;
/** (cluster, hour) pairs between two declarations of what was done. */
const PAGE_MAX = 2000;
/** One query of a reader takes the parts of the tables at slightly different moments: the rows must be there well before the mark that says so. */
export const BEFORE_MARKING_MS = 1000;
const KINDS: readonly RollupKind[] = ["gauge", "counter"];
const TABLES: readonly SampleTable[] = ["gauge", "sum"];

/**
 * Recomputes every settled hour that got samples since it was last computed, and adds the rows that the table `series` lacks for its samples. Call it every few
 * minutes, from any number of processes at once (they do the same work twice, with the same result). Work that was done before an error or an abort is kept.
 *
 * Throws what a Database throws, and the signal's reason.
 */
export async function refreshRollups(database: Database, settings: RefreshSettings): Promise<RefreshResult> {
  const { databaseName, clock, logger, signal, settleMs = SETTLE_MS, rowsMax = 2_000_000 } = settings;
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
        const parameters = { ...toParameters(task, until), slices, slice };
        for (const kind of KINDS) await database.command(rollHours(databaseName, kind), parameters, signal);
        for (const table of TABLES) {
          await database.command(repairHours(databaseName, table), parameters, signal);
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

function toParameters(task: HourTask, until: number): Record<string, string | number> {
  const { cluster, fromMs, toMs } = task;
  return { cluster, from: String(fromMs), to: String(toMs), until: String(until) };
}

export async function readNow(database: Database, signal: AbortSignal): Promise<number> {
  const rows = await database.query<{ now: string }>(
    "SELECT toUnixTimestamp64Milli(now64(3)) AS now",
    {},
    signal,
  );
  return Number(rows[0]?.now);
}

async function readDirty(
  database: Database,
  databaseName: string,
  until: number,
  signal: AbortSignal,
): Promise<BusyHour[]> {
  return await database.query<BusyHour>(
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
