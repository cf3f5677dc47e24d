import { BridgeError } from "#errors/error.ts";
import type { Database } from "./database.ts";

/** How to tell an object of this program from another one of the same name. */
interface Layout {
  /** The end of the engine's name: `ReplicatedReplacingMergeTree` is a ReplacingMergeTree. */
  engine: string;
  /** Columns that it has at least. */
  columns: readonly string[];
  sortingKey?: string;
}

const samplesTable: Layout = {
  engine: "ReplacingMergeTree",
  columns: ["ResourceAttributes", "MetricName", "Attributes", "TimeUnix", "cluster_id", "series_id"],
  sortingKey: "cluster_id, MetricName, toStartOfHour(TimeUnix), series_id, TimeUnix",
};
const samplesView: Layout = {
  engine: "View",
  columns: ["cluster_id", "metric_name", "series_id", "labels", "time"],
};
const rollup: Layout = {
  engine: "ReplacingMergeTree",
  columns: ["series_id", "hour_end", "labels", "count", "last_value", "rolled_at"],
  sortingKey: "cluster_id, metric_name, series_id, hour_end",
};
const hourlyView: Layout = { engine: "View", columns: ["series_id", "hour_end", "labels", "last_value"] };
const seriesColumns = ["cluster_id", "metric_name", "series_id", "day", "kind", "unit", "labels"];
const seriesFilling: Layout = { engine: "MaterializedView", columns: seriesColumns };
const marking: Layout = { engine: "MaterializedView", columns: ["hour_end", "marked_at", "rows"] };

/** The tables that the Collector's exporter inserts into. */
export const SAMPLE_TABLES = [
  "otel_metrics_gauge",
  "otel_metrics_sum",
  "otel_metrics_histogram",
  "otel_metrics_exponential_histogram",
  "otel_metrics_summary",
] as const;

/** Tables with a TTL by `hour_end`. */
export const ROLLUP_TABLES = ["rollup_marks", "rollup_gauge", "rollup_counter"] as const;

/** The table of names and labels, with a TTL by `day`. */
export const SERIES_TABLE = "series";

const LAYOUTS: ReadonlyMap<string, Layout> = new Map([
  ...SAMPLE_TABLES.map((name) => [name, samplesTable] as const),
  ...[
    "samples",
    "samples_gauge",
    "samples_sum",
    "histograms",
    "exponential_histograms",
    "summaries",
    "stale_markers",
  ].map((name) => [name, samplesView] as const),
  ["rollup_gauge", rollup],
  ["rollup_counter", rollup],
  ["rollup_marks_gauge", marking],
  ["rollup_marks_sum", marking],
  [
    SERIES_TABLE,
    {
      engine: "AggregatingMergeTree",
      columns: [...seriesColumns, "description", "resource", "first_time", "last_time"],
      sortingKey: "cluster_id, metric_name, series_id, day, kind, unit",
    },
  ],
  ["series_gauge", seriesFilling],
  ["series_sum", seriesFilling],
  ["series_days", { engine: "ReplacingMergeTree", columns: ["day", "filled_at"], sortingKey: "day" }],
  ["hourly_gauge", hourlyView],
  ["hourly_counter", hourlyView],
  [
    "rollup_marks",
    {
      engine: "AggregatingMergeTree",
      columns: ["hour_end", "marked_at", "rolled_at", "rows"],
      sortingKey: "cluster_id, metric_name, hour_end",
    },
  ],
  [
    "migrations",
    { engine: "ReplacingMergeTree", columns: ["version", "name", "checksum"], sortingKey: "version" },
  ],
]);

/** Every name that the migrations use. The program never looks at other objects of the database. */
export const OBJECTS = [...LAYOUTS.keys()];

/** Written by our own statements on one server, without a cluster_id. */
const OF_ONE_SERVER = new Set(["migrations", "series_days"]);

/** Tables and views whose rows have a cluster_id: those that are read, and those that the Collector inserts into. */
export const CLUSTER_OBJECTS = [...LAYOUTS]
  .filter(([name, { engine }]) => engine !== "MaterializedView" && !OF_ONE_SERVER.has(name))
  .map(([name]) => name);

interface ObjectRow {
  name: string;
  engine: string;
  sorting_key: string;
  columns: string[];
}

/** An object of the migrations, as it is in a database. */
export interface ObjectState {
  name: string;
  kind: "table" | "view";
  state: "ours" | "missing" | "foreign";
  /** The difference of a foreign one. */
  difference?: string;
}

/** Every object of the migrations, in their order. Objects that the user may not see count as missing. */
export async function inspectLayout(
  database: Database,
  databaseName: string,
  signal: AbortSignal,
): Promise<ObjectState[]> {
  const rows = await database.query<ObjectRow>(
    `SELECT t.name AS name, t.engine AS engine, t.sorting_key AS sorting_key, c.columns AS columns
     FROM system.tables AS t
     LEFT JOIN (
       SELECT table, groupArray(name) AS columns FROM system.columns WHERE database = {database:String} GROUP BY table
     ) AS c ON c.table = t.name
     WHERE t.database = {database:String} AND has({names:Array(String)}, t.name) ORDER BY name`,
    { database: databaseName, names: OBJECTS },
    signal,
  );
  const found = new Map(rows.map((row) => [row.name, row]));
  return [...LAYOUTS].map(([name, layout]) => {
    const kind = layout.engine.endsWith("View") ? "view" : "table";
    const row = found.get(name);
    if (!row) return { name, kind, state: "missing" };
    const difference = differenceOf(row, layout);
    return difference === undefined
      ? { name, kind, state: "ours" }
      : { name, kind, state: "foreign", difference };
  });
}

/** Objects of the database that have a name of the migrations but another layout, as `name: why`, by name. */
export async function findForeign(
  database: Database,
  databaseName: string,
  signal: AbortSignal,
): Promise<string[]> {
  const objects = await inspectLayout(database, databaseName, signal);
  return objects
    .flatMap(({ name, difference }) => (difference === undefined ? [] : [`${name}: ${difference}`]))
    .toSorted();
}

function differenceOf(row: ObjectRow, layout: Layout): string | undefined {
  const isOfEngine = row.engine === layout.engine || row.engine === `Replicated${layout.engine}`;
  if (!isOfEngine && row.engine !== `Shared${layout.engine}`) {
    return `its engine is ${row.engine}, not ${layout.engine}`;
  }
  const missing = layout.columns.filter((column) => !row.columns.includes(column));
  if (missing.length > 0) return `it has no column ${missing.join(", ")}`;
  if (layout.sortingKey !== undefined && row.sorting_key !== layout.sortingKey) {
    return `it is sorted by (${row.sorting_key})`;
  }
  return undefined;
}

/** Throws `storage_layout_unknown` naming every object that has a name of the migrations but another layout. */
export async function requireOwnLayout(
  database: Database,
  databaseName: string,
  signal: AbortSignal,
): Promise<void> {
  const foreign = await findForeign(database, databaseName, signal);
  if (foreign.length === 0) return;
  throw new BridgeError(
    "storage_layout_unknown",
    `the database ${databaseName} has tables of another layout: ${foreign.join("; ")}`,
    { details: { tables: foreign } },
  );
}
