import type { ValueType } from "./ast.ts";

export interface FunctionSignature {
  name: string;
  /** The last one counts for every further argument, too. */
  argTypes: readonly ValueType[];
  /** How many arguments more than `argTypes` without its last one there may be; -1: any number; 0: exactly those of `argTypes`. */
  variadic: number;
  returnType: ValueType;
  /** Only with Prometheus' feature flag, which this service does not have. */
  isExperimental: boolean;
}

const V: readonly ValueType[] = ["vector"];
const M: readonly ValueType[] = ["matrix"];

const SIGNATURES: ReadonlyMap<string, FunctionSignature> = new Map(
  [
    ...ofVector(
      "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg histogram_count histogram_sum histogram_stddev histogram_stdvar ln log10 log2 rad sgn sin sinh sort sort_desc sqrt tan tanh timestamp",
    ),
    ...words("days_in_month day_of_month day_of_week day_of_year hour minute month year").map((name) =>
      signature(name, V, "vector", 1),
    ),
    ...words(
      "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta increase irate last_over_time max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time",
    ).map((name) => signature(name, M, "vector")),
    signature("clamp", ["vector", "scalar", "scalar"], "vector"),
    signature("clamp_max", ["vector", "scalar"], "vector"),
    signature("clamp_min", ["vector", "scalar"], "vector"),
    signature("histogram_fraction", ["scalar", "scalar", "vector"], "vector"),
    signature("histogram_quantile", ["scalar", "vector"], "vector"),
    signature("label_replace", ["vector", "string", "string", "string", "string"], "vector"),
    signature("label_join", ["vector", "string", "string", "string"], "vector", -1),
    signature("pi", [], "scalar"),
    signature("predict_linear", ["matrix", "scalar"], "vector"),
    signature("quantile_over_time", ["scalar", "matrix"], "vector"),
    signature("round", ["vector", "scalar"], "vector", 1),
    signature("scalar", V, "scalar"),
    signature("time", [], "scalar"),
    signature("vector", ["scalar"], "vector"),

    experimental("double_exponential_smoothing", ["matrix", "scalar", "scalar"], "vector"),
    experimental("end", [], "scalar"),
    experimental("histogram_quantiles", ["vector", "string", "scalar", "scalar"], "vector", 9),
    experimental("info", ["vector", "vector"], "vector", 1),
    experimental("mad_over_time", M, "vector"),
    experimental("max_of", ["scalar", "scalar"], "scalar"),
    experimental("min_of", ["scalar", "scalar"], "scalar"),
    experimental("range", [], "scalar"),
    experimental("sort_by_label", ["vector", "string"], "vector", -1),
    experimental("sort_by_label_desc", ["vector", "string"], "vector", -1),
    experimental("start", [], "scalar"),
    experimental("start_timestamp", V, "vector"),
    experimental("step", [], "scalar"),
    ...words("ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time").map(
      (name) => experimental(name, M, "vector"),
    ),
  ].map((each) => [each.name, each]),
);

/** A function of Prometheus 3.15. Names are exact: `Rate` is none. */
export function functionSignature(name: string): FunctionSignature | undefined {
  return SIGNATURES.get(name);
}

function signature(
  name: string,
  argTypes: readonly ValueType[],
  returnType: ValueType,
  variadic = 0,
): FunctionSignature {
  return { name, argTypes, variadic, returnType, isExperimental: false };
}

function experimental(...args: Parameters<typeof signature>): FunctionSignature {
  return { ...signature(...args), isExperimental: true };
}

function ofVector(names: string): FunctionSignature[] {
  return words(names).map((name) => signature(name, V, "vector"));
}

function words(text: string): string[] {
  return text.split(" ");
}
