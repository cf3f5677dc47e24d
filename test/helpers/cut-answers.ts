import { expect } from "vitest";
import type { ClusterStatus, RoundResult } from "#collect/status.ts";
import type { Simulator } from "#simulator/simulator.ts";
import { compareWithExpected, noDifferences } from "./expected-samples.ts";
import type { OtlpCollector } from "./otlp-collector.ts";
import type { TestBridge } from "./test-bridge.ts";

/** The ways that HTTP knows in which an answer ends early. */
export const HOWS = ["chunked", "length", "close", "complete"] as const;

const SAMPLES_MIN = 200;

/**
 * Expects that no cut answer about `query` was a success: cluster i (sim-1 first) got one that ended after positions[i] bytes, and its window has been open
 * since `beginMs`.
 */
export async function expectCutsAreOpen(
  bridge: TestBridge,
  round: RoundResult,
  { query, positions, beginMs }: { query: string; positions: readonly number[]; beginMs: number },
): Promise<void> {
  const { clusters } = await bridge.status();
  const status = new Map(clusters.map((cluster): [string, ClusterStatus] => [cluster.cluster_id, cluster]));
  const told = positions.map((atByte, i) => {
    const id = `sim-${i + 1}`;
    const { outcome, error } = bridge.resultOf(round, id);
    const { gaps, watermark } = status.get(id)!;
    return { atByte, outcome, code: error?.code, gaps, watermark };
  });
  expect(told).toEqual(
    positions.map((atByte) => ({
      atByte,
      outcome: "partial",
      code: expect.stringMatching(/^(prometheus_answer_truncated|tunnel_closed)$/) as string,
      gaps: [expect.objectContaining({ query, state: "open" })],
      watermark: new Date(beginMs).toISOString(),
    })),
  );
}

/** Expects that every query of every cluster is committed without a gap, and that the Collector has each sample of the simulator once. */
export async function expectAllStoredOnce(
  bridge: TestBridge,
  collector: OtlpCollector,
  simulator: Simulator,
): Promise<void> {
  expect(collector.conflicts).toEqual([]);
  expect(collector.repeats).toBe(0);
  for (const { id, world } of simulator.clusters) {
    const record = await bridge.progress(id);
    for (const { from, committed, attempted } of Object.values(record.queries)) {
      expect(committed).toEqual([[from, attempted]]);
    }
    const compared = compareWithExpected(collector, world, record);
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(SAMPLES_MIN);
  }
}
