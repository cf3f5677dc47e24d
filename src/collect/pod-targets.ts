import { createHash } from "node:crypto";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { PodConnections } from "./pod-connections.ts";
import type { PodRef } from "./ports.ts";
import type { PodTargets } from "./sharding.ts";

const UP: Query = { name: "up", promql: "up", group: "", kind: "selector", selector: "up" };
/** A target that was scraped within this time counts: the longest usual scrape interval. */
const RECENT_MS = 300_000;
/** A Pod that has samples of less than this time has just started: it may not have found its targets yet. */
const YOUNG_MS = RECENT_MS / 2;
/** Targets of one Pod that are compared: the first in the order of their labels, which all Pods have in common. */
const TARGETS_MAX = 5000;
const PODS_MAX = 32;
const PODS_AT_ONCE = 4;
/** For one Pod: a Pod that hangs must not use up the cluster's time. */
const LOOK_MS = 15_000;

/**
 * Asks Pods which targets they scrape: the series of `up`. The targets of a Pod that can't be asked, or has just
 * started, are unknown. Throws the signal's reason.
 */
export async function readTargets(
  { clock }: { clock: Clock },
  connections: PodConnections,
  pods: readonly PodRef[],
  signal: AbortSignal,
): Promise<PodTargets[]> {
  const limiter = createLimiter(PODS_AT_ONCE);
  const ask = async (pod: PodRef): Promise<PodTargets> => {
    const limit = deadline(clock, LOOK_MS, () => new Error("took too long"), signal);
    try {
      return { pod: pod.name, targets: await targetsOf(connections, pod, limit.signal) };
    } catch {
      if (signal.aborted) throw signal.reason;
      return { pod: pod.name, targets: undefined };
    } finally {
      limit.dispose();
    }
  };
  const asked = await Promise.all(pods.slice(0, PODS_MAX).map((pod) => limiter(() => ask(pod))));
  return [...asked, ...pods.slice(PODS_MAX).map(({ name }) => ({ pod: name, targets: undefined }))];
}

async function targetsOf(
  connections: PodConnections,
  pod: PodRef,
  signal: AbortSignal,
): Promise<ReadonlySet<string> | undefined> {
  const { client } = await abortable(connections.to(pod), signal);
  const nowMs = await client.now(signal);
  const targets = new Set<string>();
  let oldestMs = Infinity;
  const sink = {
    series: (series: ScannedSeries): void => {
      oldestMs = Math.min(oldestMs, series.timestamps[0] ?? Infinity);
      const target = targetOf(series);
      if (target !== undefined && targets.size < TARGETS_MAX) targets.add(target);
    },
  };
  const window = { fromMs: nowMs - RECENT_MS, toMs: nowMs };
  await client.read(UP, window, { sink, pause: () => undefined }, signal);
  return targets.size === 0 || oldestMs > nowMs - YOUNG_MS ? undefined : targets;
}

/** A digest of the target's labels. Undefined for a target on the Pod itself: every Prometheus may have one with the same labels. */
function targetOf({ bytes, labels, labelCount }: ScannedSeries): string | undefined {
  const digest = createHash("sha256");
  for (let i = 0; i < labelCount; i++) {
    const [nameStart, nameEnd, valueStart, valueEnd] = labels.subarray(4 * i, 4 * i + 4);
    const name = bytes.subarray(nameStart, nameEnd);
    const value = bytes.subarray(valueStart, valueEnd);
    if (Buffer.from(name).equals(INSTANCE) && LOCAL.test(Buffer.from(value).toString("utf8")))
      return undefined;
    digest.update(name).update("\0").update(value).update("\0");
  }
  return digest.digest("base64").slice(0, 16);
}

const INSTANCE = Buffer.from("instance");
const LOCAL = /^(https?:\/\/)?(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|\/|$)/i;
