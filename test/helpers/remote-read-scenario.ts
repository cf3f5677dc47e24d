import protobuf from "protobufjs";
import { toSnappyBlock } from "#prometheus/remote-read/snappy.ts";
import { createRandom } from "./random.ts";
import type { AnswerForm, DecodedAnswer, DecodedSeries } from "./remote-read-answers.ts";
import { bitsOf, STALE, type FloatSample } from "./remote-read-encoder.ts";

// Series that a real Prometheus takes by remote write, and what remote read has to give back.

const { Writer } = protobuf;

interface WrittenHistogram {
  t: number;
  isFloat: boolean;
  counterReset: number;
  schema: number;
  zeroThreshold: number;
  sum: bigint;
  count: bigint;
  zeroCount: bigint;
  positiveSpans: { offset: number; length: number }[];
  negativeSpans: { offset: number; length: number }[];
  /** Integers, or numbers of a float histogram. */
  positive: (bigint | number)[];
  negative: (bigint | number)[];
  customValues: number[];
}

export interface WrittenSeries {
  labels: [name: string, value: string][];
  samples: FloatSample[];
  histograms: WrittenHistogram[];
}

const T0 = 1_767_225_600_000;
const EVERY_MS = 30_000;
const COUNT = 150;
export const WRITTEN_WINDOW = { fromMs: T0 - 1, toMs: T0 + 4 * 3_600_000 };

function floats(
  name: string,
  bits: (i: number) => bigint,
  t = (i: number) => T0 + i * EVERY_MS,
): WrittenSeries {
  const samples = Array.from({ length: COUNT }, (_, i) => ({ t: t(i), bits: bits(i) }));
  return {
    labels: [
      ["__name__", name],
      ["job", "written"],
      ["text", 'ä"\\\n☃'],
    ],
    samples,
    histograms: [],
  };
}

const NO_HISTOGRAM: WrittenHistogram = {
  t: 0,
  isFloat: false,
  counterReset: 0,
  schema: 0,
  zeroThreshold: 0,
  sum: STALE,
  count: 0n,
  zeroCount: 0n,
  positiveSpans: [],
  negativeSpans: [],
  positive: [],
  negative: [],
  customValues: [],
};

function histograms(name: string, at: (i: number) => Partial<WrittenHistogram>, count = 40): WrittenSeries {
  const all = Array.from({ length: count }, (_, i) => ({ ...NO_HISTOGRAM, t: T0 + i * EVERY_MS, ...at(i) }));
  return {
    labels: [
      ["__name__", name],
      ["job", "written"],
    ],
    samples: [],
    histograms: all,
  };
}

const POSITIVE = [
  { offset: -2, length: 3 },
  { offset: 4, length: 2 },
];
const NEGATIVE = [{ offset: 1, length: 2 }];

/** Bucket counts that grow by `by` a sample, and their sum. */
function grown(i: number, by: number) {
  const positive = [1, 2, 0, 3, 5].map((each) => BigInt(each * by * (i + 1)));
  const negative = [2, 1].map((each) => BigInt(each * by * (i + 1)));
  const zeroCount = BigInt(by * i);
  const count = [...positive, ...negative].reduce((sum, each) => sum + each, zeroCount);
  return { positive, negative, zeroCount, count, positiveSpans: POSITIVE, negativeSpans: NEGATIVE };
}

function floatHistogram(i: number): Partial<WrittenHistogram> {
  const counts = grown(i, 1);
  const halved = (each: bigint): number => Number(each) + 0.5;
  const positive = counts.positive.map(halved);
  const negative = counts.negative.map(halved);
  const zero = Number(counts.zeroCount) + 0.25;
  const count = [...positive, ...negative].reduce((sum, each) => sum + each, zero);
  return {
    ...counts,
    isFloat: true,
    schema: 3,
    positive,
    negative,
    zeroCount: bitsOf(zero),
    count: bitsOf(count),
    sum: bitsOf(i / 7),
  };
}

/** Prometheus 2.42 leaves native histograms out of answers with samples, and fails to read back gauges and resets as chunks. */
export function writtenSeries(version: "2.42" | "3"): WrittenSeries[] {
  const random = createRandom(7);
  const noise = Array.from({ length: COUNT }, () => bitsOf(random() * 1e6));
  const jitter = Array.from({ length: COUNT }, () => Math.floor(random() * 25) - 12);
  const special = [
    STALE,
    0x7ff8000000000001n,
    0x7ff8dead0000beefn,
    1n << 63n,
    0n,
    bitsOf(Infinity),
    bitsOf(-Infinity),
    1n,
  ];
  return [
    floats("written_constant", () => bitsOf(42)),
    floats("written_counter", (i) => bitsOf(1_000_000 + i * 17)),
    floats("written_noise", (i) => noise[i]!),
    floats(
      "written_jitter",
      (i) => bitsOf(i % 7),
      (i) => T0 + i * EVERY_MS + jitter[i]!,
    ),
    floats(
      "written_gaps",
      (i) => bitsOf(Math.sqrt(i)),
      (i) => T0 + i * 1000 + (i > 20 ? 100_000 : 0) + (i > 60 ? 2_000_000 : 0) + (i > 90 ? 7 : 0),
    ),
    floats("written_special", (i) =>
      i % 3 === 2 ? special[Math.floor(i / 3) % special.length]! : bitsOf(i),
    ),
    ...(version === "3" ? nativeHistograms() : []),
  ];
}

function nativeHistograms(): WrittenSeries[] {
  return [
    histograms("written_histogram", (i) => ({
      ...grown(i, 3),
      schema: 2,
      zeroThreshold: 2 ** -128,
      sum: bitsOf(i * 1.5),
    })),
    histograms("written_reset", (i) => ({ ...grown(i % 15, 3), zeroThreshold: 0.001, sum: bitsOf(i) })),
    histograms("written_gauge", (i) => ({ ...grown((i * 7) % 11, 3), counterReset: 3, sum: bitsOf(0 - i) })),
    histograms("written_stale", (i) => (i < 20 ? { ...grown(i, 1), sum: bitsOf(i) } : {}), 21),
    histograms("written_wide", (i) => ({ ...grown(i + 1, 2 ** 51), sum: bitsOf(i) }), 20),
    histograms("written_float_histogram", floatHistogram),
    histograms("written_custom", (i) => ({
      schema: -53,
      customValues: [0.005, 0.1, 2.5, 1e9 / 3],
      sum: bitsOf(i / 3),
      count: BigInt(6 * i),

      positiveSpans: [{ offset: 0, length: 5 }],
      positive: [1, 0, 2, 0, 3].map((each) => BigInt(each * i)),
    })),
  ];
}

const tag = (field: number, type: number): number => (field << 3) | type;

const toLong = (bits: bigint) => ({
  low: Number(bits & 0xffffffffn) | 0,
  high: Number((bits >> 32n) & 0xffffffffn) | 0,
  unsigned: true,
});

/** A WriteRequest of remote write 1.0 with floats and native histograms, in one snappy block. */
export function toHistogramWriteRequest(series: readonly WrittenSeries[]): Buffer {
  const writer = Writer.create();
  for (const { labels, samples, histograms: all } of series) {
    writer.uint32(tag(1, 2)).fork();
    for (const [name, value] of labels) {
      writer.uint32(tag(1, 2)).fork().uint32(tag(1, 2)).string(name).uint32(tag(2, 2)).string(value).ldelim();
    }
    for (const { t, bits } of samples) {
      writer
        .uint32(tag(2, 2))
        .fork()
        .uint32(tag(1, 1))
        .fixed64(toLong(bits))
        .uint32(tag(2, 0))
        .int64(t)
        .ldelim();
    }
    for (const histogram of all) putHistogram(writer, histogram);
    writer.ldelim();
  }
  return toSnappyBlock(writer.finish());
}

function putHistogram(writer: protobuf.Writer, histogram: WrittenHistogram): void {
  const { isFloat, t, schema, zeroThreshold, sum, count, zeroCount, counterReset, customValues } = histogram;
  writer.uint32(tag(4, 2)).fork();
  if (isFloat) writer.uint32(tag(2, 1)).fixed64(toLong(count)).uint32(tag(7, 1)).fixed64(toLong(zeroCount));
  else writer.uint32(tag(1, 0)).uint64(toLong(count)).uint32(tag(6, 0)).uint64(toLong(zeroCount));
  writer.uint32(tag(3, 1)).fixed64(toLong(sum)).uint32(tag(4, 0)).sint32(schema);
  writer.uint32(tag(5, 1)).double(zeroThreshold);
  for (const [spans, field] of [
    [histogram.negativeSpans, 8],
    [histogram.positiveSpans, 11],
  ] as const) {
    for (const { offset, length } of spans) {
      writer
        .uint32(tag(field, 2))
        .fork()
        .uint32(tag(1, 0))
        .sint32(offset)
        .uint32(tag(2, 0))
        .uint32(length)
        .ldelim();
    }
  }
  for (const [counts, field] of [
    [histogram.negative, 9],
    [histogram.positive, 12],
  ] as const) {
    writer.uint32(tag(isFloat ? field + 1 : field, 2)).fork();
    for (const [i, each] of counts.entries()) {
      if (isFloat) writer.double(each as number);
      else {
        const delta = (each as bigint) - ((counts[i - 1] as bigint | undefined) ?? 0n);
        writer.uint64(toLong(BigInt.asUintN(64, (delta << 1n) ^ (delta >> 63n))));
      }
    }
    writer.ldelim();
  }
  writer.uint32(tag(14, 0)).int32(counterReset).uint32(tag(15, 0)).int64(t);
  if (customValues.length > 0) {
    writer.uint32(tag(16, 2)).fork();
    for (const each of customValues) writer.double(each);
    writer.ldelim();
  }
  writer.ldelim();
}

/** What remote read gives back, decoded, in a form that tests can compare: counts as numbers, and as integers where those would be rounded. */
function comparable({ labels, samples, histograms: all }: DecodedSeries) {
  return {
    labels,
    samples,
    histograms: all.map((found) => ({
      t: found.timestampMs,
      isFloat: found.isFloat,
      isGauge: found.counterReset === "gauge",
      schema: found.schema,
      zeroThreshold: found.zeroThreshold,
      sum: (BigInt(found.sumBits[1]!) << 32n) | BigInt(found.sumBits[0]!),
      counts: found.exact
        ? [
            found.exact.count,
            found.exact.zeroCount,
            ...found.exact.positiveCounts,
            ...found.exact.negativeCounts,
          ]
        : [found.count, found.zeroCount, ...found.positiveCounts, ...found.negativeCounts],
      spans: [found.positiveSpans, found.negativeSpans],
      customValues: found.customValues,
    })),
  };
}

/** By name: answers with samples come in any order. */
export function byName(answer: DecodedAnswer) {
  const name = ({ labels }: DecodedSeries): string => labels["__name__"]!;
  return answer.series.toSorted((a, b) => (name(a) < name(b) ? -1 : 1)).map(comparable);
}

/** The same of what was written. The form `samples` has no -0: Prometheus leaves it out of the message, as it does 0. */
export function expectedSeries(written: readonly WrittenSeries[], form: AnswerForm) {
  const name = ({ labels }: WrittenSeries): string => labels[0]![1];
  return written
    .toSorted((a, b) => (name(a) < name(b) ? -1 : 1))
    .map(({ labels, samples, histograms: all }) => ({
      labels: Object.fromEntries(labels),
      samples: samples.map(({ t, bits }) => [t, form === "samples" && bits === 1n << 63n ? 0n : bits]),
      histograms: all.map(expectedHistogram),
    }));
}

function expectedHistogram(written: WrittenHistogram) {
  const { t, isFloat, counterReset, schema, zeroThreshold, sum, customValues } = written;
  const toNumber = (bits: bigint): number => new Float64Array(BigUint64Array.of(bits).buffer)[0]!;
  const all = isFloat
    ? [toNumber(written.count), toNumber(written.zeroCount), ...written.positive, ...written.negative]
    : [written.count, written.zeroCount, ...written.positive, ...written.negative];
  const isWide = all.some((each) => typeof each === "bigint" && each > BigInt(Number.MAX_SAFE_INTEGER));
  const counts = isWide ? all : all.map(Number);
  const isGauge = counterReset === 3;
  const spans = [written.positiveSpans, written.negativeSpans];
  return { t, isFloat, isGauge, schema, zeroThreshold, sum, counts, spans, customValues };
}
