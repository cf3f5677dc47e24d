import type { FloatHistogram } from "#promql/histogram.ts";
import type { Series } from "#promql/source.ts";
import type { ListedSeries } from "./list-series.ts";

/** Rows of samples by column. An id is two elements: its lower 32 bits and the upper ones. */
export interface SampleBlock {
  rows: number;
  id: Uint32Array;
  /** ms since 1970. */
  time: Float64Array;
  value: Float64Array;
  /** 1 for a stale marker. */
  marker: Uint8Array;
  /** The samples instead of the values; undefined for a marker. Absent: all are floats. */
  histograms?: readonly (FloatHistogram | undefined)[];
}

/** The samples of each series together, oldest first, one at a time. Rows of series that are not listed are passed over. `stale` has the rows' markers. */
export function placeSamples(chunk: readonly ListedSeries[], blocks: readonly SampleBlock[]): Series[] {
  const places = createPlaces(chunk);
  const counts = new Uint32Array(chunk.length);
  const special = new Uint8Array(chunk.length);
  const placed = blocks.map((block) => places(block, counts, special));
  const columns = chunk.map((_series, place) => createColumns(counts[place]!, special[place]!));
  blocks.forEach((block, b) => {
    const placeOf = placed[b]!;
    for (let row = 0; row < block.rows; row++) {
      const place = placeOf[row]!;
      if (place < 0) continue;
      const into = columns[place]!;
      const k = into.length++;
      into.times[k] = block.time[row]!;
      const isFloat = block.marker[row] !== 1 && !block.histograms;
      into.values[k] = isFloat ? block.value[row]! : Number.NaN;
      if (into.histograms) into.histograms[k] = block.histograms?.[row];
      if (into.stale) into.stale[k] = block.marker[row]!;
    }
  });
  return chunk.flatMap(({ labels }, place) => {
    const { length, ...samples } = columns[place]!;
    return length === 0 ? [] : [{ labels, ...inOrder(samples) }];
  });
}

interface Samples extends Pick<Series, "times" | "values" | "stale"> {
  histograms?: (FloatHistogram | undefined)[];
}

/** What a series has beside floats. */
const MARKERS = 1;
const HISTOGRAMS = 2;

function createColumns(count: number, special: number): Samples & { length: number } {
  return {
    length: 0,
    times: new Float64Array(count),
    values: new Float64Array(count),
    ...((special & MARKERS) !== 0 && { stale: new Uint8Array(count) }),
    ...((special & HISTOGRAMS) !== 0 && { histograms: Array<undefined>(count).fill(undefined) }),
  };
}

/** Counts the rows of each series, and says which series a row is of; -1: of none. */
function createPlaces(chunk: readonly ListedSeries[]) {
  // The lower halves of two ids may be equal.
  const known = new Map<number, { high: number; place: number }[]>();
  chunk.forEach(({ stored }, place) => {
    for (const { id } of stored) {
      const bits = BigInt(id);
      const low = Number(bits & 0xffff_ffffn);
      const same = known.get(low);
      const entry = { high: Number(bits >> 32n), place };
      if (same) same.push(entry);
      else known.set(low, [entry]);
    }
  });
  return (block: SampleBlock, counts: Uint32Array, special: Uint8Array): Int32Array => {
    const placeOf = new Int32Array(block.rows);
    const ofBlock = block.histograms ? HISTOGRAMS : 0;
    let [low, high, place] = [-1, -1, -1];
    for (let row = 0; row < block.rows; row++) {
      const [nextLow, nextHigh] = [block.id[2 * row]!, block.id[2 * row + 1]!];
      if (nextLow !== low || nextHigh !== high) {
        [low, high] = [nextLow, nextHigh];
        place = known.get(low)?.find((entry) => entry.high === high)?.place ?? -1;
      }
      placeOf[row] = place;
      if (place < 0) continue;
      counts[place]!++;
      special[place]! |= block.marker[row] === 0 ? ofBlock : MARKERS;
    }
    return placeOf;
  };
}

/**
 * By time. The rows come in the order of the tables' keys, in as many runs as there are days and threads, so mostly whole runs change their places. Of a sample and a marker of the same
 * time the sample counts, of two samples (a copy that was sent after the series' type changed) the later row.
 */
function inOrder(samples: Samples): Samples {
  const { times } = samples;
  const runs = toRuns(times);
  if (runs.length === 1) return samples;
  runs.sort((a, b) => times[a.from]! - times[b.from]!);
  const isDisjoint = runs.every((run, i) => i === 0 || times[runs[i - 1]!.to - 1]! < times[run.from]!);
  const order = isDisjoint ? toOrder(runs, times.length) : toMergedOrder(samples);
  const { values, stale, histograms } = samples;
  return {
    times: Float64Array.from(order, (k) => times[k]!),
    values: Float64Array.from(order, (k) => values[k]!),
    ...(stale && { stale: Uint8Array.from(order, (k) => stale[k]!) }),
    ...(histograms && { histograms: Array.from(order, (k) => histograms[k]) }),
  };
}

interface Run {
  from: number;
  to: number;
}

function toRuns(times: Float64Array): Run[] {
  const runs: Run[] = [];
  let from = 0;
  for (let k = 1; k <= times.length; k++) {
    if (k < times.length && times[k]! > times[k - 1]!) continue;
    runs.push({ from, to: k });
    from = k;
  }
  return runs;
}

function toOrder(runs: readonly Run[], length: number): Uint32Array {
  const order = new Uint32Array(length);
  let at = 0;
  for (const { from, to } of runs) for (let k = from; k < to; k++) order[at++] = k;
  return order;
}

function toMergedOrder({ times, stale }: Samples): Uint32Array {
  const isMarker = (k: number): number => stale?.[k] ?? 0;
  const sorted = Uint32Array.from(times.keys()).sort(
    (a, b) => times[a]! - times[b]! || isMarker(b) - isMarker(a) || a - b,
  );
  return sorted.filter((k, i) => i === sorted.length - 1 || times[sorted[i + 1]!] !== times[k]);
}
