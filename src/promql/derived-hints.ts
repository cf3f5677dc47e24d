import type { Expr, VectorSelector } from "./ast.ts";
import { childrenOf } from "./children.ts";
import { isReset } from "./histogram-math.ts";
import type { FloatHistogram } from "./histogram.ts";
import type { Series } from "./source.ts";

const STATISTICS = new Set(["histogram_count", "histogram_sum", "histogram_avg"]);
const NEEDING_BUCKETS = new Set(["histogram_quantile", "histogram_fraction"]);

/**
 * Selectors of which a query needs no buckets. Prometheus reads them in another way there (its HistogramStatsIterator), which finds out about
 * counter resets sample by sample; that shows in warnings.
 */
export function selectorsWithoutBuckets(query: Expr): ReadonlySet<VectorSelector> {
  const found = new Set<VectorSelector>();
  const visit = (expr: Expr, isStatistic: boolean): void => {
    if (expr.kind === "vector_selector" && isStatistic) found.add(expr);
    if (expr.kind === "matrix_selector" && isStatistic) found.add(expr.selector);
    if (expr.kind === "subquery" || (expr.kind === "call" && NEEDING_BUCKETS.has(expr.func))) return;
    const isHere = expr.kind === "call" && STATISTICS.has(expr.func);
    for (const child of childrenOf(expr)) visit(child, isStatistic || isHere);
  };
  visit(query, false);
  return found;
}

/** With what each histogram says of a reset before it, where it did not say it itself. */
export function withDerivedHints(series: Series): Series {
  const { histograms } = series;
  if (!histograms) return series;
  let before: FloatHistogram | undefined;
  const derived = histograms.map((histogram) => {
    const known = before;
    before = histogram ?? before;
    if (!histogram || !known || histogram.hint !== "unknown") return histogram;
    const hint = isReset(histogram, known) ? "reset" : "no_reset";
    return { ...histogram, hint } as const;
  });
  return { ...series, histograms: derived };
}
