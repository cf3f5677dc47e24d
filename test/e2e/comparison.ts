import type { ClusterProgress } from "#collect/progress.ts";
import { DEFAULT_QUERIES } from "#prometheus/catalogue.ts";
import type { Database } from "#storage/database.ts";
import { keyOf, valueOf, type SeriesSamples, type Source } from "./source.ts";

/** The two sources of a cluster's samples: the stored ones, and its Prometheus. */
export interface Sides {
  database: Database;
  source: Source;
  clusterId: string;
}

interface Difference {
  samples: number;
  missing: number;
  extra: number;
  twice: number;
  different: number;
}

/**
 * What the scraped exporters of the cluster have of the catalogue: node_exporter's, cAdvisor's and most of kube-state-metrics' and dcgm-exporter's. They have none of HAMi's and
 * AMD's, and not all that newer exporters have.
 */
export const SCRAPED_METRICS = 42;

export interface Comparison {
  total: Difference;
  /** Metrics of the catalogue that neither side has. */
  empty: string[];
  /** How many metrics of the catalogue both sides have. */
  filled: number;
  /** Metrics of another kind than Prometheus says, with a time that is no whole millisecond, with a hole in what is committed, or not accounted for exactly. */
  wrong: string[];
  /** Counters that fell in the time that was compared. */
  resets: number;
  /** Samples of cAdvisor, which come late. */
  late: number;
}

/** Compares every sample of every metric of the catalogue, bit by bit, in the time that `progress` says is committed. */
export async function compareEverything(sides: Sides, progress: ClusterProgress): Promise<Comparison> {
  const total: Difference = { samples: 0, missing: 0, extra: 0, twice: 0, different: 0 };
  const result: Comparison = { total, empty: [], filled: 0, wrong: [], resets: 0, late: 0 };
  for (const { name } of DEFAULT_QUERIES) {
    const query = progress.queries[name]!;
    const [from, to] = query.committed[0]!;
    const expected = await sides.source.samples(name, from, to);
    const actual = await readStored(sides, name, from, to);
    const difference = compare(expected, actual.series);
    for (const key of Object.keys(total) as (keyof Difference)[]) total[key] += difference[key];
    const isKind = !name.endsWith("_total") || actual.kinds.join() === "counter";
    if (difference.samples === 0) result.empty.push(name);
    else if (!isKind) result.wrong.push(name);
    if (name.endsWith("_total") && hasReset(actual.series)) result.resets++;
    if (name.startsWith("container_")) result.late += difference.samples;
    const isAccounted =
      query.samples_read === difference.samples && query.samples_sent === difference.samples;
    const hasHole = query.committed.length !== 1 || from !== query.from;
    if (!isAccounted || hasHole || !actual.hasWholeMs) result.wrong.push(name);
  }
  result.filled = DEFAULT_QUERIES.length - result.empty.length;
  return result;
}

/** A stretch of time in which the two sides have not the same number of samples. */
interface CountDifference {
  metric: string;
  fromMs: number;
  source: number;
  stored: number;
}

/** Counts the samples of a metric on both sides, for each stretch of (fromMs, toMs]. */
export async function compareCounts(
  { database, source, clusterId }: Sides,
  metric: string,
  { fromMs, toMs, stretchMs }: { fromMs: number; toMs: number; stretchMs: number },
): Promise<CountDifference[]> {
  const rows = await database.query<{ n: string; samples: string }>(
    `SELECT toString(intDiv(toUnixTimestamp64Milli(time) - {from:Int64} - 1, {stretch:Int64})) AS n, toString(count()) AS samples
    FROM metrics.samples
    WHERE cluster_id = {cluster:String} AND metric_name = {metric:String}
      AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
    GROUP BY n`,
    { cluster: clusterId, metric, from: String(fromMs), to: String(toMs), stretch: String(stretchMs) },
  );
  const stored = new Map(rows.map(({ n, samples }) => [Number(n), Number(samples)]));
  const expected = new Map<number, number>();
  for (const { ms } of [...(await source.samples(metric, fromMs, toMs)).values()].flat()) {
    const n = Math.floor((ms - fromMs - 1) / stretchMs);
    expected.set(n, (expected.get(n) ?? 0) + 1);
  }
  return [...new Set([...stored.keys(), ...expected.keys()])]
    .map((n) => ({
      metric,
      fromMs: fromMs + n * stretchMs,
      source: expected.get(n) ?? 0,
      stored: stored.get(n) ?? 0,
    }))
    .filter((each) => each.source !== each.stored);
}

/** Samples of a metric as users read them, from the deduplicated view. */
async function readStored(
  { database, clusterId }: Sides,
  metric: string,
  fromMs: number,
  toMs: number,
): Promise<{ series: SeriesSamples; kinds: string[]; hasWholeMs: boolean }> {
  const rows = await database.query<{
    labels: Record<string, string>;
    ms: string;
    ns: string;
    bits: string;
    kind: string;
  }>(
    `SELECT labels, toString(toUnixTimestamp64Milli(time)) AS ms, toString(toUnixTimestamp64Nano(time)) AS ns,
      toString(reinterpretAsUInt64(value)) AS bits, kind
    FROM metrics.samples
    WHERE cluster_id = {cluster:String} AND metric_name = {metric:String}
      AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
    ORDER BY time`,
    { cluster: clusterId, metric, from: String(fromMs), to: String(toMs) },
  );
  const series: SeriesSamples = new Map();
  for (const { labels, ms, bits } of rows) {
    const key = keyOf(labels);
    const samples = series.get(key) ?? [];
    samples.push({ ms: Number(ms), bits: BigInt(bits) });
    series.set(key, samples);
  }
  return {
    series,
    kinds: [...new Set(rows.map((row) => row.kind))],
    hasWholeMs: rows.every(({ ms, ns }) => ns === `${ms}000000`),
  };
}

function compare(expected: SeriesSamples, actual: SeriesSamples): Difference {
  const result: Difference = { samples: 0, missing: 0, extra: 0, twice: 0, different: 0 };
  const isNan = (bits: bigint): boolean => Number.isNaN(valueOf(bits));
  for (const [key, samples] of actual) {
    const known = new Map((expected.get(key) ?? []).map(({ ms, bits }) => [ms, bits]));
    const seen = new Set<number>();
    for (const { ms, bits } of samples) {
      if (seen.has(ms)) result.twice++;
      seen.add(ms);
      const wanted = known.get(ms);
      if (wanted === undefined) result.extra++;
      else if (wanted !== bits && !(isNan(wanted) && isNan(bits))) result.different++;
    }
  }
  for (const [key, samples] of expected) {
    const times = new Set(actual.get(key)?.map(({ ms }) => ms));
    result.samples += samples.length;
    result.missing += samples.filter(({ ms }) => !times.has(ms)).length;
  }
  return result;
}

function hasReset(series: SeriesSamples): boolean {
  return [...series.values()].some((samples) =>
    samples.some((sample, i) => i > 0 && valueOf(sample.bits) < valueOf(samples[i - 1]!.bits)),
  );
}
