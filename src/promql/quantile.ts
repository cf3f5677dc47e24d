/**
 * Quantiles as Prometheus computes them (promql/quantile.go): of numbers, and of classic buckets.
 */

/** The quantile of `values`, which are sorted in place (NaN counts as the least value). NaN when there are none. */
export function quantile(q: number, values: Float64Array): number {
  if (values.length === 0 || Number.isNaN(q)) return NaN;
  if (q < 0) return -Infinity;
  if (q > 1) return Infinity;
  const nans = sortNumbers(values);
  const valueAt = (index: number): number => (index < nans ? NaN : values[index - nans]!);
  const rank = q * (values.length - 1);
  const lower = Math.max(0, Math.floor(rank));
  const upper = Math.min(values.length - 1, lower + 1);
  const weight = rank - Math.floor(rank);
  return valueAt(lower) * (1 - weight) + valueAt(upper) * weight;
}

/** Sorts ascending with NaN last, and says how many of them there are. */
function sortNumbers(values: Float64Array): number {
  values.sort();
  let nans = 0;
  while (nans < values.length && Number.isNaN(values[values.length - 1 - nans]!)) nans++;
  return nans;
}

/** Buckets of a classic histogram with ascending bounds, each once, and cumulative counts. Its arrays are used again for each time. */
export class ClassicBuckets {
  readonly bounds: Float64Array;
  readonly counts: Float64Array;
  length = 0;
  /** What `quantile` had to raise. */
  forced = false;
  forcedFrom = Infinity;
  forcedTo = -Infinity;
  forcedMax = 0;

  constructor(capacity: number) {
    this.bounds = new Float64Array(capacity);
    this.counts = new Float64Array(capacity);
  }

  clear(): void {
    this.length = 0;
    this.forced = false;
    this.forcedFrom = Infinity;
    this.forcedTo = -Infinity;
    this.forcedMax = 0;
  }

  /** In ascending order of the bounds; counts of the same bound are added. */
  push(bound: number, count: number): void {
    const last = this.length - 1;
    if (last >= 0 && this.bounds[last] === bound) {
      this.counts[last]! += count;
      return;
    }
    this.bounds[this.length] = bound;
    this.counts[this.length++] = count;
  }

  /** BucketQuantile; changes the counts so that they never fall. */
  quantile(q: number): number {
    if (Number.isNaN(q)) return NaN;
    if (q < 0) return -Infinity;
    if (q > 1) return Infinity;
    const { bounds, counts, length } = this;
    if (length === 0 || bounds[length - 1] !== Infinity) return NaN;
    this.#makeMonotonic();
    if (length < 2) return NaN;
    const observations = counts[length - 1]!;
    if (observations === 0) return NaN;
    let rank = q * observations;
    const b = this.#firstAtLeast(rank);
    if (b === length - 1) return bounds[length - 2]!;
    if (b === 0 && bounds[0]! <= 0) return bounds[0]!;
    const end = bounds[b]!;
    let start = 0;
    let count = counts[b]!;
    if (b > 0) {
      start = bounds[b - 1]!;
      count -= counts[b - 1]!;
      rank -= counts[b - 1]!;
    }
    return start + (end - start) * (rank / count);
  }

  /** BucketFraction: the part of the observations between the bounds. */
  fraction(lower: number, upper: number): number {
    const { bounds, counts, length } = this;
    if (length === 0 || bounds[length - 1] !== Infinity) return NaN;
    const total = counts[length - 1]!;
    if (total === 0 || Number.isNaN(lower) || Number.isNaN(upper)) return NaN;
    if (lower >= upper) return 0;
    const lowerRank = Math.min(this.#rankOf(lower), total);
    const upperRank = Math.min(this.#rankOf(upper), total);
    return (upperRank - lowerRank) / total;
  }

  /** Observations below the value, with linear interpolation inside of its bucket; Infinity when it is above all. */
  #rankOf(value: number): number {
    const { bounds, counts, length } = this;
    let rank = 0;
    let start = bounds[0]! <= 0 ? -Infinity : 0;
    for (let i = 0; i < length; i++) {
      if (i > 0) start = bounds[i - 1]!;
      const end = bounds[i]!;
      const count = counts[i]!;
      if (start >= value) return rank;
      if (end > value) {
        if (start === -Infinity) return count;
        return rank + ((count - rank) * (value - start)) / (end - start);
      }
      rank = count;
    }
    return Infinity;
  }

  /** The first bucket but the last one whose count is at least the rank, else the last. */
  #firstAtLeast(rank: number): number {
    let low = 0;
    let high = this.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.counts[middle]! >= rank) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #makeMonotonic(): void {
    const { bounds, counts, length } = this;
    let previous = counts[0]!;
    for (let i = 1; i < length; i++) {
      const count = counts[i]!;
      if (count === previous) continue;
      if (almostEqual(previous, count)) {
        counts[i] = previous;
        continue;
      }
      if (count < previous) {
        counts[i] = previous;
        this.forced = true;
        this.forcedFrom = Math.min(this.forcedFrom, bounds[i]!);
        this.forcedTo = Math.max(this.forcedTo, bounds[i]!);
        this.forcedMax = Math.max(this.forcedMax, previous - count);
        continue;
      }
      previous = count;
    }
  }
}

/** Differences of counts that are only rounding: util/almost.Equal with its tolerance of 1e-12. */
const TOLERANCE = 1e-12;
const MIN_NORMAL = 2.2250738585072014e-308;

function almostEqual(a: number, b: number): boolean {
  if (Number.isNaN(a) && Number.isNaN(b)) return true;
  if (a === b) return true;
  const sum = Math.abs(a) + Math.abs(b);
  const difference = Math.abs(a - b);
  if (a === 0 || b === 0 || sum < MIN_NORMAL) return difference < TOLERANCE * MIN_NORMAL;
  return difference / Math.min(sum, Number.MAX_VALUE) < TOLERANCE;
}
