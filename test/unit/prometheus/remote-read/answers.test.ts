import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SCAN_LIMITS } from "#prometheus/matrix-scanner.ts";
import { createChunkedAnswer } from "#prometheus/remote-read/chunked-answer.ts";
import { crc32c } from "#prometheus/remote-read/crc32c.ts";
import { RemoteReadError } from "#prometheus/remote-read/remote-read-error.ts";
import { createSamplesAnswer } from "#prometheus/remote-read/samples-answer.ts";
import { decompressSnappy, toSnappyBlock } from "#prometheus/remote-read/snappy.ts";
import {
  ALL_TIME,
  createKeepingSink,
  decodeAnswer,
  optionsOf,
  readPieces,
} from "../../../helpers/remote-read-answers.ts";
import {
  bitsOf,
  encodeChunkedSeries,
  encodeFrame,
  encodeHistograms,
  encodeReadResponse,
  encodeXor,
  slowCrc32c,
  STALE,
  type FloatSample,
  type Labels,
} from "../../../helpers/remote-read-encoder.ts";

const T0 = 1_767_225_600_000;
const labelsOf = (i: number): Labels => [
  ["__name__", "up"],
  ["pod", `pod-${i}`],
];
const samplesOf = (count: number, from = 0): FloatSample[] =>
  Array.from({ length: count }, (_, i) => ({ t: T0 + (from + i) * 1000, bits: bitsOf((from + i) / 3) }));
const pairsOf = (samples: readonly FloatSample[]) => samples.map(({ t, bits }) => [t, bits]);
const xor = (samples: readonly FloatSample[]) => ({
  encoding: 1,
  data: encodeXor(samples),
  minMs: samples[0]!.t,
  maxMs: samples.at(-1)!.t,
});

function reasonOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof RemoteReadError) return error.reason;
    throw error;
  }
  return "none";
}

test("CRC-32C as RFC 3720 gives it, and as it is computed bit by bit", () => {
  expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
  expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
      const at = Math.min(cut, bytes.length);
      expect(crc32c(bytes, at, bytes.length, crc32c(bytes, 0, at))).toBe(slowCrc32c(bytes));
    }),
  );
});

describe("snappy blocks", () => {
  test("are decompressed with every element of the format", () => {
    // "abcd", a copy of 4 from 4 back (one byte), 6 from 2 back (overlapping, two bytes), 5 from 14 back (four bytes).
    const block = Buffer.from("130c616263640104160200130e000000", "hex");
    expect(decompressSnappy(block, 100).toString()).toBe("abcdabcdcdcdcdabcda");
  });
  test("are read back whatever they hold", () => {
    for (const size of [0, 1, 60, 61, 256, 65_536, 65_537, 200_000]) {
      const bytes = Buffer.from(Array.from({ length: size }, (_, i) => (i * 31) & 0xff));
      expect(decompressSnappy(toSnappyBlock(bytes), size).equals(bytes)).toBe(true);
    }
  });
  test.each([
    ["larger than allowed", "ffffff7f00", "too_large"],
    ["of more than 32 bits", "ffffffffff7f", "invalid"],
    ["without an end of its head", "ffff", "truncated"],
    ["cut in a literal", "0a0c6162", "truncated"],
    ["shorter than it says", "0a0c61626364", "truncated"],
    ["longer than it says", "020c61626364", "invalid"],
    ["with a copy longer than it says", "060c616263640104", "invalid"],
    ["with a copy from before its beginning", "0a0c616263640105", "invalid"],
    ["with a copy from nowhere", "0a0c616263640100", "invalid"],
  ])("a block %s is refused", (_, hex, reason) => {
    expect(reasonOf(() => decompressSnappy(Buffer.from(hex, "hex"), 1000))).toBe(reason);
  });
});

const chunked = Buffer.concat([
  encodeFrame(encodeChunkedSeries(labelsOf(0), [xor(samplesOf(120)), xor(samplesOf(40, 120))])),
  encodeFrame(encodeChunkedSeries(labelsOf(1), [xor(samplesOf(100))])),
  encodeFrame(encodeChunkedSeries(labelsOf(1), [xor(samplesOf(20, 100))])),
]);
const whole = [
  { labels: Object.fromEntries(labelsOf(0)), samples: pairsOf(samplesOf(160)), histograms: [] },
  { labels: Object.fromEntries(labelsOf(1)), samples: pairsOf(samplesOf(120)), histograms: [] },
];
const samplesBlock = toSnappyBlock(
  encodeReadResponse([
    { labels: labelsOf(0), samples: samplesOf(160) },
    { labels: labelsOf(1), samples: samplesOf(120) },
  ]),
);

describe.each([
  ["chunks", chunked],
  ["samples", samplesBlock],
] as const)("an answer as %s", (form, bytes) => {
  test("is the same however it is cut", () => {
    const cuts = fc.uniqueArray(fc.nat(bytes.length), { maxLength: 12 });
    fc.assert(
      fc.property(cuts, (places) => {
        const sorted = [0, ...places.toSorted((a, b) => a - b), bytes.length];
        const pieces = sorted.slice(1).map((end, i) => bytes.subarray(sorted[i], end));
        const { result, series } = decodeAnswer(form, pieces);
        expect(series).toEqual(whole);
        expect(result).toEqual({
          series: 2,
          samples: 280,
          histogramSamples: 0,
          overlappingChunks: 0,
          refused: [],
        });
      }),
    );
    expect(
      decodeAnswer(
        form,
        [...bytes].map((byte) => Uint8Array.of(byte)),
      ).series,
    ).toEqual(whole);
  });

  test("has samples of the window only, left-open", () => {
    const window = { fromMs: T0 + 10_000, toMs: T0 + 110_000 };
    const { series, result } = decodeAnswer(form, [bytes], window);
    expect(series.map(({ samples }) => samples)).toEqual([
      pairsOf(samplesOf(100, 11)),
      pairsOf(samplesOf(100, 11)),
    ]);
    expect(result).toMatchObject({ series: 2, samples: 200 });
    const none = decodeAnswer(form, [bytes], { fromMs: T0 + 1e9, toMs: T0 + 2e9 });
    expect(none.result).toMatchObject({ series: 0, samples: 0 });
  });

  test("that is cut is truncated, wherever", () => {
    const ends = new Set<number>([0]);
    if (form === "chunks") {
      for (let at = 0; at < bytes.length;) {
        let size = 0;
        for (let shift = 0; ; shift += 7) {
          const byte = bytes[at++]!;
          size |= (byte & 0x7f) << shift;
          if (byte < 0x80) break;
        }
        ends.add((at += 4 + size));
      }
    }
    for (let end = 1; end < bytes.length; end++) {
      const reason = reasonOf(() => decodeAnswer(form, [bytes.subarray(0, end)]));
      expect([end, reason]).toEqual([end, ends.has(end) ? "none" : "truncated"]);
    }
  });

  test("refuses series over a limit alone", () => {
    const sink = createKeepingSink();
    const long = "x".repeat(3000);
    const samples = samplesOf(5);
    const labelled: Labels[] = [
      [
        ["__name__", "wide"],
        ["long", long],
      ],
      [["__name__", "many"], ...Array.from({ length: 20 }, (_, i) => [`l${i}`, "x"] as const)],
      labelsOf(0),
    ];
    const answer =
      form === "chunks"
        ? Buffer.concat(labelled.map((labels) => encodeFrame(encodeChunkedSeries(labels, [xor(samples)]))))
        : toSnappyBlock(encodeReadResponse(labelled.map((labels) => ({ labels, samples }))));
    const options = { ...optionsOf(sink), limits: { seriesMax: 10, labelsMax: 10, labelBytesMax: 2000 } };
    const decoder = form === "chunks" ? createChunkedAnswer(options) : createSamplesAnswer(options);
    readPieces(decoder, [answer]);
    const { refused, ...rest } = decoder.end();
    expect(rest).toMatchObject({ series: 1, samples: 5 });
    expect(refused).toEqual([
      {
        code: "prometheus_label_too_large",
        reason: 'a series of "wide" is refused: its labels have more than 2000 bytes',
        series: 1,
        samples: 5,
      },
      {
        code: "prometheus_label_too_large",
        reason: 'a series of "many" is refused: it has more than 10 labels',
        series: 1,
        samples: 5,
      },
    ]);
    expect(sink.kept.map(({ labels }) => labels)).toEqual([Object.fromEntries(labelsOf(0))]);
  });

  test("with too many series is too large", () => {
    const options = { ...optionsOf(createKeepingSink()), limits: { ...SCAN_LIMITS, seriesMax: 1 } };
    const decoder = form === "chunks" ? createChunkedAnswer(options) : createSamplesAnswer(options);
    expect(reasonOf(() => readPieces(decoder, [bytes]))).toBe("too_large");
  });

  test("refuses a series whose labels are no text", () => {
    const marked = Buffer.from("\u0001\u0002\u0003\u0004");
    const labels: Labels = [
      ["__name__", "m"],
      ["l", marked.toString()],
    ];
    const message =
      form === "chunks"
        ? encodeChunkedSeries(labels, [xor(samplesOf(2))])
        : encodeReadResponse([{ labels, samples: samplesOf(2) }]);
    message.fill(0xff, message.indexOf(marked), message.indexOf(marked) + marked.length);
    const answer = form === "chunks" ? encodeFrame(message) : toSnappyBlock(message);
    const { result } = decodeAnswer(form, [answer]);
    expect(result.refused).toEqual([
      {
        code: "prometheus_answer_invalid",
        reason: 'a series of "m" is refused: a label of it is not valid UTF-8',
        series: 1,
        samples: 2,
      },
    ]);
  });

  test("asks the sink again and again when a series has many samples, in pieces of bounded work", () => {
    const count = 30_000;
    const samples = samplesOf(count);
    const labels: Labels = [
      ["__name__", "m"],
      ["long", "x".repeat(20_000)],
    ];
    const answer =
      form === "chunks"
        ? encodeFrame(encodeChunkedSeries(labels, [xor(samples)]))
        : toSnappyBlock(encodeReadResponse([{ labels, samples }]));
    const sink = createKeepingSink();
    let largest = 0;
    const options = optionsOf({
      histogram: () => {},
      series: (given) => {
        largest = Math.max(largest, given.sampleCount);
        return sink.series(given);
      },
    });
    const decoder = form === "chunks" ? createChunkedAnswer(options) : createSamplesAnswer(options);
    const works = readPieces(decoder, [answer]);
    expect(decoder.end()).toMatchObject({ series: 1, samples: count });
    expect(sink.kept[0]!.samples).toEqual(pairsOf(samples));
    // 4 MiB of points a slice, each with 20 kB of labels, and two slices a piece at most.
    expect(largest).toBeLessThan(220);
    expect(works).toBeGreaterThan(count / 440);
  });
});

test("an answer of -0 keeps its sign as chunks; stale markers and payloads keep their bits in both forms", () => {
  const samples = [1n << 63n, STALE, 0x7ff8000000000abcn, 0xfff0000000000001n].map((bits, i) => ({
    t: T0 + i,
    bits,
  }));
  const frame = encodeFrame(encodeChunkedSeries(labelsOf(0), [xor(samples)]));
  expect(decodeAnswer("chunks", [frame]).series[0]!.samples).toEqual(pairsOf(samples));
  const block = toSnappyBlock(encodeReadResponse([{ labels: labelsOf(0), samples }]));
  expect(decodeAnswer("samples", [block]).series[0]!.samples).toEqual(pairsOf(samples));
});

test("a frame with another checksum is refused", () => {
  const damaged = Buffer.from(chunked);
  damaged[20]! ^= 1;
  expect(reasonOf(() => decodeAnswer("chunks", [damaged]))).toBe("checksum");
});

test("a frame that says that it is larger than the limit is refused before its bytes are held", () => {
  const head = Buffer.from([0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]);
  expect(reasonOf(() => decodeAnswer("chunks", [head]))).toBe("too_large");
});

test("an error text behind the frames, as Prometheus writes it, is no frame", () => {
  const text = "query processing would load too many samples";
  for (const repeated of [1, 4]) {
    const answer = Buffer.concat([chunked, Buffer.from(`${text}\n`.repeat(repeated))]);
    expect(() => decodeAnswer("chunks", [answer])).toThrow(
      expect.objectContaining({
        reason: repeated === 1 ? "truncated" : "checksum",
        remoteText: expect.stringContaining(text) as unknown,
      }),
    );
  }
  const damaged = Buffer.from(chunked);
  damaged[20]! ^= 1;
  expect(() => decodeAnswer("chunks", [damaged])).toThrow(expect.objectContaining({ remoteText: undefined }));
});

test("an unknown encoding is named", () => {
  const frame = encodeFrame(encodeChunkedSeries(labelsOf(0), [{ encoding: 9, data: Buffer.alloc(9) }]));
  expect(() => decodeAnswer("chunks", [frame])).toThrow("a chunk has the unknown encoding 9");
  expect(reasonOf(() => decodeAnswer("chunks", [frame]))).toBe("unknown_encoding");
});

test("counts chunks that overlap, and gives all their samples", () => {
  const parts = [xor(samplesOf(10)), xor(samplesOf(10, 5)), xor(samplesOf(10, 15))];
  const { result } = decodeAnswer("chunks", [encodeFrame(encodeChunkedSeries(labelsOf(0), parts))]);
  expect(result).toMatchObject({ series: 1, samples: 30, overlappingChunks: 1 });
});

test("a large block of samples is refused by its head, before the rest has come", () => {
  const decoder = createSamplesAnswer(optionsOf(createKeepingSink()), 1000);
  expect(reasonOf(() => decoder.scan(Buffer.from([0xe9, 0x07]), 0))).toBe("too_large");
});

test("a histogram that claims more buckets than its chunk has bits allocates nothing", () => {
  const layout = {
    schema: 0,
    zeroThreshold: 0,
    positiveSpans: [{ offset: 0, length: 60_000 }],
    negativeSpans: [],
    customValues: [],
    resetBits: 0,
  };
  const sample = { t: T0, count: 1n, zeroCount: 0n, sum: 0n, positive: [], negative: [] };
  const data = encodeHistograms(layout, [sample], true);
  const frame = encodeFrame(encodeChunkedSeries(labelsOf(0), [{ encoding: 3, data }]));
  expect(reasonOf(() => decodeAnswer("chunks", [frame]))).toBe("truncated");
});

test("an empty answer as chunks has no series; as samples it is truncated", () => {
  expect(decodeAnswer("chunks", []).result).toMatchObject({ series: 0, samples: 0 });
  expect(reasonOf(() => decodeAnswer("samples", []))).toBe("truncated");
  const none = toSnappyBlock(encodeReadResponse([]));
  expect(decodeAnswer("samples", [none], ALL_TIME).result).toMatchObject({ series: 0 });
});
