import { extrapolation } from "#promql/range-functions.ts";
import type { GridRequest, GridSeries } from "#promql/source.ts";
import type { LimitedColumns, LimitedDatabase } from "#query/limits.ts";
import { toLongList } from "#query/long-list.ts";
import { type NativeBlock, readNative } from "#storage/native-columns.ts";
import {
  anyDirtySql,
  hourlySource,
  rolledSource,
  type HourScope,
  type RollupKind,
} from "#storage/rollup-sql.ts";
import type { QueryParameters } from "#storage/database.ts";
import type { ListedSeries } from "./list-series.ts";
import type { ReadGrids } from "./read-grids.ts";
import { type ChunkRead, distinct, ofSeries } from "./read-samples.ts";
import { toRangeParameters } from "./series-rows.ts";

export const HOUR_MS = 3_600_000;

/** Hours of one series, oldest first. `resets` within the hour, and the sum of the values before them; of a gauge 0. */
interface Hours {
  endMs: Float64Array;
  count: Float64Array;
  first: Float64Array;
  last: Float64Array;
  firstMs: Float64Array;
  lastMs: Float64Array;
  sum: Float64Array;
  min: Float64Array;
  max: Float64Array;
  resets: Float64Array;
  resetSum: Float64Array;
}

/** Hours `from` to `to` - 1 of a series, at least one, that are the range before a time of the grid. */
interface HourWindow {
  hours: Hours;
  from: number;
  to: number;
  endMs: number;
  rangeMs: number;
}

interface HourFunction {
  kinds: readonly RollupKind[];
  /** undefined: the range gives no value. */
  value(window: HourWindow): number | undefined;
  /** Else the samples decide. */
  isExact?: (hours: Hours) => boolean;
}

const BOTH = ["gauge", "counter"] as const;
const FUNCTIONS: Readonly<Record<string, HourFunction>> = {
  count_over_time: { kinds: BOTH, value: ({ hours, from, to }) => sumOf(hours.count, from, to) },
  last_over_time: { kinds: BOTH, value: ({ hours, to }) => hours.last[to - 1]! },
  min_over_time: { kinds: ["gauge"], value: ({ hours, from, to }) => extreme(hours.min, from, to, Math.min) },
  max_over_time: { kinds: ["gauge"], value: ({ hours, from, to }) => extreme(hours.max, from, to, Math.max) },
  sum_over_time: {
    kinds: ["gauge"],
    value: ({ hours, from, to }) => sumOf(hours.sum, from, to),
    isExact: isFiniteSum,
  },
  avg_over_time: {
    kinds: ["gauge"],
    value: ({ hours, from, to }) => sumOf(hours.sum, from, to) / sumOf(hours.count, from, to),
    isExact: isFiniteSum,
  },
  rate: {
    kinds: ["counter"],
    value: (window) => increase(window, true),
    isExact: isExactCounter,
  },
  increase: {
    kinds: ["counter"],
    value: (window) => increase(window, false),
    isExact: isExactCounter,
  },
};

function isFiniteSum({ sum }: Hours): boolean {
  return sum.every(Number.isFinite);
}

/** Several resets of an hour are one sum, which may have lost bits. */
function isExactCounter({ first, last, resets, resetSum }: Hours): boolean {
  return (
    [first, last, resetSum].every((column) => column.every(Number.isFinite)) &&
    resets.every((count) => count <= 1)
  );
}

function sumOf(values: Float64Array, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += values[i]!;
  return sum;
}

/** NaN only where all are. */
function extreme(
  values: Float64Array,
  from: number,
  to: number,
  of: (a: number, b: number) => number,
): number {
  let found = Number.NaN;
  for (let i = from; i < to; i++) {
    const value = values[i]!;
    if (!Number.isNaN(value)) found = Number.isNaN(found) ? value : of(found, value);
  }
  return found;
}

/** The engine's extrapolated() over hours: the same additions in the same order. */
function increase({ hours, from, to, endMs, rangeMs }: HourWindow, isRate: boolean): number | undefined {
  const { first, last, firstMs, lastMs, count, resetSum } = hours;
  const intervals = sumOf(count, from, to) - 1;
  if (intervals < 1) return undefined;
  let grown = last[to - 1]! - first[from]!;
  for (let i = from; i < to; i++) {
    if (i > from && first[i]! < last[i - 1]!) grown += last[i - 1]!;
    grown += resetSum[i]!;
  }
  const sampled = (lastMs[to - 1]! - firstMs[from]!) / 1000;
  const zeroIn = grown > 0 && first[from]! >= 0 ? sampled * (first[from]! / grown) : Infinity;
  const window = { endMs, rangeMs };
  return grown * extrapolation(window, firstMs[from]!, lastMs[to - 1]!, intervals, zeroIn, isRate);
}

/** Are the ranges of all times whole hours, of a function that the roll-ups know? */
export function isOfHours({ func, rangeMs, grid }: GridRequest): boolean {
  const isWhole = (ms: number): boolean => ms % HOUR_MS === 0;
  const isStep = grid.count === 1 || isWhole(grid.stepMs);
  return Object.hasOwn(FUNCTIONS, func) && rangeMs > 0 && isWhole(rangeMs) && isWhole(grid.startMs) && isStep;
}

const COLUMNS = {
  id: "UInt64",
  endMs: "Float64",
  count: "Float64",
  first: "Float64",
  last: "Float64",
  firstMs: "Float64",
  lastMs: "Float64",
  sum: "Float64",
  min: "Float64",
  max: "Float64",
  resets: "Float64",
  resetSum: "Float64",
} as const;
const OWN_COLUMNS: Record<RollupKind, string> = {
  gauge: "sum, min, max, toFloat64(0) AS resets, toFloat64(0) AS resetSum",
  counter:
    "toFloat64(0) AS sum, toFloat64(0) AS min, toFloat64(0) AS max, toFloat64(resets) AS resets, reset_sum AS resetSum",
};

/**
 * The grids of a chunk's series from the roll-ups. Hours that are not rolled up are computed from samples by ClickHouse if it `isMuch`; else the chunk is left to its samples. So are series
 * whose type changed.
 */
export async function readHours(
  database: LimitedDatabase & LimitedColumns,
  databaseName: string,
  request: GridRequest,
  { chunk, range, isAll, signal }: ChunkRead,
  isMuch: boolean,
): Promise<ReadGrids> {
  const func = FUNCTIONS[request.func]!;
  const wanted = Map.groupBy(chunk, (series) => {
    const kind = rollupOf(series);
    return kind !== undefined && func.kinds.includes(kind) ? kind : undefined;
  });
  const computed: GridSeries[] = [];
  const others = [...(wanted.get(undefined) ?? [])];
  await Promise.all(
    func.kinds.map(async (kind) => {
      const listed = wanted.get(kind) ?? [];
      if (listed.length === 0) return;
      const { scope, ...more } = toScope(listed);
      const parameters = { ...more.parameters, ...toRangeParameters(range) };
      // Before the hours are read: an hour that is rolled up in between is newer than its row.
      const [dirty] = await database.query(anyDirtySql(databaseName, scope), parameters, signal);
      if (dirty && !isMuch) {
        others.push(...listed);
        return;
      }
      const source = (dirty ? hourlySource : rolledSource)(databaseName, kind, scope);
      const only = isAll ? undefined : ofSeries(listed.map(({ stored }) => stored[0]!.id));
      const answer = await database.queryNative(
        `${toColumns(kind)} FROM (${source}) ${only ? `WHERE ${only.sql}` : ""} ORDER BY series_id, hour_end`,
        { ...parameters, ...only?.parameters },
        signal,
      );
      for (const { series, hours } of toHours(listed, [...readNative(answer, COLUMNS)])) {
        if (func.isExact?.(hours) ?? true) computed.push(toGrid(series, hours, request, func));
        else others.push(series);
      }
    }),
  );
  return { computed, others };
}

function rollupOf({ stored }: ListedSeries): RollupKind | undefined {
  const [kind, ...more] = stored.flatMap(({ kinds }) => kinds);
  if (more.length > 0) return undefined;
  if (kind === "counter") return "counter";
  return kind === "gauge" || kind === "sum" ? "gauge" : undefined;
}

function toScope(listed: readonly ListedSeries[]): { scope: HourScope; parameters: QueryParameters } {
  const stored = listed.flatMap((series) => series.stored);
  const clusters = toLongList("clusters", distinct(stored.map(({ clusterId }) => clusterId)));
  const metrics = toLongList("metrics", distinct(stored.map(({ metric }) => metric)));
  return {
    scope: { clusters: `cluster_id IN ${clusters.sql}`, metrics: `metric_name IN ${metrics.sql}` },
    parameters: { ...clusters.parameters, ...metrics.parameters },
  };
}

function toColumns(kind: RollupKind): string {
  const ms = (column: string): string => `toFloat64(toUnixTimestamp64Milli(${column}))`;
  return `SELECT series_id AS id, toFloat64(toUnixTimestamp(hour_end)) * 1000 AS endMs, toFloat64(count) AS count, first_value AS first, last_value AS last,
    ${ms("first_time")} AS firstMs, ${ms("last_time")} AS lastMs, ${OWN_COLUMNS[kind]}`;
}

/** The hours of each series that has some. */
function toHours(
  listed: readonly ListedSeries[],
  blocks: readonly NativeBlock<typeof COLUMNS>[],
): { series: ListedSeries; hours: Hours }[] {
  const byId = new Map(listed.map((series) => [series.stored[0]!.id, series]));
  const rows = new Map<ListedSeries, { block: NativeBlock<typeof COLUMNS>; row: number }[]>();
  for (const block of blocks) {
    let [series, low, high]: [ListedSeries | undefined, number, number] = [undefined, -1, -1];
    for (let row = 0; row < block.rows; row++) {
      const [nextLow, nextHigh] = [block.id[2 * row]!, block.id[2 * row + 1]!];
      if (nextLow !== low || nextHigh !== high) {
        [low, high] = [nextLow, nextHigh];
        series = byId.get(String((BigInt(high) << 32n) | BigInt(low)));
      }
      if (series === undefined) continue;
      const known = rows.get(series);
      if (known) known.push({ block, row });
      else rows.set(series, [{ block, row }]);
    }
  }
  return [...rows].map(([series, own]) => {
    const column = (name: keyof Hours): Float64Array =>
      Float64Array.from(own, ({ block, row }) => block[name][row]!);
    return {
      series,
      hours: {
        endMs: column("endMs"),
        count: column("count"),
        first: column("first"),
        last: column("last"),
        firstMs: column("firstMs"),
        lastMs: column("lastMs"),
        sum: column("sum"),
        min: column("min"),
        max: column("max"),
        resets: column("resets"),
        resetSum: column("resetSum"),
      },
    };
  });
}

function toGrid(
  { labels }: ListedSeries,
  hours: Hours,
  { grid, rangeMs }: GridRequest,
  func: HourFunction,
): GridSeries {
  const out = { labels, values: new Float64Array(grid.count), present: new Uint8Array(grid.count) };
  const { endMs: ends } = hours;
  let [from, to] = [0, 0];
  for (let step = 0; step < grid.count; step++) {
    const endMs = grid.startMs + step * grid.stepMs;
    while (to < ends.length && ends[to]! <= endMs) to++;
    while (from < to && ends[from]! <= endMs - rangeMs) from++;
    if (from === to) continue;
    const found = func.value({ hours, from, to, endMs, rangeMs });
    if (found === undefined) continue;
    out.values[step] = found;
    out.present[step] = 1;
  }
  return out;
}
