import { PromqlError } from "./error.ts";
import { positionText } from "./go-text.ts";
import { quote } from "./labels.ts";

export type TokenKind =
  | "eof"
  | "identifier"
  | "metric_identifier"
  | "string"
  | "number"
  | "duration"
  | "keyword"
  | "aggregator"
  | "preprocessor"
  | "operator"
  | "punctuation";

/** `type`: what the grammar looks at: the keyword or the sign in lower case; of other kinds the same as `kind`. */
export interface Token {
  kind: TokenKind;
  type: string;
  text: string;
  start: number;
  end: number;
}

/** `at`: a UTF-16 offset. */
export function parseError(text: string, at: number, problem: string): PromqlError {
  return new PromqlError("bad_data", `${positionText(text, at)}: parse error: ${problem}`);
}

/** A token as Prometheus' messages name it. */
export function describeToken(token: Token): string {
  switch (token.kind) {
    case "eof":
      return "end of input";
    case "keyword":
      return `<${token.text}>`;
    case "operator":
      return `<op:${token.text}>`;
    case "aggregator":
      return `<aggr:${token.text}>`;
    case "identifier":
      return `identifier ${quote(token.text)}`;
    case "metric_identifier":
      return `metric identifier ${quote(token.text)}`;
    case "string":
    case "number":
    case "duration":
      return `${token.kind} ${shortQuote(token.text)}`;
    case "preprocessor":
    case "punctuation":
  }
  return shortQuote(token.text);
}

const SHOWN_MAX = 10;

function shortQuote(text: string): string {
  if (Buffer.byteLength(text) <= SHOWN_MAX) return quote(text);
  return `${quote(Array.from(text).slice(0, SHOWN_MAX).join(""))}...`;
}
