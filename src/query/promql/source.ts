import type { Clock } from "#lib/clock.ts";
import type { Matcher } from "#promql/ast.ts";
import { PromqlError } from "#promql/error.ts";
import type { SampleSource, SelectRequest, Series, Windows } from "#promql/source.ts";
import { limitDatabase } from "#query/limits.ts";
import { createIsInSeriesTable } from "#query/series/series-table.ts";
import type { Database } from "#storage/database.ts";
import { type ChunkSettings, createChunks, mayCompute } from "./chunks.ts";
import { createReadClusters } from "./clusters.ts";
import { createMayBeHistogram } from "./histogram-tables.ts";
import { createReadSeries } from "./list-series.ts";
import { createLookup, type Lookup } from "./lookup.ts";
import { rememberLists } from "./remembered-lists.ts";
import { toSelection } from "./selection.ts";
import { type SampleRange, toStoredRange } from "./series-rows.ts";

export interface PromqlSourceSettings extends ChunkSettings {
  /** Series that one selector may read. */
  seriesMax: number;
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

type Begun = Map<string, Promise<readonly Series[]>>;

function toKey(matchers: readonly Matcher[], range: SampleRange, windows: Windows | undefined): string {
  return JSON.stringify([matchers, range, windows]);
}

export function createPromqlSource(
  deps: { database: Database; clock: Clock },
  settings: PromqlSourceSettings,
): PromqlSource {
  const { databaseName, seriesMax } = settings;
  const database = limitDatabase(deps.database, settings.limits);
  const chunks = createChunks(deps, settings);
  const isInSeriesTable = createIsInSeriesTable({ database, clock: deps.clock }, { databaseName });
  const readClusters = createReadClusters({ database, isInSeriesTable, clock: deps.clock }, { databaseName });
  const mayBeHistogram = createMayBeHistogram({ database, clock: deps.clock }, { databaseName });
  const read = createReadSeries(database, databaseName);
  const listSeries = rememberLists({ read, isInSeriesTable, mayBeHistogram, clock: deps.clock });

  return {
    sourceFor: (sees) => {
      const seen = async (signal: AbortSignal) => (await readClusters(signal)).filter(({ id }) => sees(id));
      const list = async (matchers: readonly Matcher[], range: SampleRange, signal: AbortSignal) => {
        const selection = toSelection(matchers, await seen(signal));
        const { series, isCut } = await listSeries(selection, range, seriesMax, signal);
        if (isCut) throw tooManySeries(seriesMax);
        return { listed: series, isNarrow: selection.isNarrow };
      };
      /** What queries began to read, until they ask for it. */
      const begunBy = new WeakMap<AbortSignal, Begun>();
      const take = (
        matchers: readonly Matcher[],
        range: SampleRange,
        windows: Windows | undefined,
        signal: AbortSignal,
      ): Promise<readonly Series[]> | undefined => {
        const begun = begunBy.get(signal);
        const key = toKey(matchers, range, windows);
        const reading = begun?.get(key);
        begun?.delete(key);
        return reading;
      };
      return {
        prepare: async (reads, signal) => {
          const begun: Begun = new Map();
          const begin = async (read: SelectRequest): Promise<void> => {
            const range = toStoredRange(read);
            if (range === undefined) return;
            const { listed, isNarrow } = await list(read.matchers, range, signal);
            const reading = chunks.begin({ listed, isNarrow, range, windows: read.windows, signal });
            reading?.catch(() => {});
            if (reading) begun.set(toKey(read.matchers, range, read.windows), reading);
          };
          // The clusters are read once for all.
          await Promise.allSettled([seen(signal)]);
          await Promise.allSettled(reads.map(begin));
          begunBy.set(signal, begun);
        },
        select: async function* ({ matchers, windows, ...times }, budget, signal) {
          const range = toStoredRange(times);
          if (range === undefined) return;
          const { listed, isNarrow } = await list(matchers, range, signal);
          const begun = take(matchers, range, windows, signal);
          yield* chunks.samples({ listed, isNarrow, range, windows, begun, budget, signal });
        },
        grids: (request, budget, signal) => {
          if (!mayCompute(request)) return undefined;
          const { matchers, rangeMs, grid, windows } = request;
          const { startMs, stepMs, count } = grid;
          const range = toStoredRange({ fromMs: startMs - rangeMs, toMs: startMs + (count - 1) * stepMs });
          // The grid's own times go to ClickHouse as they are.
          if (range === undefined || range.fromMs !== startMs - rangeMs) return undefined;
          return (async function* () {
            const { listed, isNarrow } = await list(matchers, range, signal);
            const begun = take(matchers, range, windows, signal);
            yield* chunks.grids(request, { listed, isNarrow, range, windows, begun, budget, signal });
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

function tooManySeries(max: number): PromqlError {
  return new PromqlError("execution", `query reads more than ${max} series: narrow its selectors`);
}
