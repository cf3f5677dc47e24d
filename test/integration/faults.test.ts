import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ClusterProgress } from "#collect/progress.ts";
import type { ClusterStatus, RoundResult } from "#collect/status.ts";
import { plaintextWarning } from "#collect/cluster-state.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createJumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { METRICS, SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";
import { FAULT_CASES } from "./fault-cases.ts";

// Every fault on a cluster of its own, all in one round, between healthy clusters; then the faults end and one more round must make up for
// everything. Once the clusters are hit in their first round, once in their second.

const HEALTHY = 3;
const PAUSE_MS = 300_000;
const ANYTHING = /^/;
const NOTHING = /^$/;

/** But for that of credentials in clear text, which all of these have. */
const warningsOf = ({ warnings }: ClusterStatus): string[] =>
  warnings.filter((text) => text !== plaintextWarning);

describe.each([
  { version: 2 as const, isKnown: false },
  { version: 3 as const, isKnown: true },
])("Prometheus $version, clusters collected before: $isKnown", ({ version, isKnown }) => {
  const clock = createJumpingClock();
  let simulator: Simulator;
  let collector: OtlpCollector;
  let bridge: TestBridge;
  let first: RoundResult | undefined;
  let round: RoundResult;
  let recovery: RoundResult;
  let during: Map<string, ClusterStatus>;
  let after: Map<string, ClusterStatus>;
  /** Queries to each Prometheus in the round with the faults. */
  const queries = new Map<string, string[]>();
  const progress = new Map<string, ClusterProgress>();
  const idOf = (index: number): string => `sim-${index + 1}`;

  const statuses = async (): Promise<Map<string, ClusterStatus>> =>
    new Map((await bridge.status()).clusters.map((cluster) => [cluster.cluster_id, cluster]));

  beforeAll(async () => {
    const clusters = FAULT_CASES.length + HEALTHY;
    simulator = await startSimulator({ clock, clusters, shape: SMALL, prometheus: { version } });
    collector = await startOtlpCollector();
    bridge = await startTestBridge({ simulator, collector, clock });
    if (isKnown) {
      first = await bridge.collect();
      clock.jump(PAUSE_MS);
    }
    for (const [i, each] of FAULT_CASES.entries()) await each.set(simulator, simulator.cluster(idOf(i)));
    for (const { id } of simulator.clusters) simulator.faults.forget(id);
    round = await bridge.collect();
    for (const { id } of simulator.clusters) {
      queries.set(
        id,
        simulator.faults.traffic(id).requests.map(({ query = "" }) => query),
      );
    }
    during = await statuses();
    await simulator.faults.clear();
    for (const [i, { repair }] of FAULT_CASES.entries()) repair?.(simulator.cluster(idOf(i)));
    clock.jump(PAUSE_MS);
    recovery = await bridge.collect();
    after = await statuses();
    for (const { id } of simulator.clusters) progress.set(id, await bridge.progress(id));
  });

  afterAll(async () => {
    await bridge?.stop();
    await collector?.stop();
    await simulator?.stop();
  });

  describe.each(FAULT_CASES.map((each, i) => ({ ...each, id: idOf(i) })))("$name", (fault) => {
    const { id } = fault;

    it("is reported with its code and remedy", () => {
      const { outcome, error } = bridge.resultOf(round, id);
      const told = { outcome, code: error?.code, message: error?.message ?? "", hint: error?.hint ?? "" };
      expect(told).toEqual({
        outcome: fault.outcome,
        code: fault.code,
        message: expect.stringMatching(fault.message ?? ANYTHING),
        hint: expect.stringMatching(fault.hint ?? ANYTHING),
      });
    });

    it("shows in the status", () => {
      const status = during.get(id)!;
      const { error } = bridge.resultOf(round, id);
      const isWhole = fault.outcome === "successful";
      const isNew = !isKnown && fault.outcome === "failed";
      expect(status.state).toBe(isWhole ? "healthy" : isNew ? "failing" : "partial");
      expect(status.last_error).toEqual(
        error && { ...error, at: new Date(clock.now() - PAUSE_MS).toISOString() },
      );
      expect(warningsOf(status).join("\n")).toMatch(fault.warning ?? NOTHING);
      expect(status.watermark === null).toBe(isNew);
    });

    it("leaves open what was not read, and nothing else", () => {
      const { gaps } = during.get(id)!;
      const shared = (query: string): boolean => fault.mayFailOthers === true && query !== fault.open;
      const open = gaps.filter(({ query, state }) => state === "open" && !shared(query));
      expect(open.map(({ query }) => query)).toEqual(fault.open === undefined ? [] : [fault.open]);
      expect(gaps.filter(({ state }) => state !== "open")).toEqual([]);
    });

    it("is over with the next round, and every sample is there", () => {
      expect(bridge.resultOf(recovery, id)).toMatchObject({ outcome: "successful", error: null });
      expect(after.get(id)).toMatchObject({ state: "healthy", gaps: [] });
      expectWhole(id);
    });
  });

  it.each(Array.from({ length: HEALTHY }, (_, i) => idOf(FAULT_CASES.length + i)))(
    "the healthy cluster %s does not notice",
    (id) => {
      expect(bridge.resultOf(round, id)).toMatchObject({ outcome: "successful", error: null });
      const status = during.get(id)!;
      expect(status).toMatchObject({ state: "healthy", last_error: null, gaps: [] });
      expect(warningsOf(status)).toEqual([]);
      expectWhole(id);
    },
  );

  it("everything was well before", () => {
    expect(first?.successful).toBe(isKnown ? simulator.clusters.length : undefined);
  });

  it.each([
    ["too many samples: ", "kube_pod_info["],
    ["too many samples for remote read: ", '{__name__="kube_pod_info"}'],
  ])("a window with too many samples was read in halves (%s)", (name, query) => {
    const halved = FAULT_CASES.findIndex((each) => each.name.startsWith(name));
    const reads = (id: string): number => queries.get(id)!.filter((asked) => asked.startsWith(query)).length;
    expect(reads(idOf(halved))).toBeGreaterThan(2);
  });

  it("the healthy ones are read by remote read, each window once", () => {
    const asked = queries.get(idOf(FAULT_CASES.length))!;
    expect(asked.filter((query) => query === '{__name__="kube_pod_info"}')).toHaveLength(1);
    expect(asked.filter((query) => query.startsWith("kube_pod_info["))).toEqual([]);
  });

  it("no sample came under two values or kinds, and no batch of two clusters", () => {
    expect(collector.conflicts).toEqual([]);
    expect(collector.requests.filter(({ clusterIds }) => clusterIds.size !== 1)).toEqual([]);
  });

  /** Committed without a hole from the beginning to the watermark, and the Collector has exactly the truth of that time. */
  function expectWhole(id: string): void {
    const record = progress.get(id)!;
    expect(Object.keys(record.queries)).toEqual([...METRICS]);
    for (const { from, committed, attempted } of Object.values(record.queries)) {
      expect(committed).toEqual([[from, attempted]]);
      expect(attempted - from).toBeGreaterThan(isKnown ? 2 * PAUSE_MS : 120_000 - 1000);
    }
    const compared = compareWithExpected(collector, simulator.cluster(id).world, record);
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(300);
  }
});
