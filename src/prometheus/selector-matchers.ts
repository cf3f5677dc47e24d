import type { SyntaxNode } from "@lezer/common";
import { parsePromqlTree } from "#lib/promql-tree.ts";
import type { LabelMatcher } from "./remote-read/request.ts";

const OPERATORS: ReadonlySet<string> = new Set(["=", "!=", "=~", "!~"]);
/** One name, or several alternatives of a regular expression that are nothing but names. */
const NAMES = /^[a-zA-Z_:][a-zA-Z0-9_:]*(\|[a-zA-Z_:][a-zA-Z0-9_:]*)*$/;
const PLAIN_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/**
 * The matchers of a plain selector, `__name__` among them. Undefined when they can't be told for sure: alternatives (`or`), or an escape that is
 * not text.
 */
export function matchersOfSelector(selector: string): LabelMatcher[] | undefined {
  const node = parsePromqlTree(selector).topNode.firstChild;
  if (node?.type.name !== "VectorSelector") return undefined;
  const matchers: LabelMatcher[] = [];
  const identifier = node.getChild("Identifier");
  if (identifier)
    matchers.push({ name: "__name__", type: "=", value: selector.slice(identifier.from, identifier.to) });
  for (let each = node.getChild("LabelMatchers")?.firstChild; each; each = each.nextSibling) {
    const matcher = toMatcher(each, selector);
    if (!matcher) return undefined;
    matchers.push(matcher);
  }
  return matchers.length > 0 ? matchers : undefined;
}

/** The metrics that these selectors read, or undefined when one of them does not list their names (`{__name__=~"x.*"}`). */
export function namesOfSelectors(selectors: readonly string[]): ReadonlySet<string> | undefined {
  const names = selectors.map((selector) => namesOf(matchersOfSelector(selector) ?? []));
  return names.includes(undefined) ? undefined : new Set(names.flatMap((each) => each!));
}

/**
 * The selector as one for each name: together they have the same series. Functions that drop the name refuse series that differ in nothing else.
 * Undefined: it does not list the names.
 */
export function selectorsByName(selector: string): string[] | undefined {
  const matchers = matchersOfSelector(selector) ?? [];
  const names = namesOf(matchers);
  if (names?.length === 1) return [selector];
  const others = matchers.filter(({ name }) => name !== "__name__");
  return names?.map((value) => toSelector([{ name: "__name__", type: "=", value }, ...others]));
}

/** Undefined: the matchers do not list them. */
function namesOf(matchers: readonly LabelMatcher[]): string[] | undefined {
  const [only, ...more] = matchers.filter(({ name }) => name === "__name__");
  if (!only || more.length > 0) return undefined;
  if (only.type === "=") return [only.value];
  return only.type === "=~" && NAMES.test(only.value) ? [...new Set(only.value.split("|"))] : undefined;
}

function toMatcher(node: SyntaxNode, selector: string): LabelMatcher | undefined {
  const textOf = (part: SyntaxNode): string => selector.slice(part.from, part.to);
  const kind = node.type.name;
  if (kind === "QuotedLabelName") {
    const value = unquote(textOf(node));
    return value === undefined ? undefined : { name: "__name__", type: "=", value };
  }
  const operator = node.getChild("MatchOp");
  const { firstChild, lastChild } = node;
  if (!/^(Unq|Q)uotedLabelMatcher$/.test(kind) || !operator || !firstChild || !lastChild) return undefined;
  const type = textOf(operator) as LabelMatcher["type"];
  const name = kind === "QuotedLabelMatcher" ? unquote(textOf(firstChild)) : textOf(firstChild);
  const value = unquote(textOf(lastChild));
  if (name === undefined || value === undefined || !OPERATORS.has(type)) return undefined;
  return { name, type, value };
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
};
const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([\s\S]?))/g;
const ASCII_MAX = 0x7f;

/** The text of a PromQL string, whose escapes are those of Go. Undefined: it has an escape that is a single byte, or none. */
function unquote(literal: string): string | undefined {
  const inner = literal.slice(1, -1);
  if (literal.startsWith("`")) return inner;
  let isText = true;
  const text = inner.replaceAll(
    ESCAPE,
    (_all, x?: string, u?: string, U?: string, octal?: string, char?: string) => {
      const byte = x === undefined ? octal && Number.parseInt(octal, 8) : Number.parseInt(x, 16);
      const code = typeof byte === "number" ? byte : Number.parseInt(u ?? U ?? "", 16);
      const isByte = typeof byte === "number";
      if (isByte || u !== undefined || U !== undefined) {
        isText &&= isByte ? code <= ASCII_MAX : code <= 0x10ffff;
        return isText ? String.fromCodePoint(code) : "";
      }
      isText &&= char !== undefined && char in ESCAPES;
      return ESCAPES[char ?? ""] ?? "";
    },
  );
  return isText && text.isWellFormed() ? text : undefined;
}

/**
 * The matchers as remote read needs them. Prometheus changes an equality with an external label's value into one with the empty text, so
 * equalities are sent as expressions, which it anchors. The name's stays: it is what the index is searched by first.
 */
export function toReadMatchers(matchers: readonly LabelMatcher[]): LabelMatcher[] {
  return matchers.map((matcher) =>
    matcher.type !== "=" || matcher.name === "__name__" || matcher.value === ""
      ? matcher
      : { ...matcher, type: "=~", value: escapeExpression(matcher.value) },
  );
}

/** As Go's regexp.QuoteMeta. */
function escapeExpression(text: string): string {
  return text.replaceAll(/[\\.+*?()|[\]{}^$]/g, String.raw`\$&`);
}

/** The selector of these matchers and one more: series that have the label, with this value if there is one. */
export function withLabel(matchers: readonly LabelMatcher[], label: string, value?: string): string {
  const own: LabelMatcher = { name: label, type: value === undefined ? "!=" : "=", value: value ?? "" };
  return toSelector([...matchers, own]);
}

/** The selector of these matchers. */
export function toSelector(matchers: readonly LabelMatcher[]): string {
  const texts = matchers.map(({ name, type, value }) => {
    const quoted = PLAIN_LABEL.test(name) ? name : JSON.stringify(name);
    return `${quoted}${type}${JSON.stringify(value)}`;
  });
  return `{${texts.join(",")}}`;
}
