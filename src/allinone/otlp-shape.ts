import { BridgeError } from "#errors/error.ts";

/** The submessages of a message by field number; packed: numbers, each of which may take one byte. */
interface Shape {
  [field: number]: Shape | "packed";
}

const KEY_VALUE: Shape = {};
const ANY_VALUE: Shape = { 5: { 1: {} }, 6: { 1: KEY_VALUE } };
ANY_VALUE[5] = { 1: ANY_VALUE };
KEY_VALUE[2] = ANY_VALUE;

const EXEMPLAR: Shape = { 7: KEY_VALUE };
const BUCKETS: Shape = { 2: "packed" };
const NUMBER_POINT: Shape = { 7: KEY_VALUE, 5: EXEMPLAR };
const HISTOGRAM_POINT: Shape = { 9: KEY_VALUE, 6: "packed", 7: "packed", 8: EXEMPLAR };
const EXPONENTIAL_POINT: Shape = { 1: KEY_VALUE, 8: BUCKETS, 9: BUCKETS, 11: EXEMPLAR };
const SUMMARY_POINT: Shape = { 7: KEY_VALUE, 6: {} };
const METRIC: Shape = {
  5: { 1: NUMBER_POINT },
  7: { 1: NUMBER_POINT },
  9: { 1: HISTOGRAM_POINT },
  10: { 1: EXPONENTIAL_POINT },
  11: { 1: SUMMARY_POINT },
};
const SCOPE_METRICS: Shape = { 1: { 3: KEY_VALUE }, 2: METRIC };
const REQUEST: Shape = { 1: { 1: { 1: KEY_VALUE }, 2: SCOPE_METRICS } };

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;
const DEPTH_MAX = 64;

/**
 * Counts the fields and packed numbers of an ExportMetricsServiceRequest without making anything of them: a decoder makes an object of two
 * bytes. Throws BridgeError `body_too_large` when there are more than `fieldsMax`, `request_invalid` when the bytes are no such message or
 * are nested deeper than 64 levels.
 */
export function limitShape(bytes: Uint8Array, fieldsMax: number): void {
  const ends: number[] = [];
  const shapes: Shape[] = [];
  let shape = REQUEST;
  let end = bytes.length;
  let at = 0;
  let fields = 0;

  const varint = (): number => {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      const byte = at < end ? bytes[at++]! : invalid("ends within a number");
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    return invalid("has a number that is too long");
  };
  const count = (added: number): void => {
    fields += added;
    if (fields > fieldsMax) {
      throw new BridgeError("body_too_large", `one request may have ${fieldsMax} fields; this one has more`);
    }
  };

  for (;;) {
    while (at >= end) {
      if (ends.length === 0) return;
      end = ends.pop()!;
      shape = shapes.pop()!;
    }
    count(1);
    const tag = varint();
    const type = tag & 7;
    if (type === VARINT) varint();
    else if (type === FIXED64) at += 8;
    else if (type === FIXED32) at += 4;
    else if (type === LENGTH_DELIMITED) {
      const length = varint();
      if (at + length > end) invalid("is cut");
      const inner = shape[Math.floor(tag / 8)];
      if (inner === "packed") count(length);
      if (inner === undefined || inner === "packed") at += length;
      else {
        if (ends.length >= DEPTH_MAX) invalid("is nested too deep");
        ends.push(end);
        shapes.push(shape);
        end = at + length;
        shape = inner;
      }
    } else invalid("has a field of an unknown type");
    if (at > end) invalid("is cut");
  }
}

function invalid(why: string): never {
  throw new BridgeError("request_invalid", "the body is not an ExportMetricsServiceRequest", {
    cause: new Error(`it ${why}`),
  });
}
