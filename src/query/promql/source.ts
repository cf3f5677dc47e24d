import { clickHouseCode } from "#storage/storage-error.ts";
import type { Clock } from "#lib/clock.ts";
import { PromqlError } from "#promql/error.ts";
import type { QueryBudget } from "#promql/budget.ts";
import type { GridBatch, GridRequest, SelectRequest, SampleSource, Series } from "#promql/source.ts";
import { limitDatabase, type QueryLimits } from "#query/limits.ts";
import { createIsInSeriesTable } from "#query/series/series-table.ts";
import type { Database } from "#storage/database.ts";
import type { Matcher } from "#promql/ast.ts";
import { isComputable, readGrids } from "./read-grids.ts";
import { createReadClusters } from "./clusters.ts";
import { createMayBeHistogram } from "./histogram-tables.ts";
import { samplesOf } from "./read-histograms.ts";
import { createLookup, type Lookup } from "./lookup.ts";
import { createReadSeries, type ListedSeries } from "./list-series.ts";
import { CHUNK_SERIES_MAX, readSamples } from "./read-samples.ts";
import { rememberLists } from "./remembered-lists.ts";
import { toSelection } from "./selection.ts";
import { toStoredRange, type SampleRange } from "./series-rows.ts";

export interface PromqlSourceSettings {
  databaseName: string;
  limits: QueryLimits;
  /** Series that one selector may read. */
  seriesMax: number;
  /** Samples of one series: more are refused, as a query may not hold them. */
  samplesMax: number;
  /** Samples that a statement should answer: what is in memory beside the samples that the engine keeps. */
  chunkSamples?: number;
  /** Samples of a selector from which on ClickHouse computes what it can. */
  computedSamplesMin?: number;
}

/** What one caller may read. */
interface CallerSource extends SampleSource {
  lookup: Lookup;
}

/** What PromQL reads from ClickHouse. */
export interface PromqlSource {
  /** For a caller who may see the clusters for which `sees` is true: there is no other way to the samples and to the lists of series. */
  sourceFor(sees: (clusterId: string) => boolean): CallerSource;
}

/** 24 bytes of an answer each. */
const CHUNK_SAMPLES = 1_000_000;
/** Fewer are read and computed here sooner than ClickHouse computes them (docs/decisions/0035). */
const COMPUTED_SAMPLES_MIN = 1_000_000;
/** Of the first chunk; the next ones know better. */
const SCRAPE_MS = 30_000;
/** ClickHouse may hold so many samples for a sample of an answer. */
const SAMPLES_FACTOR = 4;
const TOO_MANY_ROWS_OR_BYTES = 396;
/** Of a float; a native histogram is as large as it has buckets. */
const ROW_BYTES = 32;

export function createPromqlSource(
  deps: { database: Database; clock: Clock },
  settings: PromqlSourceSettings,
): PromqlSource {
  const { databaseName, seriesMax, chunkSamples = CHUNK_SAMPLES } = settings;
  const { computedSamplesMin = COMPUTED_SAMPLES_MIN } = settings;
  const database = limitDatabase(deps.database, settings.limits);
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
  const computing = boundedBy(2 * chunkSamples, "allow_experimental_time_series_aggregate_functions = 1");
  const isInSeriesTable = createIsInSeriesTable({ database, clock: deps.clock }, { databaseName });
  const readClusters = createReadClusters({ database, isInSeriesTable, clock: deps.clock }, { databaseName });
  const mayBeHistogram = createMayBeHistogram({ database, clock: deps.clock }, { databaseName });
  const read = createReadSeries(database, databaseName);
  const listSeries = rememberLists({ read, isInSeriesTable, mayBeHistogram, clock: deps.clock });

  async function* readChunks(
    listed: readonly ListedSeries[],
    range: SampleRange,
    isNarrow: boolean,
    budget: QueryBudget,
    signal: AbortSignal,
  ): AsyncGenerator<readonly Series[]> {
    let perSeries = (range.toMs - range.fromMs) / SCRAPE_MS + 1;
    for (let at = 0; at < listed.length;) {
      const size = Math.min(CHUNK_SERIES_MAX, Math.max(1, Math.floor(chunkSamples / perSeries)));
      const chunk = listed.slice(at, at + size);
      const isAll = !isNarrow && chunk.length === listed.length;
      try {
        const from = chunk.length === 1 ? boundedOne : bounded;
        const series = await readSamples(from, databaseName, chunk, range, isAll, signal);
        at += chunk.length;
        const samples = countSamples(series);
        perSeries = Math.max(1, samples / chunk.length);
        budget.add(samples);
        yield series;
        budget.release(samples);
      } catch (error) {
        if (clickHouseCode(error) !== TOO_MANY_ROWS_OR_BYTES) throw error;
        if (chunk.length === 1) throw tooManySamples();
        perSeries = Math.max(perSeries * 2, (4 * chunkSamples) / chunk.length);
      }
    }
  }

  async function* computeChunks(
    listed: readonly ListedSeries[],
    request: GridRequest,
    range: SampleRange,
    isNarrow: boolean,
    budget: QueryBudget,
    signal: AbortSignal,
  ): AsyncGenerator<GridBatch> {
    // ClickHouse holds the samples of a chunk.
    const perSeries = Math.max(request.grid.count, (range.toMs - range.fromMs) / SCRAPE_MS / SAMPLES_FACTOR);
    const size = Math.min(CHUNK_SERIES_MAX, Math.max(1, Math.floor(chunkSamples / perSeries)));
    for (let at = 0; at < listed.length; at += size) {
      const chunk = listed.slice(at, at + size);
      const isAll = !isNarrow && chunk.length === listed.length;
      const { computed, others } = await readGrids(
        computing,
        databaseName,
        chunk,
        request,
        range,
        isAll,
        signal,
      ).catch((error: unknown) => {
        if (clickHouseCode(error) !== TOO_MANY_ROWS_OR_BYTES) throw error;
        return { computed: [], others: chunk };
      });
      if (computed.length > 0) yield { computed, samples: [] };
      for await (const read of readChunks(others, range, true, budget, signal))
        yield { computed: [], samples: read };
    }
  }

  return {
    sourceFor: (sees) => {
      const seen = async (signal: AbortSignal) => (await readClusters(signal)).filter(({ id }) => sees(id));
      const list = async (matchers: readonly Matcher[], range: SampleRange, signal: AbortSignal) => {
        const selection = toSelection(matchers, await seen(signal));
        const { series, isCut } = await listSeries(selection, range, seriesMax, signal);
        if (isCut) throw tooManySeries(seriesMax);
        return { listed: series, isNarrow: selection.isNarrow };
      };
      return {
        prepare: async (reads, signal) => {
          const listOf = async ({ matchers, fromMs, toMs }: SelectRequest): Promise<void> => {
            const range = toStoredRange({ fromMs, toMs });
            if (range !== undefined) await list(matchers, range, signal);
          };
          // The clusters are read once for all.
          await Promise.allSettled([seen(signal)]);
          await Promise.allSettled(reads.map(listOf));
        },
        select: async function* ({ matchers, fromMs, toMs }, budget, signal) {
          const range = toStoredRange({ fromMs, toMs });
          if (range === undefined) return;
          const { listed, isNarrow } = await list(matchers, range, signal);
          yield* readChunks(listed, range, isNarrow, budget, signal);
        },
        grids: (request, budget, signal) => {
          if (!isComputable(request)) return undefined;
          const { matchers, rangeMs, grid } = request;
          const { startMs, stepMs, count } = grid;
          const range = toStoredRange({ fromMs: startMs - rangeMs, toMs: startMs + (count - 1) * stepMs });
          // The grid's own times go to ClickHouse as they are.
          if (range === undefined || range.fromMs !== startMs - rangeMs) return undefined;
          return (async function* () {
            const { listed, isNarrow } = await list(matchers, range, signal);
            const samples = listed.length * ((range.toMs - range.fromMs) / SCRAPE_MS);
            if (samples >= computedSamplesMin)
              yield* computeChunks(listed, request, range, isNarrow, budget, signal);
            else
              for await (const read of readChunks(listed, range, isNarrow, budget, signal))
                yield { computed: [], samples: read };
          })();
        },
        lookup: createLookup(
          { database, isInSeriesTable, mayBeHistogram, listSeries, seen },
          { databaseName, seriesMax },
        ),
      };
    },
  };
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

function tooManySeries(max: number): PromqlError {
  return new PromqlError("execution", `query reads more than ${max} series: narrow its selectors`);
}
