import type { Clock } from "#lib/clock.ts";
import type { IsInSeriesTable } from "#query/series/series-table.ts";
import type { MayBeHistogram } from "./histogram-tables.ts";
import type { DatedSeries, ListSeries, ReadSeries, SeriesList } from "./list-series.ts";
import type { Selection } from "./selection.ts";
import type { SampleRange } from "./series-rows.ts";

/** The names of clusters are as old at most. */
const AGE_MS_MAX = 10_000;
/** In all lists together: about 1 KB each. */
const SERIES_MAX = 20_000;
/** Of a key: what a series weighs in memory. */
const KEY_CHARACTERS = 500;
const DAY_MS = 86_400_000;

interface Remembered {
  list: Promise<SeriesList<DatedSeries>>;
  readAtMs: number;
  /** Of the query that reads it; undefined: it is read. */
  signal: AbortSignal | undefined;
  weight: number;
}

/**
 * Lists of series with a memory of ten seconds: the panels of a dashboard ask for the same series at different times of the same days. A series that began since
 * then is missing as long. Lists are remembered where they come from the table `series`, and bounded; errors are not remembered.
 */
export function rememberLists(deps: {
  read: ReadSeries;
  isInSeriesTable: IsInSeriesTable;
  mayBeHistogram: MayBeHistogram;
  clock: Clock;
}): ListSeries {
  const { read, clock } = deps;
  const remembered = new Map<string, Remembered>();
  let total = 0;

  const forget = (key: string): void => {
    total -= remembered.get(key)?.weight ?? 0;
    remembered.delete(key);
  };
  const weigh = (key: string, own: Remembered, series: number): void => {
    if (remembered.get(key) !== own) return;
    own.signal = undefined;
    own.weight = 1 + series + Math.ceil(key.length / KEY_CHARACTERS);
    total += own.weight;
    for (const oldest of remembered.keys()) {
      if (total <= SERIES_MAX) return;
      forget(oldest);
    }
  };

  const ofDays = async (
    selection: Selection,
    days: SampleRange,
    max: number,
    signal: AbortSignal,
  ): Promise<SeriesList<DatedSeries>> => {
    const key = toKey(selection, days, max);
    const known = remembered.get(key);
    const isFresh = known && clock.monotonic() - known.readAtMs <= AGE_MS_MAX;
    // Another query may be given up, and its list with it.
    if (isFresh && (known.signal === undefined || known.signal === signal)) return await known.list;
    forget(key);
    const list = read(selection, days, { isInSeriesTable: true, withHistograms: false }, max, signal);
    const own: Remembered = { list, readAtMs: clock.monotonic(), signal, weight: 0 };
    remembered.set(key, own);
    try {
      const found = await list;
      weigh(key, own, found.series.length);
      return found;
    } catch (error) {
      if (remembered.get(key) === own) forget(key);
      throw error;
    }
  };

  return async (selection, range, max, signal) => {
    const { clusters, metric, keeps } = selection;
    if (clusters.size === 0) return { series: [], isCut: false };
    const sources = {
      isInSeriesTable: await deps.isInSeriesTable(Math.max(range.fromMs, 0), signal),
      withHistograms: await deps.mayBeHistogram(metric, signal),
    };
    const only = ({ series, isCut }: SeriesList<DatedSeries>): SeriesList => ({
      series: series.filter(
        ({ labels, firstMs, lastMs }) => lastMs > range.fromMs && firstMs <= range.toMs && keeps(labels),
      ),
      isCut,
    });
    if (sources.isInSeriesTable && !sources.withHistograms) {
      const found = await ofDays(selection, toDays(range), max, signal);
      if (!found.isCut) return only(found);
    }
    return only(await read(selection, range, sources, max, signal));
  };
}

/** From the beginning of the first day to the end of the last one. */
function toDays({ fromMs, toMs }: SampleRange): SampleRange {
  return {
    fromMs: Math.floor(Math.max(fromMs, 0) / DAY_MS) * DAY_MS - 1,
    toMs: (Math.floor(toMs / DAY_MS) + 1) * DAY_MS - 1,
  };
}

function toKey({ clusters, sql, parameters }: Selection, days: SampleRange, max: number): string {
  return JSON.stringify([days, max, sql, parameters, [...clusters.values()].map(({ name }) => name)]);
}
