import { toGpuHolder, toScrapeTargets } from "#query/gpu-holders.ts";
import { gpuSeriesOf } from "#query/gpu-series.ts";
import type { GpuMoments, StateRow, Values } from "./rows.ts";

/** A metric of one GPU or part of it, as one source measured it, whichever Pods held it. Numbers are the samples'. */
export interface GpuGridRow {
  metric: string;
  device: string;
  part: string;
  source: readonly string[];
  grid: Values;
  newestMs: number;
  /** At the grid's end stale markers have ended all of its series. */
  isEnded: boolean;
  /** Of `gpuUseOf`, as of the grid's end. */
  isHeld: boolean;
  heldLong: boolean;
  peak: number | undefined;
  before: number | undefined;
}

interface SeriesRow extends Omit<GpuGridRow, "heldLong" | "peak" | "before"> {
  moments: GpuMoments;
}

const NO_TARGETS = toScrapeTargets([]);

/** The rows of GPU metrics among those of a state answer. */
export function toGpuGridRows(rows: readonly StateRow[]): GpuGridRow[] {
  const series = rows.flatMap((row): SeriesRow[] => {
    const { metric_name: metric, labels, gpu: moments, grid, newestMs, isEnded } = row;
    const of = gpuSeriesOf(metric, labels);
    if (of === undefined || moments === undefined) return [];
    const isHeld = toGpuHolder(metric, labels, NO_TARGETS) !== undefined;
    return [{ metric, ...of, grid, newestMs, isEnded, isHeld, moments }];
  });
  const groups = Map.groupBy(series, ({ metric, device, part, source }) =>
    JSON.stringify([metric, device, part, source]),
  );
  return [...groups.values()].map(toGpuGridRow);
}

/**
 * Each Pod that used a GPU has a series of its own. At each step the newest sample of them counts, and of samples of one time that of the series without a Pod: the others are
 * shares of it (dcgm-exporter `--kubernetes-virtual-gpus`), or repeat it.
 */
function toGpuGridRow(series: readonly SeriesRow[]): GpuGridRow {
  const { metric, device, part, source, grid } = series[0]!;
  const order = series.toSorted((a, b) => Number(a.isHeld) - Number(b.isHeld));
  const live = series.filter((each) => !each.isEnded);
  const current = live.length > 0 ? live : series;
  const newestMs = Math.max(...current.map((each) => each.newestMs));
  const held = current.filter(({ isHeld }) => isHeld);
  const heldMs = Math.max(...held.map((each) => each.newestMs));
  return {
    metric,
    device,
    part,
    source,
    grid: series.length === 1 ? grid : grid.map((_, i) => newestAt(order, i)),
    newestMs,
    isEnded: live.length === 0,
    isHeld: heldMs === newestMs,
    heldLong: held.some((each) => each.newestMs === heldMs && each.moments.before !== undefined),
    peak: largestOf(series.map(({ moments }) => moments.peak)),
    before: largestOf(series.map(({ moments }) => moments.before)),
  };
}

function newestAt(series: readonly SeriesRow[], i: number): number | null {
  let [value, atMs]: [number | null, number] = [null, -Infinity];
  for (const { grid, moments } of series) {
    const ms = moments.times[i] ?? null;
    if (ms === null || ms <= atMs) continue;
    [value, atMs] = [grid[i] ?? null, ms];
  }
  return value;
}

function largestOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}
