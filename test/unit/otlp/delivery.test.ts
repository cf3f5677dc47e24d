import { describe, expect, test } from "vitest";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import { createDelivery, type Delivery } from "#otlp/delivery.ts";
import type { Exporter, ExportOutcome } from "#otlp/exporter.ts";
import type { PartOutcome } from "#otlp/delivery-outcome.ts";
import type { Batch } from "#otlp/writer.ts";

const DOWN = new BridgeError("collector_unavailable", "the Collector answered 503");

interface Sending {
  batch: Batch<string>;
  finish: (outcome?: Partial<ExportOutcome<string>>) => void;
  fail: (error: unknown) => void;
}

interface Harness {
  delivery: Delivery<string>;
  sendings: Sending[];
  outcomes: { parts: PartOutcome<string>[]; bytes: number }[];
  released: string[];
  batch: (owner: string) => Batch<string>;
}

/** A delivery whose exporter does what the test says. */
function createHarness(
  options: { inFlightMax?: number; onOutcome?: (parts: PartOutcome<string>[]) => void } = {},
): Harness {
  const sendings: Sending[] = [];
  const outcomes: Harness["outcomes"] = [];
  const released: string[] = [];
  const exporter = {
    send: (batch: Batch<string>) => {
      const { promise, resolve, reject } = Promise.withResolvers<ExportOutcome<string>>();
      const parts = batch.parts.map((part) => ({ ...part, outcome: { state: "acknowledged" as const } }));
      sendings.push({
        batch,
        finish: (outcome = {}) => {
          batch.release();
          resolve({ parts, bytes: 10, ...outcome });
        },
        fail: reject,
      });
      return promise;
    },
  } as unknown as Exporter;
  const delivery = createDelivery<string>(
    {
      exporter,
      probe: () => Promise.resolve(true),
      onOutcome: (parts, bytes) => {
        options.onOutcome?.(parts);
        outcomes.push({ parts, bytes });
      },
      toError: (error) => toBridgeError(error),
      signal: new AbortController().signal,
    },
    { inFlightMax: options.inFlightMax ?? 2 },
  );
  const batch = (owner: string): Batch<string> => ({
    body: Buffer.from(owner),
    points: 3,
    parts: [
      { owner, points: 2 },
      { owner: `${owner}'`, points: 1 },
    ],
    release: () => void released.push(owner),
  });
  return { delivery, sendings, outcomes, released, batch };
}

/** Has the promise settled by now? */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => (settled = true));
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  return settled;
}

const ownersOf = (outcomes: Harness["outcomes"]): string[] => outcomes.map(({ parts }) => parts[0]!.owner);

describe("a delivery", () => {
  test("sends at once and reports each batch once", async () => {
    const { delivery, sendings, outcomes, batch } = createHarness();
    delivery.submit(batch("a"));
    delivery.submit(batch("b"));
    expect(sendings.map((sending) => sending.batch.parts[0]!.owner)).toEqual(["a", "b"]);
    expect(outcomes).toEqual([]);
    sendings[1]!.finish();
    sendings[0]!.finish({ bytes: 20 });
    await delivery.drained();
    expect(ownersOf(outcomes).toSorted()).toEqual(["a", "b"]);
    expect(outcomes.find(({ parts }) => parts[0]!.owner === "a")?.bytes).toBe(20);
    expect(delivery.stopped()).toBeUndefined();
  });

  test("has room below its limit, and says when there is room again", async () => {
    const { delivery, sendings, batch } = createHarness({ inFlightMax: 2 });
    expect(delivery.room()).toBeUndefined();
    delivery.submit(batch("a"));
    expect(delivery.room()).toBeUndefined();
    // A reader may hand over several batches of one chunk.
    delivery.submit(batch("b"));
    delivery.submit(batch("c"));
    const rooms = [delivery.room()!, delivery.room()!];
    sendings[0]!.finish();
    for (const room of rooms) expect(await isSettled(room)).toBe(false);
    sendings[2]!.finish();
    for (const room of rooms) expect(await isSettled(room)).toBe(true);
    expect(delivery.room()).toBeUndefined();
  });

  test("sends no more at once than it may, in the order in which they were submitted", async () => {
    const { delivery, sendings, outcomes, batch } = createHarness({ inFlightMax: 2 });
    for (const owner of ["a", "b", "c", "d"]) delivery.submit(batch(owner));
    const owners = (): string[] => sendings.map((sending) => sending.batch.parts[0]!.owner);
    expect(owners()).toEqual(["a", "b"]);
    const drained = delivery.drained();
    sendings[1]!.finish();
    expect(await isSettled(drained)).toBe(false);
    expect(owners()).toEqual(["a", "b", "c"]);
    const room = delivery.room()!;
    sendings[0]!.finish();
    expect(await isSettled(room)).toBe(false);
    for (const sending of sendings.slice(2)) sending.finish();
    expect(await isSettled(room)).toBe(true);
    await drained;
    expect(ownersOf(outcomes).toSorted()).toEqual(["a", "b", "c", "d"]);
  });

  test("gives room by a failure too", async () => {
    const { delivery, sendings, batch } = createHarness({ inFlightMax: 1 });
    delivery.submit(batch("a"));
    const room = delivery.room()!;
    sendings[0]!.fail(new Error("x"));
    expect(await isSettled(room)).toBe(true);
  });

  test("is drained when nothing is on its way, those included that come meanwhile", async () => {
    const { delivery, sendings, batch } = createHarness();
    expect(await isSettled(delivery.drained())).toBe(true);
    delivery.submit(batch("a"));
    const drained = delivery.drained();
    delivery.submit(batch("b"));
    sendings[0]!.finish();
    expect(await isSettled(drained)).toBe(false);
    sendings[1]!.finish();
    expect(await isSettled(drained)).toBe(true);
  });

  test("is stopped by the exporter's word, the first of them", async () => {
    const { delivery, sendings, outcomes, batch } = createHarness({ inFlightMax: 3 });
    delivery.submit(batch("a"));
    delivery.submit(batch("b"));
    sendings[0]!.finish({ stop: DOWN });
    sendings[1]!.finish({ stop: new BridgeError("collector_refused", "later") });
    await delivery.drained();
    expect(delivery.stopped()).toBe(DOWN);
    expect(outcomes).toHaveLength(2);
  });

  test("does not send what comes after that, but fails and releases it", async () => {
    const { delivery, sendings, outcomes, released, batch } = createHarness();
    delivery.submit(batch("a"));
    sendings[0]!.finish({ stop: DOWN });
    await delivery.drained();
    delivery.submit(batch("b"));
    await delivery.drained();
    expect(sendings).toHaveLength(1);
    expect(released).toEqual(["a", "b"]);
    const outcome = { state: "failed", error: DOWN };
    expect(outcomes[1]).toEqual({
      bytes: 0,
      parts: [
        { owner: "b", points: 2, outcome },
        { owner: "b'", points: 1, outcome },
      ],
    });
  });

  test("fails the points of a batch whose sending throws, with the signal's reason or as a defect", async () => {
    const reason = new BridgeError("cluster_deadline_exceeded", "too late");
    for (const [thrown, code] of [
      [reason, "cluster_deadline_exceeded"],
      [new TypeError("a defect"), "internal"],
      ["a text", "internal"],
    ] as const) {
      const { delivery, sendings, outcomes, batch } = createHarness();
      delivery.submit(batch("a"));
      sendings[0]!.fail(thrown);
      await delivery.drained();
      expect(outcomes).toHaveLength(1);
      expect(outcomes[0]!.bytes).toBe(0);
      expect(outcomes[0]!.parts.map(({ owner, points }) => [owner, points])).toEqual([
        ["a", 2],
        ["a'", 1],
      ]);
      expect(
        outcomes[0]!.parts.map(({ outcome }) => (outcome.state === "failed" ? outcome.error.code : "")),
      ).toEqual([code, code]);
      expect(delivery.stopped()?.code).toBe(code);
    }
  });

  test("stops, and ends no process, when the account itself throws; nothing is reported twice", async () => {
    let calls = 0;
    const { delivery, sendings, batch } = createHarness({
      onOutcome: () => {
        calls++;
        throw new TypeError("a defect");
      },
    });
    delivery.submit(batch("a"));
    sendings[0]!.finish();
    await delivery.drained();
    expect(calls).toBe(1);
    expect(delivery.stopped()?.code).toBe("internal");
  });
});
