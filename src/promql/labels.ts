export const METRIC_NAME = "__name__";

/** Labels about the metric itself: gone as soon as a value is no longer the metric's own. */
const METADATA = new Set([METRIC_NAME, "__type__", "__unit__"]);

const LEGACY_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/**
 * A series' labels, sorted by name (UTF-8), each name once, without empty values: an empty value is the same as no label in Prometheus'
 * data model. Never changes.
 */
export class Labels {
  static readonly EMPTY = new Labels([]);

  /** name, value, name, value ... */
  readonly #pairs: readonly string[];
  #key: string | undefined;
  #sortKey: string | undefined;
  #withoutMetadata: Labels | undefined;

  private constructor(pairs: readonly string[]) {
    this.#pairs = pairs;
  }

  static of(entries: Iterable<readonly [name: string, value: string]>): Labels {
    const byName = new Map<string, string>();
    for (const [name, value] of entries) {
      if (value === "") byName.delete(name);
      else byName.set(name, value);
    }
    if (byName.size === 0) return Labels.EMPTY;
    return new Labels([...byName].sort(([a], [b]) => compareText(a, b)).flat());
  }

  get size(): number {
    return this.#pairs.length / 2;
  }

  /** The same for equal labels only. */
  get key(): string {
    return (this.#key ??= lengthPrefixed(this.#pairs));
  }

  /** "" when there is no such label. */
  get(name: string): string {
    const at = this.#find(name);
    return at < 0 ? "" : this.#pairs[at + 1]!;
  }

  has(name: string): boolean {
    return this.#find(name) >= 0;
  }

  *entries(): Generator<[name: string, value: string]> {
    for (let i = 0; i < this.#pairs.length; i += 2) yield [this.#pairs[i]!, this.#pairs[i + 1]!];
  }

  /** With the label; an empty value removes it. */
  with(name: string, value: string): Labels {
    if (this.get(name) === value) return this;
    return Labels.of([...this.entries(), [name, value]]);
  }

  /** Only the labels of these names. */
  only(names: ReadonlySet<string>): Labels {
    return this.#filter((name) => names.has(name));
  }

  /** Without the labels of these names. */
  without(names: ReadonlySet<string>): Labels {
    return this.#filter((name) => !names.has(name));
  }

  /** Without the metric's name (and its type and unit): the value is no longer that metric's. */
  withoutMetadata(): Labels {
    return (this.#withoutMetadata ??= this.#filter((name) => !METADATA.has(name)));
  }

  /** The same for label sets that agree in the labels of these names; the names always in the same order. */
  keyOf(names: readonly string[]): string {
    let key = "";
    for (const name of names) {
      const value = this.get(name);
      key += `${value.length}:${value}`;
    }
    return key;
  }

  /** The same for label sets that agree in all labels but these. */
  keyWithout(names: ReadonlySet<string>): string {
    let key = "";
    const pairs = this.#pairs;
    for (let i = 0; i < pairs.length; i += 2) {
      const name = pairs[i]!;
      const value = pairs[i + 1]!;
      if (!names.has(name)) key += `${name.length}:${name}${value.length}:${value}`;
    }
    return key;
  }

  /** As in Prometheus' messages: {a="1", b="2"}. */
  toString(): string {
    const labels = [...this.entries()].map(
      ([name, value]) => `${LEGACY_NAME.test(name) ? name : quote(name)}=${quote(value)}`,
    );
    return `{${labels.join(", ")}}`;
  }

  /** Prometheus' order of label sets: by name, then value, pair by pair; a shorter one that is the beginning of another is less. */
  static compare(a: Labels, b: Labels): number {
    const [x, y] = [a.#order(), b.#order()];
    return x < y ? -1 : x > y ? 1 : 0;
  }

  /** A text whose order is that of the label sets: sorting compares each set many times. */
  #order(): string {
    return (this.#sortKey ??= utf8Order(this.#pairs.map((text) => `${text}\0`).join("")));
  }

  #find(name: string): number {
    const pairs = this.#pairs;
    for (let i = 0; i < pairs.length; i += 2) if (pairs[i] === name) return i;
    return -1;
  }

  #filter(keeps: (name: string) => boolean): Labels {
    const pairs = this.#pairs;
    const kept: string[] = [];
    for (let i = 0; i < pairs.length; i += 2) if (keeps(pairs[i]!)) kept.push(pairs[i]!, pairs[i + 1]!);
    if (kept.length === pairs.length) return this;
    return kept.length === 0 ? Labels.EMPTY : new Labels(kept);
  }
}

function lengthPrefixed(texts: readonly string[]): string {
  let key = "";
  for (const text of texts) key += `${text.length}:${text}`;
  return key;
}

/**
 * A text that compares as the text's UTF-8 bytes do, as in Go: by code units, a surrogate pair would come before U+E000 to U+FFFF. So these change
 * places.
 */
function utf8Order(text: string): string {
  if (!HIGH_UNIT.test(text)) return text;
  return Array.from({ length: text.length }, (_none, i) => {
    const unit = text.charCodeAt(i);
    if (unit < 0xd800) return text[i]!;
    return String.fromCharCode(unit <= 0xdfff ? unit + 0x2000 : unit - 0x800);
  }).join("");
}

const HIGH_UNIT = /[\ud800-\uffff]/;

function compareText(a: string, b: string): number {
  const isHigh = HIGH_UNIT.test(a) && HIGH_UNIT.test(b);
  const [x, y] = isHigh ? [utf8Order(a), utf8Order(b)] : [a, b];
  return x < y ? -1 : x > y ? 1 : 0;
}

const ESCAPES: Record<string, string> = {
  '"': '\\"',
  "\\": "\\\\",
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** Go's %q: in double quotes, with escapes for what is not printable. */
export function quote(text: string): string {
  // Letters, marks, numbers, punctuation, symbols and the plain space are printable in Go.
  const escaped = text.replace(/["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, (character) => {
    const known = ESCAPES[character];
    if (known !== undefined) return known;
    const code = character.codePointAt(0)!;
    // A byte that is no UTF-8 (unquote).
    if (!character.isWellFormed()) return `\\x${(code & 0xff).toString(16).padStart(2, "0")}`;
    if (code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
    if (code <= 0xffff) return `\\u${code.toString(16).padStart(4, "0")}`;
    return `\\U${code.toString(16).padStart(8, "0")}`;
  });
  return `"${escaped}"`;
}
