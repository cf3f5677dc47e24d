import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import { toPromql, toUnit, type AggregationName, type MetricType } from "./aggregations.ts";
import { createReadCompleteness, type Completeness } from "#query/completeness.ts";
import { createDescribe } from "./describe.ts";
import type { Grid } from "#query/grid.ts";
import { toTimestamp } from "#query/range.ts";
import { toJsonDouble, type JsonDouble } from "#query/json-double.ts";
import { checkClusterId, limitDatabase, refuseField, type QueryLimits } from "#query/limits.ts";
import { checkExpressions, toSelector, type LabelFilter } from "./matchers.ts";
import { samplesMax, toHourPlan, toPlan } from "./plan.ts";
import { createReadPoints, type CheckedRequest } from "./points.ts";
import { createIsInSeriesTable } from "./series-table.ts";
import type { SeriesRow } from "./series-sql.ts";
import { checkMetricName } from "./stored-metrics.ts";

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
   * What was read: samples, or their hours in the roll-ups (steps of whole hours over more than a week or very many samples; quantiles always read samples). Hours
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

/** timeSeries*ToGrid must be allowed: ClickHouse calls them experimental. */
const GRID_FUNCTIONS = "allow_experimental_time_series_aggregate_functions = 1";
const LABELS_MAX = 20;
const TEXT_CHARS_MAX = 4096;

export function createSeriesQuery(
  deps: { database: Database; clock: Clock },
  settings: { databaseName: string; limits: QueryLimits; staleAfterMs: number },
): SeriesQuery {
  const { limits } = settings;
  const { clock } = deps;
  const database = limitDatabase(deps.database, limits, [GRID_FUNCTIONS]);
  const readCompleteness = createReadCompleteness({ database, clock }, settings);
  const isInSeriesTable = createIsInSeriesTable({ database, clock }, settings);
  const describe = createDescribe({ database, isInSeriesTable, clock }, settings);
  const readPoints = createReadPoints({ database, describe, clock }, settings);

  return async (input) => {
    const request = check(input);
    const { clusterId, metric, grouping, filters, signal } = request;
    let plan = toPlan(request, clock.now(), limits);
    const complete = (): ReturnType<typeof readCompleteness> => readCompleteness({ ...plan.scope, signal });
    const [{ readAtMs, completeness: first }, early] = await Promise.all([
      complete(),
      describe.table(plan.scope, signal),
    ]);
    // What is stored according to the record is then described as well.
    const described = early.readAtMs >= readAtMs ? early : await describe.table(plan.scope, signal, readAtMs);
    const known = described.metric;
    let completeness = first;
    if (known !== undefined && known.samplesMax > samplesMax(limits)) {
      plan = toHourPlan(plan, request, clock.now(), limits);
      ({ completeness } = await complete());
    }
    const { grid } = plan;
    const { found, rows, aggregation } = await readPoints(request, plan, known);
    return {
      cluster_id: clusterId,
      metric_name: metric,
      aggregation: request.aggregation,
      type: found.type,
      unit: toUnit(aggregation, found.unit),
      start_time: toTimestamp(request.startMs),
      end_time: toTimestamp(request.endMs),
      step_seconds: grid.stepMs / 1000,
      window_seconds: grid.windowMs / 1000,
      promql: toPromql(aggregation, toSelector(metric, filters), grid.windowMs / 1000, grouping),
      first_point: toTimestamp(grid.firstMs),
      last_point: toTimestamp(grid.lastMs),
      as_of: found.newestMs === undefined ? null : toTimestamp(found.newestMs),
      completeness,
      storage: found.storage,
      series_total: Number(rows[0]?.total ?? 0),
      series: rows.map((row) => toSeries(row, grid)),
    };
  };
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

function check(request: SeriesRequest): CheckedRequest {
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
