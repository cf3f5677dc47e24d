import type { Matcher, VectorSelector } from "./ast.ts";
import { METRIC_NAME, quote } from "./labels.ts";
import { unquote } from "./literals.ts";
import { compileMatcher } from "./matcher.ts";
import type { Context, Reader } from "./reader.ts";
import type { Token } from "./token.ts";

const GROUPING: Context = { within: "grouping opts", expected: '"("' };
const GROUPING_LABEL: Context = { within: "grouping opts", expected: "label" };
const GROUPING_NEXT: Context = { within: "grouping opts", expected: '"," or ")"' };
const LABEL: Context = { within: "label matching", expected: 'identifier or "}"' };
const LABEL_OPERATOR: Context = { within: "label matching", expected: "label matching operator" };
const LABEL_VALUE: Context = { within: "label matching", expected: "string" };
const LABEL_NEXT: Context = { within: "label matching", expected: '"," or "}"' };

/** Keywords that are names where an expression begins. */
const NAME_KEYWORDS: ReadonlySet<string> = new Set([
  "and",
  "or",
  "unless",
  "by",
  "without",
  "offset",
  "anchored",
  "smoothed",
  "fill",
  "fill_left",
  "fill_right",
]);
const MATCH_OPERATORS: ReadonlySet<string> = new Set(["=", "!=", "=~", "!~"]);
const NAME_KINDS: ReadonlySet<Token["kind"]> = new Set([
  "identifier",
  "metric_identifier",
  "aggregator",
  "preprocessor",
]);

export function readMetric(reader: Reader, name: Token): VectorSelector {
  const own: Matcher = { name: METRIC_NAME, type: "=", value: name.text };
  const braces = reader.peek().type === "{" ? readMatchers(reader, reader.take()) : undefined;
  return {
    kind: "vector_selector",
    name: name.text,
    matchers: [own, ...(braces?.matchers ?? [])],
    offsetMs: 0,
    start: name.start,
    end: braces?.end ?? name.end,
  };
}

export function readMatchers(reader: Reader, open: Token): VectorSelector {
  const matchers: Matcher[] = [];
  while (reader.peek().type !== "}") {
    matchers.push(readMatcher(reader));
    const { type } = reader.peek();
    if (type !== "," && type !== "}") reader.unexpected(LABEL_NEXT);
    if (type === ",") reader.take();
  }
  const { end } = reader.take();
  return { kind: "vector_selector", matchers, offsetMs: 0, start: open.start, end };
}

function readMatcher(reader: Reader): Matcher {
  const label = reader.peek();
  if (label.kind !== "identifier" && label.kind !== "string") return reader.unexpected(LABEL);
  reader.take();
  const name = label.kind === "string" ? unquote(label.text) : label.text;
  const operator = reader.peek();
  if (!MATCH_OPERATORS.has(operator.type)) {
    if (label.kind === "string") return { name: METRIC_NAME, type: "=", value: name };
    reader.unexpected(LABEL_OPERATOR);
  }
  reader.take();
  const value = reader.peek();
  if (value.kind !== "string") reader.unexpected(LABEL_VALUE);
  reader.take();
  const matcher: Matcher = { name, type: operator.type as Matcher["type"], value: unquote(value.text) };
  try {
    compileMatcher(matcher);
  } catch (error) {
    reader.fail(label.start, error instanceof Error ? error.message : String(error));
  }
  return matcher;
}

export function readGrouping(reader: Reader): { labels: string[]; end: number } {
  if (reader.peek().type !== "(") reader.unexpected(GROUPING);
  reader.take();
  const labels: string[] = [];
  while (reader.peek().type !== ")") {
    labels.push(readGroupingLabel(reader));
    const { type } = reader.peek();
    if (type !== "," && type !== ")") reader.unexpected(GROUPING_NEXT);
    if (type === ",") reader.take();
  }
  return { labels, end: reader.take().end };
}

function readGroupingLabel(reader: Reader): string {
  const token = reader.peek();
  const isWord =
    NAME_KINDS.has(token.kind) ||
    (token.kind === "keyword" && token.type !== "without") ||
    (token.kind === "operator" && /^[a-z]/.test(token.type));
  if (!isWord && token.kind !== "string") return reader.unexpected(GROUPING_LABEL);
  reader.take();
  const label = token.kind === "string" ? unquote(token.text) : token.text;
  if (label === "" || !label.isWellFormed()) {
    reader.fail(token.start, `invalid label name for grouping: ${quote(label)}`);
  }
  return label;
}

/** Can a metric's name begin an expression with this token? */
export function isName(token: Token): boolean {
  return NAME_KINDS.has(token.kind) || NAME_KEYWORDS.has(token.type);
}
