import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createCollectCluster } from "#collect/collect-cluster.ts";
import { watermarkOf } from "#collect/progress.ts";
import { BridgeError } from "#errors/error.ts";
import { createCollection, endOf, MINUTE, SECOND, type Collection } from "../../helpers/collection.ts";
import { checkClaims, checkValues } from "../../helpers/claims.ts";
import { createCrashingProcess } from "../../helpers/crash-injection.ts";

const mostly = <const T extends string>(usual: T, ...others: T[]) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );

const roundArbitrary = fc.record({
  advanceMs: fc.integer({ min: 0, max: 15 * MINUTE }),
  /** How the reads of the round go, over and over. */
  reads: fc.array(mostly("whole", "cut at once", "cut later", "too much", "tunnel", "hang"), {
    minLength: 1,
    maxLength: 12,
  }),
  sends: fc.array(mostly("accept", "down", "unheard", "hang"), { minLength: 1, maxLength: 12 }),
  crashAt: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }),
  isDone: fc.boolean(),
  stopAtRead: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
  /** Type of node_load1 in the metadata. */
  type: fc.constantFrom("counter", "gauge", undefined, "failure" as const),
  /** Prometheus keeps only that much. */
  keepsMs: fc.option(fc.integer({ min: MINUTE, max: 20 * MINUTE }), { nil: undefined }),
});
type Round = typeof roundArbitrary extends fc.Arbitrary<infer T> ? T : never;

const scenario = fc.record({
  rounds: fc.array(roundArbitrary, { minLength: 1, maxLength: 6 }),
  lanes: fc.integer({ min: 1, max: 3 }),
  batchPointsMax: fc.integer({ min: 1, max: 60 }),
  windowMsMax: fc.constantFrom(2 * MINUTE, 5 * MINUTE, 60 * MINUTE),
  /** Every so many-th timestamp has points that the Collector will never take. */
  poison: fc.constantFrom(0, 0, 5, 40),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

const CUT = new BridgeError("prometheus_answer_truncated", "cut");
const MUCH = new BridgeError("prometheus_too_many_samples", "too many samples");
const CLOSED = new BridgeError("tunnel_closed", "closed");
const LATE = new BridgeError("cluster_deadline_exceeded", "late");
const FAULTS = {
  whole: undefined,
  "cut at once": { error: CUT, afterSeries: 0 },
  "cut later": { error: CUT, afterSeries: 1 },
  "too much": { error: MUCH, afterSeries: 1 },
  tunnel: { error: CLOSED, afterSeries: 1 },
  hang: "hang",
} as const;

function setWorld(collection: Collection, round: Round, poison: number, late: AbortController): void {
  const { prometheus, collector } = collection;
  const isPoison = ({ timestampMs }: { timestampMs: number }): boolean =>
    poison > 0 && Math.floor(timestampMs / SECOND) % poison === 0;
  let reads = 0;
  let sends = 0;
  prometheus.onRead = () => {
    const fault = FAULTS[round.reads[reads++ % round.reads.length]!];
    if (fault === "hang") queueMicrotask(() => late.abort(LATE));
    return fault;
  };
  collector.onSend = ([first]) => {
    // The first request of all decides whether the round takes place: let it.
    if (first?.metric.startsWith("budcluster_")) return "accept";
    const verdict = round.sends[sends++ % round.sends.length]!;
    if (verdict === "hang") queueMicrotask(() => late.abort(LATE));
    return verdict === "accept" ? isPoison : verdict;
  };
  prometheus.metadata = new Map(
    round.type === undefined || round.type === "failure"
      ? []
      : [["node_load1", { type: round.type, help: "", unit: "" }]],
  );
  prometheus.metadataFailure =
    round.type === "failure" ? new BridgeError("prometheus_timeout", "late") : undefined;
  if (round.keepsMs !== undefined) {
    prometheus.oldestMs = Math.max(prometheus.oldestMs, prometheus.nowMs - round.keepsMs);
  }
}

async function collect(collection: Collection, round: Round, poison: number): Promise<void> {
  collection.advance(round.advanceMs);
  const late = new AbortController();
  setWorld(collection, round, poison, late);
  const { deps, crashed } = createCrashingProcess(collection.deps, round.crashAt, round.isDone);
  const { reads } = collection.prometheus;
  const before = reads.length;
  const isStopping = (): boolean =>
    round.stopAtRead !== undefined && reads.length - before >= round.stopAtRead;
  const work = createCollectCluster(deps, collection.settings)(collection.cluster, {
    signal: late.signal,
    epoch: 0,
    isStopping,
  });
  await Promise.race([work, crashed]);
}

const QUIET: Round = {
  advanceMs: 60 * SECOND,
  reads: ["whole"],
  sends: ["accept"],
  crashAt: undefined,
  isDone: false,
  stopAtRead: undefined,
  type: "gauge",
  keepsMs: undefined,
};

const FURTHER_ROUNDS_MAX = 20;

/** Every second window of a second is refused as too large; then the Pod forgets what it had. Found by a random run. */
const MANY_SHORT_ABSENCES: Scenario = {
  rounds: [
    { ...QUIET, advanceMs: 0, reads: ["too much", "whole"], type: "counter" },
    { ...QUIET, advanceMs: 0, type: "counter", keepsMs: MINUTE },
  ],
  lanes: 1,
  batchPointsMax: 1,
  windowMsMax: 2 * MINUTE,
  poison: 0,
};

/** The same, seen in two rounds: more stretches than a record keeps, with open time between them. */
const ABSENCES_OF_TWO_ROUNDS: Scenario = {
  ...MANY_SHORT_ABSENCES,
  rounds: [
    { ...QUIET, advanceMs: 0, sends: ["down"], type: "counter" },
    {
      ...QUIET,
      advanceMs: 6 * SECOND,
      reads: ["whole", "whole", "too much"],
      type: "counter",
      keepsMs: 96_000,
    },
  ],
};

test("whatever fails, and wherever the process is killed, nothing is lost, nothing is twice, no claim is false", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ rounds, poison, ...settings }) => {
      const collection = createCollection(settings);
      const promised = new Map<string, number>();
      // Samples that no Pod has count as lost when this is seen twice, an interval apart.
      for (const round of [...rounds, QUIET, { ...QUIET, advanceMs: 5 * MINUTE }]) {
        await collect(collection, round, poison);
        checkClaims(collection, await collection.progress(), promised);
      }
      const isSettled = async (): Promise<boolean> =>
        Object.values((await collection.progress()).queries).every(
          (state) => watermarkOf(state) === endOf(collection),
        );
      // A record keeps up to 50 stretches that were seen once; the rest of them takes further rounds.
      for (let round = 0; round < FURTHER_ROUNDS_MAX && !(await isSettled()); round++) {
        await collect(collection, { ...QUIET, advanceMs: 5 * MINUTE }, poison);
        checkClaims(collection, await collection.progress(), promised);
      }
      expect(await isSettled()).toBe(true);
      checkValues(collection);
    }),
    { numRuns: 100, examples: [[MANY_SHORT_ABSENCES], [ABSENCES_OF_TWO_ROUNDS]] },
  );
}, 300_000);
