import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import { SAMPLE_TABLES } from "#storage/layout.ts";
import { IS_DIRTY } from "#storage/rollup-sql.ts";
import { SETTLE_MS } from "#storage/rollups.ts";
import { readSeriesStart } from "#storage/series.ts";
import { passed, warning, type Step, type StepRunner } from "./step-runner.ts";

export interface FreshnessSettings {
  databaseName: string;
  staleAfterMs: number;
  rollupIntervalMs: number;
}

/** Intervals that a roll-up may be late. */
const INTERVALS_LATE_MAX = 3;

/** How old the newest sample is, how long hours wait to be rolled up, and from which day on the table series is complete. */
export function freshnessSteps(
  runner: StepRunner,
  { database, clock }: { database: Database; clock: Clock },
  settings: FreshnessSettings,
  exists: Step<undefined>,
): void {
  runner.step("newest_sample", "Samples arrive", [exists], async (signal) => {
    const newest = await readNewest(database, settings.databaseName, signal);
    if (newest === 0) {
      const hint =
        "Nothing is stored yet: look at GET /metrics/status of the bridge, and diagnose a cluster.";
      return warning(undefined, "there is no sample", { hint });
    }
    const ageMs = clock.now() - newest;
    const details = { newest: new Date(newest).toISOString(), age_seconds: Math.round(ageMs / 1000) };
    const text = `the newest is ${inWords(ageMs)} old`;
    if (ageMs <= settings.staleAfterMs) return passed(undefined, text, details);
    const hint =
      "Look at GET /metrics/status of the bridge: is it running, and does the Collector take its data?";
    return warning(undefined, text, { hint, details });
  });
  runner.step("rollups", "Hours are rolled up", [exists], async (signal) => {
    const { hours, lagMs } = await readWaiting(database, settings.databaseName, signal);
    const details = { waiting_hours: hours, lag_seconds: Math.round(lagMs / 1000) };
    if (hours === 0) return passed(undefined, "none waits", details);
    const text = `${hours} hours of metrics wait, the longest for ${inWords(lagMs)}`;
    if (lagMs <= INTERVALS_LATE_MAX * settings.rollupIntervalMs) return passed(undefined, text, details);
    const hint =
      "The roles query and all-in-one roll up every ROLLUP_INTERVAL; their log says what fails. Answers stay right, but long ranges are slow.";
    return warning(undefined, text, { hint, details });
  });
  runner.step("series", "The table series is complete", [exists], async (signal) => {
    const start = await readSeriesStart(database, settings.databaseName, signal);
    if (start === 0) return passed(undefined, "it has every day");
    const text = start === undefined ? "no day is filled" : `it is from ${toDate(start)} on`;
    const hint =
      "The roles query and all-in-one fill it, beginning 10 minutes after the migration; their log says which days are done. Answers stay right, but are slower.";
    return warning(undefined, text, { hint });
  });
}

const toDate = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** Ms since the epoch; 0 when there is none. The partitions know it: no sample is read. */
async function readNewest(database: Database, databaseName: string, signal: AbortSignal): Promise<number> {
  const each = SAMPLE_TABLES.map(
    (table) => `SELECT toUnixTimestamp64Milli(max(TimeUnix)) AS ms FROM ${databaseName}.${table}`,
  );
  const sql = `SELECT max(ms) AS ms FROM (${each.join(" UNION ALL ")})`;
  const rows = await database.query<{ ms: string }>(sql, {}, signal);
  return Math.max(0, Number(rows[0]?.ms ?? 0));
}

/** Hours that could be rolled up and are not, and how long the longest of them could have been. */
async function readWaiting(
  database: Database,
  databaseName: string,
  signal: AbortSignal,
): Promise<{ hours: number; lagMs: number }> {
  const rows = await database.query<{ hours: string; lag: string }>(
    `SELECT count() AS hours, max(now_ms - marked_ms) AS lag FROM (
       SELECT toUnixTimestamp64Milli(now64(3)) AS now_ms, toUnixTimestamp64Milli(max(marked_at)) AS marked_ms
       FROM ${databaseName}.rollup_marks GROUP BY cluster_id, metric_name, hour_end
       HAVING ${IS_DIRTY} AND now_ms - marked_ms > {settle:Int64}
     )`,
    { settle: String(SETTLE_MS) },
    signal,
  );
  const hours = Number(rows[0]?.hours ?? 0);
  return { hours, lagMs: hours === 0 ? 0 : Math.max(0, Number(rows[0]?.lag) - SETTLE_MS) };
}

function inWords(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}
