import * as fc from "fast-check";
import type { PlainSeries } from "./scanned-series.ts";

/** The time around which arbitrary samples lie, ms. */
export const MATRIX_NOW_MS = 1_767_225_600_000;

/** A series as an answer of Prometheus has it: label texts and sample texts are JSON's own, with their escapes. */
export interface MatrixSeries {
  /** `"name":"value"` of each label, `__name__` among them. */
  labels: string[];
  /** `[seconds,"value"]` of each sample. */
  samples: string[];
}

/** Go's shortest text of a float: strconv.FormatFloat as Prometheus' JSON encoder uses it. */
function toGoFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (Object.is(value, -0)) return "-0";
  return String(value).replace(/e([+-])(\d)$/, "e$10$2");
}

/** Prometheus writes three decimals or none; others leave zeros at the end out. */
function toSeconds(ms: number, isShort: boolean): string {
  if (ms % 1000 === 0) return String(ms / 1000);
  const text = (ms / 1000).toFixed(3);
  return isShort ? text.replace(/0+$/, "") : text;
}

const escapes: Record<string, (text: string) => string> = {
  plain: (text) => JSON.stringify(text),
  html: (text) => JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, toUnicodeEscape),
  ascii: (text) => JSON.stringify(text).replace(/[^\u0020-\u007e]/g, toUnicodeEscape),
  all: (text) => `"${text.replace(/[\s\S]/g, toUnicodeEscape)}"`,
};

function toUnicodeEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

const labelName = fc.oneof(
  { weight: 4, arbitrary: fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,12}$/) },
  fc.string({ unit: "grapheme", maxLength: 8 }),
);
const labelValue = fc.oneof(
  { weight: 3, arbitrary: fc.string({ maxLength: 20 }) },
  fc.string({ unit: "grapheme", maxLength: 20 }),
  fc.constantFrom(
    "",
    '"',
    "\\",
    '\\"]]}',
    '{"metric":{',
    '"]]}',
    "a\nb\t",
    '<a href="x">&</a>',
    "🚀",
    "\u2028",
    "日本",
  ),
);
const escaper = fc.constantFrom(...Object.values(escapes));

const labelTexts = fc
  .record({
    name: fc.option(labelValue),
    rest: fc.uniqueArray(fc.tuple(labelName, labelValue), {
      maxLength: 6,
      selector: ([name]) => name,
    }),
    nameAt: fc.nat(),
    escape: escaper,
    keyEscape: fc.oneof({ weight: 5, arbitrary: fc.constant(escapes["plain"]!) }, escaper),
  })
  .map(({ name, rest, nameAt, escape, keyEscape }) => {
    const others = rest.filter(([key]) => key !== "__name__");
    const texts = others.map(([key, value]) => `${keyEscape(key)}:${escape(value)}`);
    if (name !== null) texts.splice(nameAt % (texts.length + 1), 0, `"__name__":${escape(name)}`);
    return texts;
  });

const valueText = fc.oneof(
  { weight: 3, arbitrary: fc.double().map(toGoFloat) },
  fc.integer().map(String),
  fc.constantFrom("NaN", "+Inf", "-Inf", "-0", "0", "5e-324", "1.7976931348623157e+308", "1e+21", "1e-07"),
  fc.constantFrom(
    "0.1",
    "-0.000001",
    "123456789012345",
    "1234567890123456",
    "0.1234567890123456",
    "9007199254740993",
  ),
  fc
    .stringMatching(/^-?[0-9]{1,22}(\.[0-9]{1,25})?(e[+-][0-9]{2,3})?$/)
    .filter((text) => Number.isFinite(Number(text))),
);

const sampleText = fc
  .tuple(fc.integer({ min: -400_000, max: 100_000 }), fc.boolean(), valueText)
  .map(([offset, isShort, value]) => `[${toSeconds(MATRIX_NOW_MS + offset, isShort)},"${value}"]`);

/** Any series that Prometheus, or something like it, could write in Prometheus' layout. */
export const matrixSeries: fc.Arbitrary<MatrixSeries> = fc.record({
  labels: labelTexts,
  samples: fc.array(sampleText, { minLength: 1, maxLength: 12 }),
});

const PROMETHEUS_PREAMBLE = '{"status":"success","data":{"resultType":"matrix","result":[';

/** An answer with the given text as its list of series. */
export function toAnswerOf(result: string): string {
  return `{"status":"success","data":{"resultType":"matrix","result":${result}}}`;
}

/** An answer in Prometheus' own layout. */
export function toMatrixAnswer(
  series: readonly MatrixSeries[],
  preamble = PROMETHEUS_PREAMBLE,
  tail = "]}}",
): string {
  return `${preamble}${series.map(toSeriesText).join(",")}${tail}`;
}

function toSeriesText({ labels, samples }: MatrixSeries): string {
  return `{"metric":{${labels.join(",")}},"values":[${samples.join(",")}]}`;
}

/** Parses an answer with JSON.parse and Number: the series that have samples in (fromMs, toMs]. */
export function readByJsonParse(answer: string, window: { fromMs: number; toMs: number }): PlainSeries[] {
  const { data } = JSON.parse(answer) as {
    data: { result: { metric: Record<string, string>; values?: [number, string][] }[] };
  };
  return data.result
    .map(({ metric, values }) => ({
      name: metric["__name__"] ?? "",
      labels: Object.entries(metric).filter(([key]) => key !== "__name__"),
      samples: (values ?? [])
        .map(([time, value]): [number, number] => [Math.round(time * 1000), toNumber(value)])
        .filter(([ms]) => ms > window.fromMs && ms <= window.toMs),
    }))
    .filter(({ samples }) => samples.length > 0);
}

function toNumber(text: string): number {
  if (text === "+Inf" || text === "-Inf") return text === "+Inf" ? Infinity : -Infinity;
  return Number(text);
}

/** The bytes in pieces of the given sizes, over and over; every piece is a buffer of its own. */
export function* toChunks(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    yield Buffer.from(bytes.subarray(at, at + size));
    at += size;
  }
}

export const chunkSizes: fc.Arbitrary<number[]> = fc.oneof<fc.Arbitrary<number[]>[]>(
  fc.constant([1]),
  fc.constant([1_000_000]),
  fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 }),
);
