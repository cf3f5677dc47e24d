import { refuseField } from "#query/limits.ts";
import { toLabelName } from "./matchers.ts";

/** As stored. "sum" is a non-monotonic sum, and is queried like a gauge. */
export type MetricType = "gauge" | "counter" | "sum";

/** A quantile is one more entry here. */
const QUANTILES = { p50: 0.5, p90: 0.9, p95: 0.95, p99: 0.99 } as const;

const OTHERS = ["avg", "min", "max", "sum", "count", "last", "rate", "increase"] as const;

type QuantileName = keyof typeof QUANTILES;
export type AggregationName = (typeof OTHERS)[number] | QuantileName;

export const AGGREGATIONS: readonly AggregationName[] = [
  ...OTHERS,
  ...(Object.keys(QUANTILES) as QuantileName[]),
];

/** Reduces many values to one, like the PromQL function or operator of the same name. */
export type Reduction =
  | { of: "avg" | "min" | "max" | "sum" | "count" | "last" }
  | { of: "quantile"; q: number };

/** Of counters, with Prometheus' resets and extrapolation. */
export interface Rate {
  of: "rate" | "increase";
}

export function isRate(perSeries: Reduction | Rate): perSeries is Rate {
  return perSeries.of === "rate" || perSeries.of === "increase";
}

/** An aggregation in two steps: each series over the window of a point, then across the series of a group. */
export interface Aggregation {
  perSeries: Reduction | Rate;
  across: Reduction;
}

export function isQuantile(name: AggregationName): name is QuantileName {
  return name in QUANTILES;
}

const OF_GAUGES: Partial<Record<AggregationName, Aggregation>> = {
  avg: { perSeries: { of: "avg" }, across: { of: "avg" } },
  min: { perSeries: { of: "min" }, across: { of: "min" } },
  max: { perSeries: { of: "max" }, across: { of: "max" } },
  // A sum of all samples would grow with the number of scrapes.
  sum: { perSeries: { of: "avg" }, across: { of: "sum" } },
  count: { perSeries: { of: "last" }, across: { of: "count" } },
  last: { perSeries: { of: "last" }, across: { of: "avg" } },
};

const OF_COUNTERS: Partial<Record<AggregationName, Aggregation>> = {
  avg: { perSeries: { of: "rate" }, across: { of: "avg" } },
  min: { perSeries: { of: "rate" }, across: { of: "min" } },
  max: { perSeries: { of: "rate" }, across: { of: "max" } },
  sum: { perSeries: { of: "rate" }, across: { of: "sum" } },
  count: { perSeries: { of: "rate" }, across: { of: "count" } },
  last: { perSeries: { of: "rate" }, across: { of: "avg" } },
  rate: { perSeries: { of: "rate" }, across: { of: "sum" } },
  increase: { perSeries: { of: "increase" }, across: { of: "sum" } },
};

/** Throws `request_invalid` for an aggregation that does not fit the type of the metric. */
export function toAggregation(name: AggregationName, type: MetricType): Aggregation {
  const q = isQuantile(name) ? QUANTILES[name] : undefined;
  if (type === "counter") {
    if (q !== undefined) return { perSeries: { of: "rate" }, across: { of: "quantile", q } };
    return OF_COUNTERS[name]!;
  }
  if (q !== undefined) return { perSeries: { of: "quantile", q }, across: { of: "avg" } };
  const aggregation = OF_GAUGES[name];
  if (aggregation === undefined) {
    throw refuseField(
      "aggregation",
      `${name} is for counters, and the metric is a ${type}`,
      `Use one of: ${[...Object.keys(OF_GAUGES), ...Object.keys(QUANTILES)].join(", ")}.`,
    );
  }
  return aggregation;
}

/** The labels by which series are grouped. "each": every series by itself; an empty list: all series in one group. */
export type Grouping = readonly string[] | "each";

/** Prometheus' lookback: how old a sample an instant selector still gives. */
const LOOKBACK_SECONDS = 300;

/**
 * Does a series count only until its stale marker? Where its newest sample is asked for and an instant selector looks back as far. A longer range, and
 * every other function over a range, passes over markers, in PromQL too.
 */
export function endsAtMarkers({ perSeries }: Aggregation, windowSeconds: number): boolean {
  return perSeries.of === "last" && windowSeconds <= LOOKBACK_SECONDS;
}

/** The PromQL expression that an aggregation over `selector[window]` equals. */
export function toPromql(
  aggregation: Aggregation,
  selector: string,
  windowSeconds: number,
  grouping: Grouping,
): string {
  const { perSeries, across } = aggregation;
  const range = `${selector}[${windowSeconds}s]`;
  const inner = isRate(perSeries)
    ? `${perSeries.of}(${range})`
    : perSeries.of === "quantile"
      ? `quantile_over_time(${perSeries.q}, ${range})`
      : `${perSeries.of}_over_time(${range})`;
  const ended = windowSeconds === LOOKBACK_SECONDS ? selector : `${inner} and ${selector}`;
  const values = endsAtMarkers(aggregation, windowSeconds) ? ended : inner;
  const by =
    grouping === "each"
      ? " without () "
      : grouping.length === 0
        ? ""
        : ` by (${grouping.map(toLabelName).join(", ")}) `;
  return `${across.of}${by}(${across.of === "quantile" ? `${across.q}, ` : ""}${values})`;
}

/** The unit of an aggregation's values for a metric of the unit; "" is not known. */
export function toUnit(aggregation: Aggregation, unit: string): string {
  if (aggregation.across.of === "count") return "{series}";
  return aggregation.perSeries.of === "rate" && unit !== "" ? `${unit}/s` : unit;
}

/** 2^64: the scale for values whose sum overflows a double. */
const SCALE = "18446744073709551616.";

/**
 * The reduction of a column of values (`last` also needs `time`) to `v`, as the select lists of `inStages`. NaN and infinities as in Prometheus:
 * min and max pass over NaN unless there is nothing else, quantiles take it for the least value, sums and averages become NaN; an average
 * whose sum overflows is still right (promql/engine.go, promql/functions.go, promql/quantile.go of 3.x).
 */
export function toReductionSql(reduction: Reduction, column: "value" | "v" = "value"): readonly string[] {
  const numbers = `NOT isNaN(${column})`;
  if (reduction.of === "quantile") {
    return [
      `arrayConcat(arrayWithConstant(countIf(isNaN(${column})), nan), arraySort(groupArrayIf(${column}, ${numbers}))) AS ordered`,
      `ordered, ${reduction.q} * (length(ordered) - 1) AS rank`,
      "ordered, rank, toUInt32(floor(rank)) AS lower",
      `ordered[lower + 1] * (1 - (rank - lower)) + ordered[least(lower + 2, length(ordered))] * (rank - lower) AS v`,
    ];
  }
  const extreme = (of: "min" | "max"): readonly string[] => [
    `countIf(${numbers}) AS numbers, ${of}If(${column}, ${numbers}) AS extreme`,
    "if(numbers = 0, nan, extreme) AS v",
  ];
  const lists: Record<typeof reduction.of, readonly string[]> = {
    avg: [
      `sumKahan(${column}) AS total, sum(${column} / ${SCALE}) AS scaled, count() AS n`,
      `if(isFinite(total), total / n, scaled / n * ${SCALE}) AS v`,
    ],
    sum: [`sumKahan(${column}) AS total, sum(${column}) AS plain`, "if(isFinite(total), total, plain) AS v"],
    count: ["toFloat64(count()) AS v"],
    last: [`argMax(${column}, time) AS v`],
    min: extreme("min"),
    max: extreme("max"),
  };
  return lists[reduction.of];
}

/** `last` of rows with stale markers (`is_marker`, `time`), and whether the newest of them is a sample. */
export const LAST_UNLESS_ENDED = {
  lists: ["argMaxIf(value, time, NOT is_marker) AS v"],
  newest: "maxIf(time, NOT is_marker)",
  isThere: "maxIf(time, NOT is_marker) >= maxIf(time, is_marker)",
} as const;

/**
 * A SELECT of `keys` and what the last list gives: the first list is the aggregates of `from` by the keys, each other one is computed from the one before,
 * and names all that is still needed. A column that refers to another by its alias is planned with a copy of that one's whole expression; written as
 * stages, statements take half the time. `only`: a HAVING or QUALIFY of the first. `carried`: further aggregates by name, which every stage has as well.
 */
export function inStages(
  keys: string,
  lists: readonly string[],
  from: string,
  { only = "", carried = {} }: { only?: string; carried?: Readonly<Record<string, string>> } = {},
): string {
  const [aggregates, ...others] = lists;
  const first = [keys, ...Object.entries(carried).map(([name, sql]) => `${sql} AS ${name}`), aggregates];
  const kept = [keys, ...Object.keys(carried)];
  return others.reduce(
    (inner, list) => `SELECT ${[...kept, list].join(", ")} FROM (${inner})`,
    `SELECT ${first.join(", ")} FROM (${from}) GROUP BY ${keys} ${only}`,
  );
}
