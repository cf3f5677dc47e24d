import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ClusterStatus, RoundResult } from "#collect/status.ts";
import type { PrometheusFault } from "#simulator/fault-kinds.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createJumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";
import { expectAllStoredOnce, expectCutsAreOpen, HOWS } from "../helpers/cut-answers.ts";

// An answer that ends early, at many bytes and in every way that HTTP knows: each byte position on a cluster of its own, the ways one round after
// another. Batches leave before an answer is known to be whole, so what arrived of it must not count and must do no harm.

const CUT = "kube_pod_info";
const LAG_MS = 90_000;
const LOOKBACK_MS = 120_000;
const LENGTH_MIN = 5000;
/** Positions at which answers are cut: bytes after the beginning, or (negative) before the end; each byte of the texts around the series, and some between. */
const POSITIONS = [
  0, 1, 14, 40, 61, 62, 63, 64, 75, 200, 300, 600, 1000, 1500, 2000, 2500, 3001, 3502, 4003, 4504, -40, -25,
  -15, -9, -6, -5, -4, -3, -2, -1,
];

const clock = createJumpingClock();
const beginMs = clock.now() + 15_000 - LAG_MS - LOOKBACK_MS;
let simulator: Simulator;
let collector: OtlpCollector;
let bridge: TestBridge;
/** Bytes after which each cluster's answer about CUT ends. */
let positions: number[];

const idOf = (index: number): string => `sim-${index + 1}`;

/** Cuts as POSITIONS says, by the length of the answers that the next round would get: the window has stayed open since the beginning. */
async function measure(): Promise<void> {
  const endMs = clock.now() - LAG_MS;
  const query = { query: `${CUT}[${endMs - beginMs}ms]`, time: String(endMs / 1000) };
  const path = `/api/v1/query?${new URLSearchParams(query).toString()}`;
  const lengths = await Promise.all(
    simulator.clusters.map(async ({ prometheusUrl }) => {
      const answer = await fetch(`${prometheusUrl}${path}`);
      return (await answer.arrayBuffer()).byteLength;
    }),
  );
  positions = POSITIONS.map((at, i) => (at < 0 ? lengths[i]! + at : at));
  if (Math.min(...lengths) < LENGTH_MIN) throw new Error(`an answer has only ${Math.min(...lengths)} bytes`);
}

async function roundWith(fault: (atByte: number) => PrometheusFault): Promise<{
  round: RoundResult;
  status: Map<string, ClusterStatus>;
}> {
  for (const [i, atByte] of positions.entries()) await simulator.faults.set(idOf(i), fault(atByte));
  const round = await bridge.collect();
  const { clusters } = await bridge.status();
  return { round, status: new Map(clusters.map((cluster) => [cluster.cluster_id, cluster])) };
}

beforeAll(async () => {
  simulator = await startSimulator({ clock, clusters: POSITIONS.length, shape: SMALL });
  collector = await startOtlpCollector();
  const metrics = ["up", CUT];
  // Small batches: a part of a cut answer has been delivered when its end comes.
  const environment = { METRICS_BATCH_SIZE: "20", INITIAL_LOOKBACK: "2m", REMOTE_READ: "off" };
  bridge = await startTestBridge({ simulator, collector, clock, metrics, environment });
});

beforeEach(async () => {
  await simulator.faults.clear();
  clock.jump(15_000);
  await measure();
});

afterAll(async () => {
  await bridge?.stop();
  await collector?.stop();
  await simulator?.stop();
});

describe("an answer that ends early", () => {
  it.each(HOWS)("%s: is never a success, at no byte", { timeout: 20_000 }, async (how) => {
    const { round } = await roundWith((atByte) => ({
      layer: "prometheus",
      path: "/api/v1/query",
      query: CUT,
      kind: "truncate",
      atByte,
      how,
    }));
    expect(round).toMatchObject({ partial: positions.length });
    await expectCutsAreOpen(bridge, round, { query: CUT, positions, beginMs });
  });

  it.each(["close", "complete"] as const)("%s: an answer about the time fails the cluster", async (how) => {
    const { round } = await roundWith((atByte) => ({
      layer: "prometheus",
      query: "time()",
      kind: "truncate",
      atByte: atByte % 60,
      how,
    }));
    expect(round).toMatchObject({ failed: positions.length });
    for (const { error } of round.clusters) expect(error?.code).toBe("prometheus_answer_truncated");
  });

  it("metadata that ends early leaves the kinds that are known", async () => {
    const { round, status } = await roundWith((atByte) => ({
      layer: "prometheus",
      path: "/api/v1/metadata",
      kind: "truncate",
      atByte: atByte % 1000,
      how: "complete",
    }));
    expect(round).toMatchObject({ successful: positions.length });
    for (const { warnings } of status.values()) expect(warnings.join()).toMatch(/api\/v1\/metadata failed/);
  });

  it("has lost and doubled nothing when a whole answer follows", async () => {
    expect(await bridge.collect()).toMatchObject({ successful: positions.length });
    await expectAllStoredOnce(bridge, collector, simulator);
  });
});
