import { BridgeError } from "#errors/error.ts";

/** A string of the document, as it stands there between its quotes. Valid during the event only. */
export interface JsonText {
  /** The first bytes of it, as many as were wanted. */
  bytes: Buffer;
  /** Bytes of the whole string. */
  size: number;
  hasEscapes: boolean;
}

/** What is told of a document while it is read. */
export interface JsonEvents {
  open(isObject: boolean): void;
  close(): void;
  /** How many bytes of the string that begins now are wanted. */
  wanted(isKey: boolean): number;
  key(text: JsonText): void;
  text(text: JsonText): void;
  /** A number, true, false or null. */
  word(word: string): void;
}

/** What may come next. */
export const Next = {
  value: 0,
  valueOrEnd: 1,
  commaOrEnd: 2,
  keyOrEnd: 3,
  key: 4,
  colon: 5,
  nothing: 6,
} as const;
export type Next = (typeof Next)[keyof typeof Next];

export interface JsonTokens {
  /** Reads from `from` to the end of the bytes, or to a place to pause (but at least one token). Returns how far it came. */
  run(bytes: Buffer, from: number): number;
  /** Call it when no more bytes will come. True when the document is whole. */
  end(): boolean;
  /** In brackets of this depth `run` stops before each value. */
  pauseDepth: number;
  readonly depth: number;
  next: Next;
  /** Takes note of a bracket that was read by somebody else. */
  enter(isObject: boolean): void;
  leave(): void;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const ARRAY_OPEN = 0x5b;
const ARRAY_CLOSE = 0x5d;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;
const WORD_BYTES_MAX = 512;
/** Brackets within brackets: Prometheus' own answers have seven. */
const DEPTH_MAX = 64;
const FIRST_BYTES = 256;
const NO_BYTES = Buffer.alloc(0);

/**
 * Reads a JSON document in pieces of any size. Constant work for each byte, and memory for the one string that is being read, as far as it is
 * wanted. What is not wanted is checked for brackets, commas and words alone. Throws BridgeError `prometheus_unexpected_answer` when the first byte
 * shows that it is no JSON, else `prometheus_answer_invalid`.
 */
export function createJsonTokens(events: JsonEvents): JsonTokens {
  const isObject = new Uint8Array(DEPTH_MAX + 1);
  let inside: "brackets" | "text" | "word" = "brackets";
  let isKey = false;
  let isAfterBackslash = false;
  let hasEscapes = false;
  let wanted = 0;
  let size = 0;
  let kept = 0;
  let held: Buffer = NO_BYTES;
  let depth = 0;
  let hasBegun = false;

  const invalid = (what: string): BridgeError =>
    hasBegun
      ? new BridgeError("prometheus_answer_invalid", `the answer is not valid JSON: ${what}`)
      : new BridgeError("prometheus_unexpected_answer", "the answer is not JSON");

  const keep = (bytes: Buffer, from: number, to: number): void => {
    size += to - from;
    const more = Math.min(to - from, wanted - kept);
    if (more <= 0) return;
    if (kept + more > held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, held.length * 2, kept + more));
      held.copy(larger, 0, 0, kept);
      held = larger;
    }
    bytes.copy(held, kept, from, from + more);
    kept += more;
  };

  const afterValue = (): void => {
    tokens.next = depth === 0 ? Next.nothing : Next.commaOrEnd;
  };

  const enter = (object: boolean): void => {
    if (depth === DEPTH_MAX) {
      throw new BridgeError(
        "prometheus_answer_invalid",
        `the answer nests brackets more than ${DEPTH_MAX} deep`,
      );
    }
    hasBegun = true;
    isObject[++depth] = object ? 1 : 0;
    tokens.next = object ? Next.keyOrEnd : Next.valueOrEnd;
  };

  const leave = (): void => {
    depth--;
    afterValue();
  };

  const begin = (what: "text" | "word", key: boolean): void => {
    inside = what;
    isKey = key;
    isAfterBackslash = false;
    hasEscapes = false;
    size = 0;
    kept = 0;
    wanted = what === "word" ? WORD_BYTES_MAX : events.wanted(key);
  };

  const endText = (): void => {
    inside = "brackets";
    hasBegun = true;
    const text = { bytes: held.subarray(0, kept), size, hasEscapes };
    if (isKey) {
      tokens.next = Next.colon;
      events.key(text);
    } else {
      afterValue();
      events.text(text);
    }
  };

  const readText = (bytes: Buffer, from: number): number => {
    let p = from;
    if (isAfterBackslash && p < bytes.length) {
      isAfterBackslash = false;
      p++;
    }
    while (p < bytes.length) {
      const c = bytes[p]!;
      if (c === QUOTE) {
        keep(bytes, from, p);
        endText();
        return p + 1;
      }
      p++;
      if (c !== BACKSLASH) continue;
      hasEscapes = true;
      if (p < bytes.length) p++;
      else isAfterBackslash = true;
    }
    keep(bytes, from, p);
    return p;
  };

  const endWord = (): void => {
    inside = "brackets";
    const word = held.toString("latin1", 0, kept);
    if (size > WORD_BYTES_MAX || !WORD.test(word)) throw invalid("a word that is none of JSON's");
    hasBegun = true;
    afterValue();
    events.word(word);
  };

  const readWord = (bytes: Buffer, from: number): number => {
    let p = from;
    while (p < bytes.length && isWord(bytes[p]!)) p++;
    keep(bytes, from, p);
    if (size > WORD_BYTES_MAX || p < bytes.length) endWord();
    return p;
  };

  /** Reads what begins a value; returns the position behind it. */
  const beginValue = (c: number, p: number): number => {
    if (c === QUOTE) begin("text", false);
    else if (c === OBJECT_OPEN || c === ARRAY_OPEN) {
      enter(c === OBJECT_OPEN);
      events.open(c === OBJECT_OPEN);
    } else if (isWord(c)) {
      begin("word", false);
      return p;
    } else throw invalid("a value is missing");
    return p + 1;
  };

  const beginKey = (c: number): void => {
    if (c !== QUOTE) throw invalid("the name of a member is missing");
    begin("text", true);
  };

  const close = (object: boolean): void => {
    if (isObject[depth] !== (object ? 1 : 0)) throw invalid("a bracket closes none that is open");
    leave();
    events.close();
  };

  const step = (c: number, p: number): number => {
    switch (tokens.next) {
      case Next.value:
        return beginValue(c, p);
      case Next.valueOrEnd:
        if (c !== ARRAY_CLOSE) return beginValue(c, p);
        close(false);
        break;
      case Next.commaOrEnd:
        if (c === COMMA) tokens.next = isObject[depth] === 1 ? Next.key : Next.value;
        else if (c === OBJECT_CLOSE || c === ARRAY_CLOSE) close(c === OBJECT_CLOSE);
        else throw invalid("a comma is missing");
        break;
      case Next.keyOrEnd:
        if (c === OBJECT_CLOSE) close(true);
        else beginKey(c);
        break;
      case Next.key:
        beginKey(c);
        break;
      case Next.colon:
        if (c !== COLON) throw invalid("a colon is missing");
        tokens.next = Next.value;
        break;
      case Next.nothing:
        throw invalid("it goes on after its end");
    }
    return p + 1;
  };

  const tokens: JsonTokens = {
    next: Next.value,
    pauseDepth: -1,
    get depth() {
      return depth;
    },
    enter,
    leave,
    run: (bytes, from) => {
      let p = from;
      let isFirst = true;
      while (p < bytes.length) {
        if (inside === "text") p = readText(bytes, p);
        else if (inside === "word") p = readWord(bytes, p);
        else {
          const c = bytes[p]!;
          if (isSpace(c)) {
            p++;
            continue;
          }
          if (!isFirst && depth === tokens.pauseDepth && tokens.next <= Next.valueOrEnd) return p;
          p = step(c, p);
        }
        isFirst = false;
      }
      return p;
    },
    end: () => {
      if (inside === "word" && depth === 0) endWord();
      return tokens.next === Next.nothing && inside === "brackets";
    },
  };
  return tokens;
}

const WORD = /^(?:true|false|null|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;

/** A byte of a number or of true, false and null. */
function isWord(c: number): boolean {
  return (
    (c >= 0x30 && c <= 0x39) ||
    (c >= 0x61 && c <= 0x7a) ||
    c === 0x2d ||
    c === 0x2b ||
    c === 0x2e ||
    c === 0x45
  );
}

function isSpace(c: number): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09;
}
