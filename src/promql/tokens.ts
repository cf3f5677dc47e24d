import { codePoint, quoteChar } from "./go-text.ts";
import { quote } from "./labels.ts";
import { parseError, type Token, type TokenKind } from "./token.ts";

const KEYWORDS: ReadonlyMap<string, TokenKind> = new Map<string, TokenKind>([
  ...["and", "or", "unless", "atan2"].map((word) => [word, "operator"] as const),
  ..."sum avg count min max group stddev stdvar topk bottomk count_values quantile limitk limit_ratio"
    .split(" ")
    .map((word) => [word, "aggregator"] as const),
  ..."offset smoothed anchored by without on ignoring group_left group_right fill fill_left fill_right bool"
    .split(" ")
    .map((word) => [word, "keyword"] as const),
  ...["start", "end", "step", "range", "max_of", "min_of"].map((word) => [word, "preprocessor"] as const),
  ["inf", "number"],
  ["nan", "number"],
]);
const DURATION_WORDS: ReadonlySet<string> = new Set(["step", "range", "max_of", "min_of"]);
const SPACE = /[ \t\n\r]/;
const DIGIT = /[0-9]/;
const ALPHA = /[A-Za-z_]/;
const ALPHANUMERIC = /[A-Za-z0-9_]/;
const SIMPLE_OPERATORS: ReadonlySet<string> = new Set(["*", "/", "%", "+", "-", "^"]);
/** What a broken UTF-8 sequence is decoded to. */
const BROKEN = "\ufffd";

/** Splits a query into tokens exactly as Prometheus' own lexer does; each throws its error when it is reached. */
export class Tokens {
  readonly #text: string;
  #at = 0;
  #start = 0;
  #parens = 0;
  #inBraces = false;
  #inBrackets = false;
  /** Within brackets, until the first number: only what a duration can be made of. */
  #inDuration = false;
  #hasColon = false;
  /** Like Prometheus, it is not forgotten at the next bracket. */
  #hasDuration = false;

  constructor(text: string) {
    this.#text = text;
  }

  /** The token behind the last one; `eof` for ever at the end. */
  next(): Token {
    for (;;) {
      this.#start = this.#at;
      const char = this.#peek();
      if (char !== undefined && SPACE.test(char)) this.#at++;
      else if (char === "#" && !this.#inDuration) this.#skipComment();
      else if (this.#inBraces) return this.#insideBraces(char);
      else if (this.#inDuration) return this.#insideDuration(char);
      else return this.#statement(char);
    }
  }

  #statement(char: string | undefined): Token {
    if (char === undefined) {
      if (this.#parens !== 0) this.#fail("unclosed left parenthesis");
      if (this.#inBrackets) this.#fail("unclosed left bracket");
      return this.#emit("eof", "eof");
    }
    if (SIMPLE_OPERATORS.has(char)) return this.#sign("operator", 1);
    if (DIGIT.test(char) || (char === "." && DIGIT.test(this.#charAt(1)))) return this.#numberOrDuration();
    if (ALPHA.test(char) || char === ":") return this.#word(char);
    const next = this.#charAt(1);
    switch (char) {
      case ",":
        return this.#sign("punctuation", 1);
      case "@":
        return this.#sign("operator", 1);
      case "=":
        if (next === "=") return this.#sign("operator", 2);
        if (next === "~") this.#fail(`unexpected character after '=': ${quoteChar(next)}`);
        return this.#sign("punctuation", 1);
      case "!":
        if (next === "=") return this.#sign("operator", 2);
        return this.#fail(`unexpected character after '!': ${this.#quoted(1)}`);
      case "<":
      case ">":
        return this.#sign("operator", next === "=" || next === "/" ? 2 : 1);
      case '"':
      case "'":
        return this.#string(char);
      case "`":
        return this.#rawString();
      case "(":
      case ")":
        return this.#paren(char);
      case "{":
        this.#inBraces = true;
        return this.#sign("punctuation", 1);
      case "[":
        if (this.#inBrackets) this.#fail("unexpected left bracket '['");
        this.#hasColon = false;
        this.#inBrackets = true;
        this.#inDuration = true;
        return this.#sign("punctuation", 1);
      case "]":
        if (!this.#inBrackets) this.#fail("unexpected right bracket ']'");
        this.#inBrackets = false;
        return this.#sign("punctuation", 1);
      default:
        return this.#fail(`unexpected character: ${this.#quoted(0)}`);
    }
  }

  #word(char: string): Token {
    if (!this.#inBrackets) return this.#keywordOrIdentifier();
    if (char === ":") {
      if (this.#hasColon) this.#fail("unexpected colon ':'");
      this.#hasColon = true;
      return this.#sign("punctuation", 1);
    }
    const word = this.#durationWord();
    if (word) return word;
    return this.#fail(`unexpected character: ${quoteChar(char)}, expected ':'`);
  }

  #insideBraces(char: string | undefined): Token {
    if (char === undefined) return this.#fail("unexpected end of input inside braces");
    if (ALPHA.test(char)) {
      while (ALPHANUMERIC.test(this.#charAt(0))) this.#at++;
      return this.#emit("identifier", "identifier");
    }
    const next = this.#charAt(1);
    switch (char) {
      case ",":
        return this.#sign("punctuation", 1);
      case '"':
      case "'":
        return this.#string(char);
      case "`":
        return this.#rawString();
      case "=":
        return next === "~" ? this.#sign("operator", 2) : this.#sign("punctuation", 1);
      case "!":
        if (next === "~" || next === "=") return this.#sign("operator", 2);
        return this.#fail(`unexpected character after '!' inside braces: ${this.#quoted(1)}`);
      case "{":
        return this.#fail("unexpected left brace '{'");
      case "}":
        this.#inBraces = false;
        return this.#sign("punctuation", 1);
      default:
        return this.#fail(`unexpected character inside braces: ${this.#quoted(0)}`);
    }
  }

  #insideDuration(char: string | undefined): Token {
    if (char === undefined) return this.#fail("unexpected end of input in duration expression");
    if (SIMPLE_OPERATORS.has(char)) return this.#sign("operator", 1);
    if (DIGIT.test(char) || (char === "." && DIGIT.test(this.#charAt(1)))) {
      this.#hasDuration = true;
      this.#inDuration = false;
      return this.#numberOrDuration();
    }
    switch (char) {
      case "]":
        this.#inBrackets = false;
        this.#inDuration = false;
        this.#hasColon = false;
        return this.#sign("punctuation", 1);
      case ":":
        this.#at = ++this.#start;
        if (!this.#hasDuration) this.#fail("unexpected colon before duration in duration expression");
        if (this.#hasColon) this.#fail("unexpected repeated colon in duration expression");
        this.#hasColon = true;
        this.#start--;
        return this.#emit("punctuation", ":");
      case "(":
      case ")":
        return this.#paren(char);
      case ",":
        return this.#sign("punctuation", 1);
      default: {
        const word = this.#durationWord();
        if (word) return word;
        return this.#fail(`unexpected character in duration expression: ${this.#quoted(0)}`);
      }
    }
  }

  /** A closing one that nothing opened is noticed behind it. */
  #paren(char: "(" | ")"): Token {
    this.#parens += char === "(" ? 1 : -1;
    if (this.#parens >= 0) return this.#sign("punctuation", 1);
    this.#start++;
    return this.#fail("unexpected right parenthesis ')'");
  }

  #durationWord(): Token | undefined {
    let end = this.#at;
    while (end < this.#text.length && ALPHA.test(this.#text[end]!)) end++;
    const word = this.#text.slice(this.#start, end).toLowerCase();
    if (!DURATION_WORDS.has(word)) return undefined;
    this.#at = end;
    return this.#emit("preprocessor", word);
  }

  #keywordOrIdentifier(): Token {
    while (ALPHANUMERIC.test(this.#charAt(0)) || this.#peek() === ":") this.#at++;
    const word = this.#text.slice(this.#start, this.#at);
    const lower = word.toLowerCase();
    const kind = KEYWORDS.get(lower);
    if (kind === "number") return this.#emit("number", "number");
    if (kind !== undefined && (!lower.startsWith("fill") || this.#isBeforeParen())) {
      return this.#emit(kind, lower);
    }
    const identifier = word.includes(":") ? "metric_identifier" : "identifier";
    return this.#emit(identifier, identifier);
  }

  #isBeforeParen(): boolean {
    let at = this.#at;
    while (at < this.#text.length && SPACE.test(this.#text[at]!)) at++;
    return this.#text[at] === "(";
  }

  #skipComment(): void {
    while (this.#at < this.#text.length && !/[\r\n]/.test(this.#text[this.#at]!)) this.#at++;
  }

  #string(quote: string): Token {
    this.#at++;
    for (;;) {
      const char = this.#take();
      if (char === undefined || char === "\n") return this.#fail("unterminated quoted string");
      if (char === BROKEN) return this.#fail("invalid UTF-8 rune");
      if (char === quote) return this.#emit("string", "string");
      if (char === "\\") this.#escape(quote);
    }
  }

  #rawString(): Token {
    this.#at++;
    for (;;) {
      const char = this.#take();
      if (char === undefined) return this.#fail("unterminated raw string");
      if (char === BROKEN) return this.#fail("invalid UTF-8 rune");
      if (char === "`") return this.#emit("string", "string");
    }
  }

  #escape(quote: string): void {
    const char = this.#take();
    if (char === undefined) return this.#fail("escape sequence not terminated");
    if (char === quote || "abfnrtv\\".includes(char)) return;
    const isOctal = /[0-7]/.test(char);
    const digits = isOctal ? 3 : { x: 2, u: 4, U: 8 }[char];
    if (digits === undefined) return this.#fail(`unknown escape sequence ${codePoint(char)}`);
    if (isOctal) this.#at--;
    let value = 0;
    for (let i = 0; i < digits; i++) {
      const digit = this.#take();
      if (digit === undefined) return this.#fail("escape sequence not terminated");
      if (!(isOctal ? /[0-7]/ : /[0-9a-fA-F]/).test(digit)) {
        return this.#fail(`illegal character ${codePoint(digit)} in escape sequence`);
      }
      value = value * (isOctal ? 8 : 16) + Number.parseInt(digit, 16);
    }
    const max = isOctal || char === "x" ? 0xff : 0x10ffff;
    if (value > max || (value >= 0xd800 && value < 0xe000)) {
      this.#fail("escape sequence is an invalid Unicode code point");
    }
  }

  #numberOrDuration(): Token {
    if (this.#scanNumber()) return this.#emit("number", "number");
    if (this.#scanDuration()) return this.#emit("duration", "duration");
    return this.#fail(`bad number or duration syntax: ${quote(this.#text.slice(this.#start, this.#at))}`);
  }

  #scanDuration(): boolean {
    if (!this.#accept("smhdwy")) return false;
    this.#accept("s");
    while (this.#accept("0123456789")) {
      while (this.#accept("0123456789"));
      if (!this.#accept("smhdw")) return false;
      this.#accept("s");
    }
    if (!ALPHANUMERIC.test(this.#charAt(0))) return true;
    // The message shows this one, too.
    this.#at++;
    return false;
  }

  /** What it leaves behind when it fails, #scanDuration goes on with. */
  #scanNumber(): boolean {
    const begin = this.#at;
    let digits = "0123456789";
    if (this.#accept("0") && this.#accept("xX")) {
      this.#accept("_");
      digits = "0123456789abcdefABCDEF";
    }
    const isHex = digits.length > 10;
    this.#accept(".");
    this.#accept(digits);
    let hasDot = false;
    let hasExponent = false;
    while (this.#is(`${digits}._eE`)) {
      if (this.#is(".") && hasDot) return this.#reject(".");
      if (this.#is("eE") && hasExponent) return this.#reject("eE");
      if (this.#accept(".")) {
        hasDot = true;
        if (this.#accept("_.") || isHex) return false;
      } else if (this.#accept("eE")) {
        hasExponent = true;
        this.#accept("+-");
        if (this.#accept("._eE") || this.#peek() === undefined) return false;
      } else if (this.#accept("_")) {
        if (this.#accept("._eE") || this.#peek() === undefined) return false;
      } else while (this.#accept(digits));
    }
    if (this.#at === begin) return false;
    return !ALPHANUMERIC.test(this.#charAt(0));
  }

  #reject(chars: string): false {
    this.#accept(chars);
    return false;
  }

  #is(chars: string): boolean {
    const char = this.#peek();
    return char !== undefined && chars.includes(char);
  }

  #accept(chars: string): boolean {
    if (!this.#is(chars)) return false;
    this.#at++;
    return true;
  }

  /** One UTF-16 unit: enough where only ASCII counts. */
  #peek(): string | undefined {
    return this.#text[this.#at];
  }

  #charAt(ahead: number): string {
    return this.#text[this.#at + ahead] ?? "";
  }

  #take(): string | undefined {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) return undefined;
    const char = String.fromCodePoint(code);
    this.#at += char.length;
    return char.isWellFormed() ? char : BROKEN;
  }

  /** The character there as messages show it. */
  #quoted(ahead: number): string {
    const code = this.#text.codePointAt(this.#at + ahead);
    // Go's lexer has -1 at the end of the input, which is no character.
    return quoteChar(code === undefined ? BROKEN : String.fromCodePoint(code).toWellFormed());
  }

  #sign(kind: "operator" | "punctuation", length: number): Token {
    this.#at += length;
    return this.#emit(kind, this.#text.slice(this.#start, this.#at));
  }

  #emit(kind: TokenKind, type: string): Token {
    return { kind, type, text: this.#text.slice(this.#start, this.#at), start: this.#start, end: this.#at };
  }

  #fail(problem: string): never {
    throw parseError(this.#text, this.#start, problem);
  }
}
