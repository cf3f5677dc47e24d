import type { Database } from "./database.ts";
import { ROLLUP_TABLES, SAMPLE_TABLES, SERIES_TABLE } from "./layout.ts";
import type { TemplateValues } from "./migration-parameters.ts";

export interface TableRetention {
  table: string;
  /** Undefined when its TTL was removed or is not a number of days any more. */
  days?: number;
  /** As configured for the table's family: samples, roll-ups or series. */
  wantedDays: number;
}

/** The retention of those of our tables that exist, beside that of `values`. */
export async function readRetention(
  database: Database,
  values: TemplateValues,
  signal: AbortSignal,
): Promise<TableRetention[]> {
  const rows = await database.query<{ name: string; engine_full: string }>(
    `SELECT name, engine_full FROM system.tables
     WHERE database = {database:String} AND has({names:Array(String)}, name) ORDER BY name`,
    { database: values.db, names: [...SAMPLE_TABLES, ...ROLLUP_TABLES, SERIES_TABLE] },
    signal,
  );
  return rows.map(({ name, engine_full }) => {
    const days = /\bTTL [^ ,]+(?: \+ toIntervalDay\(1\)\))? \+ toIntervalDay\((\d+)\)(?= SETTINGS|$)/.exec(
      engine_full,
    )?.[1];
    const wantedDays = Number(wantedOf(name, values));
    return days === undefined ? { table: name, wantedDays } : { table: name, days: Number(days), wantedDays };
  });
}

/**
 * The statements that give tables that have another retention the one that is wanted. Stored rows get their new date by a mutation in
 * the background, which reads times only and rewrites nothing; parts that are over it are dropped after that.
 */
export function planRetention(tables: readonly TableRetention[], values: TemplateValues): string[] {
  return tables
    .filter(({ days, wantedDays }) => days !== wantedDays)
    .flatMap(({ table, wantedDays }) => {
      const time = timeOf(table);
      const alter = `ALTER TABLE ${values.db}.${table} ${values.on_cluster}`.trimEnd();
      return [
        `${alter} MODIFY SETTING materialize_ttl_recalculate_only = 1`,
        `${alter} MODIFY TTL ${time} + INTERVAL ${wantedDays} DAY SETTINGS materialize_ttl_after_modify = 1`,
      ];
    });
}

function wantedOf(table: string, values: TemplateValues): string {
  if (table === SERIES_TABLE) return values.series_ttl_days;
  return table.startsWith("otel_metrics_") ? values.ttl_days : values.rollup_ttl_days;
}

/** From when on the retention of a row counts. A day's row of a series must be there as long as any sample of that day. */
function timeOf(table: string): string {
  if (table === SERIES_TABLE) return "(day + INTERVAL 1 DAY)";
  return table.startsWith("otel_metrics_") ? "toDateTime(TimeUnix)" : "hour_end";
}
