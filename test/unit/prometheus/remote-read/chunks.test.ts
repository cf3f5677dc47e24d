import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import {
  bitsOf,
  encodeChunkedSeries,
  encodeFrame,
  encodeHistograms,
  encodeXor,
  encodeXor2,
  STALE,
  type FloatSample,
  type HistogramLayout,
  type HistogramSample,
} from "../../../helpers/remote-read-encoder.ts";
import { decodeAnswer, type DecodedSeries } from "../../../helpers/remote-read-answers.ts";

const LABELS = [["__name__", "m"]] as const;
const T0 = 1_767_225_600_000;

function decodeChunk(encoding: number, data: Buffer): DecodedSeries {
  const frame = encodeFrame(encodeChunkedSeries(LABELS, [{ encoding, data }]));
  return decodeAnswer("chunks", [frame]).series[0] ?? { labels: {}, samples: [], histograms: [] };
}

const toPairs = (samples: readonly FloatSample[]) => samples.map(({ t, bits }) => [t, bits]);

/** Steps as scrapes have them, and every size that an encoding knows. */
const anyStep = fc.oneof(
  { weight: 5, arbitrary: fc.constant(30_000) },
  { weight: 3, arbitrary: fc.integer({ min: 29_990, max: 30_010 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 40_000 }) },
  fc.integer({ min: 1, max: 2_000_000 }),
  fc.integer({ min: 1, max: 2 ** 40 }),
);
const anyBits = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 1000 }).map((value) => bitsOf(value)) },
  { weight: 3, arbitrary: fc.double().map((value) => bitsOf(value)) },
  fc.constantFrom(STALE, 0x7ff8000000000001n, 0xfff8dead_beef0000n, 0x7ff4000000000123n, 1n << 63n, 0n),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
);
const anyFloats = fc
  .array(fc.record({ step: anyStep, bits: anyBits, st: fc.integer({ min: 0, max: 3 }) }), {
    minLength: 1,
    maxLength: 200,
  })
  .chain((steps) =>
    fc.record({
      first: fc.oneof(fc.constant(T0), fc.integer({ min: -1000, max: 1000 })),
      hasStartTimes: fc.boolean(),
      steps: fc.constant(steps),
    }),
  )
  .map(({ first, hasStartTimes, steps }) => {
    let t = first;
    return steps.map(({ step, bits, st }): FloatSample => {
      t += step;
      return { t, bits, ...(hasStartTimes ? { st: t - st * 1000 } : {}) };
    });
  });

test("reads a chunk that was written by hand", () => {
  // Two samples: 1 ms -> 1.0, 3 ms -> 1.0; the zigzag time 2, the bits of 1, the step 2, "the same".
  const data = Buffer.from(["0002", "02", "3ff0000000000000", "02", "00"].join(""), "hex");
  expect(decodeChunk(1, data).samples).toEqual([
    [1, bitsOf(1)],
    [3, bitsOf(1)],
  ]);
});

test.each([
  ["XOR", 1, encodeXor],
  ["XOR2", 4, encodeXor2],
] as const)("reads back each bit of %s chunks", (_, encoding, encode) => {
  fc.assert(
    fc.property(anyFloats, (samples) => {
      expect(decodeChunk(encoding, encode(samples)).samples).toEqual(toPairs(samples));
    }),
    { numRuns: 300 },
  );
});

test.each([
  ["XOR", 1, encodeXor, [14, 17, 20]],
  ["XOR2", 4, encodeXor2, [13, 20]],
] as const)(
  "reads changes of the step at the bounds of each size in %s chunks",
  (_, encoding, encode, sizes) => {
    const changes = sizes.flatMap((size) => [-1, 0, 1].map((by) => 2 ** (size - 1) + by));
    let t = T0;
    let step = 2 ** 21;
    // Up and down again, so that each change comes with both signs.
    const samples = [0, 0, ...changes.flatMap((change) => [change, -change])].map(
      (change, i): FloatSample => {
        step += change;
        t += step;
        return { t, bits: bitsOf(i) };
      },
    );
    expect(decodeChunk(encoding, encode(samples)).samples).toEqual(toPairs(samples));
  },
);

test("passes over start times that change behind the 127th sample", () => {
  const samples = Array.from({ length: 300 }, (_, i): FloatSample => {
    return { t: T0 + i * 1000, bits: bitsOf(i), st: i < 200 ? T0 : T0 + 190_000 };
  });
  expect(decodeChunk(4, encodeXor2(samples)).samples).toEqual(toPairs(samples));
});

test("a chunk without samples has none", () => {
  expect(decodeChunk(1, Buffer.from([0, 0])).samples).toEqual([]);
  expect(decodeChunk(4, Buffer.from([0, 0, 0])).samples).toEqual([]);
  expect(decodeChunk(2, Buffer.from([0, 0, 0])).histograms).toEqual([]);
});

const anySpans = fc.array(
  fc.record({ offset: fc.integer({ min: -5, max: 100 }), length: fc.integer({ min: 0, max: 5 }) }),
  { maxLength: 4 },
);
const anyLayout: fc.Arbitrary<HistogramLayout> = fc.record({
  schema: fc.oneof(fc.integer({ min: -4, max: 8 }), fc.constant(-53)),
  zeroThreshold: fc.constantFrom(0, 2 ** -128, 2 ** -243, 2 ** 10, 0.3, 2 ** 11),
  positiveSpans: anySpans,
  negativeSpans: anySpans,
  customValues: fc.array(fc.oneof(fc.constantFrom(0.005, 0.1, 2.5, 33_554.43), fc.double({ noNaN: true })), {
    maxLength: 5,
  }),
  resetBits: fc.integer({ min: 0, max: 3 }),
});

const anyCount = fc.oneof(
  { weight: 4, arbitrary: fc.bigInt({ min: 0n, max: 5000n }) },
  fc.bigInt({ min: 0n, max: 1n << 62n }),
);

function anyHistograms(isFloat: boolean) {
  return anyLayout.chain((layout) => {
    const bucketsOf = (spans: HistogramLayout["positiveSpans"]): number =>
      spans.reduce((sum, { length }) => sum + length, 0);
    const counts = (length: number) =>
      fc.array(isFloat ? anyBits : anyCount, { minLength: length, maxLength: length });
    const sample = fc.record({
      step: anyStep,
      count: isFloat ? anyBits : anyCount,
      zeroCount: isFloat ? anyBits : anyCount,
      sum: anyBits,
      positive: counts(bucketsOf(layout.positiveSpans)),
      negative: counts(bucketsOf(layout.negativeSpans)),
    });
    return fc.array(sample, { minLength: 1, maxLength: 20 }).map((samples) => {
      let t = T0;
      return {
        layout,
        samples: samples.map(({ step, ...rest }, i): HistogramSample => {
          t += step;
          // Stale samples come last; the first of a chunk with buckets is none.
          return { ...rest, t, sum: i === 0 && rest.sum === STALE ? 0n : rest.sum, st: t - (i >> 2) };
        }),
      };
    });
  });
}

const isNan = (bits: bigint): boolean => (bits & 0x7fffffffffffffffn) > 0x7ff0000000000000n;
/** A count that is no number is one of many: only sums have to keep which. */
const anyNan = (bits: readonly bigint[]): bigint[] =>
  bits.map((each) => (isNan(each) ? bitsOf(Number.NaN) : each));

/** A decoded histogram in the words of the encoder. */
function plainOf(found: NativeHistogram) {
  const { isFloat, exact, timestampMs, counterReset, schema, zeroThreshold, positiveSpans, negativeSpans } =
    found;
  const toBits = (counts: Iterable<number>): bigint[] => anyNan(Array.from(counts, bitsOf));
  const [count, zeroCount] = toBits([found.count, found.zeroCount]);
  return {
    t: timestampMs,
    isFloat,
    isStale: found.isStale,
    counterReset,
    schema,
    zeroThreshold,
    positiveSpans,
    negativeSpans,
    customValues: found.customValues.map(bitsOf),
    sum: (BigInt(found.sumBits[1]!) << 32n) | BigInt(found.sumBits[0]!),
    count,
    zeroCount,
    positive: toBits(found.positiveCounts),
    negative: toBits(found.negativeCounts),
    exact,
  };
}

function expectedOf(layout: HistogramLayout, sample: HistogramSample, i: number, isFloat: boolean) {
  const { t, sum, count, zeroCount, positive, negative } = sample;
  const isStale = sum === STALE;
  const first = layout.resetBits === 2 ? "reset" : "unknown";
  if (isStale) {
    return {
      t,
      isFloat,
      isStale,
      counterReset: "unknown",
      schema: 0,
      zeroThreshold: 0,
      sum,
      positiveSpans: [],
      negativeSpans: [],
      customValues: [],
      count: 0n,
      zeroCount: 0n,
      positive: [],
      negative: [],
      exact: undefined,
    };
  }
  const toCounts = (counts: readonly bigint[]): bigint[] =>
    isFloat ? anyNan(counts) : counts.map((each) => bitsOf(Number(each)));
  const isWide =
    !isFloat && [count, zeroCount, ...positive, ...negative].some((each) => each > 2n ** 53n - 1n);
  const exact = { count, zeroCount, positiveCounts: positive, negativeCounts: negative };
  return {
    t,
    isFloat,
    isStale,
    schema: layout.schema,
    zeroThreshold: layout.zeroThreshold,
    sum,
    counterReset: layout.resetBits === 3 ? "gauge" : i > 0 ? "none" : first,
    positiveSpans: layout.positiveSpans,
    negativeSpans: layout.negativeSpans,
    // The encoding of bounds has no -0.
    customValues: layout.schema === -53 ? layout.customValues.map((value) => bitsOf(value || 0)) : [],
    count: toCounts([count])[0],
    zeroCount: toCounts([zeroCount])[0],
    positive: toCounts(positive),
    negative: toCounts(negative),
    exact: isWide ? exact : undefined,
  };
}

describe.each([
  ["integer histograms", 2, false, false],
  ["float histograms", 3, true, false],
  ["integer histograms with start times", 5, false, true],
  ["float histograms with start times", 6, true, true],
] as const)("chunks of %s", (_, encoding, isFloat, hasStartTimes) => {
  test("are read back", () => {
    fc.assert(
      fc.property(anyHistograms(isFloat), ({ layout, samples }) => {
        const data = encodeHistograms(layout, samples, isFloat, hasStartTimes);
        const expected = samples.map((sample, i) => expectedOf(layout, sample, i, isFloat));
        expect(decodeChunk(encoding, data).histograms.map(plainOf)).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });
});
