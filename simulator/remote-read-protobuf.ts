import { QueryError } from "./query-error.ts";
import { formatText } from "./answer-format.ts";
import type { Matcher } from "./promql.ts";

/** prompb.ReadRequest_ResponseType. */
export const RESPONSE_TYPES = { samples: 0, chunks: 1 } as const;

/** As it came: its type may be none. */
export interface RemoteMatcher {
  type: number;
  name: string;
  value: string;
}

/** One query of a remote-read request; both ends of its time range belong to it. */
export interface RemoteQuery {
  fromMs: number;
  toMs: number;
  matchers: RemoteMatcher[];
  /** The time range of the hints, which a real Prometheus reads instead of the query's own. */
  hints: { fromMs: number; toMs: number; run: string } | undefined;
}

export interface RemoteReadRequest {
  queries: RemoteQuery[];
  /** In the order of preference. */
  accepted: number[];
}

/** By prompb.LabelMatcher_Type. */
export const OPERATORS: readonly Matcher["operator"][] = ["=", "!=", "=~", "!~"];
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Writes protobuf messages into one growing buffer. */
export class ProtoWriter {
  #bytes = Buffer.alloc(4096);
  #length = 0;

  /** The bytes written since the last `clear`; valid until then. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  /** A field of type uint64, int64 or enum, for any safe integer; 0 is left out, as proto3 does. */
  number(field: number, value: number): void {
    if (value === 0) return;
    this.#varint(field * 8 + VARINT);
    this.#int64(value);
  }

  /** A field of type uint64 in a oneof: written even when it is 0. */
  choice(field: number, value: number): void {
    this.#varint(field * 8 + VARINT);
    this.#int64(value);
  }

  /** A field of type sint32 or sint64; 0 is left out. */
  signed(field: number, value: number): void {
    this.number(field, zigzag(value));
  }

  /** A field of type double by its bits; 0 and -0 are left out, as Prometheus' encoder does. */
  double(field: number, high: number, low: number): void {
    if ((high & 0x7fffffff) === 0 && low === 0) return;
    this.#varint(field * 8 + FIXED64);
    this.#double(high, low);
  }

  text(field: number, text: string): void {
    if (text === "") return;
    const length = Buffer.byteLength(text);
    this.#head(field, length);
    this.#length += this.#bytes.write(text, this.#length);
  }

  data(field: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#head(field, bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A nested message, written even when it is empty. */
  message(field: number, write: () => void): void {
    this.#varint(field * 8 + BYTES);
    this.#nested(write);
  }

  /** A packed field of type sint64; left out when it is empty. */
  packedSigned(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.message(field, () => {
      for (const value of values) this.#int64(zigzag(value));
    });
  }

  /** A packed field of type double; left out when it is empty. */
  packedDoubles(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.message(field, () => {
      for (const value of values) {
        this.#room(8);
        this.#length = this.#bytes.writeDoubleLE(value, this.#length);
      }
    });
  }

  /** The length stands before the content, whose size is known only after it is written. */
  #nested(write: () => void): void {
    this.#room(1);
    const start = ++this.#length;
    write();
    const size = this.#length - start;
    const extra = varintLength(size) - 1;
    if (extra > 0) {
      this.#room(extra);
      this.#bytes.copyWithin(start + extra, start, this.#length);
    }
    this.#length = start - 1;
    this.#varint(size);
    this.#length += size;
  }

  #head(field: number, length: number): void {
    this.#varint(field * 8 + BYTES);
    this.#varint(length);
    this.#room(length);
  }

  #double(high: number, low: number): void {
    this.#room(8);
    this.#bytes.writeInt32LE(low | 0, this.#length);
    this.#bytes.writeInt32LE(high | 0, this.#length + 4);
    this.#length += 8;
  }

  #int64(value: number): void {
    if (value >= 0) return this.#varint(value);
    for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
      this.#room(1);
      this.#bytes[this.#length++] = Number(rest & 127n) | (rest > 127n ? 128 : 0);
      if (rest <= 127n) return;
    }
  }

  #varint(value: number): void {
    this.#room(10);
    let rest = value;
    for (; rest > 127; rest = Math.floor(rest / 128)) this.#bytes[this.#length++] = (rest % 128) | 128;
    this.#bytes[this.#length++] = rest;
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#length + bytes));
    larger.set(this.bytes);
    this.#bytes = larger;
  }
}

/** Small for values near 0 of either sign. */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) length++;
  return length;
}

/** Throws QueryError with the words of Prometheus' decoder when the bytes are no ReadRequest. */
export function readRequestOf(bytes: Buffer): RemoteReadRequest {
  const request: RemoteReadRequest = { queries: [], accepted: [] };
  for (const field of fields(bytes)) {
    if (field.number === 1) request.queries.push(queryOf(bytesOf(field, "Queries")));
    if (field.number !== 2) continue;
    if (field.type === VARINT) request.accepted.push(numberOf(field, "AcceptedResponseTypes"));
    else {
      const packed = new Reader(bytesOf(field, "AcceptedResponseTypes"));
      while (!packed.isAtEnd) request.accepted.push(Number(packed.varint()));
    }
  }
  return request;
}

function queryOf(bytes: Buffer): RemoteQuery {
  const query: RemoteQuery = { fromMs: 0, toMs: 0, matchers: [], hints: undefined };
  for (const field of fields(bytes)) {
    if (field.number === 1) query.fromMs = numberOf(field, "StartTimestampMs");
    if (field.number === 2) query.toMs = numberOf(field, "EndTimestampMs");
    if (field.number === 3) query.matchers.push(matcherOf(bytesOf(field, "Matchers")));
    if (field.number === 4) query.hints = hintsOf(bytesOf(field, "Hints"));
  }
  return query;
}

function matcherOf(bytes: Buffer): RemoteMatcher {
  const matcher = { type: 0, name: "", value: "" };
  for (const field of fields(bytes)) {
    if (field.number === 1) matcher.type = numberOf(field, "Type");
    if (field.number === 2) matcher.name = bytesOf(field, "Name").toString("utf8");
    if (field.number === 3) matcher.value = bytesOf(field, "Value").toString("utf8");
  }
  return matcher;
}

function hintsOf(bytes: Buffer): NonNullable<RemoteQuery["hints"]> {
  const hints = { fromMs: 0, toMs: 0, run: "" };
  for (const field of fields(bytes)) {
    if (field.number === 2) hints.run = bytesOf(field, "Func").toString("utf8");
    if (field.number === 3) hints.fromMs = numberOf(field, "StartMs");
    if (field.number === 4) hints.toMs = numberOf(field, "EndMs");
  }
  return hints;
}

/** PromQL selectors of a request's queries, as faults and the record of requests name them. */
export function selectorsOf({ queries }: RemoteReadRequest): string {
  return queries
    .map(({ matchers }) => {
      const texts = matchers.map(
        ({ name, type, value }) => `${name}${OPERATORS[type] ?? "?"}${formatText(value, 3)}`,
      );
      return `{${texts.join(",")}}`;
    })
    .join(" ");
}

interface Field {
  number: number;
  /** Its wire type. */
  type: number;
  value: bigint | Buffer;
}

const NO_VALUE = Buffer.alloc(0);

function* fields(bytes: Buffer): Iterable<Field> {
  const reader = new Reader(bytes);
  while (!reader.isAtEnd) {
    const tag = Number(reader.varint());
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (type === VARINT) yield { number, type, value: reader.varint() };
    else if (type === BYTES) yield { number, type, value: reader.take(Number(reader.varint())) };
    else if (type === FIXED64) yield { number, type, value: reader.take(8) };
    else yield { number, type, value: type === FIXED32 ? reader.take(4) : NO_VALUE };
    if (type > FIXED32) throw malformed(`proto: illegal wireType ${type}`);
  }
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 64n; shift += 7n) {
      const [byte = 0] = this.take(1);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw malformed("proto: integer overflow");
  }

  take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw malformed("unexpected EOF");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

/** `name` is the field's name in Prometheus' Go code. */
function numberOf({ type, value }: Field, name: string): number {
  if (typeof value !== "bigint") throw malformed(`proto: wrong wireType = ${type} for field ${name}`);
  return Number(BigInt.asIntN(64, value));
}

function bytesOf({ type, value }: Field, name: string): Buffer {
  if (typeof value === "bigint" || type !== BYTES) {
    throw malformed(`proto: wrong wireType = ${type} for field ${name}`);
  }
  return value;
}

function malformed(problem: string): QueryError {
  return new QueryError(400, "bad_data", problem);
}
