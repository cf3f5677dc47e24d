import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import type { MetricType } from "./aggregations.ts";
import { createReadCompleteness, type Completeness } from "#query/completeness.ts";
import { NODE_NAME } from "#query/node-addresses.ts";
import { checkRange, RANGE_FIELDS, toTimestamp } from "#query/range.ts";
import {
  checkClusterId,
  limitDatabase,
  refuseSize,
  type LimitedDatabase,
  type QueryLimits,
} from "#query/limits.ts";
import { createReadLatest, type ReadLatest } from "./latest.ts";
import { createIsInSeriesTable } from "./series-table.ts";
import { createReadSeriesNodes, type SeriesNodes } from "./node-names.ts";
import { toLabelsStatement, type Scope, type Statement } from "./series-sql.ts";
import { assertCluster, assertMetric, checkMetricName } from "./stored-metrics.ts";
import { createReadTableMetrics, toTableLabels, type MetricRow } from "./table-lookup.ts";

const METRICS_MAX = 10_000;
const LABEL_VALUES_MAX = 100;

/** Ends that are left out: the last 24 hours. Unix time in ms. */
interface LookupRange {
  fromMs?: number;
  toMs?: number;
  signal?: AbortSignal;
}

export interface MetricsAnswer {
  cluster_id: string;
  start_time: string;
  end_time: string;
  /** Time of the newest sample of all; null when there is none in the range. */
  as_of: string | null;
  /** Up to the range's end or the collection's watermark, whichever is earlier; null: nothing is on record about the collection. */
  completeness: Completeness | null;
  /** Sorted by name. */
  metrics: {
    metric_name: string;
    type: MetricType;
    unit: string;
    series: number;
    first_sample: string;
    last_sample: string;
  }[];
}

export interface LabelsAnswer {
  cluster_id: string;
  metric_name: string;
  start_time: string;
  end_time: string;
  /** Up to the range's end or the collection's watermark, whichever is earlier; null: nothing is on record about the collection. */
  completeness: Completeness | null;
  series: number;
  /**
   * Sorted by name; of more values only the first 100 in order. `series` is how many have the label. `k8s.node.name` is among them where the nodes of the series
   * are known.
   */
  labels: { label: string; series: number; values_total: number; values: string[] }[];
}

/** What is stored of a cluster. Throws as SeriesQuery does. */
export interface MetricLookup {
  latest: ReadLatest;
  metrics: (request: LookupRange & { clusterId: string }) => Promise<MetricsAnswer>;
  labels: (request: LookupRange & { clusterId: string; metric: string }) => Promise<LabelsAnswer>;
}

interface LabelRow {
  label: string;
  series: string;
  values_total: string;
  first_values: string[];
  all_series: string;
}

const DAY_MS = 86_400_000;

export function createMetricLookup(
  deps: { database: Database; clock: Clock },
  settings: { databaseName: string; limits: QueryLimits; staleAfterMs: number },
): MetricLookup {
  const { databaseName, limits } = settings;
  const { clock } = deps;
  const database = limitDatabase(deps.database, limits);
  const readCompleteness = createReadCompleteness({ database, clock }, settings);
  const isInSeriesTable = createIsInSeriesTable({ database, clock }, settings);
  const readNodes = createReadSeriesNodes({ database, clock }, settings);
  const readTableMetrics = createReadTableMetrics({ database, isInSeriesTable }, settings);
  const toRange = (request: LookupRange): { fromMs: number; toMs: number } => {
    const nowMs = clock.now();
    const toMs = request.toMs ?? nowMs;
    const fromMs = request.fromMs ?? toMs - DAY_MS;
    checkRange({ fromMs, toMs }, RANGE_FIELDS, nowMs, limits.rangeMaxMs);
    return { fromMs, toMs };
  };

  return {
    latest: createReadLatest({ database, clock, isInSeriesTable }, settings),
    metrics: async (request) => {
      const { clusterId, signal } = request;
      checkClusterId(clusterId);
      const range = toRange(request);
      const { completeness } = await readCompleteness({ clusterId, ...range, signal });
      const scope = { clusterId, ...range };
      const known = await readTableMetrics(scope, METRICS_MAX + 1, signal);
      const rows = known ?? (await readMetrics(database, databaseName, scope, signal));
      if (rows.length > METRICS_MAX) {
        throw refuseSize("metrics", `more than ${METRICS_MAX} metrics`, "Ask for a shorter range.");
      }
      const newestMs = Math.max(...rows.map((row) => Number(row.last_ms)));
      return {
        cluster_id: clusterId,
        start_time: toTimestamp(range.fromMs),
        end_time: toTimestamp(range.toMs),
        as_of: rows.length === 0 ? null : toTimestamp(newestMs),
        completeness,
        metrics: rows.map((row) => ({
          metric_name: row.metric_name,
          type: row.newest.kind,
          unit: row.newest.unit,
          series: Number(row.series),
          first_sample: toTimestamp(Number(row.first_ms)),
          last_sample: toTimestamp(Number(row.last_ms)),
        })),
      };
    },
    labels: async (request) => {
      const { clusterId, metric, signal } = request;
      checkClusterId(clusterId);
      checkMetricName(metric, "metric");
      const range = toRange(request);
      const scope = { clusterId, metric, ...range };
      const { completeness } = await readCompleteness({ ...scope, signal });
      const known = await isInSeriesTable(range.fromMs, signal);
      const { rows, labels } = await readLabels(database, databaseName, scope, known, signal);
      const nodes = await readNodes(scope, labels, signal);
      return {
        cluster_id: clusterId,
        metric_name: metric,
        start_time: toTimestamp(range.fromMs),
        end_time: toTimestamp(range.toMs),
        completeness,
        series: Number(rows[0]?.all_series ?? 0),
        labels: withNodeLabel(rows.map(toLabel), nodes),
      };
    },
  };
}

function toLabel(row: LabelRow): LabelsAnswer["labels"][number] {
  return {
    label: row.label,
    series: Number(row.series),
    values_total: Number(row.values_total),
    values: row.first_values,
  };
}

/** A series without labels has a row of an empty name, which is left out. */
function withNodeLabel(
  labels: LabelsAnswer["labels"],
  { found, own }: SeriesNodes = { found: new Map(), own: [] },
): LabelsAnswer["labels"] {
  const named = labels.filter(({ label }) => label !== "");
  if (found.size === 0) return named;
  const names = [...found.values(), ...own];
  const values = [...new Set(names)].sort();
  const node = {
    label: NODE_NAME,
    series: names.length,
    values_total: values.length,
    values: values.slice(0, LABEL_VALUES_MAX),
  };
  return [...named.filter(({ label }) => label !== NODE_NAME), node].sort((a, b) =>
    a.label < b.label ? -1 : 1,
  );
}

/** The metrics of every sample. Throws `cluster_not_found` when nothing of the cluster is stored. */
async function readMetrics(
  database: LimitedDatabase,
  databaseName: string,
  { clusterId, fromMs, toMs }: { clusterId: string; fromMs: number; toMs: number },
  signal: AbortSignal | undefined,
): Promise<MetricRow[]> {
  const rows = await database.query<MetricRow>(
    `SELECT metric_name, uniqExact(series_id) AS series, CAST(argMax(tuple(kind, unit), time), 'Tuple(kind String, unit String)') AS newest,
       toUnixTimestamp64Milli(min(time)) AS first_ms, toUnixTimestamp64Milli(max(time)) AS last_ms
     FROM (SELECT * FROM ${databaseName}.samples WHERE cluster_id = {cluster:String}
       AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64}))
     GROUP BY metric_name ORDER BY metric_name LIMIT ${METRICS_MAX + 1}`,
    { cluster: clusterId, from: String(fromMs), to: String(toMs) },
    signal,
  );
  if (rows.length === 0) await assertCluster(database, databaseName, clusterId, signal);
  return rows;
}

/** The labels, and the SELECT of the series that they are of. From the table `series`, if it is `known` to have all of the scope. Throws `cluster_not_found` or `metric_not_found` when no sample of the metric is stored. */
async function readLabels(
  database: LimitedDatabase,
  databaseName: string,
  scope: Scope,
  known: boolean,
  signal: AbortSignal | undefined,
): Promise<{ rows: LabelRow[]; labels: Statement }> {
  const read = ({ sql, parameters }: Statement, holds = "1"): Promise<LabelRow[]> =>
    database.query<LabelRow>(
      `SELECT label, count() AS series, uniqExact(text) AS values_total,
         arraySlice(arraySort(groupUniqArray(text)), 1, ${LABEL_VALUES_MAX}) AS first_values, any(all) AS all_series
       FROM (SELECT labels, count() OVER () AS all FROM (${sql}) WHERE ${holds})
       LEFT ARRAY JOIN mapKeys(labels) AS label, mapValues(labels) AS text
       GROUP BY label ORDER BY label`,
      parameters,
      signal,
    );
  if (known) {
    const { labels, holds } = toTableLabels(databaseName, scope);
    const rows = await read(labels, holds);
    if (rows.length > 0) return { rows, labels };
  }
  const labels = toLabelsStatement(databaseName, scope, "both");
  const rows = await read(labels);
  if (rows.length === 0) await assertMetric(database, databaseName, { ...scope, signal });
  return { rows, labels };
}
