import { setTimeout as delay } from "node:timers/promises";
import { nameOf, type Fault } from "./plan.ts";
import type { Strike } from "./parts.ts";

/** One container is away from the cluster's network at a time: Docker gives the lowest free address, so each gets its own again. */
const NETWORK = "network";

/**
 * Strikes the faults at their times, several at once where they overlap, and heals them; when the signal is aborted at once. Counts each kind that was
 * struck and healed in `struck`, by its name. Returns what failed.
 */
export async function runFaults(
  plan: readonly Fault[],
  strike: Strike,
  struck: Map<string, number>,
  signal: AbortSignal,
): Promise<string[]> {
  const startedAt = performance.now();
  const failures: string[] = [];
  const busy = new Map<string, Promise<void>>();
  const run = async (fault: Fault): Promise<void> => {
    const name = nameOf(fault);
    try {
      const heal = await strike(fault);
      await sleep(fault.forMs, signal);
      await heal();
      struck.set(name, (struck.get(name) ?? 0) + 1);
    } catch (error) {
      failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  for (const fault of plan) {
    await sleep(startedAt + fault.atMs - performance.now(), signal);
    const needs = [fault.part, ...(fault.part !== "bridge" && fault.action !== "pause" ? [NETWORK] : [])];
    for (const need of needs) await busy.get(need);
    if (signal.aborted) break;
    const done = run(fault);
    for (const need of needs) busy.set(need, done);
  }
  await Promise.all(busy.values());
  return failures;
}

/** Until the time is over or the signal is aborted. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  await delay(Math.max(0, ms), undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
