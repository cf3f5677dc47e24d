import type { Expr } from "./ast.ts";
import { PromqlError } from "./error.ts";
import { describeToken, parseError, type Token } from "./token.ts";
import { Tokens } from "./tokens.ts";

/** How deep expressions may be nested, so that no walk through them overflows the stack. `a + b + c` nests, too. */
export const QUERY_DEPTH_MAX = 1000;

/** Where a token is not expected: what messages say about it. */
export interface Context {
  within: string;
  expected?: string;
}

/**
 * What the parts of the parser share: the next token, how deep they are, and the last of the rules that knows what to say about an error, as in
 * Prometheus' grammar for yacc.
 */
export class Reader {
  readonly #text: string;
  readonly #tokens: Tokens;
  readonly #contexts: Context[] = [];
  readonly #depths = new WeakMap<Expr, number>();
  #ahead: Token | undefined;
  #nesting = 0;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = new Tokens(text);
  }

  /** Reads something of which errors are told as of that context. */
  within<T>(context: Context, read: () => T): T {
    this.#contexts.push(context);
    const value = read();
    this.#contexts.pop();
    return value;
  }

  /** One level deeper, until `leave`. */
  enter(): void {
    this.#nesting++;
    this.checkDepth(0);
  }

  leave(): void {
    this.#nesting--;
  }

  /** Refuses what is too deep together with what is inside of it. */
  nested<E extends Expr>(expr: E, ...inside: (Expr | undefined)[]): E {
    let depth = 0;
    for (const each of inside) depth = Math.max(depth, (each && this.#depths.get(each)) ?? 0);
    this.checkDepth(++depth);
    this.#depths.set(expr, depth);
    return expr;
  }

  peek(): Token {
    return (this.#ahead ??= this.#tokens.next());
  }

  take(): Token {
    const token = this.peek();
    this.#ahead = undefined;
    return token;
  }

  expect(type: string): Token {
    if (this.peek().type !== type) this.unexpected();
    return this.take();
  }

  unexpected(context?: Context): never {
    return this.#unexpectedToken(this.peek(), context ?? this.#contexts.at(-1));
  }

  #unexpectedToken(token: Token, context?: Context): never {
    const within = context ? ` in ${context.within}` : "";
    const expected = context?.expected === undefined ? "" : `, expected ${context.expected}`;
    return this.fail(token.start, `unexpected ${describeToken(token)}${within}${expected}`);
  }

  /** `depth`: further levels within the current one. */
  checkDepth(depth: number): void {
    if (depth + this.#nesting <= QUERY_DEPTH_MAX) return;
    throw new PromqlError("bad_data", `the query is nested deeper than ${QUERY_DEPTH_MAX} levels`);
  }

  fail(at: number, problem: string): never {
    throw parseError(this.#text, at, problem);
  }
}
