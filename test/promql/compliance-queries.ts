import { parse } from "yaml";

/** Its `should_fail` is of Prometheus 2: of the five queries, two with names in UTF-8 do not fail in 3. */
interface Template {
  query: string;
  variant_args?: string[];
}

/** The values of the templates' arguments (prometheus/compliance, promql/testcases/expand.go). */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  range: ["1s", "15s", "1m", "5m", "15m", "1h"],
  offset: ["1m", "5m", "10m"],
  simpleAggrOp: ["sum", "avg", "max", "min", "count", "stddev", "stdvar"],
  simpleTimeAggrOp: ["sum", "avg", "max", "min", "count", "stddev", "stdvar", "absent", "last"],
  topBottomOp: ["topk", "bottomk"],
  quantile: ["-0.5", "0.1", "0.5", "0.75", "0.95", "0.90", "0.99", "1", "1.5"],
  arithBinOp: ["+", "-", "*", "/", "%", "^"],
  compBinOp: ["==", "!=", "<", ">", "<=", ">="],
  binOp: ["+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">="],
  simpleMathFunc: ["abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "round"],
  extrapolatedRateFunc: ["delta", "rate", "increase"],
  clampFunc: ["clamp_min", "clamp_max"],
  instantRateFunc: ["idelta", "irate"],
  dateFunc: ["day_of_month", "day_of_week", "days_in_month", "hour", "minute", "month", "year"],
};

/** All queries of the file of templates. */
export function expandQueries(yaml: string): string[] {
  const { test_cases: templates } = parse(yaml) as { test_cases: Template[] };
  return templates.flatMap(({ query, variant_args: args = [] }) => variants(query, args));
}

function variants(query: string, [first, ...rest]: readonly string[]): string[] {
  if (first === undefined) return [query];
  const values = VARIANTS[first];
  if (!values) throw new Error(`unknown argument of a template: ${first}`);
  return values.flatMap((value) => variants(query.replaceAll(`{{.${first}}}`, value), rest));
}
