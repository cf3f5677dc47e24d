import { isAscii, isUtf8 } from "node:buffer";
import {
  LENGTH_DELIMITED,
  readLength,
  readVarint,
  skipField,
  tagOf,
  type MessageReader,
} from "./message-reader.ts";
import type { OpenRead } from "./read-series.ts";

const NAME = Buffer.from("__name__");
const NAME_BYTES_SHOWN = 128;

/** Begins a series without labels. */
export function beginLabels(open: OpenRead, bytes: Uint8Array): void {
  const { series } = open;
  series.bytes = bytes;
  series.nameStart = 0;
  series.nameEnd = 0;
  series.labelCount = 0;
  open.labelBytes = 0;
  open.refusal = undefined;
}

/** Reads a prometheus.Label up to `end` as ranges of the bytes. The series is refused, once, when the labels are over a limit. */
export function readLabel(open: OpenRead, reader: MessageReader, end: number): void {
  const outer = reader.end;
  reader.end = end;
  let nameStart = end;
  let nameEnd = end;
  let valueStart = end;
  let valueEnd = end;
  while (reader.at < end) {
    const tag = readVarint(reader);
    if (tag === tagOf(1, LENGTH_DELIMITED)) {
      nameEnd = readLength(reader);
      nameStart = reader.at;
      reader.at = nameEnd;
    } else if (tag === tagOf(2, LENGTH_DELIMITED)) {
      valueEnd = readLength(reader);
      valueStart = reader.at;
      reader.at = valueEnd;
    } else skipField(reader, tag);
  }
  reader.end = outer;
  put(open, reader.bytes, nameStart, nameEnd, valueStart, valueEnd);
}

function put(
  open: OpenRead,
  bytes: Uint8Array,
  nameStart: number,
  nameEnd: number,
  valueStart: number,
  valueEnd: number,
): void {
  const { series } = open;
  const { labelsMax, labelBytesMax } = open.options.limits;
  const size = nameEnd - nameStart + valueEnd - valueStart;
  open.labelBytes += size;
  if (isName(bytes, nameStart, nameEnd)) {
    if (series.nameEnd > 0) return invalidText(open, "it has two names");
    series.nameStart = valueStart;
    series.nameEnd = valueEnd;
    if (open.refusal) open.refusal.metric ??= metricOf(open);
  } else if (series.labelCount < labelsMax) {
    const at = series.labelCount++ * 4;
    series.labels[at] = nameStart;
    series.labels[at + 1] = nameEnd;
    series.labels[at + 2] = valueStart;
    series.labels[at + 3] = valueEnd;
  } else tooLarge(open, `it has more than ${labelsMax} labels`);
  if (open.labelBytes > labelBytesMax) tooLarge(open, `its labels have more than ${labelBytesMax} bytes`);
}

function isName(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== NAME.length) return false;
  for (let i = 0; i < NAME.length; i++) if (bytes[start + i] !== NAME[i]) return false;
  return true;
}

/** Refuses the series when a label is no text. [start, end) is where all of them lie. */
export function checkLabels(open: OpenRead, start: number, end: number): void {
  const { series } = open;
  if (open.refusal || isAscii(series.bytes.subarray(start, end))) return;
  const isText = (from: number, to: number): boolean => isUtf8(series.bytes.subarray(from, to));
  let areTexts = isText(series.nameStart, series.nameEnd);
  for (let i = 0; i < series.labelCount * 2; i++) {
    areTexts &&= isText(series.labels[i * 2]!, series.labels[i * 2 + 1]!);
  }
  if (!areTexts) invalidText(open, "a label of it is not valid UTF-8");
}

function tooLarge(open: OpenRead, problem: string): void {
  open.refusal ??= { code: "prometheus_label_too_large", problem, metric: metricOf(open) };
}

function invalidText(open: OpenRead, problem: string): void {
  open.refusal ??= { code: "prometheus_answer_invalid", problem, metric: metricOf(open) };
}

/** The name's beginning, if it is known so far. */
function metricOf({ series }: OpenRead): Uint8Array | undefined {
  if (series.nameEnd === 0) return undefined;
  const end = Math.min(series.nameEnd, series.nameStart + NAME_BYTES_SHOWN + 1);
  return Uint8Array.from(series.bytes.subarray(series.nameStart, end));
}
