import {
  createMessageReader,
  LENGTH_DELIMITED,
  type MessageReader,
  readInt64,
  readLength,
  readVarint,
  setMessage,
  skipField,
  tagOf,
  VARINT,
} from "./message-reader.ts";
import { invalid, tooLarge } from "./remote-read-error.ts";
import type { AnswerForm, LabelMatcher, ReadQuery } from "./request.ts";
import { decompressSnappy } from "./snappy.ts";

/** A request of another program to read from this one. */
export interface ServedRequest {
  queries: ReadQuery[];
  /** In the order in which the caller prefers them; a form that this program does not know is left out. Empty: none was named, which means samples. */
  forms: AnswerForm[];
  /** Did the caller name any form? */
  namesForms: boolean;
}

const QUERIES_MAX = 100;
const MATCHERS_MAX = 1000;
const MATCHER_TYPES = ["=", "!=", "=~", "!~"] as const;
const FORMS: Record<number, AnswerForm> = { 0: "samples", 1: "chunks" };

/** prometheus.ReadRequest in a snappy block. Throws RemoteReadError. */
export function decodeReadRequest(body: Uint8Array, bytesMax: number): ServedRequest {
  const bytes = decompressSnappy(body, bytesMax);
  const reader = createMessageReader();
  setMessage(reader, bytes, 0, bytes.length);
  const request: ServedRequest = { queries: [], forms: [], namesForms: false };
  const addForm = (): void => {
    const form = FORMS[readVarint(reader)];
    request.namesForms = true;
    if (form !== undefined && !request.forms.includes(form)) request.forms.push(form);
  };
  readFields(reader, bytes.length, {
    [tagOf(1, LENGTH_DELIMITED)]: () => {
      if (request.queries.length >= QUERIES_MAX)
        throw tooLarge(`the request has more than ${QUERIES_MAX} queries`);
      request.queries.push(readQuery(reader));
    },
    [tagOf(2, VARINT)]: addForm,
    [tagOf(2, LENGTH_DELIMITED)]: () => {
      for (const end = readLength(reader); reader.at < end;) addForm();
    },
  });
  return request;
}

function readQuery(reader: MessageReader): ReadQuery {
  const query = { startMs: 0, endMs: 0, matchers: [] as LabelMatcher[] };
  readFields(reader, readLength(reader), {
    [tagOf(1, VARINT)]: () => void (query.startMs = readInt64(reader)),
    [tagOf(2, VARINT)]: () => void (query.endMs = readInt64(reader)),
    [tagOf(3, LENGTH_DELIMITED)]: () => {
      if (query.matchers.length >= MATCHERS_MAX)
        throw tooLarge(`a query has more than ${MATCHERS_MAX} matchers`);
      query.matchers.push(readMatcher(reader));
    },
  });
  return query;
}

function readMatcher(reader: MessageReader): LabelMatcher {
  let number = 0;
  const texts = { name: "", value: "" };
  const text = (): string => {
    const end = readLength(reader);
    const start = reader.at;
    reader.at = end;
    return new TextDecoder().decode(reader.bytes.subarray(start, end));
  };
  readFields(reader, readLength(reader), {
    [tagOf(1, VARINT)]: () => void (number = readVarint(reader)),
    [tagOf(2, LENGTH_DELIMITED)]: () => void (texts.name = text()),
    [tagOf(3, LENGTH_DELIMITED)]: () => void (texts.value = text()),
  });
  const type = MATCHER_TYPES[number];
  if (type === undefined) throw invalid(`a matcher has the unknown type ${number}`);
  return { type, ...texts };
}

/** Reads a message's fields up to `end`; those that are not named are passed over. */
function readFields(reader: MessageReader, end: number, fields: Readonly<Record<number, () => void>>): void {
  const outer = reader.end;
  reader.end = end;
  while (reader.at < end) {
    const tag = readVarint(reader);
    const read = fields[tag];
    if (read) read();
    else skipField(reader, tag);
  }
  reader.end = outer;
}
