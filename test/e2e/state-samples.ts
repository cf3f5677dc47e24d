import type { Sample } from "../helpers/stored-series.ts";
import type { ClusterMetric } from "./delivery.ts";

// What scraped samples do not show by themselves at a time that the test knows.

const MINUTE_MS = 60_000;
/** Of a sample's value, so many minutes before the test's time. undefined: no sample. */
type Shape = (value: number, minutesAgo: number) => number | undefined;

const error =
  (code: number, since: number): Shape =>
  (_value, ago) =>
    ago < since ? code : 0;
const idle =
  (since: number): Shape =>
  (value, ago) =>
    ago < since ? 0 : value;
const gone =
  (since: number): Shape =>
  (value, ago) =>
    ago < since ? undefined : value;
const UTILIZATION: Readonly<Record<number, Shape>> = { 7: idle(40), 8: idle(8), 9: idle(40), 12: idle(40) };

/**
 * By the GPU's place. XIDs from before the window and new ones, that need an action or not (dcgm-exporter repeats the last one); GPUs with a Pod that are idle with their
 * memory held, were busy eight minutes ago, are idle without memory; one without a Pod that is idle; one whose GR_ENGINE_ACTIVE ended.
 */
const SITUATIONS: Readonly<Record<string, Readonly<Record<number, Shape>>>> = {
  DCGM_FI_DEV_XID_ERRORS: { 3: error(79, 60), 4: error(79, 8), 5: error(31, 60), 6: error(31, 8) },
  DCGM_FI_DEV_GPU_UTIL: UTILIZATION,
  DCGM_FI_PROF_GR_ENGINE_ACTIVE: { ...UTILIZATION, 0: gone(40) },
  DCGM_FI_DEV_FB_USED: { 9: idle(40), 12: idle(40) },
};
const NO_ERROR = error(0, 0);

/** `finished`: the Pod that has ended successfully. */
export function withSituations(
  { metric, series, ...rest }: ClusterMetric,
  { atMs, finished }: { atMs: number; finished: string | undefined },
): ClusterMetric {
  const shapeOf = (place: number, labels: Record<string, string>): Shape | undefined => {
    if (metric === "kube_pod_status_phase" && labels["pod"] === finished) {
      return () => Number(labels["phase"] === "Succeeded");
    }
    return SITUATIONS[metric]?.[place] ?? (metric === "DCGM_FI_DEV_XID_ERRORS" ? NO_ERROR : undefined);
  };
  const shaped = series.map(({ labels, samples }, place) => {
    const shape = shapeOf(place, labels);
    if (shape === undefined) return { labels, samples };
    const values = samples.flatMap(([ms, value]): Sample[] => {
      const shapedValue = shape(value, (atMs - ms) / MINUTE_MS);
      return shapedValue === undefined ? [] : [[ms, shapedValue]];
    });
    return { labels, samples: values };
  });
  return { metric, series: shaped, ...rest };
}

const EARLIER_MS = 5000;
/** Minutes before the test's time in which the second target was not scraped: a hole of its own, and somewhat more than one that both have. */
const HOLES = [
  [4.9, 12],
  [39.5, 47.5],
] as const;

/**
 * All series with those of a second target for each exporter: another job, another port of the same host, scraped five seconds earlier from `fromMs` on, with more gaps. It
 * has nothing that the first does not have, so every answer is that of the first alone.
 */
export function withCopies(
  metrics: readonly ClusterMetric[],
  { fromMs, atMs }: { fromMs: number; atMs: number },
): ClusterMetric[] {
  const isThere = ([ms]: Sample): boolean => {
    const ago = (atMs - ms) / MINUTE_MS;
    return !HOLES.some(([to, from]) => ago > to && ago < from);
  };
  return metrics.map(({ series, ...rest }) => ({
    ...rest,
    series: series.flatMap(({ labels, samples }) => {
      const { instance = "", job = "" } = labels;
      const copy = { ...labels, instance: `${instance}1`, job: `${job}-copy` };
      const later = samples
        .filter(([ms]) => ms > fromMs)
        .slice(1)
        .map(([ms, value]): Sample => [ms - EARLIER_MS, value]);
      return [
        { labels, samples },
        { labels: copy, samples: later.filter(isThere) },
      ].filter((each) => each.samples.length > 0);
    }),
  }));
}
