import * as fc from "fast-check";
import { expect, test } from "vitest";
import { encodeSeriesFrames } from "#prometheus/remote-read/served-frames.ts";
import type { ServedSamples } from "#prometheus/remote-read/served-samples.ts";
import { encodeReadResponse, encodeSeries } from "#prometheus/remote-read/served-series.ts";
import { decodeAnswer } from "../../../helpers/remote-read-answers.ts";
import { readChunkAnswer, readFrames } from "../../../helpers/remote-read-client.ts";
import { encodeXor, STALE } from "../../../helpers/remote-read-encoder.ts";

const T0 = 1_767_225_600_000;
const LABELS = [
  ["__name__", "m"],
  ["pod", "ä"],
] as const;

/** A sample: its time, its 64 bits. */
type Pair = readonly [t: number, bits: bigint];

/** Stale markers as the source has them: a NaN and a mark beside it. */
function toServed(pairs: readonly Pair[]): ServedSamples {
  const stale = Uint8Array.from(pairs, ([, bits]) => (bits === STALE ? 1 : 0));
  const bits = BigUint64Array.from(pairs, ([, each]) => (each === STALE ? 0x7ff8000000000000n : each));
  return {
    labels: LABELS,
    times: Float64Array.from(pairs, ([t]) => t),
    values: new Float64Array(bits.buffer),
    ...(stale.includes(1) && { stale }),
  };
}

const anyStep = fc.oneof(
  { weight: 5, arbitrary: fc.constant(30_000) },
  { weight: 3, arbitrary: fc.integer({ min: 29_990, max: 30_010 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 40_000 }) },
  // Where the classes of changes end, on both sides.
  fc.constantFrom(...[13, 16, 19].flatMap((power) => [-1, 0, 1].map((more) => 30_000 + 2 ** power + more))),
  fc.integer({ min: 1, max: 2_000_000 }),
  fc.integer({ min: 1, max: 2 ** 40 }),
);
const anyBits = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 1000 }).map((value) => bitsOf(value)) },
  { weight: 3, arbitrary: fc.double().map((value) => bitsOf(value)) },
  fc.constantFrom(
    STALE,
    0x7ff8000000000001n,
    0xfff8dead_beef0000n,
    bitsOf(Infinity),
    bitsOf(-Infinity),
    bitsOf(-0),
    0n,
  ),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
);
const anyPairs = fc
  .array(fc.tuple(anyStep, anyBits), { minLength: 1, maxLength: 300 })
  .chain((steps) => fc.tuple(fc.constantFrom(T0, 0), fc.constant(steps)))
  .map(([first, steps]) => {
    let t = first;
    return steps.map(([step, bits]): Pair => [(t += step), bits]);
  });

function bitsOf(value: number): bigint {
  return new BigUint64Array(Float64Array.of(value).buffer)[0]!;
}

test("gives each sample with its exact bits, in the bytes that Prometheus writes", () => {
  fc.assert(
    fc.property(anyPairs, (pairs) => {
      const body = Buffer.concat([...encodeSeriesFrames(toServed(pairs), 3)]);
      const [found] = readChunkAnswer(body);
      expect(found).toMatchObject({ labels: Object.fromEntries(LABELS), queryIndex: 3 });
      expect(found!.chunks).toEqual(
        found!.chunks.map((_chunk, i) => {
          const samples = pairs.slice(i * 120, i * 120 + 120).map(([t, bits]) => ({ t, bits }));
          const [minMs, maxMs] = [samples[0]!.t, samples.at(-1)!.t];
          return { minMs, maxMs, type: 1, data: encodeXor(samples) };
        }),
      );
      expect(found!.samples).toHaveLength(pairs.length);
    }),
  );
});

test("the bridge's own decoder reads the same from both forms", () => {
  fc.assert(
    fc.property(anyPairs, (pairs) => {
      const served = toServed(pairs);
      // Of several queries only another program asks.
      const chunks = decodeAnswer("chunks", [...encodeSeriesFrames(served, 0)]);
      const samples = decodeAnswer("samples", [encodeReadResponse([[encodeSeries(served)]])]);
      expect(chunks.series).toEqual([{ labels: Object.fromEntries(LABELS), samples: pairs, histograms: [] }]);
      expect(samples.series).toEqual(chunks.series);
    }),
  );
});

test("a series goes on in the next frame when it does not fit into 1 MiB", () => {
  let state = 1n;
  const pairs = Array.from({ length: 200_000 }, (_none, i): Pair => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return [T0 + i * 1000, state];
  });
  const frames = [...encodeSeriesFrames(toServed(pairs), 0)];
  const sizes = readFrames(Buffer.concat(frames)).map(({ length }) => length);
  expect(sizes.length).toBeGreaterThan(1);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(2 ** 20);
  // No frame ends before it must.
  expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThan(2 ** 20 - 4096);
  const { series } = decodeAnswer("chunks", frames);
  expect(series.map(({ samples }) => samples.length)).toEqual([pairs.length]);
  expect(series[0]!.samples.every(([t, bits], i) => t === pairs[i]![0] && bits === pairs[i]![1])).toBe(true);
});

test("a series without samples has no frame", () => {
  expect([...encodeSeriesFrames(toServed([]), 0)]).toEqual([]);
});
