/** The part of a JSON document that is wanted. Of everything else only brackets, strings and commas are checked, and nothing is kept. */
export type Pick =
  /** A string, number, boolean or null. `cutAt`: a longer string is cut after so many bytes instead of being too long. */
  | { kind: "scalar"; cutAt?: number }
  | { kind: "object"; fields: ReadonlyMap<string, Pick> }
  /**
   * An object with any keys, or those of `names`. `each` takes the members one by one, those with too long a name left out; they are then
   * not kept.
   */
  | { kind: "map"; of: Pick; names?: ReadonlySet<string>; each?: (name: string, value: unknown) => void }
  /** `each` takes the items one by one; they are then not kept. */
  | { kind: "array"; of: Pick; each?: (item: unknown) => void };

export interface JsonLimits {
  /** Of the whole document. */
  bytesMax: number;
  /** Brackets within brackets. */
  depthMax: number;
  /** Wanted values of the document; where items are taken one by one, of each item. */
  valuesMax: number;
  /** Of one wanted text, as it is written. */
  textBytesMax: number;
}

/** What is wrong with a document: not JSON, not whole, or more than its limits allow. The message goes on after its subject: "is larger than". */
export class JsonReadError extends Error {
  readonly problem: "invalid" | "truncated" | "bytes" | "depth" | "values" | "text";

  constructor(problem: JsonReadError["problem"], message: string) {
    super(message);
    this.name = "JsonReadError";
    this.problem = problem;
  }
}

/** Reads one JSON document as its bytes arrive. The work is constant for each byte, memory only grows with what is wanted. */
export interface JsonReader {
  /** Nothing of the chunk is kept. Throws JsonReadError, and whatever `each` throws. */
  push(chunk: Uint8Array): void;
  /** The wanted part: a value of another kind than wanted is there without its content. Throws JsonReadError when the document is not whole. */
  end(): unknown;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const ARRAY_OPEN = 0x5b;
const ARRAY_CLOSE = 0x5d;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;
const SPACE = 0x20;

/** What may come next. */
const State = {
  value: 0,
  valueOrEnd: 1,
  keyOrEnd: 2,
  key: 3,
  colon: 4,
  comma: 5,
  text: 6,
  word: 7,
  done: 8,
} as const;

/** A number or literal of a sane length. */
const WORD_BYTES_MAX = 400;
const KEPT_WHOLE = Number.POSITIVE_INFINITY;

/** A member's name is compared as bytes: most names are not wanted, and a string for each would cost more than all the rest. */
interface KnownName {
  name: string;
  bytes: Buffer;
}

interface Frame {
  isObject: boolean;
  names: readonly KnownName[] | undefined;
  /** Undefined: nothing in it is wanted. */
  pick: Pick | undefined;
  value: Record<string, unknown> | unknown[] | undefined;
  /** Of the member that is being read; undefined when it is not wanted. */
  key: string | undefined;
}

export function createJsonReader(root: Pick, limits: JsonLimits): JsonReader {
  const frames: Frame[] = [];
  const namesByPick = new Map<Pick, readonly KnownName[]>();
  let frame: Frame | undefined;
  let state: number = State.value;
  let result: unknown;
  let bytes = 0;
  let values = 0;

  // The string or word that is being read. `keepBytes` 0: it is not wanted.
  let isKey = false;
  let isEscaped = false;
  let hasEscapes = false;
  let keepBytes = 0;
  let isTooLong = false;
  let parts: Buffer[] = [];
  let partBytes = 0;

  const invalid = (what: string): JsonReadError =>
    new JsonReadError("invalid", `is not JSON: ${what} at byte ${bytes}`);

  /** What is wanted of the value that begins now. */
  const wanted = (): Pick | undefined => {
    if (!frame) return root;
    const { pick, key } = frame;
    if (pick === undefined || pick.kind === "scalar") return undefined;
    if (pick.kind === "array") return frame.isObject ? undefined : pick.of;
    if (key === undefined || !frame.isObject) return undefined;
    return pick.kind === "map" ? pick.of : pick.fields.get(key);
  };

  const count = (): void => {
    if (++values > limits.valuesMax)
      throw new JsonReadError("values", `has more than ${limits.valuesMax} values`);
  };

  /** Puts a value that is whole where it belongs. */
  const put = (value: unknown): void => {
    if (!frame) {
      result = value;
      return;
    }
    const { pick, value: container, key } = frame;
    if (Array.isArray(container)) {
      if (pick?.kind === "array" && pick.each) {
        pick.each(value);
        values = 0;
      } else container.push(value);
    } else if (container && key !== undefined) {
      if (pick?.kind === "map" && pick.each) {
        pick.each(key, value);
        values = 0;
        return;
      }
      // A plain assignment to `__proto__` would not make a member.
      if (key === "__proto__")
        Object.defineProperty(container, key, {
          value,
          enumerable: true,
          configurable: true,
          writable: true,
        });
      else container[key] = value;
    }
  };

  const namesOf = (pick: Extract<Pick, { kind: "object" }>): readonly KnownName[] => {
    let names = namesByPick.get(pick);
    if (!names) {
      names = [...pick.fields.keys()].map((name) => ({ name, bytes: Buffer.from(name) }));
      namesByPick.set(pick, names);
    }
    return names;
  };

  const open = (isObject: boolean): void => {
    const pick = wanted();
    if (frames.length >= limits.depthMax)
      throw new JsonReadError("depth", `has brackets nested deeper than ${limits.depthMax}`);
    if (pick) count();
    const names = pick?.kind === "object" && isObject ? namesOf(pick) : undefined;
    frame = { isObject, names, pick, value: pick ? (isObject ? {} : []) : undefined, key: undefined };
    frames.push(frame);
    state = isObject ? State.keyOrEnd : State.valueOrEnd;
  };

  const close = (isObject: boolean): void => {
    if (frame?.isObject !== isObject) throw invalid("a bracket that closes nothing");
    const { value } = frame;
    frames.pop();
    frame = frames.at(-1);
    if (value !== undefined) put(value);
    state = frame ? State.comma : State.done;
  };

  const beginText = (key: boolean): void => {
    const pick = key ? undefined : wanted();
    const isKeyWanted = key && frame?.pick !== undefined && frame.pick.kind !== "array";
    isKey = key;
    isEscaped = false;
    hasEscapes = false;
    isTooLong = false;
    keepBytes = isKeyWanted || pick ? KEPT_WHOLE : 0;
    if (pick?.kind === "scalar" && pick.cutAt !== undefined) keepBytes = pick.cutAt;
    if (pick) count();
    state = State.text;
  };

  /** A copy: a small slice would keep the whole buffer of the socket alive. */
  const keep = (chunk: Uint8Array, from: number, to: number): void => {
    if (keepBytes === 0 || to <= from || isTooLong) return;
    const isCut = keepBytes !== KEPT_WHOLE;
    const room = (isCut ? keepBytes : limits.textBytesMax) - partBytes;
    if (to - from > room) {
      isTooLong = true;
      if (!isCut && !isKey)
        throw new JsonReadError("text", `has a text of more than ${limits.textBytesMax} bytes`);
      if (!isCut) return;
    }
    parts.push(Buffer.from(chunk.subarray(from, Math.min(to, from + room))));
    partBytes += parts.at(-1)!.length;
  };

  /** The kept text of which the last part is chunk[from, to). */
  const takeText = (chunk: Buffer, from: number, to: number): string => {
    let text: string;
    if (parts.length === 0 && to - from <= keepBytes && to - from <= limits.textBytesMax) {
      text = chunk.toString("utf8", from, to);
    } else {
      keep(chunk, from, to);
      text = Buffer.concat(parts).toString("utf8");
      parts = [];
      partBytes = 0;
    }
    // Of a name that is too long only its end may be here, and it is not wanted.
    if (!hasEscapes || (isKey && isTooLong)) return text;
    const whole = isTooLong ? withoutHalfEscape(text) : text;
    try {
      return JSON.parse(`"${whole}"`) as string;
    } catch {
      throw invalid("a string with a wrong escape");
    }
  };

  const endKey = (chunk: Buffer, from: number, to: number): void => {
    const { names, pick } = frame!;
    state = State.colon;
    if (keepBytes === 0) frame!.key = undefined;
    else if (names && parts.length === 0 && !hasEscapes && !isTooLong) {
      frame!.key = names.find((known) => isSame(known.bytes, chunk, from, to))?.name;
    } else {
      const key = takeText(chunk, from, to);
      if (isTooLong && pick?.kind === "map" && !pick.each)
        throw new JsonReadError("text", `has a name of more than ${limits.textBytesMax} bytes`);
      const isWanted = pick?.kind !== "map" || (pick.names?.has(key) ?? true);
      frame!.key = isTooLong || !isWanted ? undefined : key;
    }
  };

  const endText = (chunk: Buffer, from: number, to: number): void => {
    if (isKey) return endKey(chunk, from, to);
    if (keepBytes > 0) put(takeText(chunk, from, to));
    state = frame ? State.comma : State.done;
  };

  /** Reads within a string; returns the position after it, or the chunk's end. */
  const readText = (chunk: Buffer, start: number): number => {
    const end = chunk.length;
    for (let p = start; p < end; p++) {
      const c = chunk[p]!;
      if (isEscaped) isEscaped = false;
      else if (c === BACKSLASH) {
        isEscaped = true;
        hasEscapes = true;
      } else if (c === QUOTE) {
        endText(chunk, start, p);
        return p + 1;
      } else if (c < SPACE) throw invalid("a control character in a string");
    }
    keep(chunk, start, end);
    return end;
  };

  const beginWord = (): void => {
    const pick = wanted();
    keepBytes = pick ? KEPT_WHOLE : 0;
    if (pick) count();
    state = State.word;
  };

  const endWord = (): void => {
    const word = (parts.length === 1 ? parts[0]! : Buffer.concat(parts)).toString("latin1");
    parts = [];
    partBytes = 0;
    state = frame ? State.comma : State.done;
    if (keepBytes === 0) return;
    put(word === "true" ? true : word === "false" ? false : toNumber(word));
  };

  const toNumber = (word: string): unknown => {
    try {
      return JSON.parse(word);
    } catch {
      throw invalid("a word that is none of JSON's");
    }
  };

  /** Reads a number or literal; returns the position after it. */
  const readWord = (chunk: Buffer, start: number): number => {
    let p = start;
    while (p < chunk.length && isWord(chunk[p]!)) p++;
    partBytes += p - start;
    if (partBytes > WORD_BYTES_MAX) throw invalid("a word of too many characters");
    if (keepBytes > 0 && p > start) parts.push(Buffer.from(chunk.subarray(start, p)));
    if (p < chunk.length) endWord();
    return p;
  };

  const beginValue = (c: number): void => {
    if (c === QUOTE) beginText(false);
    else if (c === OBJECT_OPEN) open(true);
    else if (c === ARRAY_OPEN) open(false);
    else throw invalid("no value");
  };

  /** One byte outside of strings and words. */
  const step = (c: number): void => {
    switch (state) {
      case State.value:
        return beginValue(c);
      case State.valueOrEnd:
        return c === ARRAY_CLOSE ? close(false) : beginValue(c);
      case State.keyOrEnd:
        if (c === OBJECT_CLOSE) return close(true);
        if (c !== QUOTE) throw invalid("no name of a member");
        return beginText(true);
      case State.key:
        if (c !== QUOTE) throw invalid("no name of a member");
        return beginText(true);
      case State.colon:
        if (c !== COLON) throw invalid("no colon");
        state = State.value;
        return;
      case State.comma:
        if (c === COMMA) state = frame!.isObject ? State.key : State.value;
        else if (c === OBJECT_CLOSE) close(true);
        else if (c === ARRAY_CLOSE) close(false);
        else throw invalid("no comma");
        return;
      default:
        throw invalid("something after the end");
    }
  };

  return {
    push: (bytesOfChunk) => {
      const chunk = Buffer.from(bytesOfChunk.buffer, bytesOfChunk.byteOffset, bytesOfChunk.byteLength);
      if (bytes + chunk.length > limits.bytesMax)
        throw new JsonReadError("bytes", `is larger than ${limits.bytesMax} bytes`);
      let p = 0;
      while (p < chunk.length) {
        if (state === State.text) p = readText(chunk, p);
        else if (state === State.word) p = readWord(chunk, p);
        else {
          const c = chunk[p]!;
          if ((state === State.value || state === State.valueOrEnd) && isWord(c)) beginWord();
          else {
            p++;
            if (c > SPACE || !isSpace(c)) step(c);
          }
        }
      }
      bytes += chunk.length;
    },
    end: () => {
      if (state === State.word && !frame) endWord();
      if (state !== State.done)
        throw new JsonReadError("truncated", `ends after ${bytes} bytes, in the middle`);
      return result;
    },
  };
}

/** Takes off the escape in whose middle a text was cut. A backslash that is itself escaped begins none. */
function withoutHalfEscape(text: string): string {
  const [end = ""] = /\\+(?:u[0-9a-fA-F]{0,3})?$/.exec(text) ?? [];
  const backslashes = end.lastIndexOf("\\") + 1;
  return backslashes % 2 === 0 ? text : text.slice(0, text.length - end.length + backslashes - 1);
}

function isSame(known: Buffer, chunk: Buffer, from: number, to: number): boolean {
  if (known.length !== to - from) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== chunk[from + i]) return false;
  return true;
}

/** A character of a number or of true, false and null. */
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
  return c === SPACE || c === 0x0a || c === 0x0d || c === 0x09;
}
