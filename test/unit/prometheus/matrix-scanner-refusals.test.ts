import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ErrorCode } from "#errors/error.ts";
import { createMatrixScanner, SCAN_LIMITS, type ScanLimits } from "#prometheus/matrix-scanner.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import {
  MATRIX_NOW_MS,
  matrixSeries,
  toChunks,
  toAnswerOf,
  toMatrixAnswer,
} from "../../helpers/matrix-answer.ts";
import { scanWhole } from "../../helpers/scan.ts";

const WINDOW = { fromMs: MATRIX_NOW_MS - 300_000, toMs: MATRIX_NOW_MS };
const NOW = MATRIX_NOW_MS / 1000;
const SIZES = [[1], [64], [1_000_000]];

/** Scans, and gives what end() said or the code of the error. */
function outcome(
  answer: Buffer,
  limits: ScanLimits = SCAN_LIMITS,
  sizes: readonly number[] = [1_000_000],
): string {
  try {
    const scanner = createMatrixScanner({ series: () => {} }, WINDOW, limits);
    for (const chunk of toChunks(answer, sizes)) scanWhole(scanner, chunk);
    scanner.end();
    return "success";
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** The bytes of a cut answer that is, or may be, more than white space. */
function prefixes(answer: string): Buffer[] {
  const bytes = Buffer.from(answer);
  return Array.from({ length: bytes.length }, (_, end) => bytes.subarray(0, end));
}

describe("an answer that is cut", () => {
  test("is never a success and always says that it is cut, at any byte", () => {
    fc.assert(
      fc.property(fc.array(matrixSeries, { maxLength: 3 }), (series) => {
        for (const prefix of prefixes(toMatrixAnswer(series))) {
          expect(outcome(prefix)).toBe("prometheus_answer_truncated");
        }
      }),
      { numRuns: 5 },
    );
  });

  const value = `[${NOW},"1"]`;
  const histogram = `[${NOW},{"count":"4","sum":"3.5","buckets":[[1,"0.25","0.5","1"]]}]`;
  const histograms = `{"metric":{"a":"b"},"values":[${value}],"histograms":[${histogram}]}`;
  test.each([
    [
      "another preamble",
      toMatrixAnswer(
        [],
        '{"status":"success","isPartial":false,"data":{"resultType":"matrix","result":[',
        ']},"stats":{"seriesFetched": "2"}}',
      ),
    ],
    [
      "warnings",
      toMatrixAnswer(
        [{ labels: [], samples: [value] }],
        undefined,
        ']},"warnings":["PromQL warning: a"],"infos":["b"]}',
      ),
    ],
    ["native histograms", toAnswerOf(`[${histograms},${histograms}]`)],
    [
      "white space",
      JSON.stringify(JSON.parse(toMatrixAnswer([{ labels: ['"a":"b"'], samples: [value] }])), null, 2),
    ],
    ["white space in the series", toAnswerOf(`[ {"metric": {"a":"b"}, "values": [${value}] } ]`)],
    [
      "another order",
      `{"data":{"result":[{"values":[${value}],"metric":{}}],"resultType":"matrix"},"status":"success"}`,
    ],
  ])("at any byte, with %s, is not a success", (_name, answer) => {
    for (const prefix of prefixes(answer)) {
      for (const sizes of [[17], [1_000_000]]) {
        expect(outcome(prefix, SCAN_LIMITS, sizes)).toBe("prometheus_answer_truncated");
      }
    }
    expect(outcome(Buffer.from(answer))).toBe("success");
  });

  test("says how many bytes came", async () => {
    const scanner = createMatrixScanner({ series: () => {} }, WINDOW);
    scanWhole(scanner, Buffer.from(toMatrixAnswer([], undefined, "")));
    const error = await bridgeErrorOf(() => scanner.end());
    expect(error.message).toContain(`${toMatrixAnswer([], undefined, "").length} bytes`);
    expect(error.retryable).toBe(true);
  });

  test("is refused when the backend marks it as partial", () => {
    const preamble = '{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[';
    const answer = toMatrixAnswer([{ labels: [], samples: [value] }], preamble);
    const late = toMatrixAnswer([{ labels: [], samples: [value] }], undefined, ']},"isPartial":true}');
    for (const text of [answer, late, JSON.stringify(JSON.parse(answer), null, 2)]) {
      expect(outcome(Buffer.from(text))).toBe("prometheus_answer_partial");
    }
  });
});

describe("what is no matrix answer", () => {
  test.each<[string, string, ErrorCode]>([
    ["nothing", "", "prometheus_answer_truncated"],
    ["a page", "<!DOCTYPE html><html><body>Sign in</body></html>", "prometheus_unexpected_answer"],
    ["a long page", `<html>${"<p>text</p>".repeat(2_000)}</html>`, "prometheus_unexpected_answer"],
    ["a text", "Prometheus Server is Healthy.\n", "prometheus_unexpected_answer"],
    ["white space", " \n ", "prometheus_unexpected_answer"],
    [
      "an error",
      '{"status":"error","errorType":"bad_data","error":"parse error"}',
      "prometheus_answer_invalid",
    ],
    [
      "a failure with a result",
      '{"status":"error","data":{"resultType":"matrix","result":[]}}',
      "prometheus_answer_invalid",
    ],
    [
      "a vector",
      `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[${NOW},"1"]}]}}`,
      "prometheus_answer_invalid",
    ],
    [
      "a scalar",
      `{"status":"success","data":{"resultType":"scalar","result":[${NOW},"1"]}}`,
      "prometheus_answer_invalid",
    ],
    ["another API", '{"kind":"Status","code":404}', "prometheus_answer_invalid"],
    ["a list", "[1,2,3]", "prometheus_answer_invalid"],
    ["null", "null", "prometheus_answer_invalid"],
    ["a number", "42", "prometheus_answer_invalid"],
    ["no result", '{"status":"success","data":{"resultType":"matrix"}}', "prometheus_answer_invalid"],
    [
      "a result that is null",
      '{"status":"success","data":{"resultType":"matrix","result":null}}',
      "prometheus_answer_invalid",
    ],
    ["numbers as series", toAnswerOf("[1234567890,2]"), "prometheus_answer_invalid"],
    ["lists as series", toAnswerOf("[[1234567890]]"), "prometheus_answer_invalid"],
    ["text after the result", `${toMatrixAnswer([])}<html>`, "prometheus_answer_invalid"],
    [
      "a value that is a word",
      toMatrixAnswer([{ labels: [], samples: [`[${NOW},"many"]`] }]),
      "prometheus_answer_invalid",
    ],
    [
      "a value that is empty",
      toMatrixAnswer([{ labels: [], samples: [`[${NOW},""]`] }]),
      "prometheus_answer_invalid",
    ],
    [
      "a value that is a sign",
      toMatrixAnswer([{ labels: [], samples: [`[${NOW},"-"]`] }]),
      "prometheus_answer_invalid",
    ],
    [
      "a value that is a number of JSON",
      toMatrixAnswer([{ labels: [], samples: [`[${NOW},1]`] }]),
      "prometheus_answer_invalid",
    ],
    [
      "a time that is a text",
      toMatrixAnswer([{ labels: [], samples: [`["${NOW}","1"]`] }]),
      "prometheus_answer_invalid",
    ],
    [
      "a sample that is null",
      toMatrixAnswer([{ labels: [], samples: ["null"] }]),
      "prometheus_answer_invalid",
    ],
    [
      "a label that is no JSON text",
      toMatrixAnswer([{ labels: [String.raw`"a":"\x"`], samples: [`[${NOW},"1"]`] }]),
      "prometheus_answer_invalid",
    ],
    ["a series that is no JSON", toAnswerOf('[{"metric": nothing}]'), "prometheus_answer_invalid"],
  ])("%s is refused", (_name, answer, code) => {
    for (const sizes of SIZES) expect(outcome(Buffer.from(answer), SCAN_LIMITS, sizes)).toBe(code);
  });

  test("an answer that goes on and on after its result is refused", () => {
    const answer = `${toMatrixAnswer([], undefined, ']},"x":"')}${"y".repeat(1 << 20)}`;
    expect(outcome(Buffer.from(answer), SCAN_LIMITS, [65_536])).toBe("prometheus_answer_invalid");
  });

  test("an error of the sink passes as it is", () => {
    const own = new Error("of the sink");
    const sink = {
      series: () => {
        throw own;
      },
    };
    const answer = Buffer.from(toMatrixAnswer([{ labels: [], samples: [`[${NOW},"1"]`] }]));
    expect(() => scanWhole(createMatrixScanner(sink, WINDOW), answer)).toThrow(own);
  });
});

describe("limits", () => {
  const value = `[${NOW},"1"]`;
  const labels = (count: number, bytes = 1): string[] =>
    Array.from({ length: count }, (_, i) => `"l${i}":"${"v".repeat(bytes)}"`);
  const spaced = (answer: string): string => JSON.stringify(JSON.parse(answer), null, 2);
  /** In Prometheus' layout, with one series in another, and in a layout that is parsed whole. */
  const layouts = (series: { labels: string[]; samples: string[] }[]): string[] => {
    const own = toMatrixAnswer(series);
    const each = (JSON.parse(own) as { data: { result: unknown[] } }).data.result;
    const other = each.map((one) => JSON.stringify(one, null, 1)).join(",");
    return [own, toAnswerOf(`[${other}]`), spaced(own)];
  };
  /** The outcomes of all answers in chunks of all sizes, each once. */
  const outcomes = (answers: string[], limits: Partial<ScanLimits>): string[] => [
    ...new Set(
      answers.flatMap((answer) =>
        SIZES.map((sizes) => outcome(Buffer.from(answer), { ...SCAN_LIMITS, ...limits }, sizes)),
      ),
    ),
  ];

  test("series of an answer", () => {
    const series = Array.from({ length: 5 }, () => ({ labels: labels(1), samples: [value] }));
    expect(outcomes(layouts(series), { seriesMax: 5 })).toEqual(["success"]);
    expect(outcomes(layouts(series), { seriesMax: 4 })).toEqual(["prometheus_answer_too_large"]);
  });

  test("are not met by the answers of an ordinary Prometheus", () => {
    expect(SCAN_LIMITS.seriesMax).toBeGreaterThanOrEqual(1_000_000);
    expect(SCAN_LIMITS.labelsMax).toBeGreaterThanOrEqual(100);
  });
});
