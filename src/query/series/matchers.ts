import type { QueryParameters } from "#storage/database.ts";
import { refuseField } from "#query/limits.ts";
import { anchor, checkExpression } from "./regular-expression.ts";

export const FILTER_OPERATORS = ["=", "!=", "=~", "!~"] as const;

/** As a matcher of PromQL: a label that a series does not have is empty; regular expressions are RE2 and match the whole value. */
export interface LabelFilter {
  label: string;
  op: (typeof FILTER_OPERATORS)[number];
  value: string;
}

export interface Conditions {
  /** Over a column `labels`; "1" when there is no filter. */
  sql: string;
  parameters: QueryParameters;
}

const CONDITION: Record<LabelFilter["op"], (label: string, value: string) => string> = {
  "=": (label, value) => `labels[${label}] = ${value}`,
  "!=": (label, value) => `labels[${label}] != ${value}`,
  "=~": (label, value) => `match(labels[${label}], ${value})`,
  "!~": (label, value) => `NOT match(labels[${label}], ${value})`,
};

const isExpression = (op: LabelFilter["op"]): boolean => op === "=~" || op === "!~";

/** Throws `request_invalid` for a filter whose value is no regular expression of RE2, or one that is too large. */
export function checkExpressions(filters: readonly LabelFilter[]): void {
  filters.forEach(({ op, value }, i) => {
    const wrong = isExpression(op) ? checkExpression(value) : undefined;
    if (wrong) throw refuseField(`filters.${i}.value`, wrong.problem, wrong.remedy);
  });
}

/** The filters, checked by `checkExpressions`, as a condition of SQL; every text is a bound parameter. */
export function toConditions(filters: readonly LabelFilter[]): Conditions {
  const parameters: QueryParameters = {};
  const conditions = filters.map(({ label, op, value }, i) => {
    parameters[`filter_label_${i}`] = label;
    parameters[`filter_value_${i}`] = isExpression(op) ? anchor(value) : value;
    return CONDITION[op](`{filter_label_${i}:String}`, `{filter_value_${i}:String}`);
  });
  return { sql: conditions.length === 0 ? "1" : conditions.join(" AND "), parameters };
}

const LEGACY_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
/** Keywords of PromQL: as a metric name they need quotes. */
const WORDS = new Set(
  "and or unless atan2 by without on ignoring group_left group_right bool offset inf nan start end step sum avg count min max group stddev stdvar topk bottomk count_values quantile limitk limit_ratio fill fill_left fill_right anchored smoothed".split(
    " ",
  ),
);

/** A selector of PromQL: the metric with its filters. */
export function toSelector(metric: string, filters: readonly LabelFilter[]): string {
  const plain = LEGACY_METRIC.test(metric) && !WORDS.has(metric.toLowerCase());
  const matchers = filters.map(({ label, op, value }) => `${toLabelName(label)}${op}${quote(value)}`);
  if (!plain) matchers.unshift(`__name__=${quote(metric)}`);
  const inBraces = matchers.length === 0 ? "" : `{${matchers.join(",")}}`;
  return `${plain ? metric : ""}${inBraces}`;
}

/** A label's name as PromQL has it: quoted unless it is of the old alphabet (Prometheus 3.0's UTF-8 names). */
export function toLabelName(label: string): string {
  return LEGACY_LABEL.test(label) ? label : quote(label);
}

/** JSON's escapes are all among Go's. */
function quote(text: string): string {
  return JSON.stringify(text);
}

/** Throws `request_invalid` for a label of the request that no series of the metric has. */
export function checkLabels(
  used: { groupBy: readonly string[]; filters: readonly LabelFilter[] },
  known: readonly string[],
): void {
  const names = known.toSorted();
  const check = (label: string, field: string): void => {
    if (names.includes(label)) return;
    throw refuseField(
      field,
      `no series of the metric has a label ${JSON.stringify(label)}`,
      `Use one of: ${names.slice(0, 50).join(", ") || "(the metric has no labels)"}.`,
    );
  };
  used.groupBy.forEach((label, i) => check(label, `group_by.${i}`));
  used.filters.forEach(({ label }, i) => check(label, `filters.${i}.label`));
}
