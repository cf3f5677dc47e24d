import {
  type Buckets,
  exponentialBound,
  isCustom,
  toBuckets,
  toSchema,
  toSpans,
} from "./histogram-buckets.ts";
import type { FloatHistogram, ResetHint } from "./histogram.ts";

/** What was noticed while histograms were added. */
export interface AdditionRemarks {
  /** One said that the counter was reset, another that it was not. */
  resetCollision: boolean;
  /** Custom bounds differed: only those that all have were kept. */
  reconciled: boolean;
}

/** Counts with Neumaier's compensations, in buckets by ascending index. */
interface SumBuckets {
  indices: number[];
  sums: number[];
  compensations: number[];
}

/** A number with its compensation. */
type Sum = [sum: number, compensation: number];

/**
 * A sum of native histograms, each number with Neumaier's compensation. Resolutions and zero buckets that differ are reconciled to the
 * coarser one, as are custom bounds to the common ones.
 */
export class HistogramSum {
  #schema: number;
  #custom: readonly number[] | undefined;
  #hint: ResetHint;
  #zeroThreshold: number;
  #zeroCount: Sum;
  #count: Sum;
  #sum: Sum;
  #positive: SumBuckets;
  #negative: SumBuckets;
  readonly remarks: AdditionRemarks = { resetCollision: false, reconciled: false };

  constructor(first: FloatHistogram) {
    this.#schema = first.schema;
    this.#custom = first.customValues;
    this.#hint = first.hint;
    this.#zeroThreshold = first.zeroThreshold;
    this.#zeroCount = [first.zeroCount, 0];
    this.#count = [first.count, 0];
    this.#sum = [first.sum, 0];
    this.#positive = summed(toBuckets(first.positiveSpans, first.positiveBuckets));
    this.#negative = summed(toBuckets(first.negativeSpans, first.negativeBuckets));
  }

  /** Adds (or, with sign -1, subtracts); false: exponential and custom buckets can't be added, and nothing was. */
  add(other: FloatHistogram, sign: 1 | -1 = 1): boolean {
    const isCustomSum = this.#isCustom();
    if (isCustomSum !== isCustom(other)) return false;
    this.#adjustHint(other.hint);
    if (isCustomSum) this.#addCustom(other, sign);
    else this.#addExponential(other, sign);
    increase(this.#count, sign * other.count);
    increase(this.#sum, sign * other.sum);
    return true;
  }

  /** Multiplies all but the bounds. */
  scale(factor: number): void {
    this.#map((value) => value * factor);
  }

  /** Divides all but the bounds. */
  divide(divisor: number): void {
    this.#map((value) => value / divisor);
  }

  /** Is any of its numbers infinite? */
  overflows(): boolean {
    const numbers = [
      this.#zeroCount[0],
      this.#count[0],
      this.#sum[0],
      ...this.#positive.sums,
      ...this.#negative.sums,
    ];
    return numbers.some((value) => value === Infinity || value === -Infinity);
  }

  copy(): HistogramSum {
    const copy = new HistogramSum(this.result());
    copy.#positive = copyBuckets(this.#positive);
    copy.#negative = copyBuckets(this.#negative);
    copy.#zeroCount = [...this.#zeroCount];
    copy.#count = [...this.#count];
    copy.#sum = [...this.#sum];
    Object.assign(copy.remarks, this.remarks);
    return copy;
  }

  /** Without empty buckets. */
  result(): FloatHistogram {
    const positive = toSpans(totalled(this.#positive));
    const negative = toSpans(totalled(this.#negative));
    return {
      schema: this.#schema,
      count: total(this.#count),
      sum: total(this.#sum),
      zeroThreshold: this.#zeroThreshold,
      zeroCount: total(this.#zeroCount),
      positiveSpans: positive.spans,
      positiveBuckets: positive.counts,
      negativeSpans: negative.spans,
      negativeBuckets: negative.counts,
      ...(this.#custom && { customValues: this.#custom }),
      hint: this.#hint,
    };
  }

  #isCustom(): boolean {
    return isCustom({ schema: this.#schema });
  }

  #map(change: (value: number) => number): void {
    for (const pair of [this.#zeroCount, this.#count, this.#sum]) {
      pair[0] = change(pair[0]);
      pair[1] = change(pair[1]);
    }
    for (const side of [this.#positive, this.#negative]) {
      side.sums = side.sums.map(change);
      side.compensations = side.compensations.map(change);
    }
  }

  #adjustHint(other: ResetHint): void {
    if (other === this.#hint || this.#hint === "gauge") return;
    if (other === "gauge") this.#hint = "gauge";
    else if (this.#hint !== "unknown") {
      if (other !== "unknown") this.remarks.resetCollision = true;
      this.#hint = "unknown";
    }
  }

  #addCustom(other: FloatHistogram, sign: number): void {
    const mine = this.#custom ?? [];
    const theirs = other.customValues ?? [];
    let added = toBuckets(other.positiveSpans, other.positiveBuckets);
    if (!sameNumbers(mine, theirs)) {
      this.remarks.reconciled = true;
      const common = commonBounds(mine, theirs);
      this.#positive = mergeInto(this.#positive, (index) => targetOf(index, mine, common));
      added = mapped(added, (index) => targetOf(index, theirs, common));
      this.#custom = common;
    }
    addBuckets(this.#positive, added, sign);
  }

  #addExponential(other: FloatHistogram, sign: number): void {
    const zeroCount = this.#reconcileZero(other);
    increase(this.#zeroCount, sign * zeroCount);
    if (other.schema < this.#schema) {
      const [from, to] = [this.#schema, other.schema];
      const target = (index: number): number => ((index - 1) >> (from - to)) + 1;
      this.#positive = mergeInto(this.#positive, target);
      this.#negative = mergeInto(this.#negative, target);
      this.#schema = to;
    }
    for (const [side, spans, counts] of [
      [this.#positive, other.positiveSpans, other.positiveBuckets],
      [this.#negative, other.negativeSpans, other.negativeBuckets],
    ] as const) {
      const buckets = toSchema(toBuckets(spans, counts), other.schema, this.#schema);
      addBuckets(side, above(buckets, this.#zeroThreshold, this.#schema), sign);
    }
  }

  /** Widens the zero bucket so that both have the same; the other's count in it. */
  #reconcileZero(other: FloatHistogram): number {
    let zero = { count: other.zeroCount, threshold: other.zeroThreshold };
    while (zero.threshold !== this.#zeroThreshold) {
      if (this.#zeroThreshold > zero.threshold) zero = zeroForThreshold(other, this.#zeroThreshold);
      if (zero.threshold > this.#zeroThreshold) {
        const own = zeroForThreshold(this.result(), zero.threshold);
        this.#zeroCount = [own.count, 0];
        this.#zeroThreshold = own.threshold;
        this.#positive = aboveSum(this.#positive, own.threshold, this.#schema);
        this.#negative = aboveSum(this.#negative, own.threshold, this.#schema);
      }
    }
    return zero.count;
  }
}

/** The zero bucket's count if its threshold were larger; the threshold grows to the end of a populated bucket that it falls into. */
export function zeroForThreshold(h: FloatHistogram, threshold: number): { count: number; threshold: number } {
  let larger = threshold;
  const sides = [
    toBuckets(h.positiveSpans, h.positiveBuckets),
    toBuckets(h.negativeSpans, h.negativeBuckets),
  ];
  if (larger === h.zeroThreshold) return { count: h.zeroCount, threshold: larger };
  for (;;) {
    let count = h.zeroCount;
    const before = larger;
    for (const { indices, counts } of sides) {
      for (let i = 0; i < indices.length; i++) {
        if (exponentialBound(indices[i]! - 1, h.schema) >= larger) break;
        count += counts[i]!;
        const upper = exponentialBound(indices[i]!, h.schema);
        if (upper <= larger) continue;
        if (counts[i] !== 0) larger = upper;
        break;
      }
    }
    if (larger === before) return { count, threshold: larger };
  }
}

/** Buckets that do not lie within the zero bucket. */
export function above({ indices, counts }: Buckets, threshold: number, schema: number): Buckets {
  let first = 0;
  while (first < indices.length && exponentialBound(indices[first]!, schema) <= threshold) first++;
  return { indices: indices.slice(first), counts: counts.slice(first) };
}

function aboveSum(side: SumBuckets, threshold: number, schema: number): SumBuckets {
  let first = 0;
  while (first < side.indices.length && exponentialBound(side.indices[first]! - 1, schema) < threshold)
    first++;
  return {
    indices: side.indices.slice(first),
    sums: side.sums.slice(first),
    compensations: side.compensations.slice(first),
  };
}

export function commonBounds(a: readonly number[], b: readonly number[]): number[] {
  const known = new Set(b);
  return a.filter((bound) => known.has(bound));
}

/** The bucket of the common bounds that holds the values of a bucket of `bounds`. */
export function targetOf(index: number, bounds: readonly number[], common: readonly number[]): number {
  if (index >= bounds.length) return common.length;
  const bound = bounds[index]!;
  const target = common.findIndex((each) => each >= bound);
  return target < 0 ? common.length : target;
}

export function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

export function mapped({ indices, counts }: Buckets, target: (index: number) => number): Buckets {
  const merged: Buckets = { indices: [], counts: [] };
  indices.forEach((index, i) => {
    const to = target(index);
    const last = merged.indices.length - 1;
    if (merged.indices[last] === to) merged.counts[last]! += counts[i]!;
    else {
      merged.indices.push(to);
      merged.counts.push(counts[i]!);
    }
  });
  return merged;
}

function summed({ indices, counts }: Buckets): SumBuckets {
  return { indices, sums: counts, compensations: counts.map(() => 0) };
}

function totalled({ indices, sums, compensations }: SumBuckets): Buckets {
  return { indices, counts: sums.map((sum, i) => total([sum, compensations[i]!])) };
}

function copyBuckets({ indices, sums, compensations }: SumBuckets): SumBuckets {
  return { indices: [...indices], sums: [...sums], compensations: [...compensations] };
}

function mergeInto(side: SumBuckets, target: (index: number) => number): SumBuckets {
  const merged: SumBuckets = { indices: [], sums: [], compensations: [] };
  side.indices.forEach((index, i) => {
    const to = target(index);
    const last = merged.indices.length - 1;
    if (merged.indices[last] !== to) {
      merged.indices.push(to);
      merged.sums.push(side.sums[i]!);
      merged.compensations.push(side.compensations[i]!);
      return;
    }
    const pair: Sum = [merged.sums[last]!, merged.compensations[last]!];
    increase(pair, side.sums[i]!);
    increase(pair, side.compensations[i]!);
    [merged.sums[last], merged.compensations[last]] = pair;
  });
  return merged;
}

/** Both by ascending index. */
function addBuckets(side: SumBuckets, { indices, counts }: Buckets, sign: number): void {
  let at = 0;
  indices.forEach((index, i) => {
    while (at < side.indices.length && side.indices[at]! < index) at++;
    if (side.indices[at] !== index) {
      side.indices.splice(at, 0, index);
      side.sums.splice(at, 0, sign * counts[i]!);
      side.compensations.splice(at, 0, 0);
      return;
    }
    const pair: Sum = [side.sums[at]!, side.compensations[at]!];
    increase(pair, sign * counts[i]!);
    [side.sums[at], side.compensations[at]] = pair;
  });
}

function increase(pair: Sum, value: number): void {
  const sum = pair[0];
  const result = sum + value;
  if (result === Infinity || result === -Infinity) pair[1] = 0;
  else if (Math.abs(sum) >= Math.abs(value)) pair[1] += sum - result + value;
  else pair[1] += value - result + sum;
  pair[0] = result;
}

function total([sum, compensation]: Sum): number {
  return sum + compensation;
}
