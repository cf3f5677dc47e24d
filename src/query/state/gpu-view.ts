import { GPU_EXPORTERS, type GpuMetric, type GpuQuantity } from "#query/gpu-exporters.ts";
import { toGpuHolder, type GpuHolder, type ScrapeTargets } from "#query/gpu-holders.ts";
import { gpuExporterOf, gpuQuantityOf } from "#query/gpu-metrics.ts";
import type { GpuRow, GpuSample } from "./gpu-rows.ts";
import { compareSources } from "./identity.ts";

/** A value with the metric that it is from. */
interface GpuValue {
  value: number;
  metric: string;
  atMs: number;
}

/** What one source measured of one GPU or part of it. */
interface GpuSourceView {
  /** Place of the exporter in GPU_EXPORTERS. */
  place: number;
  rows: readonly ViewRow[];
  source: readonly string[];
  covered: number;
  newestMs: number;
  /** Stale markers have ended all of its series. */
  isEnded: boolean;
}

interface ViewRow extends GpuRow {
  holder: GpuHolder | undefined;
  newestMs: number;
  isEnded: boolean;
}

/** What all sources together say about one GPU or part of it. */
export interface GpuView {
  device: string;
  part: string;
  /** Time of the newest sample of all sources; of those that have not ended, if there are any. */
  newestMs: number;
  /** Stale markers have ended all series of all sources. */
  isEnded: boolean;
  /** Time of the newest sample of the first source that has one after `sinceMs`: the values are its. */
  measuredMs(sinceMs: number): number;
  /** Labels of the newest series of the best source, of the device itself if it has any; and the exporter. */
  labels: GpuRow["labels"];
  exporter: (typeof GPU_EXPORTERS)[number];
  /** Of the best source that names any. */
  holders: readonly GpuHolder[];
  /** One of the holders has samples from before this time. */
  isHeldSince(timeMs: number): boolean;
  /** The newest sample after `sinceMs`, of the first source and the first metric of the quantity that has one. */
  value(quantity: GpuQuantity, sinceMs: number): GpuValue | undefined;
  /** Of a value's metric: the largest in the idle time, and the largest of those when it began. */
  range(value: GpuValue): { peak: number | undefined; before: number | undefined };
  /** All samples of a quantity, of the first source that has any. */
  samples(quantity: GpuQuantity): readonly GpuSample[];
  /** The newest value of a holder's slice of the GPU; else of the holder's own series of the device's quantity, where the device has a series beside it. */
  share(
    of: { slice: GpuQuantity; device?: GpuQuantity },
    holder: GpuHolder,
    sinceMs: number,
  ): number | undefined;
}

/** `isWhole`: the GPU has no parts. `lookbackMs`: a source that is half of it older than another has ended. */
export function toGpuView(
  rows: readonly GpuRow[],
  targets: ScrapeTargets,
  { isWhole, lookbackMs }: { isWhole: boolean; lookbackMs: number },
): GpuView {
  const views = toSourceViews(rows, targets, lookbackMs);
  const best = views[0]!;
  const holding = liveOf(views).find((view) => currentRows(view).some(({ holder }) => holder !== undefined));
  const held = holding === undefined ? [] : currentRows(holding).filter(({ holder }) => holder !== undefined);
  const find = (quantity: GpuQuantity, sinceMs: number): GpuValue | undefined => {
    for (const view of views) {
      for (const { name } of metricsOf(view.place, quantity, isWhole)) {
        const found = newestOf(view, name, sinceMs);
        if (found) return found;
      }
    }
    return undefined;
  };
  const samplesOf = (metric: string): GpuSample[] =>
    (views.find((view) => hasMetric(view, metric))?.rows ?? []).flatMap((row) =>
      row.samples.filter((sample) => sample.metric === metric),
    );
  return {
    device: best.rows[0]!.device,
    part: best.rows[0]!.part,
    newestMs: newestMs(views),
    isEnded: views.every(({ isEnded }) => isEnded),
    measuredMs: (sinceMs) =>
      (views.find((view) => !view.isEnded && view.newestMs > sinceMs) ?? best).newestMs,
    labels: currentRows(best)[0]!.labels,
    exporter: GPU_EXPORTERS[best.place]!,
    holders: uniqueHolders(held.map(({ holder }) => holder!)),
    isHeldSince: (timeMs) => held.some(({ samples }) => samples.some(({ firstMs }) => firstMs <= timeMs)),
    value: find,
    range: ({ metric }) => {
      const all = samplesOf(metric);
      return { peak: largestOf(all, "peak"), before: largestOf(all, "before") };
    },
    samples: (quantity) => {
      const names = GPU_EXPORTERS.flatMap(({ metrics }) => metrics[quantity] ?? []).map(({ name }) => name);
      return names.map(samplesOf).find((all) => all.length > 0) ?? [];
    },
    share: (of, holder, sinceMs) => shareOf(views, of, holder, sinceMs),
  };
}

/** The best source first: by the exporter's place, then as `compareSources`; those that have ended last. */
function toSourceViews(rows: readonly GpuRow[], targets: ScrapeTargets, lookbackMs: number): GpuSourceView[] {
  const known = rows.map((row): ViewRow & { place: number } => {
    const { metric } = row.samples[0]!;
    return {
      ...row,
      place: GPU_EXPORTERS.indexOf(gpuExporterOf(metric)!),
      holder: toGpuHolder(metric, row.labels, targets),
      newestMs: Math.max(...row.samples.map(({ atMs }) => atMs)),
      isEnded: row.samples.every(({ isEnded }) => isEnded),
    };
  });
  const groups = Map.groupBy(known, ({ place, source }) => JSON.stringify([place, source]));
  const views = [...groups.values()].map((own) => ({
    place: own[0]!.place,
    rows: own.toSorted(
      (a, b) =>
        Number(a.holder !== undefined) - Number(b.holder !== undefined) ||
        compareText(textOf(a.labels), textOf(b.labels)),
    ),
    source: own[0]!.source,
    covered: Math.max(...own.map(({ covered }) => covered)),
    newestMs: newestMs(own),
    isEnded: own.every(({ isEnded }) => isEnded),
  }));
  const endedMs = newestMs(views) - lookbackMs / 2;
  const ended = (view: GpuSourceView): number => Number(view.isEnded || view.newestMs < endedMs);
  return views.sort((a, b) => ended(a) - ended(b) || a.place - b.place || compareSources(a, b));
}

function metricsOf(place: number, quantity: GpuQuantity, isWhole: boolean): GpuMetric[] {
  const metrics = GPU_EXPORTERS[place]!.metrics[quantity] ?? [];
  return metrics.filter(({ unpartitioned }) => isWhole || unpartitioned !== true);
}

function hasMetric(view: GpuSourceView, metric: string): boolean {
  return view.rows.some(({ samples }) => samples.some((sample) => sample.metric === metric));
}

interface Ending {
  newestMs: number;
  isEnded: boolean;
}

/** Those that have not ended; all, if all have. */
function liveOf<Item extends Ending>(items: readonly Item[]): readonly Item[] {
  const live = items.filter(({ isEnded }) => !isEnded);
  return live.length > 0 ? live : items;
}

function newestMs(items: readonly Ending[]): number {
  return Math.max(...liveOf(items).map((item) => item.newestMs));
}

/** The series of the newest scrape. */
function currentRows(view: GpuSourceView): ViewRow[] {
  return liveOf(view.rows).filter((row) => row.newestMs === view.newestMs);
}

/**
 * The newest sample of a metric. Of series with samples of the same time that without a Pod counts: the others are the shares of Pods (dcgm-exporter
 * `--kubernetes-virtual-gpus`), or repeat the device's number.
 */
function newestOf(view: GpuSourceView, metric: string, sinceMs: number): GpuValue | undefined {
  const only = Object.entries(gpuQuantityOf(metric)?.metric.only ?? {});
  const found = view.rows
    .filter(({ labels }) => only.every(([name, value]) => labels[name] === value))
    .flatMap(({ samples, holder }) =>
      samples
        .filter((sample) => sample.metric === metric && !sample.isEnded && sample.atMs > sinceMs)
        .map((sample) => ({ ...sample, isShare: holder !== undefined })),
    )
    .toSorted((a, b) => b.atMs - a.atMs || Number(a.isShare) - Number(b.isShare));
  return found[0] && { value: found[0].latest, metric, atMs: found[0].atMs };
}

function shareOf(
  views: readonly GpuSourceView[],
  of: { slice: GpuQuantity; device?: GpuQuantity },
  holder: GpuHolder,
  sinceMs: number,
): number | undefined {
  const own = (view: GpuSourceView): ViewRow[] =>
    view.rows.filter((row) => row.holder !== undefined && isSamePod(row.holder, holder));
  const ofSlice = views.flatMap((view) =>
    metricsOf(view.place, of.slice, true).map(({ name }) =>
      newestOf({ ...view, rows: own(view) }, name, sinceMs),
    ),
  );
  const ofDevice = views.flatMap((view) =>
    metricsOf(view.place, of.device ?? of.slice, true).map(({ name }) => {
      const share = newestOf({ ...view, rows: own(view) }, name, sinceMs);
      const isBeside = view.rows.some(
        (row) =>
          row.holder === undefined &&
          row.samples.some(({ metric, atMs }) => metric === name && atMs === share?.atMs),
      );
      return isBeside ? share : undefined;
    }),
  );
  return [...ofSlice, ...ofDevice].find((found) => found !== undefined)?.value;
}

/** An exporter that does not name the container says the same of all containers of the Pod. */
function isSamePod(a: GpuHolder, b: GpuHolder): boolean {
  const sameContainer = a.container === b.container || a.container === "" || b.container === "";
  return a.namespace === b.namespace && a.pod === b.pod && sameContainer;
}

/** Each once, by name; without those that only repeat the Pod of another that names its container. */
function uniqueHolders(holders: readonly GpuHolder[]): GpuHolder[] {
  const unique = [
    ...new Map(holders.map((holder) => [JSON.stringify(Object.values(holder)), holder])).values(),
  ];
  return unique
    .filter(
      (holder) =>
        holder.container !== "" ||
        !unique.some((other) => other.container !== "" && isSamePod(other, holder)),
    )
    .toSorted((a, b) =>
      compareText(`${a.namespace}/${a.pod}/${a.container}`, `${b.namespace}/${b.pod}/${b.container}`),
    );
}

function largestOf(samples: readonly GpuSample[], field: "peak" | "before"): number | undefined {
  const values = samples.map((sample) => sample[field]).filter((value) => value !== undefined);
  return values.length === 0 ? undefined : Math.max(...values);
}

function textOf(labels: GpuRow["labels"]): string {
  return JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => compareText(a, b)));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
