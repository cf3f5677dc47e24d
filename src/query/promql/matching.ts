import { PromqlError } from "#promql/error.ts";
import type { Matcher } from "#promql/ast.ts";
import { compileMatcher } from "#promql/matcher.ts";
import { checkExpression } from "#query/series/regular-expression.ts";

/** Does a value match? "" stands for no label. Throws PromqlError `bad_data` for an expression that is none of RE2, or that is too large. */
export function toTest(matcher: Matcher): (text: string) => boolean {
  if (matcher.type === "=~" || matcher.type === "!~") checkPattern(matcher.value);
  return compileMatcher(matcher);
}

/** Throws PromqlError `bad_data`. */
export function checkPattern(expression: string): void {
  const wrong = checkExpression(expression);
  if (wrong === undefined) return;
  throw new PromqlError("bad_data", `the regular expression ${JSON.stringify(expression)} ${wrong.problem}`);
}
