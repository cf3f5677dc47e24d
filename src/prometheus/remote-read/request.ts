import { assert } from "#lib/assert.ts";
import { toSnappyBlock } from "./snappy.ts";

/** The forms of an answer, in the words of prometheus.ReadRequest.ResponseType. */
export type AnswerForm = "samples" | "chunks";

const RESPONSE_TYPES: Record<AnswerForm, number> = { samples: 0, chunks: 1 };
const MATCHER_TYPES = { "=": 0, "!=": 1, "=~": 2, "!~": 3 } as const;

export interface LabelMatcher {
  type: keyof typeof MATCHER_TYPES;
  name: string;
  value: string;
}

export interface ReadQuery {
  /** Ms since the epoch; both ends are included, unlike a window's. */
  startMs: number;
  endMs: number;
  matchers: readonly LabelMatcher[];
}

/** Headers of a remote read request (prometheus.io/docs/prometheus/latest/querying/remote_read_api). */
export const READ_HEADERS = {
  "content-encoding": "snappy",
  "content-type": "application/x-protobuf",
  "x-prometheus-remote-read-version": "0.1.0",
} as const;

/**
 * The body of a request with one query: prometheus.ReadRequest in a snappy block. `forms`: the forms that the caller can read, the preferred one first. A Prometheus before
 * 2.13 knows samples only and ignores the list.
 */
export function encodeReadRequest(query: ReadQuery, forms: readonly AnswerForm[]): Buffer {
  assert(forms.length > 0, "a remote read accepts at least one form of answer");
  return toSnappyBlock(
    Buffer.concat([
      field(1, encodeQuery(query)),
      // Not packed, as Prometheus itself writes it: proto3 parsers have to take both.
      ...forms.map((form) => Buffer.concat([varint((2 << 3) | 0), varint(RESPONSE_TYPES[form])])),
    ]),
  );
}

function encodeQuery({ startMs, endMs, matchers }: ReadQuery): Buffer {
  assert(Number.isSafeInteger(startMs) && Number.isSafeInteger(endMs), "times are whole milliseconds");
  return Buffer.concat([
    varint((1 << 3) | 0),
    varint(startMs),
    varint((2 << 3) | 0),
    varint(endMs),
    ...matchers.map(({ type, name, value }) =>
      field(
        3,
        Buffer.concat([
          varint((1 << 3) | 0),
          varint(MATCHER_TYPES[type]),
          field(2, Buffer.from(name)),
          field(3, Buffer.from(value)),
        ]),
      ),
    ),
  ]);
}

function field(number: number, body: Uint8Array): Buffer {
  return Buffer.concat([varint((number << 3) | 2), varint(body.length), body]);
}

/** Negative numbers as protobuf's int64: ten bytes. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
