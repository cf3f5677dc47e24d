import { describe, expect, test } from "vitest";
import {
  createMatrixScanner,
  SCAN_LIMITS,
  type ScanLimits,
  type ScanResult,
} from "#prometheus/matrix-scanner.ts";
import {
  MATRIX_NOW_MS,
  toAnswerOf,
  toChunks,
  toMatrixAnswer,
  type MatrixSeries,
} from "../../helpers/matrix-answer.ts";
import { scanWhole } from "../../helpers/scan.ts";
import { createSeriesKeeper, type PlainSeries } from "../../helpers/scanned-series.ts";

const WINDOW = { fromMs: MATRIX_NOW_MS - 300_000, toMs: MATRIX_NOW_MS };
const NOW = MATRIX_NOW_MS / 1000;
const SAMPLES = [`[${NOW - 400},"0"]`, `[${NOW - 15},"1"]`, `[${NOW},"2"]`];
const SIZES = [[1], [777], [1_000_000]];

const series = (labels: string[], samples = SAMPLES): MatrixSeries => ({ labels, samples });
const good = (name: string): MatrixSeries => series([`"__name__":"m"`, `"a":"${name}"`]);

/** The same series in Prometheus' layout, with spaces, and with their members in another order. */
function layoutsOf(answer: string): string[] {
  const [, begin, list] = /^(.*"result":\[)(.*)\]\}\}$/s.exec(answer)!;
  const spaced = list!.replaceAll('{"metric":', ' {"metric" : ').replaceAll('"],[', '"] , [');
  const reordered = list!.replace(/\{("metric":\{.*?\}),("values":\[.*?\]\])\}/gs, "{$2,$1}");
  return [answer, `${begin}${spaced}\n]}}`, `${begin}${reordered}]}}`];
}

function scan(
  answer: Buffer,
  sizes: readonly number[] = [1_000_000],
  limits: ScanLimits = SCAN_LIMITS,
): { result: ScanResult; kept: PlainSeries[] } {
  const keeper = createSeriesKeeper();
  const scanner = createMatrixScanner(keeper, WINDOW, limits);
  for (const chunk of toChunks(answer, sizes)) scanWhole(scanner, chunk);
  return { result: scanner.end(), kept: keeper.kept };
}

describe("a series that can't be stored is refused alone", () => {
  const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `"l${i}":"v"`);
  const utf8 = (bytes: string): string => `"bad":"${bytes}"`;
  test.each<[string, string[], string, RegExp]>([
    [
      "a label of 70 KB",
      ['"__name__":"m"', `"annotation":"${"x".repeat(70_000)}"`],
      "prometheus_label_too_large",
      /^a series of "m" is refused: its labels have more than 65536 bytes, most of them in "annotation"$/,
    ],
    [
      "a label of 70 KB before the name",
      [`"Annotation":"${"x".repeat(70_000)}"`, '"__name__":"m"'],
      "prometheus_label_too_large",
      /^a series of "m" is refused.*"Annotation"$/,
    ],
    [
      "two labels that are too large together",
      ['"__name__":"m"', `"a":"${"x".repeat(30_000)}"`, `"b":"${"x".repeat(40_000)}"`],
      "prometheus_label_too_large",
      /^a series of "m" is refused.*most of them in "b"$/,
    ],
    [
      "a label's name of 70 KB",
      ['"__name__":"m"', `"${"n".repeat(70_000)}":"v"`],
      "prometheus_label_too_large",
      /^a series of "m" is refused.*most of them in "n{128}\.\.\."$/,
    ],
    [
      "a metric's name of 70 KB",
      [`"__name__":"${"m".repeat(70_000)}"`, '"a":"v"'],
      "prometheus_label_too_large",
      /^a series of "m{128}\.\.\." is refused.*most of them in "__name__"$/,
    ],
    [
      "a label of 70 KB of escapes",
      ['"__name__":"m"', `"a":"${String.raw`\"`.repeat(35_000)}"`],
      "prometheus_label_too_large",
      /most of them in "a"$/,
    ],
    [
      "257 labels",
      ['"__name__":"m"', ...many(257)],
      "prometheus_label_too_large",
      /^a series of "m" is refused: it has more than 256 labels$/,
    ],
    [
      "half of a surrogate pair",
      ['"__name__":"m"', String.raw`"bad":"\ud800"`],
      "prometheus_answer_invalid",
      /^a series of "m" is refused: its label "bad" is not valid UTF-8$/,
    ],
    [
      "a byte that is no UTF-8",
      ['"__name__":"m"', utf8("\xff")],
      "prometheus_answer_invalid",
      /"bad" is not valid/,
    ],
    [
      "a cut character",
      ['"__name__":"m"', utf8("\xe2\x82")],
      "prometheus_answer_invalid",
      /"bad" is not valid/,
    ],
    [
      "an overlong character",
      ['"__name__":"m"', utf8("\xc0\xaf")],
      "prometheus_answer_invalid",
      /"bad" is not valid/,
    ],
    [
      "a surrogate in UTF-8",
      ['"__name__":"m"', utf8("\xed\xa0\x80")],
      "prometheus_answer_invalid",
      /"bad" is not valid/,
    ],
    [
      "no UTF-8 beside an escape",
      ['"__name__":"m"', utf8(String.raw`\n` + "\xff")],
      "prometheus_answer_invalid",
      /"bad" is not/,
    ],
    [
      "a name that is no UTF-8",
      ['"__name__":"m\xff"', '"a":"v"'],
      "prometheus_answer_invalid",
      /its label "__name__" is not valid/,
    ],
    [
      "a label's name that is no UTF-8",
      ['"__name__":"m"', '"k\xff":"v"'],
      "prometheus_answer_invalid",
      /^a series of "m" is refused/,
    ],
    [
      "two names",
      ['"__name__":"m"', '"__name__":"n"'],
      "prometheus_answer_invalid",
      /^a series of "m" is refused: it has two names$/,
    ],
  ])("%s", (_name, labels, code, reason) => {
    const answer = toMatrixAnswer([good("1"), series(labels), good("2"), series(labels), good("3")]);
    for (const text of layoutsOf(answer)) {
      for (const sizes of SIZES) {
        const { result, kept } = scan(Buffer.from(text, "latin1"), sizes);
        expect(kept.map((each) => each.labels[0]![1])).toEqual(["1", "2", "3"]);
        expect(result).toMatchObject({ series: 3, samples: 6 });
        expect(result.refused).toEqual([
          { code, reason: expect.stringMatching(reason), series: 2, samples: 4 },
        ]);
      }
    }
  });

  test("not when it has no sample in the window", () => {
    const outside = series([`"a":"${"x".repeat(70_000)}"`], [`[${NOW - 400},"0"]`]);
    expect(scan(Buffer.from(toMatrixAnswer([outside]))).result.refused).toEqual([]);
  });

  test("a series at the limits is taken", () => {
    const value = "x".repeat((64 << 10) - "__name__".length - 2);
    const { result } = scan(
      Buffer.from(toMatrixAnswer([series(['"__name__":"m"', `"":"${value.slice(1)}"`])])),
    );
    expect(result).toMatchObject({ series: 1, refused: [] });
    const labels = Array.from({ length: 256 }, (_, i) => `"l${i}":"v"`);
    expect(scan(Buffer.from(toMatrixAnswer([series(['"__name__":"m"', ...labels])]))).result.refused).toEqual(
      [],
    );
  });

  test("a series that the sink can't take", () => {
    const sink = {
      series: ({ bytes, labels }: { bytes: Uint8Array; labels: Int32Array }) =>
        bytes[labels[2]!] === 0x32 ? "one point is too large" : undefined,
    };
    const scanner = createMatrixScanner(sink, WINDOW);
    scanWhole(scanner, Buffer.from(toMatrixAnswer([good("1"), good("2"), good("3")])));
    expect(scanner.end()).toMatchObject({
      series: 2,
      samples: 4,
      refused: [
        {
          code: "prometheus_label_too_large",
          reason: 'a series of "m" is refused: one point is too large',
          series: 1,
          samples: 2,
        },
      ],
    });
  });

  test("a million reasons are not kept", () => {
    const all = Array.from({ length: 1000 }, (_, i) =>
      series([`"__name__":"m${i}"`, String.raw`"bad":"\ud800"`]),
    );
    const { refused } = scan(Buffer.from(toMatrixAnswer(all))).result;
    expect(refused).toHaveLength(6);
    expect(refused.reduce((sum, { samples }) => sum + samples, 0)).toBe(2000);
  });

  test("names in a reason are cut, hidden and clean", () => {
    const scanner = createMatrixScanner({ series: () => {} }, WINDOW, SCAN_LIMITS, (words) =>
      words.replaceAll("secret", "***"),
    );
    const name = String.raw`a\u001b[31m\u202esecret`;
    scanWhole(
      scanner,
      Buffer.from(toMatrixAnswer([series([`"__name__":"${name}"`, String.raw`"b":"\udfff"`])])),
    );
    expect(scanner.end().refused[0]!.reason).toBe(
      'a series of "a\u{FFFD}[31m\u{FFFD}***" is refused: its label "b" is not valid UTF-8',
    );
  });
});

describe("a sample's value", () => {
  const texts = [
    "0x10",
    "0b11",
    "0o7",
    "1e400",
    "-1e400",
    "",
    " ",
    " 1",
    "1 ",
    "\t1",
    "Infinity",
    "-Infinity",
  ];
  const more = [
    "+Infinity",
    "Inf",
    "inf",
    "nan",
    "NAN",
    "-NaN",
    "1_000",
    "1,5",
    "1.",
    ".5",
    "+1",
    "-",
    "--1",
    "1e",
    "1e+",
  ];
  const others = ["0x1p-2", "1n", "1f", "١", "1".repeat(400), String.raw`\u0031`, "1\u00a0", "null", "true"];
  test.each([...texts, ...more, ...others])("%j is refused", (text) => {
    const answer = toMatrixAnswer([good("1"), series(['"a":"b"'], [`[${NOW},"${text}"]`])]);
    for (const layout of layoutsOf(answer)) {
      for (const sizes of SIZES) {
        expect(() => scan(Buffer.from(layout), sizes)).toThrow(
          expect.objectContaining({
            code: "prometheus_answer_invalid",
            message: expect.stringContaining("not a number"),
          }),
        );
      }
    }
  });

  test.each(["x", "0x1", "", "-", "1..2", "1.2.3", '"1"', "null", "1e999", "[1]", "{}"])(
    "a time %j is refused",
    (text) => {
      for (const sizes of SIZES) {
        const answer = toAnswerOf(`[{"metric":{},"values":[[${text},"1"]]}]`);
        expect(() => scan(Buffer.from(answer), sizes)).toThrow(
          expect.objectContaining({ code: "prometheus_answer_invalid" }),
        );
      }
    },
  );
});
