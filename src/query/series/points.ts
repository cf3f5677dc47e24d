import type { Clock } from "#lib/clock.ts";
import { refuseSize, type LimitedDatabase, type QueryLimits } from "#query/limits.ts";
import { clickHouseCode } from "#storage/storage-error.ts";
import { NODE_NAME } from "#query/node-addresses.ts";
import { toAggregation, type Aggregation, type Grouping, type MetricType } from "./aggregations.ts";
import type { Describe, TableMetric } from "./describe.ts";
import { checkLabels, toConditions, type LabelFilter } from "./matchers.ts";
import type { QueryPlan } from "./plan.ts";
import { createReadSeriesNodes, toNodeNamed, type SeriesNodes } from "./node-names.ts";
import {
  toLabelNamesStatement,
  toLabelsStatement,
  toScopeParameters,
  toSeriesStatement,
  type PointsPlan,
  type Scope,
  type SeriesRow,
  type Statement,
} from "./series-sql.ts";
import { toTableLabelsSql } from "./series-table.ts";
import { toTableStatement, type TableRow, type TableSource } from "./table-points.ts";
import type { SeriesRequest } from "./series.ts";
import { assertMetric } from "./stored-metrics.ts";

export interface CheckedRequest extends SeriesRequest {
  grouping: Grouping;
  filters: readonly LabelFilter[];
}

interface Points {
  found: {
    type: MetricType;
    unit: string;
    /** Undefined: nothing is in the scope. */
    newestMs: number | undefined;
    storage: "raw" | "hours";
  };
  aggregation: Aggregation;
  rows: SeriesRow[];
}

/** Codes of ClickHouse: UNKNOWN_FUNCTION, UNKNOWN_AGGREGATE_FUNCTION. */
const UNKNOWN_FUNCTIONS = new Set([46, 63]);
const UNSAFE_MS = 60_000;
const UNSAFE_MAX = 10_000;

/** Reads the points of a plan. `known`: the metric in the table `series`, if all of it is there. Throws what a SeriesQuery throws. */
export type ReadPoints = (
  request: CheckedRequest,
  plan: QueryPlan,
  known: TableMetric | undefined,
) => Promise<Points>;

export function createReadPoints(
  deps: { database: LimitedDatabase; describe: Describe; clock: Clock },
  settings: { databaseName: string; limits: QueryLimits },
): ReadPoints {
  const { databaseName } = settings;
  const { database, describe, clock } = deps;
  const readSeriesNodes = createReadSeriesNodes(deps, settings);
  /** When a metric was found to need exact rates: the next queries of it do not try the other ones first. */
  const unsafeSince = new Map<string, number>();

  /** Does the server have timeSeriesGroupArray? Some builds of ClickHouse 25.8 do not. */
  let hasGrids = true;

  const isKnownUnsafe = (key: string): boolean =>
    clock.monotonic() - (unsafeSince.get(key) ?? -Infinity) < UNSAFE_MS;
  const rememberUnsafe = (key: string): void => {
    if (unsafeSince.size >= UNSAFE_MAX) unsafeSince.clear();
    unsafeSince.set(key, clock.monotonic());
  };

  const read = <Row>({ sql, parameters }: Statement, { signal }: CheckedRequest): Promise<Row[]> =>
    database.query<Row>(sql, parameters, signal);

  const readNodes = async (
    scope: Scope,
    labels: Statement,
    { signal }: CheckedRequest,
  ): Promise<SeriesNodes> => {
    const nodes = await readSeriesNodes(scope, labels, signal);
    if (nodes) return nodes;
    throw refuseSize(
      "series",
      `the metric has more series than those whose ${NODE_NAME} one query can find`,
      "Ask for a shorter range.",
    );
  };

  /** Looks up the labels of the metric only when the answer itself does not prove that all labels of the request exist. */
  const checkLabelsOf = async (
    request: CheckedRequest,
    { scope, labels, nodes }: { scope: Scope; labels: Statement; nodes?: SeriesNodes | undefined },
    rows: readonly SeriesRow[],
  ): Promise<void> => {
    const groupBy = request.grouping === "each" ? [] : request.grouping;
    const isSeen = groupBy.every((label) => rows.some(({ labels }) => (labels[label] ?? "") !== ""));
    if (isSeen && request.filters.every((filter) => isMatchOf(filter) && rows.length > 0)) return;
    const [row] = await read<{ names: string[] }>(toLabelNamesStatement(labels), request);
    const names = new Set(row?.names);
    if ([...groupBy, ...request.filters.map(({ label }) => label)].every((label) => names.has(label))) return;
    const found = (nodes ?? (await readSeriesNodes(scope, labels, request.signal)))?.found;
    if (found && found.size > 0) names.add(NODE_NAME);
    checkLabels({ groupBy, filters: request.filters }, [...names]);
  };

  /** Undefined: the samples do not bear out what the table says, or there are no points. */
  const readByTable = async (
    request: CheckedRequest,
    plan: QueryPlan,
    { type, unit }: TableMetric,
  ): Promise<Points | undefined> => {
    const aggregation = toAggregation(request.aggregation, type);
    const table = type === "gauge" ? "gauge" : "sum";
    const key = JSON.stringify([request.clusterId, request.metric]);
    for (const rates of hasGrids && !isKnownUnsafe(key)
      ? (["grid", "exact"] as const)
      : (["exact"] as const)) {
      const source: TableSource = { table, rates };
      const statement = toTableStatement(databaseName, {
        ...toPointsPlan(request, plan, aggregation),
        source,
      });
      const rows = await read<TableRow>(statement, request).catch((error: unknown) => {
        if (rates === "exact" || !isUnknownFunction(error)) throw error;
        hasGrids = false;
        return undefined;
      });
      if (rows === undefined) continue;
      const verdict = judge(rows[0]);
      if (verdict === "doubtful") return undefined;
      if (verdict === "unsafe") {
        rememberUnsafe(key);
        continue;
      }
      const labels = { sql: toTableLabelsSql(databaseName), parameters: toScopeParameters(plan.scope) };
      await checkLabelsOf(request, { scope: plan.scope, labels }, rows);
      const newestMs = Number(rows[0]!.newest_ms);
      return { found: { type, unit, newestMs, storage: "raw" }, aggregation, rows };
    }
    return undefined;
  };

  return async (request, plan, known) => {
    const { clusterId, metric, signal } = request;
    const { scope, storage } = plan;
    // The node of a series is the one at its newest sample in the scope, which the table does not have.
    if (known !== undefined && storage === "samples" && !namesNode(request)) {
      const points = await readByTable(request, plan, known);
      if (points) return points;
    }
    const found = await (storage === "hours"
      ? describe.hours(scope, signal)
      : describe.samples(scope, signal));
    if (found === undefined) {
      const { type, unit } = await assertMetric(database, databaseName, { clusterId, metric, signal });
      const aggregation = toAggregation(request.aggregation, type);
      const empty = {
        type,
        unit,
        newestMs: undefined,
        storage: storage === "hours" ? "hours" : "raw",
      } as const;
      return { found: empty, aggregation, rows: [] };
    }
    const { type, unit, newestMs, source } = found;
    const aggregation = toAggregation(request.aggregation, type);
    const own = toLabelsStatement(databaseName, scope, source);
    const nodes = namesNode(request) ? await readNodes(scope, own, request) : undefined;
    const labels = nodes === undefined ? own : toNodeNamed(own, nodes);
    const points = { ...toPointsPlan(request, plan, aggregation), source, labels };
    const rows = await read<SeriesRow>(toSeriesStatement(databaseName, points), request);
    await checkLabelsOf(request, { scope, labels: own, nodes }, rows);
    return {
      found: { type, unit, newestMs, storage: typeof source === "object" ? "hours" : "raw" },
      aggregation,
      rows,
    };
  };
}

function toPointsPlan(
  { grouping, filters }: CheckedRequest,
  { scope, grid, limit }: QueryPlan,
  aggregation: Aggregation,
): PointsPlan {
  const conditions = toConditions(filters);
  return { scope, grid, limit, aggregation, conditions, filtered: filters.length > 0, grouping };
}

function isUnknownFunction(error: unknown): boolean {
  return UNKNOWN_FUNCTIONS.has(clickHouseCode(error) ?? 0);
}

/** Do the checks of a TableSource hold? unsafe: only rates need another computation. */
function judge(row: TableRow | undefined): "good" | "unsafe" | "doubtful" {
  if (row === undefined || row.newest_ms === "0") return "doubtful";
  if (row.known === 0) return "doubtful";
  return row.safe === 0 ? "unsafe" : "good";
}

/** Nodes are looked up only when the request names them: it costs time, and Prometheus does not have them. */
function namesNode({ grouping, filters }: CheckedRequest): boolean {
  return (
    (grouping !== "each" && grouping.includes(NODE_NAME)) || filters.some(({ label }) => label === NODE_NAME)
  );
}

/** Does only a series that has the label match? */
function isMatchOf({ op, value }: LabelFilter): boolean {
  return op === "=" && value !== "";
}
