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
  const runs: Run[][] = chunk.map(() => []);
  for (const block of blocks) for (const run of toRuns(block, placeOf)) runs[run.place]!.push(run);
  return chunk.flatMap(({ labels }, place) => {
    const own = runs[place]!;
    return own.length === 0 ? [] : [{ labels, ...join(own) }];
  });
}

/** By time. Mostly whole runs change their places: of copies, and where a series' type changed, samples are between each other. */
function join(runs: readonly Run[]): Samples {
  const sorted = runs.toSorted((a, b) => firstOf(a) - firstOf(b));
  const isDisjoint = sorted.every((run, i) => i === 0 || lastOf(sorted[i - 1]!) < firstOf(run));
  const samples = createColumns(runs);
  let at = 0;
  for (const run of isDisjoint ? sorted : runs) at = copy(samples, run, at);
  return isDisjoint ? samples : merge(samples);
}

interface Samples extends Pick<Series, "times" | "values" | "stale"> {
  histograms?: (FloatHistogram | undefined)[];
}

function createColumns(runs: readonly Run[]): Samples {
  let count = 0;
  for (const { from, to } of runs) count += to - from;
  const hasMarkers = runs.some(({ block, from, to }) => block.marker.subarray(from, to).includes(1));
  const hasHistograms = runs.some(({ block }) => block.histograms);
  return {
    times: new Float64Array(count),
    values: new Float64Array(count),
    ...(hasMarkers && { stale: new Uint8Array(count) }),
    ...(hasHistograms && { histograms: Array<undefined>(count).fill(undefined) }),
  };
}

/** Rows [from, to) of a block that are of one series and hour, oldest first; `place`: of the series in its chunk. */
interface Run {
  block: SampleBlock;
  from: number;
  to: number;
  place: number;
}

function firstOf({ block, from }: Run): number {
  return block.time[from]!;
}

function lastOf({ block, to }: Run): number {
  return block.time[to - 1]!;
}

const HOUR_MS = 3_600_000;

/**
 * The tables' keys have the hour before the series, so rows of both are together. Blocks come in the order in which threads read them: what is later in a block may
 * belong after what is in the next one.
 */
function toRuns(block: SampleBlock, placeOf: PlaceOf): Run[] {
  const { id, time, rows } = block;
  const runs: Run[] = [];
  for (let from = 0, to = 0; from < rows; from = to) {
    const [low, high] = [id[2 * from]!, id[2 * from + 1]!];
    const endMs = (Math.floor(time[from]! / HOUR_MS) + 1) * HOUR_MS;
    do to++;
    while (
      to < rows &&
      id[2 * to] === low &&
      id[2 * to + 1] === high &&
      time[to]! > time[to - 1]! &&
      time[to]! < endMs
    );
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

/** Copies a run to the columns' row `at`; returns the row behind it. */
function copy({ times, values, stale, histograms }: Samples, { block, from, to }: Run, at: number): number {
  const end = at + to - from;
  times.set(block.time.subarray(from, to), at);
  if (block.histograms) values.fill(Number.NaN, at, end);
  else values.set(block.value.subarray(from, to), at);
  for (let k = at; histograms && block.histograms && k < end; k++)
    histograms[k] = block.histograms[from + k - at];
  stale?.set(block.marker.subarray(from, to), at);
  for (let k = at; stale && k < end; k++) if (stale[k] === 1) values[k] = Number.NaN;
  return end;
}

/** Of a sample and a marker of the same time the sample counts, of two samples (a copy that was sent after the series' type changed) the later row. */
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
