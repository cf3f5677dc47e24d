import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { createExporter, type Exporter, type ExportOutcome } from "#otlp/exporter.ts";
import type { DeliveryOutcome, PartOutcome } from "#otlp/delivery-outcome.ts";
import { createIsolationRound, type Probe } from "#otlp/isolation.ts";
import type { PointKind } from "#otlp/split.ts";
import type { ExportResult } from "#otlp/transport.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
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
  /** The outcome of each point, in the order of the batch. */
  outcomes: DeliveryOutcome[];
  collector: PoisonedCollector;
  probes: number;
}

async function send(
  runs: readonly number[],
  verdict: Verdict,
  options: { probe?: (calls: number, kind: PointKind) => boolean; requestsMax?: number } = {},
): Promise<Sent> {
  const collector = createPoisonedCollector(verdict);
  const exporter = createExporter(
    { ...collector, logger: createSilentLogger() },
    { isolationRequestsMax: options.requestsMax ?? 10_000 },
  );
  const batch = createBatch(runs);
  let probes = 0;
  const probe: Probe = (kind) => Promise.resolve((options.probe ?? (() => true))(++probes, kind));
  const outcome = await exporter.send(batch, probe, signal);
  expect(batch.released()).toBe(1);
  const outcomes = outcome.parts.flatMap(({ points, outcome }) =>
    Array<DeliveryOutcome>(points).fill(outcome),
  );
  expect(ownersOf(outcome.parts)).toEqual(ownersOf(batch.parts));
  return { outcome, outcomes, collector, probes };
}

/** The owner of each point. */
function ownersOf(parts: readonly { owner: string; points: number }[]): string[] {
  return parts.flatMap(({ owner, points }) => Array<string>(points).fill(owner));
}

/** Indexes of the points with that outcome. */
function pointsWith(outcomes: readonly DeliveryOutcome[], state: DeliveryOutcome["state"]): number[] {
  return [...outcomes.keys()].filter((i) => outcomes[i]!.state === state);
}

/** Points that were stored; fails when one was stored twice. */
function storedOnce({ stored }: PoisonedCollector): number[] {
  expect([...stored.values()].filter((times) => times !== 1)).toEqual([]);
  return [...stored.keys()].toSorted((a, b) => a - b);
}

const outcomeOf = (part: PartOutcome<string> | undefined): unknown => part?.outcome;
const runs = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 });
const poisonedRuns = runs.chain((counts) => {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return fc.record({
    counts: fc.constant(counts),
    total: fc.constant(total),
    poison: fc.uniqueArray(fc.nat(total - 1), { minLength: 1, maxLength: 8 }),
    refusal: fc.constantFrom(rejected(400), rejected(413), rejected(422), rejected(500)),
  });
});

describe("a batch that is accepted", () => {
  test("is acknowledged to each owner", async () => {
    const { outcome, collector, probes } = await send([3, 4], () => ACCEPTED);
    expect(outcome.parts).toEqual([
      { owner: "o0", points: 3, outcome: { state: "acknowledged" } },
      { owner: "o1", points: 4, outcome: { state: "acknowledged" } },
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
        const { outcome, outcomes, collector } = await send(counts, poisonedBy(new Set(poison), refusal));
        const wanted = poison.toSorted((a, b) => a - b);
        expect(pointsWith(outcomes, "refused")).toEqual(wanted);
        expect(pointsWith(outcomes, "failed")).toEqual([]);
        expect(storedOnce(collector)).toEqual(pointsWith(outcomes, "acknowledged"));
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
      { owner: "o0", points: 2, outcome: { state: "acknowledged" } },
      {
        owner: "o1",
        points: 1,
        outcome: { state: "refused", reason: "the Collector answered 400: no (m1)" },
      },
      { owner: "o1", points: 1, outcome: { state: "acknowledged" } },
    ]);
  });

  test("may consist of one such point", async () => {
    const { outcomes, collector } = await send([1], poisonedBy(new Set([0]), rejected(500)));
    expect(outcomes).toEqual([{ state: "refused", reason: "the Collector answered 500: no (m0)" }]);
    expect(collector.requests.single).toEqual([[0]]);
  });

  test("that is only too large arrives in parts", async () => {
    const { outcomes, collector } = await send([100, 100], (points) =>
      points.length > 30 ? rejected(413) : ACCEPTED,
    );
    expect(pointsWith(outcomes, "acknowledged")).toHaveLength(200);
    expect(storedOnce(collector)).toHaveLength(200);
    expect(collector.requests.single.length).toBeLessThanOrEqual(14);
  });

  test("does not take more requests than allowed; what was not isolated by then stays open", async () => {
    await fc.assert(
      fc.asyncProperty(
        poisonedRuns,
        fc.integer({ min: 0, max: 12 }),
        async ({ counts, total, poison, refusal }, requestsMax) => {
          const { outcomes, collector, probes } = await send(counts, poisonedBy(new Set(poison), refusal), {
            requestsMax,
          });
          const depth = Math.ceil(Math.log2(total)) + 1;
          expect(collector.requests.single.length).toBeLessThanOrEqual(requestsMax + depth);
          expect(probes).toBeLessThanOrEqual(requestsMax + depth + 1);
          expect(outcomes).toHaveLength(total);
          expect(storedOnce(collector)).toEqual(pointsWith(outcomes, "acknowledged"));
          // Only what stood alone is refused; the rest is neither given up nor claimed to be stored.
          expect(pointsWith(outcomes, "refused").filter((point) => !poison.includes(point))).toEqual([]);
          for (const point of poison) expect(outcomes[point]!.state).not.toBe("acknowledged");
        },
      ),
      { numRuns: 100 },
    );
  });

  test("leaves what it did not isolate open, for a later round", async () => {
    const refusal = rejected(400);
    const { outcome } = await send([8], poisonedBy(new Set([0]), refusal), { requestsMax: 0 });
    const { error } = refusal as { error: BridgeError };
    expect(outcome.parts).toEqual([{ owner: "o0", points: 8, outcome: { state: "failed", error } }]);
    expect(outcome.stop).toBeUndefined();
  });
});

describe("a Collector that does not take good data either", () => {
  test.each([rejected(400), rejected(413), rejected(500), retryable(503)])(
    "refuses nothing, of either kind: $kind $status",
    async (refusal) => {
      const { outcome, outcomes, collector, probes } = await send([5, 5], () => refusal, {
        probe: () => false,
      });
      expect(pointsWith(outcomes, "failed")).toHaveLength(10);
      expect(outcome.stop).toBe((refusal as { error: BridgeError }).error);
      expect(outcome.bytes).toBe(0);
      expect(collector.requests.single).toEqual([]);
      expect(probes).toBe(2);
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
    const { outcome, outcomes, collector, probes } = await send([5, 5], () => refusal);
    expect(pointsWith(outcomes, "failed")).toHaveLength(10);
    expect(outcomeOf(outcome.parts[0])).toEqual({
      state: "failed",
      error: (refusal as { error: BridgeError }).error,
    });
    expect(outcome.stop).toBe((refusal as { error: BridgeError }).error);
    expect(collector.requests.single).toEqual([]);
    expect(probes).toBe(0);
  });

  test("a 503 that belongs to one point leaves that point open and stores the others", async () => {
    const { outcomes, outcome, collector } = await send([40, 24], poisonedBy(new Set([3]), retryable(503)));
    expect(pointsWith(outcomes, "failed")).toEqual([3]);
    expect(pointsWith(outcomes, "acknowledged")).toHaveLength(63);
    expect(outcome).not.toHaveProperty("stop");
    expect(collector.requests.single.length).toBeLessThanOrEqual(2 * 6 + 1);
  });

  test("a 503 for many points takes a bounded number of requests a round, refuses none, and lets the others through in the end", async () => {
    const poison = new Set(Array.from({ length: 30 }, (_, i) => 20 * i));
    const collector = createPoisonedCollector(poisonedBy(poison, retryable(503)));
    const exporter = createExporter(
      { ...collector, logger: createSilentLogger() },
      { isolationRequestsMax: 60 },
    );
    const rounds = [];
    for (let round = 0; round < 8; round++) {
      const before = collector.requests.single.length;
      rounds.push(await exporter.send(createBatch([600]), () => Promise.resolve(true), signal));
      expect(collector.requests.single.length - before).toBeLessThanOrEqual(62);
    }
    expect(rounds.flatMap(({ parts }) => parts).filter(({ outcome }) => outcome.state === "refused")).toEqual(
      [],
    );
    expect(sum(rounds.at(-1)!.parts, "acknowledged")).toBe(570);
    collector.verdict = (points) => (points.length === 600 ? retryable(503) : ACCEPTED);
    const after = await exporter.send(createBatch([600]), () => Promise.resolve(true), signal);
    expect(sum(after.parts, "acknowledged")).toBe(600);
  });

  test("since it broke down in the middle refuses nothing from then on", async () => {
    let isBroken = false;
    const verdict: Verdict = (points) => {
      if (points.length <= 4) isBroken = true;
      return isBroken || points.includes(2) ? rejected(500) : ACCEPTED;
    };
    const { outcome, outcomes, collector } = await send([16], verdict, { probe: () => !isBroken });
    expect(pointsWith(outcomes, "refused")).toEqual([]);
    expect(outcome.stop?.code).toBe("collector_refused");
    expect(storedOnce(collector)).toEqual(pointsWith(outcomes, "acknowledged"));
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
      const { outcome, outcomes, collector } = await send([16], verdict);
      expect(pointsWith(outcomes, "failed")).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(pointsWith(outcomes, "refused")).toEqual([15]);
      expect(storedOnce(collector)).toEqual([8, 9, 10, 11, 12, 13, 14]);
      expect(outcome).not.toHaveProperty("stop");
    },
  );

  test("a partial success counts as one", async () => {
    const verdict: Verdict = (points) => {
      if (points.length === 8) return rejected(400);
      return points.includes(0) ? { kind: "partial", rejectedPoints: 1, message: "old" } : ACCEPTED;
    };
    const { outcomes, collector } = await send([8], verdict);
    expect(pointsWith(outcomes, "refused")).toEqual([3]);
    expect(storedOnce(collector)).toEqual([0, 1, 2, 4, 5, 6, 7]);
  });

  test("the bytes of all accepted requests count", async () => {
    const whole = await send([64], () => ACCEPTED);
    const { outcome } = await send([64], poisonedBy(new Set([0]), rejected(400)));
    expect(outcome.bytes).toBeGreaterThan(whole.outcome.bytes / 2);
  });
});

describe("a partial success", () => {
  test("refuses as many points as the Collector says, of each window in proportion, and keeps its words", async () => {
    const { outcome } = await send([4, 6], () => ({
      kind: "partial",
      rejectedPoints: 7,
      message: "too old",
    }));
    const reason =
      "the Collector refused 7 of 10 points of a request with several windows, without saying which: too old";
    expect(outcome.parts).toEqual([
      { owner: "o0", points: 1, outcome: { state: "acknowledged" } },
      { owner: "o0", points: 3, outcome: { state: "refused", reason } },
      { owner: "o1", points: 2, outcome: { state: "acknowledged" } },
      { owner: "o1", points: 4, outcome: { state: "refused", reason } },
    ]);
    expect(outcome).not.toHaveProperty("stop");
  });

  test("is on the record of every window that shared the request, also of one that no refusal is counted for", async () => {
    const { outcome } = await send([50, 1], () => ({ kind: "partial", rejectedPoints: 1, message: "" }));
    expect(outcome.parts.map(({ owner, points, outcome: { state } }) => [owner, points, state])).toEqual([
      ["o0", 49, "acknowledged"],
      ["o0", 1, "refused"],
      ["o1", 1, "acknowledged"],
      ["o1", 0, "refused"],
    ]);
  });

  test("of a single window says no more than that", async () => {
    const { outcomes } = await send([3], () => ({ kind: "partial", rejectedPoints: 3, message: "" }));
    expect(outcomes[0]).toEqual({ state: "refused", reason: "the Collector refused 3 of 3 points" });
  });

  test.each([-1, -37_380, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 11, 1e12])(
    "with the impossible count %d refuses nothing, leaves all open and names the Collector",
    async (rejectedPoints) => {
      const { outcomes, outcome } = await send([4, 6], () => ({
        kind: "partial",
        rejectedPoints,
        message: "",
      }));
      expect(pointsWith(outcomes, "failed")).toHaveLength(10);
      expect(outcomes[0]).toMatchObject({
        error: {
          code: "collector_answer_invalid",
          message: expect.stringContaining("defect of the Collector") as string,
        },
      });
      expect(outcome.bytes).toBe(0);
      expect(outcome).not.toHaveProperty("stop");
    },
  );
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
    expect(await bridgeErrorOf(exporter.send(before, probe, AbortSignal.abort(reason)))).toBe(reason);
    expect(before.released()).toBe(1);
    const controller = new AbortController();
    collector.verdict = (points) => {
      if (points.length === 1) controller.abort(reason);
      return rejected(400);
    };
    const within = createBatch([4]);
    expect(await bridgeErrorOf(exporter.send(within, probe, controller.signal))).toBe(reason);
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
  expect(await bridgeErrorOf(exporter.send(batch, () => Promise.resolve(true), signal))).toBe(own);
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

/** A verdict by the kind of points: run i of a batch is of gauges when i is even, else of counters. */
const RUNS = [40, 40, 40, 40];
const isSum = (point: number): boolean => Math.floor(point / 40) % 2 === 1;

describe("a Collector whose table for counters fails", () => {
  const takesGauges = (_calls: number, kind: PointKind): boolean => kind === "gauge";

  test.each([retryable(503), rejected(400), rejected(413), rejected(500)])(
    "refuses no counter and gets the gauges: $kind $status",
    async (failure) => {
      const { outcomes, outcome, collector, probes } = await send(
        RUNS,
        (points) => (points.some(isSum) ? failure : ACCEPTED),
        { probe: takesGauges },
      );
      expect(pointsWith(outcomes, "refused")).toEqual([]);
      expect(pointsWith(outcomes, "failed").filter((point) => !isSum(point))).toEqual([]);
      expect(storedOnce(collector)).toEqual(pointsWith(outcomes, "acknowledged"));
      expect(pointsWith(outcomes, "acknowledged")).toHaveLength(80);
      expect(outcome).not.toHaveProperty("stop");
      expect(collector.requests.single.length + probes).toBeLessThanOrEqual(2 * 8 + 1);
    },
  );

  test("is not asked again in the same round: the next batch's gauges go alone", async () => {
    const collector = createPoisonedCollector((points) => (points.some(isSum) ? retryable(503) : ACCEPTED));
    const exporter = createExporter(
      { ...collector, logger: createSilentLogger() },
      { isolationRequestsMax: 400 },
    );
    const round = createIsolationRound();
    const probe: Probe = (kind) => Promise.resolve(kind === "gauge");
    await exporter.send(createBatch(RUNS), probe, signal, round);
    const before = collector.requests.retried.length + collector.requests.single.length;
    const outcome = await exporter.send(createBatch(RUNS), probe, signal, round);
    expect(collector.requests.retried.length + collector.requests.single.length - before).toBe(1);
    expect(sum(outcome.parts, "acknowledged")).toBe(80);
    expect(sum(outcome.parts, "failed")).toBe(80);
  });
});

function sum(parts: readonly PartOutcome<string>[], state: DeliveryOutcome["state"]): number {
  return parts.filter(({ outcome }) => outcome.state === state).reduce((all, { points }) => all + points, 0);
}

describe("over several rounds", () => {
  const collectorOf = (poison: ReadonlySet<number>, requestsMax: number) => {
    const collector = createPoisonedCollector(poisonedBy(poison, rejected(400)));
    const exporter = createExporter(
      { ...collector, logger: createSilentLogger() },
      { isolationRequestsMax: requestsMax },
    );
    return { collector, exporter };
  };
  const sendRound = async (exporter: Exporter): Promise<ExportOutcome<string>> =>
    await exporter.send(createBatch([1000]), () => Promise.resolve(true), signal);

  test("what could not be isolated is, a bounded number of requests at a time", async () => {
    const poison = new Set(Array.from({ length: 100 }, (_, i) => 10 * i));
    const { collector, exporter } = collectorOf(poison, 100);
    let refused = 0;
    for (let round = 0; round < 30; round++) {
      const before = collector.requests.single.length;
      const outcome = await sendRound(exporter);
      expect(collector.requests.single.length - before).toBeLessThanOrEqual(104);
      const now = sum(outcome.parts, "refused");
      expect(now > refused || now === 100).toBe(true);
      refused = now;
      if (sum(outcome.parts, "failed") === 0) break;
    }
    expect(refused).toBe(100);
    expect(collector.stored.size).toBe(900);
  });

  test("the bound holds for all batches of a round together", async () => {
    const poison = new Set(Array.from({ length: 500 }, (_, i) => 2 * i));
    const { collector, exporter } = collectorOf(poison, 60);
    const round = createIsolationRound();
    for (let batch = 0; batch < 5; batch++) {
      await exporter.send(createBatch([1000]), () => Promise.resolve(true), signal, round);
    }
    expect(collector.requests.single.length).toBeLessThanOrEqual(64);
  });
});

/** Answers that a Collector may give for a while, whatever it receives. */
const FAULTS: readonly ExportResult[] = [
  retryable(),
  retryable(429),
  retryable(502),
  retryable(503),
  retryable(504),
  rejected(401, false),
];

interface Outage {
  from: number;
  length: number;
}

/** Calls between two outages; below 0 when they overlap. */
function distanceOf(a: Outage, b: Outage): number {
  return Math.max(a.from - (b.from + b.length), b.from - (a.from + a.length));
}

const OUTAGE_DISTANCE_MIN = 8;

test("no good point is ever refused, whatever passes by, and requests stay within the bound", async () => {
  const plans = fc.record({
    bad: fc.uniqueArray(fc.nat(399), { maxLength: 6 }),
    verdict: fc.constantFrom(rejected(400), rejected(413), rejected(500)),
    faults: fc.array(fc.option(fc.constantFrom(...FAULTS), { freq: 3, nil: undefined }), { maxLength: 200 }),
    // A point that gets 500 in one outage and again in the next, with good answers between, can't be told from a bad one.
    outages: fc
      .array(fc.record({ from: fc.nat(60), length: fc.integer({ min: 1, max: 8 }) }), { maxLength: 2 })
      .filter(([first, second]) => !first || !second || distanceOf(first, second) >= OUTAGE_DISTANCE_MIN),
  });
  await fc.assert(
    fc.asyncProperty(plans, async ({ bad, verdict, faults, outages }) => {
      const poison = new Set(bad);
      let calls = 0;
      /** In an outage every request gets 500, the probes as well. */
      const isOut = (): boolean => outages.some(({ from, length }) => calls >= from && calls < from + length);
      const next = (): ExportResult | undefined => {
        const fault = isOut() ? rejected(500) : faults[calls];
        calls++;
        return fault;
      };
      const collector = createPoisonedCollector((points) => next() ?? poisonedBy(poison, verdict)(points));
      const exporter = createExporter(
        { ...collector, logger: createSilentLogger() },
        { isolationRequestsMax: 400 },
      );
      let probes = 0;
      const probe: Probe = () => {
        probes++;
        return Promise.resolve(next() === undefined);
      };
      const refused = new Set<number>();
      for (let round = 0; round < 3; round++) {
        const batch = createBatch([150, 150, 100]);
        const { parts } = await exporter.send(batch, probe, signal);
        let at = 0;
        for (const { points, outcome } of parts) {
          if (outcome.state === "refused") for (let i = at; i < at + points; i++) refused.add(i);
          at += points;
        }
        expect(at).toBe(400);
      }
      expect([...refused].filter((point) => !poison.has(point))).toEqual([]);
      expect([...collector.stored.keys()].filter((point) => poison.has(point))).toEqual([]);
      const disturbances =
        faults.filter(Boolean).length + outages.reduce((all, { length }) => all + length, 0);
      const bound = (2 * Math.ceil(Math.log2(400)) + 1) * (bad.length + disturbances) + 3 * 3;
      expect(collector.requests.single.length + probes).toBeLessThanOrEqual(bound);
    }),
    { numRuns: 40 },
  );
}, 30_000);

test("isolating costs at most 2 log2(n) + 1 requests for each refused point, probes and repeats included", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 32, max: 2000 }),
      fc.uniqueArray(fc.nat(31), { minLength: 1, maxLength: 5 }),
      fc.constantFrom(rejected(400), rejected(500)),
      async (total, bad, verdict) => {
        const spread = new Set(bad.map((i) => Math.floor((i * (total - 1)) / 31)));
        const { outcomes, collector, probes } = await send([total], poisonedBy(spread, verdict));
        expect(pointsWith(outcomes, "refused")).toEqual([...spread].toSorted((a, b) => a - b));
        const bound = (2 * Math.ceil(Math.log2(total)) + 1) * spread.size;
        expect(collector.requests.single.length + probes).toBeLessThanOrEqual(bound);
      },
    ),
    { numRuns: 60 },
  );
}, 30_000);
