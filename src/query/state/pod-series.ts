import { compareSources, ownLabelOf, sourceOf } from "./identity.ts";

export const INFO = "kube_pod_info";
export const PHASE = "kube_pod_status_phase";
export const RESTARTS = "kube_pod_container_status_restarts_total";
export const REQUESTS = "kube_pod_container_resource_requests";
export const LIMITS = "kube_pod_container_resource_limits";
export const CPU = "container_cpu_usage_seconds_total";
export const MEMORY = "container_memory_working_set_bytes";
export const RECEIVED = "container_network_receive_bytes_total";
export const TRANSMITTED = "container_network_transmit_bytes_total";

/** Counters of which a rate is read. */
export const RATES = [CPU, RECEIVED, TRANSMITTED];

/** A series of a Pod, read once for an answer. Times in ms. */
export interface PodSeries {
  metric: string;
  labels: Readonly<Record<string, string>>;
  firstMs: number;
  newestMs: number;
  /** A stale marker is newer than its samples. */
  isEnded: boolean;
  samples: number;
  /** The newest sample's value. */
  latest: number;
  /** Per second over the window; null: no counter, or one sample. */
  rate: number | null;
  /** In how many stretches of the window it has a sample. */
  covered: number;
  /** Of restarts: the first sample, and those that differ from the one before. */
  changes: readonly (readonly [ms: number, value: number])[];
}

/** Something that is measured of a Pod, from all series that measure it. */
export interface PodThing extends Omit<PodSeries, "samples" | "covered"> {
  /** "" for what belongs to the whole Pod. */
  container: string;
  /** The resource, the CPU ("total": all of them), the network interface, or the phase that the Pod is in. */
  part: string;
}

/** The label that tells a metric's things of one container apart. */
const PARTS: Readonly<Record<string, string>> = {
  [PHASE]: "phase",
  [REQUESTS]: "resource",
  [LIMITS]: "resource",
  [CPU]: "cpu",
  [RECEIVED]: "interface",
  [TRANSMITTED]: "interface",
};
const OF_CONTAINERS = new Set([RESTARTS, REQUESTS, LIMITS, CPU, MEMORY]);
/** Labels of cAdvisor that name a cgroup: of one container there is one in another, and one after the other, from the same target. */
const CGROUP_LABEL = /^(id|image|name)=/;

/** A source has ended when it has no sample for this many of its own scrape intervals. */
const INTERVALS = 1.5;
/** Of a source with one sample: Prometheus' default. */
const SCRAPE_INTERVAL_MS = 60_000;

/**
 * One thing for each (metric, container, part) of a Pod's series. Of several series the best counts, and others only before its first and after its last sample. Series of
 * pause containers and of loopback interfaces measure nothing.
 *
 * The best is of the target with the fewest gaps, fewest labels, smallest label text (`compareSources`); of one target's cgroups it is the one that uses most, because an
 * outer one holds the inner ones, and what a kubelet left behind of a container that ended uses nothing (kubernetes#47853); then the outermost; then the newest.
 */
export function toThings(series: readonly PodSeries[]): PodThing[] {
  const groups = Map.groupBy(series.map(toCandidate).filter(isMeasured), ({ metric, container, part }) =>
    JSON.stringify([metric, container, metric === PHASE ? "" : part]),
  );
  return [...groups.values()].map((found) => {
    if (found.length === 1) return found[0]!;
    const [best, ...others] = found.toSorted(byRank(found));
    return others.reduce(withNext, best!);
  });
}

interface Candidate extends PodSeries, PodThing {
  /** The labels of who scraped it, without those of the cgroup. */
  target: string[];
  targetText: string;
  cgroup: string;
  /** How long the source may be without a sample. */
  patienceMs: number;
}

function toCandidate(series: PodSeries): Candidate {
  const { metric, labels } = series;
  const own = (name: string): string => ownLabelOf(labels, name, metric);
  const part = PARTS[metric] === undefined ? "" : own(PARTS[metric]);
  const target = sourceOf(labels, metric).filter((label) => !CGROUP_LABEL.test(label));
  const interval =
    series.samples > 1 ? (series.newestMs - series.firstMs) / (series.samples - 1) : SCRAPE_INTERVAL_MS;
  return {
    ...series,
    container: OF_CONTAINERS.has(metric) ? own("container") : "",
    part: metric === CPU && part === "" ? "total" : part,
    target,
    targetText: target.join("\n"),
    cgroup: labels["id"] ?? "",
    patienceMs: INTERVALS * interval,
  };
}

/** A Pod's phase is the one whose series is 1. */
function isMeasured({ metric, container, part, latest }: Candidate): boolean {
  if (metric === PHASE) return latest === 1;
  return container !== "POD" && !(PARTS[metric] === "interface" && part === "lo");
}

function byRank(found: readonly Candidate[]): (a: Candidate, b: Candidate) => number {
  const coveredBy = new Map<string, number>();
  for (const { targetText, covered } of found) {
    coveredBy.set(targetText, Math.max(covered, coveredBy.get(targetText) ?? 0));
  }
  const most = Math.max(...coveredBy.values());
  // Clocks differ: one stretch less than another is no gap.
  const gapsOf = ({ targetText }: Candidate): number => Math.max(most - coveredBy.get(targetText)! - 1, 0);
  const usageOf = ({ cgroup, rate, metric, latest }: Candidate): number =>
    cgroup === "" ? 0 : RATES.includes(metric) ? (rate ?? 0) : latest;
  return (a, b) =>
    compareSources({ covered: -gapsOf(a), source: a.target }, { covered: -gapsOf(b), source: b.target }) ||
    usageOf(b) - usageOf(a) ||
    byText(a.cgroup, b.cgroup) ||
    b.firstMs - a.firstMs ||
    byText(JSON.stringify(a.labels), JSON.stringify(b.labels));
}

const byText = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

/** What is known so far, with what the next one alone knows: a target that ends is followed by another, and a cgroup at once by one of the same target. */
function withNext(known: Candidate, next: Candidate): Candidate {
  const sameTarget = known.targetText === next.targetText;
  const isNewer =
    next.newestMs > known.newestMs + known.patienceMs || (sameTarget && next.firstMs > known.newestMs);
  // One that has ended is not followed by it, however new its last sample is.
  const isAfter = known.isEnded === next.isEnded ? isNewer : known.isEnded;
  const isBefore =
    next.firstMs < known.firstMs - known.patienceMs || (sameTarget && next.newestMs < known.firstMs);
  const earlier = isBefore ? next.changes.filter(([ms]) => ms < known.firstMs) : [];
  const later = isAfter ? next.changes.filter(([ms]) => ms > known.newestMs) : [];
  const aloneMs =
    (isAfter ? Math.max(0, next.newestMs - Math.max(known.newestMs, next.firstMs)) : 0) +
    (isBefore ? Math.min(known.firstMs, next.newestMs) - next.firstMs : 0);
  return {
    ...(isAfter ? { ...next, covered: known.covered } : known),
    firstMs: isBefore ? next.firstMs : known.firstMs,
    changes: [...earlier, ...known.changes, ...later],
    rate: addShare(known.rate, next, aloneMs),
  };
}

/** The rate of one that overlaps the other counts in proportion to the time that it has alone. */
function addShare(rate: number | null, next: Candidate, aloneMs: number): number | null {
  if (next.rate === null || aloneMs <= 0) return rate;
  return (rate ?? 0) + (next.rate * aloneMs) / (next.newestMs - next.firstMs);
}

/** Restarts are differences of neighbours, of which the later is in the window; after a reset they count from 0. */
export function restartsOf({ changes }: PodThing, windowFromMs: number): number {
  let restarts = 0;
  for (const [i, [ms, value]] of changes.entries()) {
    const before = changes[i - 1]?.[1];
    if (before === undefined || ms <= windowFromMs) continue;
    restarts += value >= before ? value - before : value;
  }
  return restarts;
}
