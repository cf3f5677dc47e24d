import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { createObservedTransport, type ExportAttempt } from "#otlp/observed-transport.ts";
import { createRetryingTransport } from "#otlp/retrying-transport.ts";
import type { ExportResult, Payload, Transport } from "#otlp/transport.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";

const SETTINGS = { initialMs: 1_000, multiplier: 2, maxMs: 8_000, maxElapsedMs: 60_000 };
const PAYLOAD: Payload = { body: Buffer.from("body"), encoding: "none" };
const ACCEPTED: ExportResult = { kind: "accepted", message: "" };
const UNAVAILABLE = new BridgeError("collector_unavailable", "the Collector answered 503");
const retryable = (retryAfterMs?: number): ExportResult => ({
  kind: "retryable",
  error: UNAVAILABLE,
  ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
});

/** A transport that answers from a list, the last over and over; `times` are when it was asked. */
function scripted(
  clock: ManualClock,
  answers: readonly ExportResult[],
): { transport: Transport; times: number[] } {
  const times: number[] = [];
  return {
    times,
    transport: {
      encode: (body) => Promise.resolve({ body, encoding: "none" }),
      pack: (body) => Promise.resolve({ body, encoding: "none" }),
      unpack: (payload) => Promise.resolve(payload),
      decode: ({ body }) => Promise.resolve(body),
      send: () => {
        times.push(clock.monotonic());
        return Promise.resolve(answers[Math.min(times.length, answers.length) - 1]!);
      },
    },
  };
}

/** Sends, and moves the clock from timer to timer until there is a result. */
async function run(
  answers: readonly ExportResult[],
  options: { random?: () => number; maxElapsedMs?: number } = {},
): Promise<{ result: ExportResult; times: number[]; pauses: number[] }> {
  const clock = createManualClock();
  const pauses: number[] = [];
  const sleep: ManualClock["sleep"] = (ms, signal) => {
    pauses.push(ms);
    return clock.sleep(ms, signal);
  };
  const { transport, times } = scripted(clock, answers);
  const retrying = createRetryingTransport(
    { transport, clock: { ...clock, sleep }, random: options.random ?? (() => 1) },
    { ...SETTINGS, maxElapsedMs: options.maxElapsedMs ?? SETTINGS.maxElapsedMs },
  );
  let result: ExportResult | undefined;
  void retrying.send(PAYLOAD, new AbortController().signal).then((value) => (result = value));
  for (let turn = 0; !result && turn < 1_000_000; turn++) {
    await Promise.resolve();
    if (clock.pending() > 0) clock.advance(1);
  }
  return { result: result!, times, pauses };
}

describe("a send is tried again", () => {
  test.each<[string, ExportResult]>([
    ["accepted", ACCEPTED],
    ["partial", { kind: "partial", rejectedPoints: 1, message: "" }],
    [
      "rejected",
      { kind: "rejected", error: new BridgeError("collector_refused", "400"), status: 400, divisible: true },
    ],
  ])("not when it is %s", async (_name, answer) => {
    expect(await run([answer, ACCEPTED])).toEqual({ result: answer, times: [0], pauses: [] });
  });

  test("until it is accepted", async () => {
    const { result, times } = await run([retryable(), retryable(), ACCEPTED]);
    expect(result).toBe(ACCEPTED);
    expect(times).toEqual([0, 1_000, 3_000]);
  });

  test("until it is rejected", async () => {
    const rejected: ExportResult = { kind: "rejected", error: UNAVAILABLE, status: 400, divisible: true };
    expect((await run([retryable(), rejected])).result).toBe(rejected);
  });

  test("with pauses that double up to a limit, and no longer than allowed", async () => {
    const { result, times, pauses } = await run([retryable()]);
    expect(result).toMatchObject({ kind: "retryable", error: UNAVAILABLE });
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000, 8_000, 8_000]);
    expect(times.at(-1)).toBeLessThanOrEqual(SETTINGS.maxElapsedMs);
  });

  test("with jitter: each pause lies between half and the whole of its step", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
          minLength: 4,
          maxLength: 4,
        }),
        async (numbers) => {
          let drawn = 0;
          const random = (): number => numbers[drawn++ % numbers.length]!;
          const { pauses } = await run([retryable(), retryable(), retryable(), retryable(), ACCEPTED], {
            random,
          });
          for (const [i, pause] of pauses.entries()) {
            const step = 1_000 * 2 ** i;
            expect(pause).toBeGreaterThanOrEqual(step / 2);
            expect(pause).toBeLessThanOrEqual(step);
            expect(pause).toBeCloseTo(step / 2 + (numbers[i]! * step) / 2, 6);
          }
          expect(drawn).toBe(4);
        },
      ),
      { numRuns: 10 },
    );
  });

  test("after the Collector's Retry-After when that is longer", async () => {
    expect((await run([retryable(5_000), ACCEPTED])).times).toEqual([0, 5_000]);
    expect((await run([retryable(10), ACCEPTED])).times).toEqual([0, 1_000]);
  });

  test("not at once, even when Retry-After is 0", async () => {
    const { times, pauses } = await run([retryable(0)], { random: () => 0 });
    expect(Math.min(...pauses)).toBe(500);
    expect(times.length).toBeLessThan(20);
  });

  test("not when Retry-After leads beyond the limit", async () => {
    const { result, times } = await run([retryable(60_001), ACCEPTED]);
    expect(result.kind).toBe("retryable");
    expect(times).toEqual([0]);
    expect((await run([retryable(60_000), ACCEPTED])).result).toBe(ACCEPTED);
  });

  test("not at all when no time is given", async () => {
    expect((await run([retryable(), ACCEPTED], { maxElapsedMs: 0 })).times).toEqual([0]);
  });

  test("not after an abort, which ends the pause", async () => {
    const clock = createManualClock();
    const { transport, times } = scripted(clock, [retryable()]);
    const retrying = createRetryingTransport({ transport, clock, random: () => 1 }, SETTINGS);
    const controller = new AbortController();
    const work = bridgeErrorOf(retrying.send(PAYLOAD, controller.signal));
    while (clock.pending() === 0) await Promise.resolve();
    const reason = new BridgeError("shutting_down", "the process is ending");
    controller.abort(reason);
    expect(await work).toBe(reason);
    expect(clock.pending()).toBe(0);
    expect(times).toEqual([0]);
  });
});

test("encodes and decodes as the transport behind it", async () => {
  const clock = createManualClock();
  const { transport } = scripted(clock, [ACCEPTED]);
  const retrying = createRetryingTransport({ transport, clock, random: () => 1 }, SETTINGS);
  const payload = await retrying.encode(Buffer.from("abc"));
  expect(payload).toEqual({ body: Buffer.from("abc"), encoding: "none" });
  expect(await retrying.decode(payload)).toEqual(Buffer.from("abc"));
});

test("an observer gets each attempt with its time and bytes", async () => {
  const clock = createManualClock();
  const { transport } = scripted(clock, [retryable(), ACCEPTED]);
  const attempts: ExportAttempt[] = [];
  const slow: Transport = {
    ...transport,
    send: (payload, signal) => {
      clock.advance(250);
      return transport.send(payload, signal);
    },
  };
  const observed = createObservedTransport({
    transport: slow,
    clock,
    onAttempt: (attempt) => void attempts.push(attempt),
  });
  const { signal } = new AbortController();
  expect(await observed.send(PAYLOAD, signal)).toMatchObject({ kind: "retryable" });
  expect(await observed.send(PAYLOAD, signal)).toBe(ACCEPTED);
  expect(attempts).toEqual([
    { result: retryable(), durationSeconds: 0.25, bytes: 4 },
    { result: ACCEPTED, durationSeconds: 0.25, bytes: 4 },
  ]);
  expect((await observed.encode(Buffer.from("abc"))).body).toEqual(Buffer.from("abc"));
});
