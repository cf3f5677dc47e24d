import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors.ts";
import { createExporter, type ExportOutcome, type Fate, type PartOutcome } from "#otlp/exporter.ts";
import { caught } from "../../helpers/caught.ts";
import {
  ACCEPTED,
  createBatch,
  createPoisonedCollector,
  poisonedBy,
  rejected,
  retryable,
  type PoisonedCollector,
  type Verdict,
} from "../../helpers/poisoned-collector.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

const { signal } = new AbortController();

interface Sent {
  outcome: ExportOutcome<string>;
  /** The fate of each point, in the order of the batch. */
  fates: Fate[];
  collector: PoisonedCollector;
  probes: number;
}

async function send(
  runs: readonly number[],
  verdict: Verdict,
  options: { probe?: (calls: number) => boolean; requestsMax?: number } = {},
): Promise<Sent> {
  const collector = createPoisonedCollector(verdict);
  const exporter = createExporter(
    { ...collector, logger: createSilentLogger() },
    { isolationRequestsMax: options.requestsMax ?? 10_000 },
  );
  const batch = createBatch(runs);
  let probes = 0;
  const probe = (): Promise<boolean> => Promise.resolve((options.probe ?? (() => true))(++probes));
  const outcome = await exporter.send(batch, probe, signal);
  expect(batch.released()).toBe(1);
  const fates = outcome.parts.flatMap(({ points, fate }) => Array<Fate>(points).fill(fate));
  expect(ownersOf(outcome.parts)).toEqual(ownersOf(batch.parts));
  return { outcome, fates, collector, probes };
}

/** The owner of each point. */
function ownersOf(parts: readonly { owner: string; points: number }[]): string[] {
  return parts.flatMap(({ owner, points }) => Array<string>(points).fill(owner));
}

/** Indexes of the points with that fate. */
function pointsWith(fates: readonly Fate[], state: Fate["state"]): number[] {
  return [...fates.keys()].filter((i) => fates[i]!.state === state);
}

/** Points that were stored; fails when one was stored twice. */
function storedOnce({ stored }: PoisonedCollector): number[] {
  expect([...stored.values()].filter((times) => times !== 1)).toEqual([]);
  return [...stored.keys()].toSorted((a, b) => a - b);
}

const fate = (part: PartOutcome<string> | undefined): unknown => part?.fate;
const runs = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 });
const poisonedRuns = runs.chain((counts) => {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return fc.record({
    counts: fc.constant(counts),
    total: fc.constant(total),
    poison: fc.uniqueArray(fc.nat(total - 1), { minLength: 1, maxLength: 8 }),
    refusal: fc.constantFrom(rejected(400), rejected(413), rejected(500), retryable(503)),
  });
});

describe("a batch that is accepted", () => {
  test("is acknowledged to each owner", async () => {
    const { outcome, collector, probes } = await send([3, 4], () => ACCEPTED);
    expect(outcome.parts).toEqual([
      { owner: "o0", points: 3, fate: { state: "acknowledged" } },
      { owner: "o1", points: 4, fate: { state: "acknowledged" } },
    ]);
    expect(outcome.bytes).toBeGreaterThan(100);
    expect(outcome).not.toHaveProperty("stop");
    expect(storedOnce(collector)).toHaveLength(7);
    expect(collector.requests).toMatchObject({ retried: [expect.anything()], single: [] });
    expect(probes).toBe(0);
  });
});

describe("a batch with points that the Collector will not take", () => {
  test("arrives but for exactly these, each point once, in few requests", async () => {
    await fc.assert(
      fc.asyncProperty(poisonedRuns, async ({ counts, total, poison, refusal }) => {
        const { outcome, fates, collector } = await send(counts, poisonedBy(new Set(poison), refusal));
        const wanted = poison.toSorted((a, b) => a - b);
        expect(pointsWith(fates, "refused")).toEqual(wanted);
        expect(pointsWith(fates, "failed")).toEqual([]);
        expect(storedOnce(collector)).toEqual(pointsWith(fates, "acknowledged"));
        expect(collector.requests.retried).toHaveLength(1);
        const depth = Math.ceil(Math.log2(total)) + 1;
        expect(collector.requests.single.length).toBeLessThanOrEqual(2 * depth * poison.length);
        expect(outcome).not.toHaveProperty("stop");
      }),
      { numRuns: 100 },
    );
  });

  test("says why, with the metric's name and the Collector's words", async () => {
    const { outcome } = await send([2, 2], poisonedBy(new Set([2]), rejected(400)));
    expect(outcome.parts).toEqual([
      { owner: "o0", points: 2, fate: { state: "acknowledged" } },
      { owner: "o1", points: 1, fate: { state: "refused", reason: "the Collector answered 400: no (m1)" } },
      { owner: "o1", points: 1, fate: { state: "acknowledged" } },
    ]);
  });

  test("may consist of one such point", async () => {
    const { fates, collector } = await send([1], poisonedBy(new Set([0]), rejected(500)));
    expect(fates).toEqual([{ state: "refused", reason: "the Collector answered 500: no (m0)" }]);
    expect(collector.requests.single).toEqual([]);
  });

  test("that is only too large arrives in parts", async () => {
    const { fates, collector } = await send([100, 100], (points) =>
      points.length > 30 ? rejected(413) : ACCEPTED,
    );
    expect(pointsWith(fates, "acknowledged")).toHaveLength(200);
    expect(storedOnce(collector)).toHaveLength(200);
    expect(collector.requests.single.length).toBeLessThanOrEqual(14);
  });

  test("does not take more requests than allowed; what was not isolated by then stays open", async () => {
    await fc.assert(
      fc.asyncProperty(
        poisonedRuns,
        fc.integer({ min: 0, max: 12 }),
        async ({ counts, total, poison, refusal }, requestsMax) => {
          const { fates, collector, probes } = await send(counts, poisonedBy(new Set(poison), refusal), {
            requestsMax,
          });
          const depth = Math.ceil(Math.log2(total)) + 1;
          expect(collector.requests.single.length).toBeLessThanOrEqual(requestsMax + depth);
          expect(probes).toBeLessThanOrEqual(requestsMax + depth + 1);
          expect(fates).toHaveLength(total);
          expect(storedOnce(collector)).toEqual(pointsWith(fates, "acknowledged"));
          // Only what stood alone is refused; the rest is neither given up nor claimed to be stored.
          expect(pointsWith(fates, "refused").filter((point) => !poison.includes(point))).toEqual([]);
          for (const point of poison) expect(fates[point]!.state).not.toBe("acknowledged");
        },
      ),
      { numRuns: 100 },
    );
  });

  test("leaves what it did not isolate open, for a later round", async () => {
    const refusal = rejected(400);
    const { outcome } = await send([8], poisonedBy(new Set([0]), refusal), { requestsMax: 0 });
    const { error } = refusal as { error: BridgeError };
    expect(outcome.parts).toEqual([{ owner: "o0", points: 8, fate: { state: "failed", error } }]);
    expect(outcome.stop).toBeUndefined();
  });
});

describe("a Collector that does not take good data either", () => {
  test.each([rejected(400), rejected(413), rejected(500), retryable(503)])(
    "refuses nothing: $kind $status",
    async (refusal) => {
      const { outcome, fates, collector, probes } = await send([5, 5], () => refusal, { probe: () => false });
      expect(pointsWith(fates, "failed")).toHaveLength(10);
      expect(outcome.stop).toBe((refusal as { error: BridgeError }).error);
      expect(outcome.bytes).toBe(0);
      expect(collector.requests.single).toEqual([]);
      expect(probes).toBe(1);
    },
  );

  test.each([
    retryable(429),
    retryable(502),
    retryable(504),
    retryable(),
    rejected(401, false),
    rejected(404, false),
    rejected(200, false),
  ])("is not even asked: $kind $status", async (refusal) => {
    const { outcome, fates, collector, probes } = await send([5, 5], () => refusal);
    expect(pointsWith(fates, "failed")).toHaveLength(10);
    expect(fate(outcome.parts[0])).toEqual({
      state: "failed",
      error: (refusal as { error: BridgeError }).error,
    });
    expect(outcome.stop).toBe((refusal as { error: BridgeError }).error);
    expect(collector.requests.single).toEqual([]);
    expect(probes).toBe(0);
  });

  test("a stray 503 on a single point refuses nothing when the Collector takes it the next time", async () => {
    let strays = 1;
    const verdict: Verdict = (points) => {
      if (points.length > 1 && points.includes(3)) return retryable(503);
      return points.includes(3) && strays-- > 0 ? retryable(503) : ACCEPTED;
    };
    const { fates, collector } = await send([8], verdict);
    expect(pointsWith(fates, "acknowledged")).toHaveLength(8);
    expect(storedOnce(collector)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("since it broke down in the middle refuses nothing from then on", async () => {
    let isBroken = false;
    const verdict: Verdict = (points) => {
      if (points.length <= 4) isBroken = true;
      return isBroken || points.includes(2) ? rejected(500) : ACCEPTED;
    };
    const { outcome, fates, collector } = await send([16], verdict, { probe: () => !isBroken });
    expect(pointsWith(fates, "refused")).toEqual([]);
    expect(outcome.stop?.code).toBe("collector_refused");
    expect(storedOnce(collector)).toEqual(pointsWith(fates, "acknowledged"));
    // Once that is known, nothing more is sent.
    expect(collector.requests.single.length).toBeLessThan(8);
  });
});

describe("while what is refused is isolated", () => {
  test.each([retryable(429), retryable(), retryable(502), rejected(401, false)])(
    "a part that fails otherwise is left for later: $kind $status",
    async (failure) => {
      const verdict: Verdict = (points) => {
        if (points.length === 16) return rejected(400);
        return points.includes(0) && points.length === 8
          ? failure
          : poisonedBy(new Set([15]), rejected(400))(points);
      };
      const { outcome, fates, collector } = await send([16], verdict);
      expect(pointsWith(fates, "failed")).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(pointsWith(fates, "refused")).toEqual([15]);
      expect(storedOnce(collector)).toEqual([8, 9, 10, 11, 12, 13, 14]);
      expect(outcome).not.toHaveProperty("stop");
    },
  );

  test("a partial success counts as one", async () => {
    const verdict: Verdict = (points) => {
      if (points.length === 8) return rejected(400);
      return points.includes(0) ? { kind: "partial", rejectedPoints: 1, message: "old" } : ACCEPTED;
    };
    const { fates, collector } = await send([8], verdict);
    expect(pointsWith(fates, "refused")).toEqual([3]);
    expect(storedOnce(collector)).toEqual([0, 1, 2, 4, 5, 6, 7]);
  });

  test("the bytes of all accepted requests count", async () => {
    const whole = await send([64], () => ACCEPTED);
    const { outcome } = await send([64], poisonedBy(new Set([0]), rejected(400)));
    expect(outcome.bytes).toBeGreaterThan(whole.outcome.bytes / 2);
  });
});

describe("a partial success", () => {
  test("refuses as many points as the Collector says, and keeps its words", async () => {
    const { outcome } = await send([4, 6], () => ({
      kind: "partial",
      rejectedPoints: 7,
      message: "too old",
    }));
    const reason = "the Collector refused 7 of 10 points: too old";
    expect(outcome.parts).toEqual([
      { owner: "o0", points: 3, fate: { state: "acknowledged" } },
      { owner: "o0", points: 1, fate: { state: "refused", reason } },
      { owner: "o1", points: 6, fate: { state: "refused", reason } },
    ]);
    expect(outcome).not.toHaveProperty("stop");
  });

  test("of none, or of more than were sent, does not get out of step", async () => {
    for (const rejectedPoints of [10, 11, 1e12]) {
      const { fates } = await send([10], () => ({ kind: "partial", rejectedPoints, message: "" }));
      expect(pointsWith(fates, "refused")).toHaveLength(10);
    }
  });
});

describe("an abort", () => {
  test("throws the signal's own reason and releases the batch", async () => {
    const collector = createPoisonedCollector(() => rejected(400));
    const exporter = createExporter(
      { ...collector, logger: createSilentLogger() },
      { isolationRequestsMax: 100 },
    );
    const reason = new BridgeError("shutting_down", "the process is ending");
    const before = createBatch([4]);
    const probe = (): Promise<boolean> => Promise.resolve(true);
    expect(await caught(exporter.send(before, probe, AbortSignal.abort(reason)))).toBe(reason);
    expect(before.released()).toBe(1);
    const controller = new AbortController();
    collector.verdict = (points) => {
      if (points.length === 1) controller.abort(reason);
      return rejected(400);
    };
    const within = createBatch([4]);
    expect(await caught(exporter.send(within, probe, controller.signal))).toBe(reason);
    expect(within.released()).toBe(1);
  });
});

test("a batch is released even when it can't be encoded", async () => {
  const collector = createPoisonedCollector(() => ACCEPTED);
  const own = new BridgeError("internal", "zlib");
  const transport = { ...collector.transport, encode: () => Promise.reject(own) };
  const exporter = createExporter(
    { transport, single: transport, logger: createSilentLogger() },
    { isolationRequestsMax: 1 },
  );
  const batch = createBatch([1]);
  expect(await caught(exporter.send(batch, () => Promise.resolve(true), signal))).toBe(own);
  expect(batch.released()).toBe(1);
});

describe("a single send", () => {
  test.each<[Verdict, boolean]>([
    [() => ACCEPTED, true],
    [() => ({ kind: "partial", rejectedPoints: 1, message: "" }), false],
    [() => rejected(400), false],
    [() => retryable(503), false],
  ])("%# says whether the batch is accepted, without retries", async (verdict, wanted) => {
    const collector = createPoisonedCollector(verdict);
    const exporter = createExporter(
      { ...collector, logger: createSilentLogger() },
      { isolationRequestsMax: 9 },
    );
    const batch = createBatch([2]);
    expect(await exporter.isAccepted(batch, signal)).toBe(wanted);
    expect(collector.requests).toMatchObject({ retried: [], single: [[0, 1]] });
    expect(batch.released()).toBe(1);
  });
});
