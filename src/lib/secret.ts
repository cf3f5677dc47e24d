import { inspect } from "node:util";

/** A secret text that no log, JSON body, error message or template can show by accident; `expose` is the one way to it. */
export interface Secret {
  expose(): string;
  toString(): string;
  toJSON(): string;
}

const HIDDEN = "[secret]";

export function createSecret(value: string): Secret {
  return Object.freeze({
    expose: () => value,
    toString: () => HIDDEN,
    toJSON: () => HIDDEN,
    [inspect.custom]: () => HIDDEN,
  });
}

/** A shorter text is more likely an ordinary word than a secret: hiding it would spoil messages. */
const HIDEABLE_CHARS_MIN = 6;
/** Of a longer secret the beginning is searched for, and what follows it is hidden with it. */
const HEAD_CHARS_MAX = 128;

/** One written form of a secret; a match is widened by neighbours of the same alphabet. */
interface Form {
  pattern: RegExp;
  alphabet: RegExp | undefined;
}

const BASE64 = /[A-Za-z0-9+/_=-]/;
const HEX = /[0-9A-Fa-f]/;

/**
 * Takes secrets out of a text whose author knows them: servers and proxies quote requests in their errors. It finds a secret of at least
 * 6 characters when the text holds the whole of it as it is, with escapes (JSON, URL, HTML), in hexadecimal, or in base64 (both alphabets,
 * with or without padding), also as a part of a longer encoded text such as `user:password`. It does not find a part of a secret, nor one
 * that is encoded twice, compressed or encrypted.
 */
export function createHider(secrets: readonly string[], hidden = HIDDEN): (text: string) => string {
  const hideable = [...new Set(secrets)].filter((secret) => secret.length >= HIDEABLE_CHARS_MIN);
  // The longest first: one may be a part of another.
  const sorted = hideable.toSorted((a, b) => b.length - a.length);
  const forms = sorted.flatMap(formsOf);
  return (text) => {
    const plain = sorted.reduce((rest, secret) => rest.replaceAll(secret, hidden), text);
    return forms.reduce((rest, form) => hideForm(rest, form, hidden), plain);
  };
}

/** {@link createHider} for a text or two. */
export function hideSecrets(text: string, secrets: readonly string[]): string {
  return createHider(secrets)(text);
}

/** The secrets that a header's value may hold: the whole value, and the part behind its scheme ("Bearer x"). */
export function secretsOfHeader(value: string): string[] {
  return [value, ...value.split(/\s+/).slice(1)];
}

function formsOf(secret: string): Form[] {
  const isLong = secret.length > HEAD_CHARS_MAX;
  const head = isLong ? secret.slice(0, HEAD_CHARS_MAX) : secret;
  const bytes = Buffer.from(head);
  return [
    { pattern: escapedPattern(head), alphabet: isLong ? BASE64 : undefined },
    ...[0, 1, 2].map((offset) => ({ pattern: base64Pattern(bytes, offset), alphabet: BASE64 })),
    { pattern: hexPattern(bytes), alphabet: HEX },
  ];
}

/** Bounded repeats, so that a long run of backslashes costs no more than its length. */
const BACKSLASHES = String.raw`\\{0,8}`;
const ENTITIES: Readonly<Record<string, string>> = {
  "&": "amp",
  "<": "lt",
  ">": "gt",
  '"': "quot",
  "'": "apos",
};

/** The text with any of its characters written as JSON, URLs, HTML or source code escape it. */
function escapedPattern(text: string): RegExp {
  return new RegExp(Array.from(text, escapedCharacter).join(""), "g");
}

function escapedCharacter(character: string): string {
  const point = character.codePointAt(0)!;
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
  const percent = [...Buffer.from(character)].map((byte) => `%(?:25){0,2}${anyCase(toHex(byte, 2))}`);
  const unicode = units.map((unit) => String.raw`\\{1,8}u${anyCase(toHex(unit, 4))}`);
  const entity = ENTITIES[character];
  return `(?:${[
    `${BACKSLASHES}${character.replace(/[\\^$.*+?()[\]{}|/]/, String.raw`\$&`)}`,
    percent.join(""),
    unicode.join(""),
    ...(point < 256 ? [String.raw`\\{1,8}x${anyCase(toHex(point, 2))}`] : []),
    `&#0{0,4}${point};`,
    `&#[xX]0{0,4}${anyCase(point.toString(16))};`,
    ...(entity === undefined ? [] : [`&${entity};`]),
    ...(character === " " ? [String.raw`\+`] : []),
  ].join("|")})`;
}

/** The characters of base64 that depend on these bytes alone when `offset` (mod 3) other bytes stand before them. */
function base64Pattern(bytes: Buffer, offset: number): RegExp {
  const text = Buffer.concat([Buffer.alloc(offset), bytes])
    .toString("base64")
    .replaceAll("=", "");
  const isWhole = (offset + bytes.length) % 3 === 0;
  const core = text.slice(offset === 0 ? 0 : offset + 1, isWhole ? undefined : -1);
  const characters = Array.from(core, (character) => {
    if (character === "+") return "(?:[+-]|%2[bB])";
    return character === "/" ? String.raw`(?:\\{0,8}[/_]|%2[fF])` : character;
  });
  return new RegExp(characters.join(""), "g");
}

function hexPattern(bytes: Buffer): RegExp {
  return new RegExp([...bytes].map((byte) => anyCase(toHex(byte, 2))).join("[: -]?"), "g");
}

function toHex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

function anyCase(hex: string): string {
  return hex.replaceAll(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`);
}

function hideForm(text: string, { pattern, alphabet }: Form, hidden: string): string {
  let result = "";
  let done = 0;
  for (const match of text.matchAll(pattern)) {
    let from = match.index;
    let to = from + match[0].length;
    if (to <= done) continue;
    while (alphabet && from > done && alphabet.test(text[from - 1]!)) from--;
    while (alphabet && to < text.length && alphabet.test(text[to]!)) to++;
    result += text.slice(done, from) + hidden;
    done = to;
  }
  return result + text.slice(done);
}
