/** The types of PromQL's values (https://prometheus.io/docs/prometheus/latest/querying/basics/). */
export type ValueType = "scalar" | "vector" | "matrix" | "string";

/** Offsets in the query's text, UTF-16 code units; `end` is behind the last one. */
export interface Position {
  start: number;
  end: number;
}

/** `=~` and `!~` are RE2 patterns, anchored at both ends. The metric's name is the label `__name__`. */
export interface Matcher {
  name: string;
  type: "=" | "!=" | "=~" | "!~";
  value: string;
}

/** When a selector or subquery is evaluated: the modifiers `offset` and `@`. */
interface Timing {
  /** Milliseconds before the time of evaluation; negative: after it. */
  offsetMs: number;
  /** Gives offsetMs (resolveDurations). */
  offsetExpr?: DurationExpr;
  /** `@`: at this time (ms since 1970), or at the start or the end of the query. Absent: at each step's own time. */
  at?: number | "start" | "end";
}

export interface NumberLiteral extends Position {
  kind: "number";
  value: number;
  /** Written as a duration: `1h` is 3600. */
  isDuration?: boolean;
}

/** A duration that is computed, as `[step() * 2]`: `step()` and `range()` are of the query, so its value is known only then. */
export interface DurationExpr extends Position {
  kind: "duration";
  op: "+" | "-" | "*" | "/" | "%" | "^" | "step" | "range" | "min_of" | "max_of";
  /** Absent: of one operand, or of none. */
  lhs?: DurationOperand;
  rhs?: DurationOperand;
  hasParens: boolean;
}

/** Numbers are seconds. */
export type DurationOperand = NumberLiteral | DurationExpr;

export interface StringLiteral extends Position {
  kind: "string";
  value: string;
}

/** `name{label="value"} offset 5m @ 123`. */
export interface VectorSelector extends Position, Timing {
  kind: "vector_selector";
  /** The name outside of the braces, for printing; it is among the matchers, too. */
  name?: string;
  /** In the order of the text; the name's first, if it is outside of the braces. */
  matchers: Matcher[];
}

/** `selector[5m]`; its offset and `@` are those of the selector inside. */
export interface MatrixSelector extends Position {
  kind: "matrix_selector";
  selector: VectorSelector;
  rangeMs: number;
  /** Gives rangeMs (resolveDurations). */
  rangeExpr?: DurationExpr;
}

/** `expr[1h:5m] offset 5m`. */
export interface Subquery extends Position, Timing {
  kind: "subquery";
  expr: Expr;
  rangeMs: number;
  /** Gives rangeMs (resolveDurations). */
  rangeExpr?: DurationExpr;
  /** Absent: the default evaluation interval. */
  stepMs?: number;
  /** Gives stepMs (resolveDurations). */
  stepExpr?: DurationExpr;
}

export interface Call extends Position {
  kind: "call";
  func: string;
  args: Expr[];
}

export const AGGREGATIONS = [
  "sum",
  "avg",
  "count",
  "min",
  "max",
  "group",
  "stddev",
  "stdvar",
  "topk",
  "bottomk",
  "count_values",
  "quantile",
  "limitk",
  "limit_ratio",
] as const;
export type AggregationName = (typeof AGGREGATIONS)[number];

/** `sum by (a, b) (expr)`. */
export interface Aggregation extends Position {
  kind: "aggregation";
  op: AggregationName;
  expr: Expr;
  /** Of topk, bottomk, quantile, count_values, limitk, limit_ratio. */
  param?: Expr;
  grouping: string[];
  isWithout: boolean;
}

export type BinaryOperator =
  | "+"
  | "-"
  | "*"
  | "/"
  | "%"
  | "^"
  | "atan2"
  | "=="
  | "!="
  | ">"
  | "<"
  | ">="
  | "<="
  | "and"
  | "or"
  | "unless"
  /** Of native histograms only. */
  | "</"
  | ">/";

/** How the series of two vectors are matched. */
export interface VectorMatching {
  card: "one-to-one" | "many-to-one" | "one-to-many" | "many-to-many";
  /** on (labels); else ignoring (labels). */
  isOn: boolean;
  labels: string[];
  /** Labels of group_left or group_right. */
  include: string[];
}

export interface BinaryExpr extends Position {
  kind: "binary";
  op: BinaryOperator;
  lhs: Expr;
  rhs: Expr;
  /** Of comparisons: 0 or 1 instead of a filter. */
  isBool: boolean;
  /** Of two vectors only. */
  matching?: VectorMatching;
}

export interface UnaryExpr extends Position {
  kind: "unary";
  op: "+" | "-";
  expr: Expr;
}

export interface ParenExpr extends Position {
  kind: "paren";
  expr: Expr;
}

export type Expr =
  | NumberLiteral
  | StringLiteral
  | VectorSelector
  | MatrixSelector
  | Subquery
  | Call
  | Aggregation
  | BinaryExpr
  | UnaryExpr
  | ParenExpr;
