import { isUtf8 } from "node:buffer";
import { BridgeError } from "#errors/error.ts";
import type { JsonText } from "#lib/json-tokens.ts";
import { endLabels, type OpenSeries } from "./open-series.ts";
import type { RefusedCode } from "./series-sink.ts";

/** Collects the labels of a series, and refuses the series when they are over the limits or no valid text. */
export interface SeriesLabels {
  begin(): void;
  key(text: JsonText): void;
  /** Throws `prometheus_answer_invalid` when a string is no JSON. */
  value(text: JsonText): void;
  end(): void;
}

const NAME = Buffer.from("__name__");
/** Of a name in a message. */
const NAME_BYTES_SHOWN = 128;

interface LabelText {
  bytes: Buffer;
  isValid: boolean;
}

export function createSeriesLabels(open: OpenSeries): SeriesLabels {
  const { series, ranges, limits } = open;
  let length = 0;
  let count = 0;
  let key: LabelText = { bytes: NAME, isValid: true };
  let keySize = 0;
  let metric: Buffer | undefined;
  let largest: { name: Buffer; size: number } = { name: NAME, size: -1 };
  let problem: { code: RefusedCode; text: string } | undefined;

  const put = (text: Buffer): number => {
    if (length + text.length > open.own.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(open.own.length * 2, length + text.length, 1024));
      open.own.copy(larger, 0, 0, length);
      open.own = larger;
    }
    text.copy(open.own, length);
    return (length += text.length);
  };

  const putName = (value: Buffer): void => {
    if (metric) {
      problem ??= { code: "prometheus_answer_invalid", text: "it has two names" };
      return;
    }
    metric = beginningOf(value);
    series.nameStart = length;
    series.nameEnd = put(value);
  };

  const putLabel = (value: Buffer): void => {
    if (count >= limits.labelsMax) {
      const text = `it has more than ${limits.labelsMax} labels`;
      problem ??= { code: "prometheus_label_too_large", text };
      return;
    }
    ranges[count * 4] = length;
    ranges[count * 4 + 1] = put(key.bytes);
    ranges[count * 4 + 2] = length;
    ranges[count * 4 + 3] = put(value);
    count++;
  };

  const tooLarge = (): string =>
    `its labels have more than ${limits.labelBytesMax} bytes, most of them in ${shown(largest.name)}`;

  return {
    begin: () => {
      length = 0;
      count = 0;
      metric = undefined;
      largest = { name: NAME, size: -1 };
      problem = undefined;
    },
    key: (text) => {
      key = labelText(text);
      keySize = text.size;
    },
    value: (text) => {
      const size = keySize + text.size;
      open.labelBytes += size;
      if (size > largest.size) largest = { name: beginningOf(key.bytes), size };
      const value = labelText(text);
      const isName = key.bytes.equals(NAME);
      if (open.labelBytes > limits.labelBytesMax) {
        // Its beginning is enough to say which metric it is.
        if (isName) metric ??= beginningOf(value.bytes);
        return;
      }
      if (!key.isValid || !value.isValid) {
        const text = `its label ${shown(beginningOf(key.bytes))} is not valid UTF-8`;
        problem ??= { code: "prometheus_answer_invalid", text };
      }
      if (isName) putName(value.bytes);
      else putLabel(value.bytes);
    },
    end: () => {
      if (open.labelBytes > limits.labelBytesMax)
        problem = { code: "prometheus_label_too_large", text: tooLarge() };
      series.bytes = open.own;
      series.labelCount = count;
      open.isBorrowed = false;
      if (problem) open.refusal = { code: problem.code, problem: problem.text, metric };
      endLabels(open);
    },
  };
}

/** Unescaped, when it is whole. Halves of surrogate pairs, which JSON can write and UTF-8 can't, are no valid text. */
function labelText({ bytes, size, hasEscapes }: JsonText): LabelText {
  if (size > bytes.length) return { bytes: Buffer.from(bytes), isValid: true };
  if (!isUtf8(bytes)) return { bytes: Buffer.from(bytes), isValid: false };
  if (!hasEscapes) return { bytes: Buffer.from(bytes), isValid: true };
  let text: string;
  try {
    text = JSON.parse(`"${bytes.toString("utf8")}"`) as string;
  } catch {
    throw new BridgeError("prometheus_answer_invalid", "a label's text is not a JSON string");
  }
  return { bytes: Buffer.from(text), isValid: text.isWellFormed() };
}

function beginningOf(name: Buffer): Buffer {
  return name.length <= NAME_BYTES_SHOWN
    ? Buffer.from(name)
    : Buffer.from(name.subarray(0, NAME_BYTES_SHOWN + 1));
}

/** A name for a message: cut, in quotes, without characters that a terminal or a page would act on. */
function shown(name: Uint8Array): string {
  const text = Buffer.from(name.subarray(0, NAME_BYTES_SHOWN)).toString("utf8");
  const isCut = name.length > NAME_BYTES_SHOWN;
  const clean = (isCut ? text.replace(/\uFFFD+$/, "") : text).replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, "\u{FFFD}");
  return `"${clean}${isCut ? "..." : ""}"`;
}

/** Why a series is refused, with the metric's name. */
export function refusalText(metric: Uint8Array | undefined, problem: string): string {
  return `a series ${metric?.length ? `of ${shown(metric)}` : "without a name"} is refused: ${problem}`;
}
