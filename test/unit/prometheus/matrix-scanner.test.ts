import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createMatrixScanner,
  SCAN_LIMITS,
  type ScanLimits,
  type ScanResult,
} from "#prometheus/matrix-scanner.ts";
import type { NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import {
  chunkSizes,
  MATRIX_NOW_MS,
  matrixSeries,
  readByJsonParse,
  toChunks,
  toAnswerOf,
  toMatrixAnswer,
  type MatrixSeries,
} from "../../helpers/matrix-answer.ts";
import { scanWhole } from "../../helpers/scan.ts";
import { createSeriesKeeper, type PlainSeries } from "../../helpers/scanned-series.ts";

const WINDOW = { fromMs: MATRIX_NOW_MS - 300_000, toMs: MATRIX_NOW_MS };

function scan(
  answer: string | Buffer,
  options: { window?: { fromMs: number; toMs: number }; sizes?: readonly number[]; limits?: ScanLimits } = {},
): { kept: PlainSeries[]; result: ScanResult } {
  const keeper = createSeriesKeeper();
  const scanner = createMatrixScanner(keeper, options.window ?? WINDOW, options.limits ?? SCAN_LIMITS);
  for (const chunk of toChunks(Buffer.from(answer), options.sizes ?? [1_000_000])) scanWhole(scanner, chunk);
  return { result: scanner.end(), kept: keeper.kept };
}

/** Labels sorted, values as their bits: what must be equal. */
function comparable(series: readonly PlainSeries[]): unknown {
  return series.map(({ name, labels, samples }) => ({
    name,
    labels: labels.toSorted(([a], [b]) => (a < b ? -1 : 1)),
    samples: samples.map(([ms, value]) => [ms, Buffer.from(Float64Array.of(value).buffer).toString("hex")]),
  }));
}

/** The scanner's result for an answer, and that of JSON.parse and Number. */
function bothOf(answer: string, sizes: readonly number[]): { scanned: unknown; wanted: unknown } {
  const { kept, result } = scan(answer, { sizes });
  const wanted = readByJsonParse(answer, WINDOW);
  const samples = wanted.reduce((sum, series) => sum + series.samples.length, 0);
  return {
    scanned: { result, series: comparable(kept) },
    wanted: {
      result: { series: wanted.length, samples, histogramSamples: 0, refused: [], warnings: [] },
      series: comparable(wanted),
    },
  };
}

const answers = fc.array(matrixSeries, { maxLength: 6 });

/** JSON with white space between all its tokens, and a line break at the end. */
const spaced = (answer: string): string => `${JSON.stringify(JSON.parse(answer), null, 2)}\n`;

describe("an answer in Prometheus' layout", () => {
  test("gives exactly what JSON.parse and Number give, however it is cut", () => {
    fc.assert(
      fc.property(answers, chunkSizes, (series, sizes) => {
        const { scanned, wanted } = bothOf(toMatrixAnswer(series), sizes);
        expect(scanned).toEqual(wanted);
      }),
      { numRuns: 400 },
    );
  });

  test.each([
    ['"__name__":"up"', "up", []],
    ['"a":"b","__name__":"up"', "up", [["a", "b"]]],
    ['"a":"b"', "", [["a", "b"]]],
    ["", "", []],
    [
      String.raw`"__name__":"a\u003cb","x":"\u003ci\u003e \"q\" \\ \/ \n \ud83d\ude80 \u00e9"`,
      "a<b",
      [["x", '<i> "q" \\ / \n 🚀 é']],
    ],
    ['"__name__":"温度","ort":"Köln 🚀"', "温度", [["ort", "Köln 🚀"]]],
    [
      String.raw`"b":"\\","a":"\\\""`,
      "",
      [
        ["b", "\\"],
        ["a", '\\"'],
      ],
    ],
    ['"__name__":"","empty":""', "", [["empty", ""]]],
  ])("reads the labels {%s}", (labels, name, wanted) => {
    const series = { labels: labels === "" ? [] : [labels], samples: [`[${MATRIX_NOW_MS / 1000},"1"]`] };
    for (const sizes of [[1], [7], [1_000]]) {
      const { kept } = scan(toMatrixAnswer([series]), { sizes });
      expect(kept).toEqual([{ name, labels: wanted, samples: [[MATRIX_NOW_MS, 1]] }]);
    }
  });

  test.each([
    ["NaN", Number.NaN],
    ["+Inf", Infinity],
    ["-Inf", -Infinity],
    ["-0", -0],
    ["5e-324", 5e-324],
    ["-1.7976931348623157e+308", -1.7976931348623157e308],
    ["0.30000000000000004", 0.30000000000000004],
    [`0.${"0".repeat(323)}5`, 5e-324],
    ["9007199254740993", 9007199254740992],
    ["1e+06", 1e6],
    ["100000000000000000000", 1e20],
    ["2.2250738585072011e-308", 2.225073858507201e-308],
  ])("reads the value %s", (text, value) => {
    const series = { labels: ['"a":"b"'], samples: [`[${MATRIX_NOW_MS / 1000},"${text}"]`] };
    expect(scan(toMatrixAnswer([series])).kept[0]!.samples[0]![1]).toBe(value);
  });

  test.each([
    ["1767225599", 1_767_225_599_000],
    ["1767225599.1", 1_767_225_599_100],
    ["1767225599.12", 1_767_225_599_120],
    ["1767225599.120", 1_767_225_599_120],
    ["1767225599.123", 1_767_225_599_123],
    ["1767225599.1234", 1_767_225_599_123],
    ["1.767225599123e9", 1_767_225_599_123],
    ["1.767225599e+09", 1_767_225_599_000],
  ])("reads the time %s", (text, ms) => {
    expect(scan(toMatrixAnswer([{ labels: [], samples: [`[${text},"1"]`] }])).kept[0]!.samples).toEqual([
      [ms, 1],
    ]);
  });

  test("reads a time before 1970", () => {
    const answer = toMatrixAnswer([{ labels: [], samples: ['[-1.5,"1"]', '[0,"2"]'] }]);
    expect(scan(answer, { window: { fromMs: -2_000, toMs: 0 } }).kept[0]!.samples).toEqual([
      [-1_500, 1],
      [0, 2],
    ]);
  });

  test("keeps the samples in (fromMs, toMs] and leaves series without any out", () => {
    const at = (ms: number): string => `[${(ms / 1000).toFixed(3)},"${ms}"]`;
    const { fromMs, toMs } = WINDOW;
    const inside = [fromMs + 1, fromMs + 150_000, toMs];
    const { kept, result } = scan(
      toMatrixAnswer([
        { labels: ['"a":"1"'], samples: [fromMs - 1, fromMs, ...inside, toMs + 1].map(at) },
        { labels: ['"a":"2"'], samples: [fromMs, toMs + 1].map(at) },
      ]),
    );
    expect(kept).toEqual([{ name: "", labels: [["a", "1"]], samples: inside.map((ms) => [ms, ms]) }]);
    expect(result).toEqual({ series: 1, samples: 3, histogramSamples: 0, refused: [], warnings: [] });
  });

  test("reads a series with more samples than the arrays have at first", () => {
    const samples = Array.from({ length: 5_000 }, (_, i) => `[${(MATRIX_NOW_MS - 50 * i) / 1000},"${i}.5"]`);
    const { scanned, wanted } = bothOf(toMatrixAnswer([{ labels: ['"a":"b"'], samples }]), [1000]);
    expect(scanned).toEqual(wanted);
  });

  test("reads an empty result", () => {
    for (const sizes of [[1], [1000]]) {
      expect(scan(toMatrixAnswer([]), { sizes }).result).toEqual({
        series: 0,
        samples: 0,
        histogramSamples: 0,
        refused: [],
        warnings: [],
      });
    }
  });

  test("does not keep what it has read: a stream of 50 MB never has more than one series at hand", () => {
    const samples = Array.from({ length: 20 }, (_, i) => `[${(MATRIX_NOW_MS - i * 15_000) / 1000},"${i}"]`);
    const series = (i: number): MatrixSeries => ({
      labels: [`"i":"${i}"`, `"x":"${"y".repeat(4_000)}"`],
      samples,
    });
    const block = Buffer.from(
      `${toMatrixAnswer(
        Array.from({ length: 50 }, (_, i) => series(i)),
        "",
        "",
      )},`,
    );
    let seen = 0;
    const scanner = createMatrixScanner({ series: () => void seen++ }, WINDOW);
    scanWhole(scanner, Buffer.from(toMatrixAnswer([], undefined, "")));
    const blocks = Math.ceil(50e6 / block.length);
    // A chunk ends somewhere in the middle of a series, as those of a socket do.
    for (let i = 0; i < blocks; i++) for (const chunk of toChunks(block, [65_533])) scanWhole(scanner, chunk);
    scanWhole(scanner, Buffer.from('{"metric":{},"values":[]}]}}'));
    expect(scanner.end()).toEqual({
      series: blocks * 50,
      samples: blocks * 50 * 20,
      histogramSamples: 0,
      refused: [],
      warnings: [],
    });
    expect(seen).toBe(blocks * 50);
  });
});

describe("an answer in another layout", () => {
  test("with white space gives the same", () => {
    fc.assert(
      fc.property(answers, chunkSizes, (series, sizes) => {
        const { scanned, wanted } = bothOf(spaced(toMatrixAnswer(series)), sizes);
        expect(scanned).toEqual(wanted);
      }),
      { numRuns: 100 },
    );
  });

  test("with white space in and between the series only gives the same", () => {
    fc.assert(
      fc.property(answers, chunkSizes, (series, sizes) => {
        const result = (JSON.parse(toMatrixAnswer(series)) as { data: { result: unknown[] } }).data.result;
        const text = result.map((each) => JSON.stringify(each, null, 1)).join(" ,\r\n\t");
        const { scanned, wanted } = bothOf(toAnswerOf(`[ ${text} ]`), sizes);
        expect(scanned).toEqual(wanted);
      }),
      { numRuns: 100 },
    );
  });

  test("with its keys in another order gives the same", () => {
    fc.assert(
      fc.property(answers, chunkSizes, fc.boolean(), (series, sizes, isOuterToo) => {
        const { data } = JSON.parse(toMatrixAnswer(series)) as {
          data: { result: { metric: unknown; values: unknown }[] };
        };
        const result = data.result.map(({ metric, values }) => ({ values, metric }));
        const answer = isOuterToo
          ? { data: { result, resultType: "matrix" }, status: "success" }
          : { status: "success", data: { resultType: "matrix", result } };
        const { scanned, wanted } = bothOf(JSON.stringify(answer), sizes);
        expect(scanned).toEqual(wanted);
      }),
      { numRuns: 100 },
    );
  });

  test("with other layouts among Prometheus' own gives the same", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(matrixSeries, fc.boolean()), { maxLength: 6 }),
        chunkSizes,
        (series, sizes) => {
          const text = series.map(([each, isOther]) => {
            const [own] = (JSON.parse(toMatrixAnswer([each])) as { data: { result: unknown[] } }).data.result;
            return isOther ? JSON.stringify(own, null, 2) : toMatrixAnswer([each], "", "");
          });
          const { scanned, wanted } = bothOf(toAnswerOf(`[${text.join(",")}]`), sizes);
          expect(scanned).toEqual(wanted);
        },
      ),
      { numRuns: 100 },
    );
  });

  test.each([
    [
      "VictoriaMetrics",
      '{"status":"success","isPartial":false,"data":{"resultType":"matrix","result":[',
      ']},"stats":{"seriesFetched": "2","executionTimeMsec":3}}',
    ],
    [
      "Thanos",
      '{"status":"success","data":{"resultType":"matrix","result":[',
      '],"analysis":{}},"warnings":[]}\n',
    ],
    [
      "statistics",
      '{"status":"success","data":{"resultType":"matrix","result":[',
      '],"stats":{"timings":{"evalTotalTime":0.1}}}}',
    ],
  ])("of %s is streamed", (_name, preamble, tail) => {
    const series = Array.from({ length: 30 }, (_, i) => ({
      labels: [`"i":"${i}"`],
      samples: [`[${MATRIX_NOW_MS / 1000},"${i}"]`],
    }));
    const answer = toMatrixAnswer(series, preamble, tail);
    for (const sizes of [[1], [100], [100_000]]) expect(scan(answer, { sizes }).result.series).toBe(30);
  });

  test("without a metric, or with samples that are none, is refused", async () => {
    for (const series of [
      '{"values":[[1767225600,"1"]]}',
      '{"metric":{"a":1},"values":[[1767225600,"1"]]}',
    ]) {
      expect(() => scan(toAnswerOf(`[${series}]`))).toThrow(/metric|label's value/);
    }
  });
});

describe("native histograms", () => {
  const histogram = (seconds: number): string =>
    `[${seconds},{"count":"4","sum":"3.5","buckets":[[1,"0.25","0.5","1"],[1,"0.5","1","3"]]}]`;
  const now = MATRIX_NOW_MS / 1000;

  test("are counted, alone and beside float samples, those inside the window only", () => {
    const own = `"histograms":[${[now - 300, now - 299.999, now, now + 0.001].map(histogram).join(",")}]`;
    const alone = `{"metric":{"a":"1"},${own}}`;
    const mixed = `{"metric":{"a":"2"},"values":[[${now},"7"]],${own}}`;
    const float = `{"metric":{"a":"3"},"values":[[${now},"8"]]}`;
    const answer = toAnswerOf(`[${[alone, mixed, float, alone].join(",")}]`);
    for (const sizes of [[1], [50], [100_000]]) {
      const { kept, result } = scan(answer, { sizes });
      expect(kept.map(({ labels, samples }) => [labels[0]![1], samples[0]![1]])).toEqual([
        ["2", 7],
        ["3", 8],
      ]);
      expect(result).toEqual({ series: 4, samples: 2, histogramSamples: 6, refused: [], warnings: [] });
    }
  });

  test("are handed over with the labels of their series, also when these come behind them", () => {
    const own = `"histograms":[${histogram(now - 1)},${histogram(now)}]`;
    const answer = toAnswerOf(`[{"metric":{"a":"1"},${own}},{${own},"metric":{"a":"2"}}]`);
    for (const sizes of [[1], [50], [100_000]]) {
      const given: unknown[] = [];
      const sink = {
        series: () => undefined,
        histogram: ({ bytes, labels }: ScannedSeries, { timestampMs, count, sum }: NativeHistogram) =>
          void given.push([
            Buffer.from(bytes).toString("utf8", labels[2], labels[3]),
            timestampMs,
            count,
            sum,
          ]),
      };
      const scanner = createMatrixScanner(sink, WINDOW);
      for (const chunk of toChunks(Buffer.from(answer), sizes)) scanWhole(scanner, chunk);
      expect(scanner.end()).toMatchObject({ series: 2, samples: 0, histogramSamples: 4 });
      const times = [MATRIX_NOW_MS - 1000, MATRIX_NOW_MS];
      expect(given).toEqual(["1", "2"].flatMap((label) => times.map((ms) => [label, ms, 4, 3.5])));
    }
  });

  test.each(["{}", "[1]", '[1,{"count":"1"}]', '[1,"x"]', '[1,{"count":"1","sum":"1"},2]', '["1",{}]'])(
    "that are none make the answer invalid: %s",
    (text) => {
      expect(() => scan(toAnswerOf(`[{"metric":{},"histograms":[${text}]}]`))).toThrow(/native histogram/);
    },
  );

  test("in an answer that is parsed whole are counted too", () => {
    const answer = spaced(toAnswerOf(`[{"metric":{},"histograms":[${histogram(now)}]}]`));
    expect(scan(answer).result.histogramSamples).toBe(1);
  });
});

describe("warnings", () => {
  test.each([
    ["]}}", []],
    [
      '],"x":1},"warnings":["PromQL warning: 1","PromQL warning: 2"],"infos":["i1"]}',
      ["PromQL warning: 1", "PromQL warning: 2", "i1"],
    ],
    [']},"infos":["i1"]}', ["i1"]],
    [']},"warnings":"text"}', []],
    [
      `]},"warnings":${JSON.stringify(Array.from({ length: 9 }, () => "PromQL ".padEnd(900, "x")))}}`,
      Array(5).fill("PromQL ".padEnd(300, "x")),
    ],
  ])("of a tail %s", (tail, wanted) => {
    const series = [{ labels: [], samples: [`[${MATRIX_NOW_MS / 1000},"1"]`] }];
    for (const sizes of [[1], [100_000]]) {
      expect(scan(toMatrixAnswer(series, undefined, tail), { sizes }).result.warnings).toEqual(wanted);
    }
    expect(scan(spaced(toMatrixAnswer(series, undefined, tail))).result.warnings).toEqual(wanted);
  });

  test("that are not about the query mean that data may be missing", () => {
    const tail = ']},"warnings":["PromQL info: x","no store could be reached"]}';
    expect(() => scan(toMatrixAnswer([], undefined, tail))).toThrow(
      expect.objectContaining({
        code: "prometheus_answer_partial",
        message: expect.stringContaining("no store"),
      }),
    );
  });
});
