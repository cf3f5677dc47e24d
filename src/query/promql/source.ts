import type { Clock } from "#lib/clock.ts";
import type { Matcher } from "#promql/ast.ts";
import { PromqlError } from "#promql/error.ts";
import type { SampleSource, SelectRequest } from "#promql/source.ts";
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
        select: async function* ({ matchers, fromMs, toMs, windows }, budget, signal) {
          const range = toStoredRange({ fromMs, toMs });
          if (range === undefined) return;
          const { listed, isNarrow } = await list(matchers, range, signal);
          yield* chunks.samples({ listed, isNarrow, range, windows, budget, signal });
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
            yield* chunks.grids(request, { listed, isNarrow, range, windows, budget, signal });
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
