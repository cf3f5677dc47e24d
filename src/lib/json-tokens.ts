import { assert } from "./assert.ts";

/** A string of the document, as it stands there between its quotes. Valid during the event only. */
export interface JsonText {
  /** The first bytes of it, as many as were wanted. */
  bytes: Buffer;
  /** Bytes of the whole string. */
  size: number;
  hasEscapes: boolean;
}

/** The tokenizer's reports, in the order of the document. */
export interface JsonEvents {
  open(isObject: boolean): void;
  close(): void;
  /** How many bytes of the name, string or word that begins now are wanted. A word with 0 is neither checked nor reported. */
  wanted(what: "key" | "text" | "word"): number;
  key(text: JsonText): void;
  text(text: JsonText): void;
  /** A number, true, false or null. */
  word(word: string): void;
}

/** The errors that reading ends with. */
export interface JsonErrors {
  /** `hasBegun`: the document began as JSON does. */
  invalid(problem: string, hasBegun: boolean): Error;
  tooDeep(): Error;
}

/** The token that may come next. */
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

/** A number or literal has at most this many bytes. */
export const WORD_BYTES_MAX = 512;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const ARRAY_OPEN = 0x5b;
const ARRAY_CLOSE = 0x5d;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;
const FIRST_BYTES = 256;
const NO_BYTES = Buffer.alloc(0);

/**
 * Reads a JSON document in pieces of any size. Constant work for each byte, and memory for the one string that is being read, as far as it is
 * wanted. The rest is checked for brackets, commas and colons alone. Throws one of `errors`, or the error of an event.
 */
export class JsonTokens {
  /** In brackets of this depth `run` stops before each value. */
  pauseDepth = -1;
  depth = 0;
  next: Next = Next.value;
  readonly #events: JsonEvents;
  readonly #errors: JsonErrors;
  readonly #depthMax: number;
  /** For each depth: 1 in an object, 0 in an array. */
  readonly #isObject: Uint8Array;
  readonly #text: JsonText = { bytes: NO_BYTES, size: 0, hasEscapes: false };
  #inside: "brackets" | "text" | "word" = "brackets";
  #hasBegun = false;
  // The string or word that is being read.
  #isKey = false;
  #isAfterBackslash = false;
  #hasEscapes = false;
  #wanted = 0;
  /** Its bytes so far in earlier pieces, and how many of these are kept. */
  #size = 0;
  #kept = 0;
  #buffer: Buffer = NO_BYTES;

  constructor(events: JsonEvents, depthMax: number, errors: JsonErrors) {
    this.#events = events;
    this.#errors = errors;
    this.#depthMax = depthMax;
    this.#isObject = new Uint8Array(depthMax + 1);
  }

  /** Reads from `from` to the end of the bytes, or to a place to pause (but at least one token). Returns the position that it came to. */
  run(bytes: Buffer, from: number): number {
    let p = from;
    let isFirst = true;
    while (p < bytes.length) {
      if (this.#inside === "text") p = this.#readText(bytes, p);
      else if (this.#inside === "word") p = this.#readWord(bytes, p);
      else {
        const c = bytes[p]!;
        if (isSpace(c)) {
          p++;
          continue;
        }
        if (!isFirst && this.depth === this.pauseDepth && this.next <= Next.valueOrEnd) return p;
        p = this.#step(c, p);
      }
      isFirst = false;
    }
    return p;
  }

  /** Call it when no more bytes will come. True when the document is whole. */
  end(): boolean {
    if (this.#inside === "word" && this.depth === 0) this.#endWord();
    return this.next === Next.nothing && this.#inside === "brackets";
  }

  /** Takes note of an opening bracket, also of one that the caller has read itself. */
  enter(isObject: boolean): void {
    if (this.depth === this.#depthMax) throw this.#errors.tooDeep();
    this.#hasBegun = true;
    this.#isObject[++this.depth] = isObject ? 1 : 0;
    this.next = isObject ? Next.keyOrEnd : Next.valueOrEnd;
  }

  /** Takes note of a closing bracket, also of one that the caller has read itself. */
  leave(): void {
    assert(this.depth > 0, "a bracket that closes was opened");
    this.depth--;
    this.#afterValue();
  }

  /** One byte outside of strings and words. Returns the position behind the token, or behind where it begins. */
  #step(c: number, p: number): number {
    switch (this.next) {
      case Next.value:
        return this.#beginValue(c, p);
      case Next.valueOrEnd:
        if (c !== ARRAY_CLOSE) return this.#beginValue(c, p);
        this.#close(false);
        break;
      case Next.commaOrEnd:
        if (c === COMMA) this.next = this.#isObject[this.depth] === 1 ? Next.key : Next.value;
        else if (c === OBJECT_CLOSE || c === ARRAY_CLOSE) this.#close(c === OBJECT_CLOSE);
        else throw this.#invalid("a comma is missing");
        break;
      case Next.keyOrEnd:
        if (c === OBJECT_CLOSE) this.#close(true);
        else this.#beginKey(c);
        break;
      case Next.key:
        this.#beginKey(c);
        break;
      case Next.colon:
        if (c !== COLON) throw this.#invalid("a colon is missing");
        this.next = Next.value;
        break;
      case Next.nothing:
        throw this.#invalid("it goes on after its end");
    }
    return p + 1;
  }

  #beginValue(c: number, p: number): number {
    if (c === QUOTE) this.#begin("text", false);
    else if (c === OBJECT_OPEN || c === ARRAY_OPEN) {
      this.enter(c === OBJECT_OPEN);
      this.#events.open(c === OBJECT_OPEN);
    } else if (isWord(c)) {
      this.#begin("word", false);
      return p;
    } else throw this.#invalid("a value is missing");
    return p + 1;
  }

  #beginKey(c: number): void {
    if (c !== QUOTE) throw this.#invalid("the name of a member is missing");
    this.#begin("text", true);
  }

  #begin(inside: "text" | "word", isKey: boolean): void {
    this.#inside = inside;
    this.#isKey = isKey;
    this.#isAfterBackslash = false;
    this.#hasEscapes = false;
    this.#size = 0;
    this.#kept = 0;
    this.#wanted = this.#events.wanted(isKey ? "key" : inside);
  }

  #close(isObject: boolean): void {
    if (this.#isObject[this.depth] !== (isObject ? 1 : 0)) {
      throw this.#invalid("a bracket closes none that is open");
    }
    this.leave();
    this.#events.close();
  }

  #afterValue(): void {
    this.next = this.depth === 0 ? Next.nothing : Next.commaOrEnd;
  }

  #readText(bytes: Buffer, from: number): number {
    let p = from;
    if (this.#isAfterBackslash && p < bytes.length) {
      this.#isAfterBackslash = false;
      p++;
    }
    while (p < bytes.length) {
      const c = bytes[p]!;
      if (c === QUOTE) {
        this.#endText(bytes, from, p);
        return p + 1;
      }
      p++;
      if (c !== BACKSLASH) continue;
      this.#hasEscapes = true;
      if (p < bytes.length) p++;
      else this.#isAfterBackslash = true;
    }
    this.#keep(bytes, from, p);
    return p;
  }

  /** The string ends; its last part is bytes[from, to). */
  #endText(bytes: Buffer, from: number, to: number): void {
    const text = this.#text;
    if (this.#size === 0) {
      // The whole string lies in this piece: a copy would only cost time.
      text.bytes = this.#wanted === 0 ? NO_BYTES : bytes.subarray(from, Math.min(to, from + this.#wanted));
      text.size = to - from;
    } else {
      this.#keep(bytes, from, to);
      text.bytes = this.#buffer.subarray(0, this.#kept);
      text.size = this.#size;
    }
    text.hasEscapes = this.#hasEscapes;
    this.#inside = "brackets";
    this.#hasBegun = true;
    if (this.#isKey) {
      this.next = Next.colon;
      this.#events.key(text);
    } else {
      this.#afterValue();
      this.#events.text(text);
    }
  }

  #readWord(bytes: Buffer, from: number): number {
    let p = from;
    while (p < bytes.length && isWord(bytes[p]!)) p++;
    this.#keep(bytes, from, p);
    if (this.#size > WORD_BYTES_MAX || p < bytes.length) this.#endWord();
    return p;
  }

  #endWord(): void {
    this.#inside = "brackets";
    if (this.#size > WORD_BYTES_MAX) throw this.#invalid("a number or literal is too long");
    if (this.#wanted === 0) {
      this.#hasBegun = true;
      this.#afterValue();
      return;
    }
    const word = this.#buffer.toString("latin1", 0, this.#kept);
    if (!WORD.test(word)) throw this.#invalid("a value is no number, true, false or null");
    this.#hasBegun = true;
    this.#afterValue();
    this.#events.word(word);
  }

  /** Copies as much of bytes[from, to) as is wanted: the bytes are gone when the string goes on. */
  #keep(bytes: Buffer, from: number, to: number): void {
    this.#size += to - from;
    const more = Math.min(to - from, this.#wanted - this.#kept);
    if (more <= 0) return;
    if (this.#kept + more > this.#buffer.length) {
      const bytesMin = this.#kept + more;
      const larger = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, this.#buffer.length * 2, bytesMin));
      this.#buffer.copy(larger, 0, 0, this.#kept);
      this.#buffer = larger;
    }
    bytes.copy(this.#buffer, this.#kept, from, from + more);
    this.#kept += more;
  }

  #invalid(problem: string): Error {
    return this.#errors.invalid(problem, this.#hasBegun);
  }
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
