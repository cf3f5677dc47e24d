import type { Clock } from "#lib/clock.ts";
import { chooseStorage } from "#storage/choose-storage.ts";
import type { Database } from "#storage/database.ts";
import {
  isQuantile,
  toAggregation,
  toPromql,
  toUnit,
  type AggregationName,
  type Grouping,
  type MetricType,
} from "./aggregations.ts";
import { createReadCompleteness, type Completeness } from "#query/completeness.ts";
import { planGrid, type Grid } from "#query/grid.ts";
import { toTimestamp } from "#query/range.ts";
import { toHoursDescribeStatement } from "./hours-sql.ts";
import { toJsonDouble, type JsonDouble } from "#query/json-double.ts";
import { checkClusterId, limitDatabase, refuseField, refuseSize, type QueryLimits } from "#query/limits.ts";
import { checkExpressions, checkLabels, toConditions, toSelector, type LabelFilter } from "./matchers.ts";
import { assertMetric, checkMetricName } from "./stored-metrics.ts";
import { NODE_NAME } from "#query/node-addresses.ts";
import {
  toDescribeStatement,
  toLabelNamesStatement,
  toScopeParameters,
  toSeriesStatement,
  type Scope,
  type SeriesRow,
  type Source,
} from "./series-sql.ts";

export interface SeriesRequest {
  clusterId: string;
  /** The name in Prometheus. */
  metric: string;
  /** The points are in (startMs, endMs]. Unix time. */
  startMs: number;
  endMs: number;
  aggregation: AggregationName;
  /** Whole seconds. Left out: at most 1,000 points, at least one minute. */
  stepMs?: number;
  /** Labels, up to 20; ["*"] keeps every series by itself; left out or empty: all series in one. */
  groupBy?: readonly string[];
  /** All must match. Up to 20. */
  filters?: readonly LabelFilter[];
  /** Series of the answer. Default 100, or fewer when that would be too many points. */
  limit?: number;
  signal?: AbortSignal;
}

export interface SeriesAnswer {
  cluster_id: string;
  metric_name: string;
  aggregation: AggregationName;
  type: MetricType;
  /** Of the values; "" when it is not known. */
  unit: string;
  start_time: string;
  end_time: string;
  step_seconds: number;
  /** Each point looks back over (timestamp - window, timestamp]. */
  window_seconds: number;
  /** The PromQL that gives the same points: query_range from `first_point` to `last_point` by the step. */
  promql: string;
  first_point: string;
  last_point: string;
  /** Time of the newest sample that was read; null when there is none in the range. */
  as_of: string | null;
  /** Up to the range's end or the collection's watermark, whichever is earlier; null: nothing is on record about the collection. */
  completeness: Completeness | null;
  /**
   * What was read: samples, or their hours in the roll-ups (steps of whole hours over more than a week; quantiles always read samples). Hours
   * give the same points, with values that differ by rounding only: the same numbers are added in another order. An average whose sum is more
   * than a double holds is infinite there.
   */
  storage: "raw" | "hours";
  /** How many there are; `series` holds no more than the limit. */
  series_total: number;
  /** Sorted by labels. */
  series: { labels: Record<string, string>; points: { timestamp: string; value: JsonDouble }[] }[];
}

/**
 * Points of a metric as the PromQL expression in the answer would give them. Throws BridgeError `request_invalid` (`details.fields`),
 * `cluster_not_found`, `metric_not_found` (`details.similar`), `query_too_large` and `query_timeout` (`details.limit`), and what a Database
 * throws.
 */
export type SeriesQuery = (request: SeriesRequest) => Promise<SeriesAnswer>;

const SERIES_DEFAULT = 100;
const LABELS_MAX = 20;
const TEXT_CHARS_MAX = 4096;

interface Description {
  type: MetricType;
  unit: string;
  source: Source;
  newestMs: number;
}

export function createSeriesQuery(
  deps: { database: Database; clock: Clock },
  settings: { databaseName: string; limits: QueryLimits; staleAfterMs: number },
): SeriesQuery {
  const { databaseName, limits } = settings;
  const database = limitDatabase(deps.database, limits);
  const readCompleteness = createReadCompleteness({ database, clock: deps.clock }, settings);

  const assertSeries = (series: string): void => {
    if (Number(series) <= limits.seriesMax) return;
    throw refuseSize(
      "series",
      `the metric has ${series} series in the range, more than ${limits.seriesMax}`,
      "Ask for a shorter range.",
    );
  };

  /** undefined: nothing in the scope. */
  const describeSamples = async (
    scope: Scope,
    signal: AbortSignal | undefined,
  ): Promise<Description | undefined> => {
    const { sql, parameters } = toDescribeStatement(databaseName, scope);
    const [row] = await database.query<{
      series: string;
      newest_kind: MetricType | "";
      newest_unit: string;
      newest_ms: string;
      in_gauge: number;
      in_sum: number;
    }>(sql, parameters, signal);
    if (row === undefined || row.newest_kind === "") return undefined;
    assertSeries(row.series);
    const source = row.in_gauge && row.in_sum ? "both" : row.in_gauge ? "gauge" : "sum";
    return { type: row.newest_kind, unit: row.newest_unit, source, newestMs: Number(row.newest_ms) };
  };

  /** The same from the hours. From the samples when the metric's type changed in the scope, because hours keep the types apart. */
  const describeHours = async (
    scope: Scope,
    signal: AbortSignal | undefined,
  ): Promise<Description | undefined> => {
    const { sql, parameters } = toHoursDescribeStatement(databaseName, toScopeParameters(scope));
    const [row] = await database.query<{
      series: string;
      newest_unit: string;
      newest_ms: string;
      gauges: string;
      counters: string;
    }>(sql, parameters, signal);
    if (row === undefined || row.series === "0") return undefined;
    if (row.gauges !== "0" && row.counters !== "0") return await describeSamples(scope, signal);
    assertSeries(row.series);
    const found = { unit: row.newest_unit, newestMs: Number(row.newest_ms) };
    if (row.counters !== "0") return { ...found, type: "counter", source: { hours: "counter" } };
    // Hours of gauges and of non-monotonic sums are alike.
    const atNewest = { ...scope, fromMs: found.newestMs - 1, toMs: found.newestMs + 1 };
    const newest = await describeSamples(atNewest, signal);
    return { ...found, type: newest?.type ?? "gauge", source: { hours: "gauge" } };
  };

  /** Looks up the labels of the metric only when the answer itself does not prove that all labels of the request exist. */
  const assertLabels = async (
    request: Checked,
    scope: Scope,
    source: Source,
    rows: readonly SeriesRow[],
  ): Promise<void> => {
    const groupBy = request.grouping === "each" ? [] : request.grouping;
    const isSeen = groupBy.every((label) => rows.some(({ labels }) => (labels[label] ?? "") !== ""));
    if (isSeen && request.filters.every((filter) => isMatchOf(filter) && rows.length > 0)) return;
    const { sql, parameters } = toLabelNamesStatement(databaseName, scope, source);
    const [row] = await database.query<{ names: string[] }>(sql, parameters, request.signal);
    checkLabels({ groupBy, filters: request.filters }, row?.names ?? []);
  };

  return async (input) => {
    const request = check(input);
    const { clusterId, metric, grouping, filters, signal } = request;
    const grid = planGrid(request, deps.clock.now(), limits);
    const limit = toLimit(request.limit, grid, limits);
    const scope = { clusterId, metric, fromMs: grid.firstMs - grid.windowMs, toMs: grid.lastMs };
    const storage = chooseStorage({
      rangeMs: scope.toMs - scope.fromMs,
      stepMs: grid.stepMs,
      needsEverySample: isQuantile(request.aggregation),
    });
    const [found, completeness] = await Promise.all([
      (storage === "hours" ? describeHours : describeSamples)(scope, signal),
      readCompleteness({ ...scope, signal }),
    ]);
    const { type, unit } =
      found ?? (await assertMetric(database, databaseName, { clusterId, metric, signal }));
    const aggregation = toAggregation(request.aggregation, type);
    let rows: SeriesRow[] = [];
    if (found) {
      const { sql, parameters } = toSeriesStatement(databaseName, {
        scope,
        source: found.source,
        grid,
        aggregation,
        conditions: toConditions(filters),
        filtered: filters.length > 0,
        grouping,
        withNodes: namesNode(request),
        limit,
      });
      rows = await database.query<SeriesRow>(sql, parameters, signal);
      await assertLabels(request, scope, found.source, rows);
    }
    return {
      cluster_id: clusterId,
      metric_name: metric,
      aggregation: request.aggregation,
      type,
      unit: toUnit(aggregation, unit),
      start_time: toTimestamp(request.startMs),
      end_time: toTimestamp(request.endMs),
      step_seconds: grid.stepMs / 1000,
      window_seconds: grid.windowMs / 1000,
      promql: toPromql(aggregation, toSelector(metric, filters), grid.windowMs / 1000, grouping),
      first_point: toTimestamp(grid.firstMs),
      last_point: toTimestamp(grid.lastMs),
      as_of: found ? toTimestamp(found.newestMs) : null,
      completeness,
      storage: (found ? typeof found.source === "object" : storage === "hours") ? "hours" : "raw",
      series_total: Number(rows[0]?.total ?? 0),
      series: rows.map((row) => toSeries(row, grid)),
    };
  };
}

/** Node names are joined only when the request names them: it costs time, and Prometheus does not have them. */
function namesNode({ grouping, filters }: Checked): boolean {
  return (
    (grouping !== "each" && grouping.includes(NODE_NAME)) || filters.some(({ label }) => label === NODE_NAME)
  );
}

/** Does only a series that has the label match? */
function isMatchOf({ op, value }: LabelFilter): boolean {
  return op === "=" && value !== "";
}

function toSeries(row: SeriesRow, grid: Grid): SeriesAnswer["series"][number] {
  return {
    labels: Object.fromEntries(Object.entries(row.labels).filter(([, value]) => value !== "")),
    points: row.indexes.map((index, i) => ({
      timestamp: toTimestamp(grid.firstMs + index * grid.stepMs),
      value: toJsonDouble(row.values[i]!),
    })),
  };
}

interface Checked extends SeriesRequest {
  grouping: Grouping;
  filters: readonly LabelFilter[];
}

function check(request: SeriesRequest): Checked {
  const { groupBy = [], filters = [] } = request;
  checkClusterId(request.clusterId);
  checkMetricName(request.metric, "metric_name");
  if (groupBy.includes("*") && groupBy.length > 1) {
    throw refuseField("group_by", '"*" stands for every label', 'Send ["*"] alone, or the labels alone.');
  }
  if (groupBy.length > LABELS_MAX || filters.length > LABELS_MAX) {
    const field = groupBy.length > LABELS_MAX ? "group_by" : "filters";
    throw refuseField(field, `has more than ${LABELS_MAX} entries`, `Send at most ${LABELS_MAX}.`);
  }
  filters.forEach(({ value }, i) => {
    if (value.length <= TEXT_CHARS_MAX) return;
    throw refuseField(
      `filters.${i}.value`,
      `has more than ${TEXT_CHARS_MAX} characters`,
      "Send a shorter value.",
    );
  });
  checkExpressions(filters);
  return { ...request, filters, grouping: groupBy[0] === "*" ? "each" : [...new Set(groupBy)] };
}

function toLimit(asked: number | undefined, grid: Grid, limits: QueryLimits): number {
  const most = Math.max(1, Math.floor(limits.pointsMax / grid.points));
  if (asked === undefined) return Math.min(SERIES_DEFAULT, most);
  if (!Number.isInteger(asked) || asked < 1 || asked > limits.seriesMax) {
    throw refuseField(
      "limit",
      `is not a whole number from 1 to ${limits.seriesMax}`,
      `Send at most ${limits.seriesMax}.`,
    );
  }
  if (asked > most) {
    throw refuseSize(
      "points",
      `${asked} series of ${grid.points} points are more than ${limits.pointsMax}`,
      `Send a limit of at most ${most}, a greater step or a shorter range.`,
    );
  }
  return asked;
}
