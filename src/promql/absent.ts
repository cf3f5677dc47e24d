import type { Expr, Matcher } from "./ast.ts";
import { Labels, METRIC_NAME } from "./labels.ts";
import { compileMatcher } from "./matcher.ts";

/** Labels of what absent() says is absent: those that the selector names with one `=`, in the order in which Prometheus has its matchers. */
export function absentLabels(expr: Expr): Labels {
  if (expr.kind !== "vector_selector") return Labels.EMPTY;
  const labels = new Map<string, string>();
  const seen = new Set<string>();
  for (const { name, type, value } of inStorageOrder(expr.matchers)) {
    if (name === METRIC_NAME) continue;
    if (type === "=" && !seen.has(name)) {
      labels.set(name, value);
      seen.add(name);
    } else labels.delete(name);
  }
  return Labels.of(labels);
}

/**
 * Prometheus' storage sorts the matchers of the query itself before absent() looks at them (tsdb/querier.go, PostingsForMatchers): first those of labels
 * that a series must have, unless they are negative and let the empty value through.
 */
function inStorageOrder(matchers: readonly Matcher[]): Matcher[] {
  const passesEmpty = new Map(matchers.map((matcher) => [matcher, compileMatcher(matcher)("")]));
  const needed = new Set(matchers.filter((each) => !passesEmpty.get(each)).map(({ name }) => name));
  const isSubtracted = (matcher: Matcher): boolean => {
    if (!needed.has(matcher.name)) return true;
    return matcher.type.startsWith("!") && passesEmpty.get(matcher) === true;
  };
  return [...matchers.filter((each) => !isSubtracted(each)), ...matchers.filter(isSubtracted)];
}
