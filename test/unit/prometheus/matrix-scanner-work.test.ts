import * as fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createMatrixScanner, SCAN_LIMITS } from "#prometheus/matrix-scanner.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import {
  chunkSizes,
  MATRIX_NOW_MS,
  matrixSeries,
  toChunks,
  toMatrixAnswer,
} from "../../helpers/matrix-answer.ts";
import { scanWhole } from "../../helpers/scan.ts";
import { createSeriesKeeper } from "../../helpers/scanned-series.ts";

const WINDOW = { fromMs: MATRIX_NOW_MS - 300_000, toMs: MATRIX_NOW_MS };
const NOW = MATRIX_NOW_MS / 1000;
const HEAD = '{"status":"success","data":{"resultType":"matrix","result":[';
const PIECE_BYTES = 32 << 10;
/** About 4 MiB, and a slice that begins just before. */
const OUTPUT_BYTES_MAX = 8 << 20;
const MEGABYTE = 1 << 20;

afterEach(() => void vi.restoreAllMocks());

/** Bytes of OTLP that the samples take, about. */
function outputOf({ labels, labelCount, sampleCount }: ScannedSeries): number {
  const labelBytes = Array.from(labels.subarray(0, labelCount * 4)).reduce(
    (sum, at, i) => sum + (i % 2 === 0 ? -at : at),
    0,
  );
  return sampleCount * (64 + labelBytes);
}

/** The largest piece of work that one call did: bytes read, and bytes handed over. */
function workOf(chunks: Iterable<Buffer>): { read: number; output: number; outcome: string } {
  let output = 0;
  const most = { read: 0, output: 0 };
  const scanner = createMatrixScanner({ series: (series) => void (output += outputOf(series)) }, WINDOW);
  try {
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length;) {
        output = 0;
        const next = scanner.scan(chunk, at);
        most.read = Math.max(most.read, next - at);
        most.output = Math.max(most.output, output);
        at = next;
      }
    }
    scanner.end();
    return { ...most, outcome: "success" };
  } catch (error) {
    return { ...most, outcome: (error as { code: string }).code };
  }
}

describe("one call of scan does a bounded piece of work", () => {
  const samples = (count: number): string =>
    Array.from({ length: count }, (_, i) => `[${(MATRIX_NOW_MS - i) / 1000},"${i}"]`).join(",");
  const label = "x".repeat(60_000);
  test.each<[string, string, string]>([
    ["one label of 4 MB", `${HEAD}{"metric":{"a":"${"x".repeat(4 * MEGABYTE)}"},"values":[]}]}}`, "success"],
    [
      "a label's name of 4 MB",
      `${HEAD}{"metric":{"${"x".repeat(4 * MEGABYTE)}":""},"values":[]}]}}`,
      "success",
    ],
    [
      "one label of 4 MB of escapes",
      `${HEAD}{"metric":{"a":"${String.raw`\"`.repeat(2 * MEGABYTE)}"},"values":[]}]}}`,
      "success",
    ],
    [
      "100,000 series without samples",
      `${HEAD}${'{"metric":{},"values":[]},'.repeat(100_000)}{}]}}`,
      "success",
    ],
    ["100,000 series without anything", `${HEAD}${"{},".repeat(100_000)}{}]}}`, "success"],
    ["brackets", "[".repeat(MEGABYTE), "prometheus_answer_invalid"],
    ["brackets in the result", `${HEAD}${"[".repeat(MEGABYTE)}`, "prometheus_answer_invalid"],
    ["braces in a series", `${HEAD}${'{"a":'.repeat(MEGABYTE)}`, "prometheus_answer_invalid"],
    ["brackets beside the result", `{"x":${"[".repeat(MEGABYTE)}`, "prometheus_answer_invalid"],
    [
      "brackets in a histogram",
      `${HEAD}{"metric":{},"histograms":[[1,${"[".repeat(MEGABYTE)}`,
      "prometheus_answer_invalid",
    ],
    [
      "a number of a megabyte",
      `${HEAD}{"metric":{},"values":[[${"1".repeat(MEGABYTE)},"1"]]}]}}`,
      "prometheus_answer_invalid",
    ],
    [
      "a value of a megabyte",
      `${HEAD}{"metric":{},"values":[[1,"${"1".repeat(MEGABYTE)}"]]}]}}`,
      "prometheus_answer_invalid",
    ],
    ["white space", `${HEAD}${" ".repeat(MEGABYTE)}]}}`, "success"],
    ["a long beginning", `{"x":"${"y".repeat(MEGABYTE)}",${HEAD.slice(1)}]}}`, "prometheus_answer_invalid"],
    ["a long end", `${HEAD}]},"x":"${"y".repeat(MEGABYTE)}"}`, "prometheus_answer_invalid"],
    ["20,000 warnings", `${HEAD}]},"warnings":[${'"PromQL x",'.repeat(20_000)}"PromQL y"]}`, "success"],
    [
      "100,000 samples under large labels",
      `${HEAD}{"metric":{"a":"${label}"},"values":[${samples(100_000)}]}]}}`,
      "success",
    ],
    ["100,000 samples", `${HEAD}{"metric":{"a":"b"},"values":[${samples(100_000)}]}]}}`, "success"],
    [
      "samples before large labels",
      `${HEAD}{"values":[${samples(10_000)}],"metric":{"a":"${label}"}}]}}`,
      "prometheus_answer_too_large",
    ],
    [
      "100,000 samples before their labels",
      `${HEAD}{"values":[${samples(100_000)}],"metric":{}}]}}`,
      "prometheus_answer_too_large",
    ],
    [
      "ends of series in a label",
      `${HEAD}{"metric":{"a":"${String.raw`\"]]}`.repeat(10_000)}"},"values":[[${NOW},"1"]]}]}}`,
      "success",
    ],
  ])("%s", (_name, answer, outcome) => {
    for (const sizes of [[1 << 30], [65_536]]) {
      const work = workOf(toChunks(Buffer.from(answer), sizes));
      expect(work.outcome).toBe(outcome);
      expect(work.read).toBeLessThanOrEqual(PIECE_BYTES);
      expect(work.output).toBeLessThanOrEqual(OUTPUT_BYTES_MAX);
    }
  });

  test("samples of one series come in slices, all of them", () => {
    const keeper = createSeriesKeeper();
    const scanner = createMatrixScanner(keeper, WINDOW);
    const answer = `${HEAD}{"metric":{"a":"b"},"values":[${samples(50_000)}]}]}}`;
    scanWhole(scanner, Buffer.from(answer));
    expect(scanner.end()).toMatchObject({ series: 1, samples: 50_000 });
    expect(keeper.kept.length).toBeGreaterThan(1);
    expect(new Set(keeper.kept.map(({ labels }) => JSON.stringify(labels)))).toEqual(
      new Set(['[["a","b"]]']),
    );
    expect(keeper.kept.flatMap((each) => each.samples.map(([, value]) => value))).toEqual(
      Array.from({ length: 50_000 }, (_, i) => i),
    );
  });
});

describe("what came before costs nothing again", () => {
  test.each([
    ["in a label", `${HEAD}{"metric":{"a":"`, "x"],
    ["in the samples", `${HEAD}{"metric":{"a":"b"},"values":[`, `[${NOW},"1"],`],
    ["in a histogram", `${HEAD}{"metric":{"a":"b"},"histograms":[`, `[${NOW},{"count":"1","sum":"1"}],`],
    ["between the series", HEAD, " "],
  ])("one-byte chunks behind 3 MiB %s", (_name, begin, more) => {
    const scanner = createMatrixScanner({ series: () => {} }, WINDOW);
    scanWhole(scanner, Buffer.from(begin));
    const block = Buffer.from(more.repeat(Math.ceil(MEGABYTE / more.length)));
    for (let i = 0; i < 3; i++) scanWhole(scanner, block);
    const copies = vi.spyOn(Buffer.prototype, "copy");
    const concats = vi.spyOn(Buffer, "concat");
    const few = Buffer.from(more.repeat(Math.ceil(4096 / more.length)));
    for (const byte of few) scanWhole(scanner, Buffer.of(byte));
    const copied = copies.mock.results.reduce((sum, { value }) => sum + (value as number), 0);
    const joined = concats.mock.results.reduce((sum, { value }) => sum + (value as Buffer).length, 0);
    expect(copied + joined).toBeLessThanOrEqual(3 * few.length);
  });

  test("nothing of a chunk is kept: it may be overwritten", () => {
    fc.assert(
      fc.property(fc.array(matrixSeries, { maxLength: 4 }), chunkSizes, (series, sizes) => {
        const results = [false, true].map((isWiped) => {
          const keeper = createSeriesKeeper();
          const scanner = createMatrixScanner(keeper, WINDOW);
          for (const chunk of toChunks(Buffer.from(toMatrixAnswer(series)), sizes)) {
            scanWhole(scanner, chunk);
            if (isWiped) chunk.fill(0x78);
          }
          return [scanner.end(), keeper.kept];
        });
        expect(results[1]).toEqual(results[0]);
      }),
      { numRuns: 100 },
    );
  });
});

describe("any cutting gives the same", () => {
  const LIMITS = { ...SCAN_LIMITS, labelsMax: 3, labelBytesMax: 40 };
  const outcome = (answer: Buffer, sizes: readonly number[]): unknown => {
    const keeper = createSeriesKeeper();
    const scanner = createMatrixScanner(keeper, WINDOW, LIMITS);
    try {
      for (const chunk of toChunks(answer, sizes)) scanWhole(scanner, chunk);
      return { result: scanner.end(), kept: keeper.kept };
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  const junk = fc.oneof(
    fc.constantFrom(
      '"',
      "\\",
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      " ",
      "0x",
      "e",
      "-",
      ".",
      '"]]}',
      '"],[',
      "\\u",
      "\\ud800",
    ),
    fc.constantFrom(
      "\xff",
      "\xc3",
      "\xe2\x82",
      "\u0000",
      '{"metric":{',
      '"__name__":"',
      ',"values":[',
      "null",
      "[[[[",
    ),
  );
  const damage = fc.record({ at: fc.nat(), cut: fc.integer({ min: 0, max: 6 }), text: fc.option(junk) });

  test("of damaged answers", () => {
    fc.assert(
      fc.property(
        fc.array(matrixSeries, { minLength: 1, maxLength: 4 }),
        fc.array(damage, { maxLength: 3 }),
        chunkSizes,
        (series, damages, sizes) => {
          let answer = Buffer.from(toMatrixAnswer(series));
          for (const { at, cut, text } of damages) {
            const from = at % answer.length;
            answer = Buffer.concat([
              answer.subarray(0, from),
              Buffer.from(text ?? "", "latin1"),
              answer.subarray(from + cut),
            ]);
          }
          expect(outcome(answer, sizes)).toEqual(outcome(answer, [1_000_000]));
        },
      ),
      { numRuns: 500, interruptAfterTimeLimit: 4000 },
    );
  });
});
