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
  const placeOf = createPlaces(chunk);
  const counts = new Uint32Array(chunk.length);
  const special = new Uint8Array(chunk.length);
  const runs = blocks.flatMap((block) => toRuns(block, placeOf));
  for (const { block, from, to, place } of runs) {
    counts[place]! += to - from;
    if (block.histograms) special[place]! |= HISTOGRAMS;
    if (block.marker.subarray(from, to).includes(1)) special[place]! |= MARKERS;
  }
  const columns = chunk.map((_series, place) => createColumns(counts[place]!, special[place]!));
  for (const run of runs) append(columns[run.place]!, run);
  return chunk.flatMap(({ labels }, place) => {
    const { length, ...samples } = columns[place]!;
    return length === 0 ? [] : [{ labels, ...inOrder(samples) }];
  });
}

interface Samples extends Pick<Series, "times" | "values" | "stale"> {
  histograms?: (FloatHistogram | undefined)[];
}

type Columns = Samples & { length: number };

/** What a series has beside floats. */
const MARKERS = 1;
const HISTOGRAMS = 2;

function createColumns(count: number, special: number): Columns {
  return {
    length: 0,
    times: new Float64Array(count),
    values: new Float64Array(count),
    ...((special & MARKERS) !== 0 && { stale: new Uint8Array(count) }),
    ...((special & HISTOGRAMS) !== 0 && { histograms: Array<undefined>(count).fill(undefined) }),
  };
}

/** Rows [from, to) of a block that are of one series; `place`: of the series in its chunk. */
interface BlockRun {
  block: SampleBlock;
  from: number;
  to: number;
  place: number;
}

/** The rows come in the order of the tables' keys, so those of a series and hour are together. */
function toRuns(block: SampleBlock, placeOf: PlaceOf): BlockRun[] {
  const { id, rows } = block;
  const runs: BlockRun[] = [];
  for (let from = 0, to = 0; from < rows; from = to) {
    const [low, high] = [id[2 * from]!, id[2 * from + 1]!];
    do to++;
    while (to < rows && id[2 * to] === low && id[2 * to + 1] === high);
    const place = placeOf(low, high);
    if (place !== undefined) runs.push({ block, from, to, place });
  }
  return runs;
}

/** The place of a series in its chunk, by the halves of its id. */
type PlaceOf = (low: number, high: number) => number | undefined;

function createPlaces(chunk: readonly ListedSeries[]): PlaceOf {
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
  return (low, high) => known.get(low)?.find((entry) => entry.high === high)?.place;
}

function append(into: Columns, { block, from, to }: BlockRun): void {
  const at = into.length;
  into.length += to - from;
  into.times.set(block.time.subarray(from, to), at);
  if (block.histograms) into.values.fill(Number.NaN, at, into.length);
  else into.values.set(block.value.subarray(from, to), at);
  for (let k = at; into.histograms && block.histograms && k < into.length; k++)
    into.histograms[k] = block.histograms[from + k - at];
  if (!into.stale) return;
  into.stale.set(block.marker.subarray(from, to), at);
  for (let k = at; k < into.length; k++) if (into.stale[k] === 1) into.values[k] = Number.NaN;
}

/**
 * By time. The rows come in as many runs as there are days and threads, so mostly whole runs change their places. Of a sample and a marker of the same
 * time the sample counts, of two samples (a copy that was sent after the series' type changed) the later row.
 */
function inOrder(samples: Samples): Samples {
  const { times } = samples;
  const runs = toTimeRuns(times);
  if (runs.length === 1) return samples;
  runs.sort((a, b) => times[a.from]! - times[b.from]!);
  const isDisjoint = runs.every((run, i) => i === 0 || times[runs[i - 1]!.to - 1]! < times[run.from]!);
  return isDisjoint ? joinRuns(samples, runs) : merge(samples);
}

interface TimeRun {
  from: number;
  to: number;
}

function toTimeRuns(times: Float64Array): TimeRun[] {
  const runs: TimeRun[] = [];
  let from = 0;
  for (let k = 1; k <= times.length; k++) {
    if (k < times.length && times[k]! > times[k - 1]!) continue;
    runs.push({ from, to: k });
    from = k;
  }
  return runs;
}

function joinRuns({ times, values, stale, histograms }: Samples, runs: readonly TimeRun[]): Samples {
  const inRuns = <Column extends Float64Array | Uint8Array>(column: Column, into: Column): Column => {
    let at = 0;
    for (const { from, to } of runs) {
      into.set(column.subarray(from, to), at);
      at += to - from;
    }
    return into;
  };
  return {
    times: inRuns(times, new Float64Array(times.length)),
    values: inRuns(values, new Float64Array(times.length)),
    ...(stale && { stale: inRuns(stale, new Uint8Array(times.length)) }),
    ...(histograms && { histograms: runs.flatMap(({ from, to }) => histograms.slice(from, to)) }),
  };
}

function merge({ times, values, stale, histograms }: Samples): Samples {
  const isMarker = (k: number): number => stale?.[k] ?? 0;
  const sorted = Uint32Array.from(times.keys()).sort(
    (a, b) => times[a]! - times[b]! || isMarker(b) - isMarker(a) || a - b,
  );
  const order = sorted.filter((k, i) => i === sorted.length - 1 || times[sorted[i + 1]!] !== times[k]);
  return {
    times: Float64Array.from(order, (k) => times[k]!),
    values: Float64Array.from(order, (k) => values[k]!),
    ...(stale && { stale: Uint8Array.from(order, (k) => stale[k]!) }),
    ...(histograms && { histograms: Array.from(order, (k) => histograms[k]) }),
  };
}
