import type { Clock } from "#lib/clock.ts";
import type { ClusterShape } from "#simulator/layout.ts";
import { createWorld, type ClusterWorld } from "#simulator/world.ts";
import { startPrometheus, type WrittenPrometheus } from "../e2e/prometheus.ts";
import { waitFor } from "./bridge-process.ts";

// A real Prometheus with a day of the simulator's samples, written by remote write.

export interface Filling {
  shape: Pick<ClusterShape, "nodes" | "pods" | "gpus" | "cpus" | "scrapeIntervalMs">;
  /** Added to each series. */
  labels: Readonly<Record<string, string>>;
  metrics: readonly string[];
}

export const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const SLICE_MS = 15 * 60_000;
/** The head keeps up to one and a half times the length of a block. */
const HEAD_MS_MAX = 3.5 * HOUR_MS;

/** `days`: from so long before `endMs` on; ms. Resolves when what is older than some hours is in blocks, as in a Prometheus that ran. */
export async function fillPrometheus(
  fillings: readonly Filling[],
  endMs: number,
  lengthMs: number,
): Promise<WrittenPrometheus> {
  const prometheus = await startPrometheus();
  const worlds = fillings.map((filling) => ({ ...filling, world: worldOf(filling, endMs) }));
  for (let fromMs = endMs - lengthMs; fromMs < endMs; fromMs += SLICE_MS) {
    const toMs = Math.min(fromMs + SLICE_MS, endMs);
    for (const { world, metrics, labels } of worlds) {
      const series = metrics.flatMap((metric) => world.expected({ fromMs, toMs, metric }));
      await prometheus.write(
        series.map(({ labels: own, timestamps, values }) => ({
          labels: { ...Object.fromEntries(own), ...labels },
          samples: timestamps.map((ms, i) => [ms, values[i]!] as const),
        })),
      );
    }
  }
  await untilInBlocks(prometheus, endMs);
  return prometheus;
}

/** Resolves when what is older than some hours before `endMs` is in blocks. */
export async function untilInBlocks(
  prometheus: Pick<WrittenPrometheus, "address">,
  endMs: number,
): Promise<void> {
  await waitFor("the last block", async () => {
    const headMs = await metricOf(prometheus, "prometheus_tsdb_head_min_time_seconds");
    return headMs * 1000 > endMs - HEAD_MS_MAX ? true : undefined;
  });
}

function worldOf({ shape }: Filling, endMs: number): ClusterWorld {
  const clock: Pick<Clock, "now"> = { now: () => endMs };
  // Prometheus evens out the times of its scrapes, so most come exactly at their interval.
  const steady = { oddities: false, jitterMs: 0, resetEveryMs: 6 * HOUR_MS, churnEveryMs: DAY_MS };
  const settings = { clusters: 1, shape: { ...shape, ...steady, oldestMs: 0 } };
  return createWorld({ clock: clock as Clock }, settings).clusters[0]!;
}

export function originOf({ address }: Pick<WrittenPrometheus, "address">): string {
  return `http://${address.host}:${address.port}`;
}

/** One of Prometheus' own metrics, without labels. */
export async function metricOf(
  prometheus: Pick<WrittenPrometheus, "address">,
  name: string,
): Promise<number> {
  const text = await (await fetch(`${originOf(prometheus)}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
}
