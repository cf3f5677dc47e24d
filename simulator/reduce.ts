/** Many values to one, as Prometheus 3 does it (promql/engine.go, promql/functions.go, promql/quantile.go). None of them takes an empty list. */
type Numbers = readonly number[] | Float64Array;

/** NaN loses against any number. */
export function smaller(a: number, b: number): number {
  return b < a || Number.isNaN(a) ? b : a;
}

export function larger(a: number, b: number): number {
  return b > a || Number.isNaN(a) ? b : a;
}

/** Neumaier's: what each addition rounds off is kept beside the total. */
export function sum(values: Numbers): number {
  let total = 0;
  let rest = 0;
  for (const value of values) {
    const next = total + value;
    if (!Number.isFinite(next)) rest = 0;
    else rest += Math.abs(total) >= Math.abs(value) ? total - next + value : value - next + total;
    total = next;
  }
  return total + rest;
}

/** By parts where the sum is more than a double holds. */
export function mean(values: Numbers): number {
  const total = sum(values);
  if (Number.isFinite(total)) return total / values.length;
  let average = 0;
  for (const value of values) average += value / values.length;
  return average;
}

/** Between the two neighbours of the rank; NaN counts as the least value. */
export function quantile(q: number, values: Numbers): number {
  if (Number.isNaN(q)) return Number.NaN;
  if (q < 0) return Number.NEGATIVE_INFINITY;
  if (q > 1) return Number.POSITIVE_INFINITY;
  const numbers = [...values].filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const ordered = [...Array.from({ length: values.length - numbers.length }, () => Number.NaN), ...numbers];
  const rank = q * (ordered.length - 1);
  const lower = Math.floor(rank);
  const upper = Math.min(ordered.length - 1, lower + 1);
  const weight = rank - lower;
  return ordered[lower]! * (1 - weight) + ordered[upper]! * weight;
}
