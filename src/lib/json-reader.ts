import { JsonTokens, WORD_BYTES_MAX, type JsonEvents, type JsonText } from "./json-tokens.ts";

/** The part of a JSON document that is wanted. The rest is checked for brackets, commas and colons alone, and nothing of it is kept. */
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

/** A document is not JSON, not whole, or over its limits. The message continues a sentence after its subject: "is larger than ...". */
export class JsonReadError extends Error {
  readonly problem: "invalid" | "truncated" | "bytes" | "depth" | "values" | "text";

  constructor(problem: JsonReadError["problem"], message: string) {
    super(message);
    this.name = "JsonReadError";
    this.problem = problem;
  }
}

/** Reads one JSON document as its bytes arrive. The work is constant for each byte; memory only grows with the wanted part. */
export interface JsonReader {
  /** Nothing of the chunk is kept. Throws JsonReadError, and whatever `each` throws. */
  push(chunk: Uint8Array): void;
  /** The wanted part: a value of another kind than wanted is there without its content. Throws JsonReadError when the document is not whole. */
  end(): unknown;
}

const SPACE = 0x20;

/** A member's name is compared as bytes: most names are not wanted, and a string for each would cost more than all the rest. */
interface KnownName {
  name: string;
  bytes: Buffer;
}

/** Brackets that are open. */
interface Container {
  isObject: boolean;
  names: readonly KnownName[] | undefined;
  /** Undefined: nothing in it is wanted. */
  pick: Pick | undefined;
  value: Record<string, unknown> | unknown[] | undefined;
  /** Name of the member that is being read; undefined when it is not wanted. */
  key: string | undefined;
}

/** Reads with the tokens of {@link JsonTokens}. Throws JsonReadError. */
export function createJsonReader(root: Pick, limits: JsonLimits): JsonReader {
  let bytes = 0;
  const invalid = (problem: string): JsonReadError =>
    new JsonReadError("invalid", `is not JSON: ${problem} at byte ${bytes}`);
  const picked = new PickedValues(root, limits, invalid);
  const tokens = new JsonTokens(picked, limits.depthMax, {
    invalid,
    tooDeep: () => new JsonReadError("depth", `has brackets nested deeper than ${limits.depthMax}`),
  });
  return {
    push: (chunk) => {
      if (bytes + chunk.length > limits.bytesMax)
        throw new JsonReadError("bytes", `is larger than ${limits.bytesMax} bytes`);
      tokens.run(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength), 0);
      bytes += chunk.length;
    },
    end: () => {
      if (!tokens.end()) throw new JsonReadError("truncated", `ends after ${bytes} bytes, in the middle`);
      return picked.result;
    },
  };
}

/** Puts the wanted values of a document together from its tokens. */
class PickedValues implements JsonEvents {
  result: unknown;
  readonly #root: Pick;
  readonly #limits: JsonLimits;
  readonly #invalid: (problem: string) => JsonReadError;
  readonly #outer: Container[] = [];
  readonly #namesByPick = new Map<Pick, readonly KnownName[]>();
  #inner: Container | undefined;
  /** How the value that is being read is wanted. */
  #pick: Pick | undefined;
  #values = 0;

  constructor(root: Pick, limits: JsonLimits, invalid: (problem: string) => JsonReadError) {
    this.#root = root;
    this.#limits = limits;
    this.#invalid = invalid;
  }

  open(isObject: boolean): void {
    const pick = this.#pickOfNext();
    if (pick) this.#count();
    const names = pick?.kind === "object" && isObject ? this.#namesOf(pick) : undefined;
    this.#inner = { isObject, names, pick, value: pick ? (isObject ? {} : []) : undefined, key: undefined };
    this.#outer.push(this.#inner);
  }

  close(): void {
    const value = this.#outer.pop()?.value;
    this.#inner = this.#outer.at(-1);
    if (value !== undefined) this.#put(value);
  }

  wanted(what: "key" | "text" | "word"): number {
    if (what === "key") {
      const pick = this.#inner?.pick;
      return pick !== undefined && pick.kind !== "array" ? this.#limits.textBytesMax : 0;
    }
    const pick = this.#pickOfNext();
    this.#pick = pick;
    if (!pick) return 0;
    if (what === "word") return WORD_BYTES_MAX;
    return cutOf(pick) ?? this.#limits.textBytesMax;
  }

  key(text: JsonText): void {
    this.#inner!.key = this.#wantedKey(text);
  }

  text(text: JsonText): void {
    if (!this.#pick) return;
    this.#count();
    if (cutOf(this.#pick) === undefined && text.size > this.#limits.textBytesMax)
      throw new JsonReadError("text", `has a text of more than ${this.#limits.textBytesMax} bytes`);
    this.#put(this.#textOf(text));
  }

  word(word: string): void {
    this.#count();
    try {
      this.#put(JSON.parse(word));
    } catch {
      throw this.#invalid("a value is no number, true, false or null");
    }
  }

  /** How the value that begins now is wanted. */
  #pickOfNext(): Pick | undefined {
    if (!this.#inner) return this.#root;
    const { pick, key, isObject } = this.#inner;
    if (pick === undefined || pick.kind === "scalar") return undefined;
    if (pick.kind === "array") return isObject ? undefined : pick.of;
    if (key === undefined || !isObject) return undefined;
    return pick.kind === "map" ? pick.of : pick.fields.get(key);
  }

  #count(): void {
    if (++this.#values > this.#limits.valuesMax)
      throw new JsonReadError("values", `has more than ${this.#limits.valuesMax} values`);
  }

  /** Puts a value that is whole where it belongs. */
  #put(value: unknown): void {
    if (!this.#inner) {
      this.result = value;
      return;
    }
    const { pick, value: container, key } = this.#inner;
    if (Array.isArray(container)) {
      if (pick?.kind === "array" && pick.each) {
        pick.each(value);
        this.#values = 0;
      } else container.push(value);
    } else if (container && key !== undefined) {
      if (pick?.kind === "map" && pick.each) {
        pick.each(key, value);
        this.#values = 0;
      } else setMember(container, key, value);
    }
  }

  #namesOf(pick: Extract<Pick, { kind: "object" }>): readonly KnownName[] {
    let names = this.#namesByPick.get(pick);
    if (!names) {
      names = [...pick.fields.keys()].map((name) => ({ name, bytes: Buffer.from(name) }));
      this.#namesByPick.set(pick, names);
    }
    return names;
  }

  /** The name of a member, or undefined when the member is not wanted. */
  #wantedKey(text: JsonText): string | undefined {
    const { names, pick } = this.#inner!;
    if (pick === undefined || pick.kind === "array") return undefined;
    if (text.size > this.#limits.textBytesMax) {
      if (pick.kind === "map" && !pick.each)
        throw new JsonReadError("text", `has a name of more than ${this.#limits.textBytesMax} bytes`);
      return undefined;
    }
    if (names && !text.hasEscapes) return names.find((known) => isSame(known.bytes, text.bytes))?.name;
    const key = this.#textOf(text);
    return pick.kind !== "map" || (pick.names?.has(key) ?? true) ? key : undefined;
  }

  #textOf({ bytes, size, hasEscapes }: JsonText): string {
    const text = bytes.toString("utf8");
    if (hasControl(bytes)) throw this.#invalid("a control character in a string");
    if (!hasEscapes) return text;
    try {
      return JSON.parse(`"${size > bytes.length ? withoutHalfEscape(text) : text}"`) as string;
    } catch {
      throw this.#invalid("a string with a wrong escape");
    }
  }
}

function cutOf(pick: Pick): number | undefined {
  return pick.kind === "scalar" ? pick.cutAt : undefined;
}

function setMember(container: Record<string, unknown>, key: string, value: unknown): void {
  // A plain assignment to `__proto__` would not make a member.
  if (key === "__proto__")
    Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true });
  else container[key] = value;
}

/** Removes a half escape from the end of a text that was cut. A backslash that is itself escaped begins no escape. */
function withoutHalfEscape(text: string): string {
  const [end = ""] = /\\+(?:u[0-9a-fA-F]{0,3})?$/.exec(text) ?? [];
  const backslashes = end.lastIndexOf("\\") + 1;
  return backslashes % 2 === 0 ? text : text.slice(0, text.length - end.length + backslashes - 1);
}

function isSame(known: Buffer, bytes: Buffer): boolean {
  if (known.length !== bytes.length) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[i]) return false;
  return true;
}

function hasControl(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i]! < SPACE) return true;
  return false;
}
