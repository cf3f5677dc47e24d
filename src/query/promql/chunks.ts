import type { QueryBudget } from "#promql/budget.ts";
import { PromqlError } from "#promql/error.ts";
import type { GridBatch, GridRequest, Series, Windows } from "#promql/source.ts";
import { limitDatabase, type QueryLimits } from "#query/limits.ts";
import type { Database } from "#storage/database.ts";
import { clickHouseCode } from "#storage/storage-error.ts";
import type { ListedSeries } from "./list-series.ts";
import { isComputable, readGrids, type ReadGrids } from "./read-grids.ts";
import { samplesOf } from "./read-histograms.ts";
import { HOUR_MS, isOfHours, readHours } from "./read-hours.ts";
import { CHUNK_SERIES_MAX, type ChunkRead, readSamples } from "./read-samples.ts";
import type { SampleRange } from "./series-rows.ts";

export interface ChunkSettings {
  databaseName: string;
  limits: QueryLimits;
  /** Samples of one series: more are refused, as a query may not hold them. */
  samplesMax: number;
  /** Samples that a statement should answer: what is in memory beside the samples that the engine keeps. */
  chunkSamples?: number;
  /** Samples of a selector from which on ClickHouse computes what it can. */
  computedSamplesMin?: number;
  /** Samples from which on the roll-ups are asked, where they have all hours. */
  hoursSamplesMin?: number;
}

/** What is read for a selector. `isNarrow`: there are other series of its metrics. */
interface Reading {
  listed: readonly ListedSeries[];
  isNarrow: boolean;
  range: SampleRange;
  windows?: Windows | undefined;
  /** What `begin` gave. */
  begun?: Promise<readonly Series[]> | undefined;
  budget: QueryBudget;
  signal: AbortSignal;
}

/** Reads the series of a list in bounded chunks. */
interface Chunks {
  /** Begins to read few samples before they are asked for. undefined: there may be many. */
  begin(reading: Omit<Reading, "budget">): Promise<readonly Series[]> | undefined;
  samples(reading: Reading): AsyncGenerator<readonly Series[]>;
  /** The cheapest way: computed by ClickHouse, from hours, or the samples. */
  grids(request: GridRequest, reading: Reading): AsyncGenerator<GridBatch>;
}

/** 24 bytes of an answer each. */
const CHUNK_SAMPLES = 300_000;
/** Fewer are read and computed here sooner than ClickHouse computes them (docs/decisions/0035). */
const COMPUTED_SAMPLES_MIN = 1_000_000;
const HOURS_SAMPLES_MIN = 50_000;
/** Of one selector: they are in memory before the query pays for them. */
const BEGUN_SAMPLES_MAX = 50_000;
/** A row of an hour is as large as so many samples. */
const HOUR_ROWS = 4;
/** Of the first chunk; the next ones know better. */
const SCRAPE_MS = 30_000;
/** ClickHouse may hold so many samples for a sample of an answer. */
const SAMPLES_FACTOR = 4;
const TOO_MANY_ROWS_OR_BYTES = 396;
/** Of a float; a native histogram is as large as it has buckets. */
const ROW_BYTES = 32;

/** May a grid be had otherwise than from the samples? */
export function mayCompute(request: GridRequest): boolean {
  return isComputable(request) || isOfHours(request);
}

export function createChunks(deps: { database: Database }, settings: ChunkSettings): Chunks {
  const { databaseName, chunkSamples = CHUNK_SAMPLES } = settings;
  const { computedSamplesMin = COMPUTED_SAMPLES_MIN, hoursSamplesMin = HOURS_SAMPLES_MIN } = settings;
  // A chunk that has more than was thought is read again as smaller ones.
  const boundedBy = (rows: number, ...more: string[]) =>
    limitDatabase(deps.database, settings.limits, [
      `max_result_rows = ${rows}`,
      `max_result_bytes = ${rows * ROW_BYTES}`,
      "result_overflow_mode = 'throw'",
      ...more,
    ]);
  const bounded = boundedBy(2 * chunkSamples);
  const boundedOne = boundedBy(settings.samplesMax);
  const few = boundedBy(4 * BEGUN_SAMPLES_MAX);
  const computing = boundedBy(2 * chunkSamples, "allow_experimental_time_series_aggregate_functions = 1");

  const chunkAt = (reading: Omit<Reading, "budget">, at: number, perSeries: number): ChunkRead => {
    const { listed, isNarrow, range, windows, signal } = reading;
    const size = Math.min(CHUNK_SERIES_MAX, Math.max(1, Math.floor(chunkSamples / perSeries)));
    const chunk = listed.slice(at, at + size);
    return { chunk, range, windows, isAll: !isNarrow && chunk.length === listed.length, signal };
  };

  async function* samples(reading: Reading): AsyncGenerator<readonly Series[]> {
    const { listed, budget, begun } = reading;
    // What failed is asked for again.
    const read = await begun?.catch(() => undefined);
    if (read) {
      yield* charged(read, budget);
      return;
    }
    let perSeries = samplesPerSeries(reading) + 1;
    for (let at = 0; at < listed.length;) {
      const chunk = chunkAt(reading, at, perSeries);
      const { length } = chunk.chunk;
      try {
        const series = await readSamples(length === 1 ? boundedOne : bounded, databaseName, chunk);
        at += length;
        perSeries = Math.max(1, countSamples(series) / length);
        yield* charged(series, budget);
      } catch (error) {
        if (clickHouseCode(error) !== TOO_MANY_ROWS_OR_BYTES) throw error;
        if (length === 1) throw tooManySamples();
        perSeries = Math.max(perSeries * 2, (4 * chunkSamples) / length);
      }
    }
  }

  /** `perSeries`: rows of an answer, or what takes as much memory of ClickHouse. */
  async function* computed(
    reading: Reading,
    perSeries: number,
    compute: (read: ChunkRead) => Promise<ReadGrids>,
  ): AsyncGenerator<GridBatch> {
    const { listed } = reading;
    for (let at = 0; at < listed.length;) {
      const read = chunkAt(reading, at, perSeries);
      at += read.chunk.length;
      const { computed: grids, others } = await compute(read).catch((error: unknown) => {
        if (clickHouseCode(error) !== TOO_MANY_ROWS_OR_BYTES) throw error;
        return { computed: [], others: read.chunk };
      });
      if (grids.length > 0) yield { computed: grids, samples: [] };
      const isNarrow = reading.isNarrow || others.length < listed.length;
      yield* uncomputed(samples({ ...reading, listed: others, isNarrow, begun: undefined }));
    }
  }

  return {
    begin: (reading) => {
      const perSeries = samplesPerSeries(reading) + 1;
      const all = reading.listed.length * perSeries;
      const isFew = all < Math.min(BEGUN_SAMPLES_MAX, computedSamplesMin, hoursSamplesMin);
      const read = chunkAt(reading, 0, perSeries);
      const isWhole = read.chunk.length === reading.listed.length;
      return isFew && isWhole ? readSamples(few, databaseName, read) : undefined;
    },
    samples,
    grids: async function* (request, reading) {
      const { listed, range } = reading;
      const perSeries = samplesPerSeries(reading);
      const all = listed.length * perSeries;
      const isMuch = all >= computedSamplesMin;
      if (isOfHours(request) && all >= hoursSamplesMin) {
        const ofHours = (read: ChunkRead) => readHours(computing, databaseName, request, read, isMuch);
        yield* computed(reading, ((range.toMs - range.fromMs) / HOUR_MS) * HOUR_ROWS, ofHours);
      } else if (isComputable(request) && isMuch) {
        const rows = Math.max(request.grid.count, perSeries / SAMPLES_FACTOR);
        yield* computed(reading, rows, (read) => readGrids(computing, databaseName, request, read));
      } else yield* uncomputed(samples(reading));
    },
  };
}

async function* uncomputed(batches: AsyncIterable<readonly Series[]>): AsyncGenerator<GridBatch> {
  for await (const samples of batches) yield { computed: [], samples };
}

async function* charged(series: readonly Series[], budget: QueryBudget): AsyncGenerator<readonly Series[]> {
  const count = countSamples(series);
  budget.add(count);
  yield series;
  budget.release(count);
}

/** As a guess. */
function samplesPerSeries({ range, windows }: Pick<Reading, "range" | "windows">): number {
  const share = windows ? windows.rangeMs / windows.stepMs : 1;
  return ((range.toMs - range.fromMs) / SCRAPE_MS) * share;
}

function countSamples(series: readonly Series[]): number {
  let samples = 0;
  for (const { times, histograms } of series) {
    samples += times.length;
    for (const histogram of histograms ?? []) if (histogram) samples += samplesOf(histogram) - 1;
  }
  return samples;
}

function tooManySamples(): PromqlError {
  const text = "query processing would load too many samples into memory in query execution";
  return new PromqlError("execution", text);
}
