import type { Database } from "#storage/database.ts";
import type { ReadSeries } from "../helpers/remote-read-client.ts";

// Native histograms as texts: as Prometheus stores them and as they are stored as OTLP's. Both by the formats' descriptions alone.

interface Histogram {
  ms: number;
  isMarker: boolean;
  count: bigint;
  sum: number;
  zeroCount: bigint;
  /** Absent: the buckets have bounds of their own. */
  scale?: number;
  /** Of the first of each side's buckets, as OTLP numbers them. */
  offsets?: [positive: number, negative: number];
  bounds: number[];
  positive: bigint[];
  negative: bigint[];
}

const CUSTOM_SCHEMA = -53;

/** Everything of it. */
export function toExactText({ ms, isMarker, ...rest }: Histogram): string {
  if (isMarker) return `${ms} marker`;
  return JSON.stringify([ms, rest], (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
}

/** What the query API tells: the buckets that are not empty, by their ends. Undefined: nothing. */
export function toEndsText({ ms, isMarker, count, sum, ...rest }: Histogram): string | undefined {
  if (isMarker) return undefined;
  const { scale, offsets = [0, 0], bounds, positive, negative } = rest;
  const endsOf = (i: number, offset: number): [number, number] =>
    scale === undefined
      ? [bounds[i - 1] ?? -Infinity, bounds[i] ?? Infinity]
      : [2 ** ((offset + i) / 2 ** scale), 2 ** ((offset + i + 1) / 2 ** scale)];
  const texts = (counts: bigint[], offset: number, sign: string): string[] =>
    counts.flatMap((each, i) => {
      const ends = endsOf(i, offset).map((end) => (Number.isFinite(end) ? end.toPrecision(12) : String(end)));
      return each === 0n ? [] : [`${sign}${ends.join("..")}: ${each}`];
    });
  const buckets = [...texts(positive, offsets[0], "+"), ...texts(negative, offsets[1], "-")];
  return [ms, count, sum, rest.zeroCount, ...buckets].join(" ");
}

/** As remote read gives it. */
export function fromSource({ ms, fields }: ReadSeries["histograms"][number]): Histogram {
  const number = (name: string): number => (fields[name] as number | undefined) ?? 0;
  const sum = number("sum");
  const isMarker = Number.isNaN(sum) && number("countInt") === 0;
  const isCustom = number("schema") === CUSTOM_SCHEMA;
  const bounds = (fields["customValues"] as number[] | undefined) ?? [];
  const positive = toSide(fields, "positive");
  const negative = toSide(fields, "negative");
  const common = { ms, isMarker, count: BigInt(number("countInt")), sum };
  if (isCustom) {
    const counts = Array.from(
      { length: bounds.length + 1 },
      (_, i) => positive.counts[i - positive.first] ?? 0n,
    );
    return { ...common, zeroCount: 0n, bounds, positive: counts, negative: [] };
  }
  return {
    ...common,
    zeroCount: BigInt(number("zeroCountInt")),
    scale: number("schema"),
    // Prometheus' bucket i ends where OTLP's begins.
    offsets: [positive, negative].map(({ first, counts }) => (counts.length > 0 ? first - 1 : 0)) as [
      number,
      number,
    ],
    bounds: [],
    positive: positive.counts,
    negative: negative.counts,
  };
}

/** The buckets of one side from the first to the last, with those that are left out. */
function toSide(
  fields: ReadSeries["histograms"][number]["fields"],
  side: "positive" | "negative",
): { first: number; counts: bigint[] } {
  const spans = (fields[`${side}Spans`] as [offset: number, length: number][] | undefined) ?? [];
  const deltas = (fields[`${side}Deltas`] as number[] | undefined) ?? [];
  const counts: bigint[] = [];
  let [bucket, at] = [0n, 0];
  for (const [i, [offset, length]] of spans.entries()) {
    if (i > 0) counts.push(...Array<bigint>(offset).fill(0n));
    for (let n = 0; n < length; n++) counts.push((bucket += BigInt(deltas[at++]!)));
  }
  return { first: spans[0]?.[0] ?? 0, counts };
}

interface Row {
  ms: string;
  marker: number;
  count: string;
  sum: number;
  zero_count: string;
  scale: number | null;
  offsets: [number, number];
  bounds: number[];
  positive: string[];
  negative: string[];
}

/** All that is stored of a metric in (fromMs, toMs], in both tables. */
export async function readStoredHistograms(
  database: Database,
  cluster: string,
  metric: string,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): Promise<Histogram[]> {
  const common = `toString(toUnixTimestamp64Milli(TimeUnix)) AS ms, Flags AS marker, toString(Count) AS count, if(Flags = 1, 0, Sum) AS sum`;
  const where = `WHERE cluster_id IN ({cluster:String}, concat('stale/', {cluster:String})) AND MetricName = {metric:String}
    AND TimeUnix > fromUnixTimestamp64Milli({from:Int64}) AND TimeUnix <= fromUnixTimestamp64Milli({to:Int64})`;
  const texts = (column: string): string => `arrayMap(each -> toString(each), ${column})`;
  const rows = await database.query<Row>(
    `SELECT * FROM (
      SELECT ${common}, toString(ZeroCount) AS zero_count, toNullable(Scale) AS scale, [PositiveOffset, NegativeOffset] AS offsets,
        CAST([], 'Array(Float64)') AS bounds, ${texts("PositiveBucketCounts")} AS positive, ${texts("NegativeBucketCounts")} AS negative
      FROM metrics.otel_metrics_exponential_histogram FINAL ${where}
      UNION ALL
      SELECT ${common}, '0' AS zero_count, NULL AS scale, CAST([0, 0], 'Array(Int32)') AS offsets,
        ExplicitBounds AS bounds, ${texts("BucketCounts")} AS positive, CAST([], 'Array(String)') AS negative
      FROM metrics.otel_metrics_histogram FINAL ${where}
    ) ORDER BY ms`,
    { cluster, metric, from: String(fromMs), to: String(toMs) },
  );
  return rows.map((row) => ({
    ms: Number(row.ms),
    isMarker: row.marker === 1,
    count: BigInt(row.count),
    sum: row.sum,
    zeroCount: BigInt(row.zero_count),
    ...(row.scale === null ? {} : { scale: row.scale, offsets: row.offsets }),
    bounds: row.bounds,
    positive: row.positive.map(BigInt),
    negative: row.negative.map(BigInt),
  }));
}
