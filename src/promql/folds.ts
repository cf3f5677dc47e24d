import type { CreateFold, Fold } from "./aggregate.ts";
import type { VectorSeries } from "./grid.ts";

/** Adds each present float of a series: `add` is called with its step and value. */
type AddValue = (step: number, value: number, isFirst: boolean) => void;

function eachValue(group: VectorSeries, series: VectorSeries, add: AddValue): void {
  const seen = group.present;
  const { present, values } = series;
  for (let i = 0; i < present.length; i++) {
    if (present[i] === 0) continue;
    const isFirst = seen[i] === 0;
    seen[i] = 1;
    add(i, values[i]!, isFirst);
  }
}

/** Sums with Neumaier's compensation, in the order of Prometheus' operations. */
export const sum: CreateFold = (group) => {
  const compensation = new Float64Array(group.values.length);
  return {
    arrays: 2,
    add: (series) => {
      const seen = group.present;
      const sums = group.values;
      const { present, values } = series;
      for (let i = 0; i < present.length; i++) {
        if (present[i] === 0) continue;
        const value = values[i]!;
        if (seen[i] === 0) {
          seen[i] = 1;
          sums[i] = value;
          continue;
        }
        const before = sums[i]!;
        const total = before + value;
        if (total === Infinity || total === -Infinity) compensation[i] = 0;
        else if (Math.abs(before) >= Math.abs(value)) compensation[i]! += before - total + value;
        else compensation[i]! += value - total + before;
        sums[i] = total;
      }
    },
    finish: () => {
      for (let i = 0; i < compensation.length; i++) group.values[i]! += compensation[i]!;
      return group;
    },
  };
};

/** The sum by the count; the incremental mean from where the sum would overflow. */
export const avg: CreateFold = (group) => {
  const length = group.values.length;
  const sums = group.values;
  const compensation = new Float64Array(length);
  const counts = new Float64Array(length);
  let incremental: Uint8Array | undefined;
  /** One more term of the sum or mean at a step. */
  const addTerm = (i: number, sum: number, c: number, term: number): void => {
    const total = sum + term;
    let rest = c;
    if (total === Infinity || total === -Infinity) rest = 0;
    else if (Math.abs(sum) >= Math.abs(term)) rest += sum - total + term;
    else rest += term - total + sum;
    sums[i] = total;
    compensation[i] = rest;
  };
  const add: AddValue = (i, value, isFirst) => {
    const count = ++counts[i]!;
    if (isFirst) {
      sums[i] = value;
      return;
    }
    if (incremental?.[i] !== 1) {
      const [sum, c] = [sums[i]!, compensation[i]!];
      addTerm(i, sum, c, value);
      if (sums[i] !== Infinity && sums[i] !== -Infinity) return;
      (incremental ??= new Uint8Array(length))[i] = 1;
      sums[i] = sum / (count - 1);
      compensation[i] = c / (count - 1);
    }
    const q = (count - 1) / count;
    addTerm(i, q * sums[i]!, q * compensation[i]!, value / count);
  };
  return {
    arrays: 3,
    add: (series) => eachValue(group, series, add),
    finish: () => {
      for (let i = 0; i < length; i++)
        sums[i] =
          incremental?.[i] === 1
            ? sums[i]! + compensation[i]!
            : sums[i]! / counts[i]! + compensation[i]! / counts[i]!;
      return group;
    },
  };
};

export const count: CreateFold = (group) =>
  simple(group, (i) => {
    group.values[i]!++;
  });

export const group: CreateFold = (group) =>
  simple(group, (i) => {
    group.values[i] = 1;
  });

export const max: CreateFold = (group) => extreme(group, (value, best) => value > best);
export const min: CreateFold = (group) => extreme(group, (value, best) => value < best);

function extreme(group: VectorSeries, isBetter: (value: number, best: number) => boolean): Fold {
  const best = group.values;
  return simple(group, (i, value, isFirst) => {
    if (isFirst || isBetter(value, best[i]!) || Number.isNaN(best[i]!)) best[i] = value;
  });
}

function simple(group: VectorSeries, add: AddValue): Fold {
  return { arrays: 1, add: (series) => eachValue(group, series, add), finish: () => group };
}

export const stdvar: CreateFold = (group) => variance(group, (squares) => squares);
export const stddev: CreateFold = (group) => variance(group, Math.sqrt);

/** Welford's sum of squares. */
function variance(group: VectorSeries, finish: (variance: number) => number): Fold {
  const length = group.values.length;
  const means = new Float64Array(length);
  const counts = new Float64Array(length);
  const squares = group.values;
  const add: AddValue = (i, value, isFirst) => {
    const count = ++counts[i]!;
    if (isFirst) {
      means[i] = value;
      squares[i] = Number.isFinite(value) ? 0 : NaN;
      return;
    }
    const delta = value - means[i]!;
    means[i]! += delta / count;
    squares[i]! += delta * (value - means[i]!);
  };
  return {
    arrays: 3,
    add: (series) => eachValue(group, series, add),
    finish: () => {
      for (let i = 0; i < length; i++) squares[i] = finish(squares[i]! / counts[i]!);
      return group;
    },
  };
}
