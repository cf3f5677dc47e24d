import { batch, signal, type Signal } from "@preact/signals";
import { clusterPath, get } from "./api.ts";
import type { Gpus, Health, Nodes, ReportedCompleteness } from "./api-types.ts";
import { after, nowMs } from "./clock.ts";
import { NOTHING, toApiError, type Loaded } from "./loaded.ts";
import { settings } from "./settings.ts";

/** What the stored samples say of a cluster, for its row. */
interface Facts {
  health: Health;
  nodes: Nodes;
  gpus: Gpus;
  /** In the role query, which has no status of the collection. */
  reported: ReportedCompleteness | null;
}

const IN_VIEW_MS = 60_000;
const OUT_OF_VIEW_MS = 300_000;
const CHECK_MS = 2000;
/** Answers are shown together: each change draws all rows and totals again, which takes long for many clusters. */
const SHOW_MS = 100;
const SHOW_OUT_OF_VIEW_MS = 1000;

/**
 * Reads the facts of many clusters with few requests at once: first of the rows in view, then one cluster after another of all others, and
 * again when they are a minute (out of view: five minutes) old.
 */
export interface FleetFacts {
  of(id: string): Signal<Loaded<Facts>>;
  /** The clusters there are; facts of others are forgotten. */
  setClusters(ids: readonly string[]): void;
  setInView(id: string, isInView: boolean): void;
  stop(): void;
}

export function createFleetFacts(): FleetFacts {
  const facts = new Map<string, Signal<Loaded<Facts>>>();
  const inView = new Set<string>();
  const ended = new AbortController();
  let clusters: readonly string[] = [];
  let cancel = (): void => {};
  const of = (id: string): Signal<Loaded<Facts>> => {
    const known = facts.get(id) ?? signal<Loaded<Facts>>(NOTHING);
    facts.set(id, known);
    return known;
  };
  const tried = new Map<string, number>();
  const loading = new Set<string>();
  const isDue = (id: string, afterMs: number): boolean =>
    !loading.has(id) && nowMs() - (tried.get(id) ?? 0) >= afterMs;
  let answered = new Map<string, Loaded<Facts>>();
  const show = (): void => {
    const shown = answered;
    answered = new Map();
    if (ended.signal.aborted) return;
    batch(() => {
      for (const [id, facts] of shown) if (clusters.includes(id)) of(id).value = facts;
    });
  };
  const load = async (id: string): Promise<void> => {
    tried.set(id, nowMs());
    loading.add(id);
    try {
      const value = await readFacts(id, ended.signal);
      answered.set(id, { value, at: nowMs(), error: null, loading: false });
    } catch (error) {
      answered.set(id, { ...of(id).peek(), error: toApiError(error), loading: false });
    }
    loading.delete(id);
    if (inView.has(id)) after(SHOW_MS, show);
    else if (answered.size === 1) after(SHOW_OUT_OF_VIEW_MS, show);
  };
  const check = (): void => {
    cancel();
    if (ended.signal.aborted) return;
    if (document.visibilityState === "visible") {
      for (const id of clusters) if (inView.has(id) && isDue(id, IN_VIEW_MS)) void load(id);
      const isBusy = loading.size > 0;
      const next = isBusy ? undefined : clusters.find((id) => isDue(id, OUT_OF_VIEW_MS));
      if (next !== undefined) void load(next).then(check);
    }
    cancel = after(CHECK_MS, check);
  };
  return {
    of,
    setClusters: (ids) => {
      clusters = ids;
      for (const id of facts.keys()) if (!ids.includes(id)) facts.delete(id);
      check();
    },
    setInView: (id, isInView) => {
      if (isInView) inView.add(id);
      else inView.delete(id);
      if (isInView && isDue(id, IN_VIEW_MS)) void load(id);
    },
    stop: () => {
      ended.abort();
      cancel();
    },
  };
}

async function readFacts(id: string, abort: AbortSignal): Promise<Facts> {
  const [health, nodes, gpus, reported] = await Promise.all([
    get<Health>(clusterPath(id, "health"), abort),
    get<Nodes>(clusterPath(id, "nodes"), abort),
    get<Gpus>(clusterPath(id, "gpus"), abort),
    settings.parts.collection ? null : get<ReportedCompleteness>(clusterPath(id, "completeness"), abort),
  ]);
  return { health, nodes, gpus, reported };
}
