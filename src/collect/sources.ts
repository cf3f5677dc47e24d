import type { Cluster } from "#clusters/cluster.ts";
import { toBridgeError } from "#errors/error.ts";
import type { Window } from "#prometheus/window.ts";
import type { ClusterProgress } from "./progress.ts";
import type { OpenPrometheus, PrometheusConnection } from "./ports.ts";

/** Ready Pods beside the pinned one that are asked for samples that the pinned one lacks. */
const OTHER_PODS_MAX = 8;

/** The Pods of one cluster's Prometheus that a round reads from. */
export interface Sources {
  /**
   * The Pods to read a window from, the best first. `isCovered`: the first of them had data by then, so an empty answer is true.
   * Otherwise the window is older than the data that any Pod is known to have: the first answer with samples counts; without any, the window is absent.
   * A window must not reach over one of `boundaries`.
   */
  of(window: Window): { pods: readonly PrometheusConnection[]; isCovered: boolean };
  /** Times at which a Pod's data begin, ms. */
  boundaries: readonly number[];
  /** The oldest sample that any Pod is known to have; undefined when the Pods have data from the earliest window on. */
  oldestMs: number | undefined;
  /** No Pod was known to have any data before: no sample before `oldestMs` was promised. */
  isFirstSight: boolean;
  /** False when a ready Pod could not be asked: then nothing may count as absent. */
  askedAll: boolean;
  warnings: readonly string[];
  /** Ends the connections to other Pods; the pinned one's belongs to the caller. */
  close(): Promise<void>;
}

/** A Pod and the time of its oldest sample of `up`; Infinity when it has none. */
interface Source {
  connection: PrometheusConnection;
  oldestMs: number;
}

export interface SourcesDeps {
  openPrometheus: OpenPrometheus;
}

/**
 * Finds out which Pods have data from `earliestMs` on. Usually one question to the pinned Pod is all. When that Pod is younger (it lost its
 * volume, or another one took its place), every other ready Pod of the Service is asked as well.
 * When no Pod ever had samples of `up` (a source that only receives remote write), every answer counts as it is.
 */
export async function openSources(
  deps: SourcesDeps,
  cluster: Cluster,
  pinned: PrometheusConnection,
  progress: ClusterProgress,
  times: { earliestMs: number; endMs: number; nowMs: number; maxBackfillMs: number },
  signal: AbortSignal,
): Promise<Sources> {
  const { client } = pinned;
  if (times.earliestMs >= times.endMs) return onlyPinned(pinned);
  if (await client.hasSamplesAt(times.earliestMs, signal)) {
    progress.up_seen = true;
    return onlyPinned(pinned);
  }
  const range = { fromMs: times.endMs - times.maxBackfillMs, toMs: times.nowMs };
  const sources: Source[] = [
    { connection: pinned, oldestMs: (await client.oldestSample(range, signal)) ?? Infinity },
  ];
  const others = await openOthers(deps, cluster, pinned, range, signal);
  sources.push(...others.sources);
  const close = async (): Promise<void> => {
    await Promise.all(others.sources.map(({ connection }) => connection.close()));
  };
  const isFirstSight = progress.up_seen !== true && !hasRead(progress);
  if (sources.some(({ oldestMs }) => oldestMs < Infinity)) progress.up_seen = true;
  if (progress.up_seen !== true) {
    await close();
    return onlyPinned(pinned);
  }
  return { ...toSources(sources), isFirstSight, askedAll: others.askedAll, warnings: others.warnings, close };
}

/** Records of an earlier version don't say whether `up` was seen, but how many samples were read. */
function hasRead({ queries }: ClusterProgress): boolean {
  return Object.values(queries).some(({ samples_read }) => samples_read > 0);
}

function onlyPinned(pinned: PrometheusConnection): Sources {
  const pods = [pinned];
  return {
    of: () => ({ pods, isCovered: true }),
    boundaries: [],
    oldestMs: undefined,
    isFirstSight: false,
    askedAll: true,
    warnings: [],
    close: () => Promise.resolve(),
  };
}

function toSources([pinned, ...others]: readonly Source[]): Pick<Sources, "of" | "boundaries" | "oldestMs"> {
  const oldestFirst = byAge(others);
  const preferred = [pinned!, ...oldestFirst];
  const all = byAge([...oldestFirst, pinned!]).map(({ connection }) => connection);
  return {
    // The sample at `oldestMs` itself belongs to the Pod's window: windows are left-open.
    boundaries: preferred.map(({ oldestMs }) => oldestMs - 1).filter((ms) => Number.isFinite(ms)),
    oldestMs: preferred.map(({ oldestMs }) => oldestMs).reduce((a, b) => Math.min(a, b)),
    of: ({ fromMs }) => {
      const covering = preferred.find(({ oldestMs }) => oldestMs - 1 <= fromMs);
      return covering ? { pods: [covering.connection], isCovered: true } : { pods: all, isCovered: false };
    },
  };
}

/** Oldest data first; Pods that are equally old stay in their order. */
function byAge(sources: readonly Source[]): Source[] {
  return sources.toSorted((a, b) => (a.oldestMs < b.oldestMs ? -1 : Number(a.oldestMs > b.oldestMs)));
}

async function openOthers(
  { openPrometheus }: SourcesDeps,
  cluster: Cluster,
  pinned: PrometheusConnection,
  range: Window,
  signal: AbortSignal,
): Promise<{ sources: Source[]; askedAll: boolean; warnings: string[] }> {
  const { otherPods } = pinned;
  const sources: Source[] = [];
  const warnings: string[] = [];
  for (const pod of otherPods.slice(0, OTHER_PODS_MAX)) {
    let connection: PrometheusConnection | undefined;
    try {
      connection = await openPrometheus(cluster, pod.uid, signal);
      // It is not ready any more, and another one answered in its place.
      if (connection.pod.uid !== pod.uid) throw new Error("it is not ready any more");
      const oldestMs = (await connection.client.oldestSample(range, signal)) ?? Infinity;
      await connection.client.prepareReads(signal);
      sources.push({ connection, oldestMs });
    } catch (thrown) {
      await connection?.close();
      if (signal.aborted) {
        await Promise.all(sources.map((source) => source.connection.close()));
        throw signal.reason;
      }
      const why = thrown instanceof Error && connection ? thrown.message : toBridgeError(thrown).message;
      warnings.push(
        `Prometheus Pod ${pod.name} could not be asked for samples that the pinned Pod lacks: ${why}`,
      );
    }
  }
  const askedAll = sources.length === otherPods.length;
  return { sources, askedAll, warnings };
}
