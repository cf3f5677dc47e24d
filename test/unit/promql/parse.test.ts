import { describe, expect, it } from "vitest";
import type { Expr } from "#promql/ast.ts";
import { resolveDurations } from "#promql/durations.ts";
import { PromqlError } from "#promql/error.ts";
import { parseExpr, parseSelector, QUERY_LENGTH_MAX } from "#promql/parse.ts";
import { printExpr } from "#promql/print.ts";
import { QUERY_DEPTH_MAX } from "#promql/reader.ts";

/** The message, without its `parse error`. */
function problemOf(query: string): string {
  try {
    parseExpr(query);
  } catch (error) {
    if (!(error instanceof PromqlError) || error.type !== "bad_data") throw error;
    return error.message.replace("parse error: ", "");
  }
  return "none";
}

/** Shows how the operators bind. */
function bracketed(expr: Expr): string {
  if (expr.kind === "binary") return `(${bracketed(expr.lhs)} ${expr.op} ${bracketed(expr.rhs)})`;
  return expr.kind === "unary" ? `${expr.op}(${bracketed(expr.expr)})` : printExpr(expr);
}

describe("numbers", () => {
  it.each([
    ["42", 42],
    ["1_500", 1500],
    ["2.5e3", 2500],
    [".5", 0.5],
    ["7.", 7],
    ["0x1F", 31],
    ["017", 15],
    ["089", 89],
    ["1h30m", 5400],
    ["20ms", 0.02],
    ["Inf", Infinity],
    ["-inf", -Infinity],
    ["NaN", NaN],
    ["- 3", -3],
    ["+-+2", -2],
  ])("%s is %d", (query, value) => {
    expect(parseExpr(query)).toMatchObject({ kind: "number", value });
  });

  it.each([
    ["1__0", '1:1: bad number or duration syntax: "1__"'],
    ["1_", '1:1: bad number or duration syntax: "1_"'],
    ["3z", '1:1: bad number or duration syntax: "3"'],
    ["5m7", '1:1: bad number or duration syntax: "5m7"'],
    ["1e999", '1:1: error parsing number: strconv.ParseFloat: parsing "1e999": value out of range'],
    ["3s2h", '1:1: not a valid duration string: "3s2h"'],
    ["400y", "1:1: duration out of range"],
  ])("%s is refused", (query, problem) => {
    expect(problemOf(query)).toBe(problem);
  });
});

describe("texts", () => {
  it.each([
    [String.raw`"tab\there"`, "tab\there"],
    [String.raw`'\'\x41\102\u20ac\U0001F600'`, "'AB€😀"],
    [String.raw`"\xe2\x82\xac"`, "€"],
    ["`raw \\n \"'`", "raw \\n \"'"],
  ])("%s", (query, value) => {
    expect(parseExpr(query)).toMatchObject({ kind: "string", value });
  });

  it("keeps bytes that are not UTF-8 apart from every other text", () => {
    const query = String.raw`"a\xffb"`;
    const expr = parseExpr(query);
    expect(expr).toMatchObject({ kind: "string", value: "a\udcffb" });
    expect(printExpr(expr)).toBe(query);
  });

  it.each([
    ['"open', "1:1: unterminated quoted string"],
    ["`open", "1:1: unterminated raw string"],
    [String.raw`"\q"`, "1:1: unknown escape sequence U+0071 'q'"],
    [String.raw`"\xg0"`, "1:1: illegal character U+0067 'g' in escape sequence"],
    [String.raw`"\ud800"`, "1:1: escape sequence is an invalid Unicode code point"],
    ['"\ufffd"', "1:1: invalid UTF-8 rune"],
  ])("%s is refused", (query, problem) => {
    expect(problemOf(query)).toBe(problem);
  });
});

describe("selectors", () => {
  it("reads names and matchers", () => {
    expect(parseExpr('node_load1{job=~"a|b", "k8s.pod"!="x",}')).toMatchObject({
      kind: "vector_selector",
      name: "node_load1",
      matchers: [
        { name: "__name__", type: "=", value: "node_load1" },
        { name: "job", type: "=~", value: "a|b" },
        { name: "k8s.pod", type: "!=", value: "x" },
      ],
    });
    expect(parseExpr('{"http.requests", on="1"}')).toMatchObject({
      matchers: [
        { name: "__name__", type: "=", value: "http.requests" },
        { name: "on", type: "=", value: "1" },
      ],
    });
    expect(parseSelector('up{job!~"x"}')).toEqual([
      { name: "__name__", type: "=", value: "up" },
      { name: "job", type: "!~", value: "x" },
    ]);
  });

  it("takes keywords for names where an expression begins", () => {
    for (const name of [
      "sum",
      "by",
      "offset",
      "and",
      "start",
      "fill",
      "anchored",
      "constructor",
      "__proto__",
    ]) {
      expect(parseExpr(name)).toMatchObject({ kind: "vector_selector", name });
    }
    expect(problemOf("bool")).toBe("1:1: unexpected <bool>");
    expect(problemOf("on")).toBe("1:1: unexpected <on>");
  });

  it("moves them in time", () => {
    expect(parseExpr("up offset -90s @ 12.5")).toMatchObject({ offsetMs: -90_000, at: 12_500 });
    expect(parseExpr("rate(up[5m] @ end() offset 1h)")).toMatchObject({
      args: [{ kind: "matrix_selector", rangeMs: 300_000, selector: { at: "end", offsetMs: 3_600_000 } }],
    });
    expect(parseExpr("up[1h:] offset 2")).toMatchObject({
      kind: "subquery",
      rangeMs: 3_600_000,
      offsetMs: 2000,
    });
    expect(parseExpr("(up)[1h:30s] @ start()")).toMatchObject({ stepMs: 30_000, at: "start" });
  });

  it.each([
    ["{}", "1:1: vector selector must contain at least one non-empty matcher"],
    ['1 + {a=~".*"}', "1:5: vector selector must contain at least one non-empty matcher"],
    ['a{__name__="b"}', '1:1: metric name must not be set twice: "a" or "b"'],
    ['{a=~"("}', "1:2: error parsing regexp: missing closing ): `(`"],
    ["up{", "1:4: unexpected end of input inside braces"],
    ["up{job}", '1:7: unexpected "}" in label matching, expected label matching operator'],
    ["up{job=x}", '1:8: unexpected identifier "x" in label matching, expected string'],
    ['up{job="x" a}', '1:12: unexpected identifier "a" in label matching, expected "," or "}"'],
    ["up{,}", '1:4: unexpected "," in label matching, expected identifier or "}"'],
    [
      "up[]",
      '1:4: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()',
    ],
    ["up[5m", "1:6: unclosed left bracket"],
    ["up[-5m]", "1:4: duration must be greater than 0"],
    ["sum(up)[5m]", "1:8: ranges only allowed for vector selectors"],
    ["up offset 5m [1m]", "1:14: no offset modifiers allowed before range"],
    ["up offset 5m offset 5m", "1:1: offset may not be set multiple times"],
    [
      "up offset x",
      '1:11: unexpected identifier "x" in offset, expected number, duration, step(), or range()',
    ],
    [
      "1 offset 5m",
      "1:1: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ],
    ["up @ 1 @ 2", "1:1: @ <timestamp> may not be set multiple times"],
    ["up @ inf", "1:1: timestamp out of bounds for @ modifier: +Inf"],
    ["up anchored", "1:1: anchored modifier is experimental and not enabled"],
  ])("%s is refused", (query, problem) => {
    expect(problemOf(query)).toBe(problem);
  });
});

describe("operators", () => {
  it.each([
    ["1 + 2 * 3 ^ 2 ^ 2", "(1 + (2 * (3 ^ (2 ^ 2))))"],
    ["a - b - c", "((a - b) - c)"],
    ["-a ^ 2 * b", "(-((a ^ 2)) * b)"],
    ["a ^ -b ^ c", "(a ^ -((b ^ c)))"],
    ["a or b and c unless d", "(a or ((b and c) unless d))"],
    ["a == 1 or b > bool 2", "((a == 1) or (b > 2))"],
    ["-up offset 5m", "-(up offset 5m)"],
    ["up offset -2 ^ 2", "(up offset -2s ^ 2)"],
    ["a offset 5m + 3", "(a offset 5m + 3)"],
    ["a ATAN2 b % c", "((a atan2 b) % c)"],
  ])("%s", (query, wanted) => {
    expect(bracketed(parseExpr(query))).toBe(wanted);
  });

  it("matches vectors", () => {
    expect(parseExpr("a * on (job, by) group_left (pod,) b")).toMatchObject({
      matching: { card: "many-to-one", isOn: true, labels: ["job", "by"], include: ["pod"] },
    });
    expect(parseExpr('a / ignoring ("k8s.pod") group_right b')).toMatchObject({
      matching: { card: "one-to-many", isOn: false, labels: ["k8s.pod"], include: [] },
    });
    expect(parseExpr("a and b")).toMatchObject({ matching: { card: "many-to-many" } });
    expect(parseExpr("a + b")).toMatchObject({ matching: { card: "one-to-one" } });
    expect(parseExpr("a + 1")).not.toHaveProperty("matching");
  });

  it.each([
    ["1 == 2", "1:3: comparisons between scalars must use BOOL modifier"],
    ["a + bool b", "1:3: bool modifier can only be used on comparison operators"],
    ["1 and a", '1:1: set operator "and" not allowed in binary scalar expression'],
    ["a + on (x) 1", "1:1: vector matching only allowed between instant vectors"],
    ["a or on (x) group_left b", '1:1: no grouping allowed for "or" operation'],
    ["a + on (x) group_left (x) b", '1:3: label "x" must not occur in ON and GROUP clause at once'],
    ["a[1m] + 1", "1:1: binary expression must contain only scalar and instant vector types"],
    [
      '-"a"',
      '1:1: unary expression only allowed on expressions of type scalar or instant vector, got "string"',
    ],
    ["a + fill (1) b", "1:1: binop fill modifiers are experimental and not enabled"],
    ["a + on (1) b", '1:9: unexpected number "1" in grouping opts, expected label'],
    ["a b", '1:3: unexpected identifier "b"'],
    ["a +", "1:4: unexpected end of input"],
    ["a)", "1:3: unexpected right parenthesis ')'"],
    ["(a", "1:3: unclosed left parenthesis"],
    ["a = b", '1:3: unexpected "="'],
    ["", "unknown position: no expression found in input"],
    ["  # nothing", "1:1: no expression found in input"],
    ["a\n+ €", "2:3: unexpected character: '€'"],
    ['"€" + bool "b"', "1:7: bool modifier can only be used on comparison operators"],
  ])("%s is refused", (query, problem) => {
    expect(problemOf(query)).toBe(problem);
  });
});

describe("aggregations", () => {
  it("takes labels in front or behind, keywords and quoted ones, too", () => {
    const wanted = { op: "sum", grouping: ["a", "on", "x.y"], isWithout: false };
    expect(parseExpr('SUM by (a, on, "x.y") (up)')).toMatchObject(wanted);
    expect(parseExpr('sum(up) by (a, on, "x.y",)')).toMatchObject(wanted);
    expect(parseExpr("topk(3, up) without ()")).toMatchObject({
      op: "topk",
      param: { value: 3 },
      grouping: [],
      isWithout: true,
    });
  });

  it.each([
    ["sum()", "1:1: no arguments for aggregate expression provided"],
    ["topk(up)", "1:1: wrong number of arguments for aggregate expression provided, expected 2, got 1"],
    ["sum(1)", "1:5: expected type instant vector in aggregation expression, got scalar"],
    ["topk(up, up)", "1:6: expected type scalar in aggregation parameter, got instant vector"],
    ["count_values(1, up)", "1:14: expected type string in aggregation parameter, got scalar"],
    ["sum(up up)", '1:8: unexpected identifier "up" in aggregation'],
    ["sum by a (up)", '1:8: unexpected identifier "a" in grouping opts, expected "("'],
    ['sum by ("") (up)', '1:9: invalid label name for grouping: ""'],
    ["sum by (without) (up)", "1:9: unexpected <without> in grouping opts, expected label"],
    ["sum(up) by (a) by (b)", "1:16: unexpected <by>"],
    [
      "limitk(2, up)",
      "1:1: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
    ],
  ])("%s is refused", (query, problem) => {
    expect(problemOf(query)).toBe(problem);
  });
});

describe("functions", () => {
  it.each([
    ["rate(up)", '1:6: expected type range vector in call to function "rate", got instant vector'],
    ["abs()", '1:1: expected 1 argument(s) in call to "abs", got 0'],
    ["label_join(up)", '1:1: expected at least 3 argument(s) in call to "label_join", got 1'],
    ["hour(up, up)", '1:1: expected at most 1 argument(s) in call to "hour", got 2'],
    ["Rate(up[5m])", '1:1: unknown function with name "Rate"'],
    ["toString(up)", '1:1: unknown function with name "toString"'],
    ["mad_over_time(up[5m])", '1:1: function "mad_over_time" is not enabled'],
    ["abs(up,)", "1:7: trailing commas not allowed in function call args"],
    ["(1)[5m:]", "1:1: subquery is only allowed on instant vector, got scalar instead"],
  ])("%s is refused", (query, problem) => {
    expect(problemOf(query)).toBe(problem);
  });

  it("takes as many arguments as there may be", () => {
    expect(parseExpr('label_join(up, "d", "-", "a", "b", "c", "e")')).toMatchObject({ func: "label_join" });
    expect(parseExpr("round(up, 5)")).toMatchObject({ args: [{}, { value: 5 }] });
    expect(parseExpr("hour()")).toMatchObject({ args: [] });
  });
});

describe("durations that are computed", () => {
  it("are of the query's step and range", () => {
    const expr = parseExpr("rate(up[max_of(step(), 30s) * 2] offset -(range() / 4))");
    resolveDurations(expr, { stepMs: 60_000, rangeMs: 3_600_000 });
    expect(expr).toMatchObject({ args: [{ rangeMs: 120_000, selector: { offsetMs: -900_000 } }] });
    const subquery = parseExpr("up[1h % 7m:(1m)]");
    resolveDurations(subquery, { stepMs: 0, rangeMs: 0 });
    expect(subquery).toMatchObject({ rangeMs: 240_000, stepMs: 60_000 });
  });

  it.each([
    ["up[step()]", "3:9: duration must be greater than 0"],
    ["up[1h / step()]", "3:14: division by zero"],
    ["up offset (10 ^ 999)", "duration is NaN or infinite"],
  ])("%s is refused when its times are known", (query, problem) => {
    const expr = parseExpr(query);
    expect(() => resolveDurations(expr, { stepMs: 0, rangeMs: 0 })).toThrow(problem);
  });

  it("refuses a division by zero that shows", () => {
    expect(problemOf("up[5m / 0]")).toBe("1:7: division by zero");
  });
});

describe("limits", () => {
  it("refuses a query that is too long at once", () => {
    const tooLong = `up{a="${"x".repeat(QUERY_LENGTH_MAX)}"}`;
    expect(problemOf(tooLong)).toBe(`the query is longer than ${QUERY_LENGTH_MAX} characters`);
  });

  it.each([
    ["parentheses", "(".repeat(100_000)],
    ["signs", "-".repeat(100_000) + "up"],
    ["calls", "abs(".repeat(50_000)],
    ["operators", `up${"+up".repeat(50_000)}`],
    ["powers", `up${"^up".repeat(50_000)}`],
    ["subqueries", `up${"[5m:]".repeat(40_000)}`],
    ["durations", `up[${"(".repeat(100_000)}`],
    ["sums of durations", `up[1m${"+1m".repeat(60_000)}]`],
    ["signs of durations", `up[${"-".repeat(100_000)}1m]`],
  ])("refuses too many %s within each other", (_name, query) => {
    expect(problemOf(query)).toBe(`the query is nested deeper than ${QUERY_DEPTH_MAX} levels`);
  });

  it("prints and resolves what is just deep enough", () => {
    const deep = parseExpr(`${"abs(".repeat(QUERY_DEPTH_MAX - 2)}up${")".repeat(QUERY_DEPTH_MAX - 2)}`);
    resolveDurations(deep, { stepMs: 0, rangeMs: 0 });
    const wide = parseExpr(`up${"+up".repeat(QUERY_DEPTH_MAX - 2)}`);
    expect(printExpr(wide).length).toBeGreaterThan(QUERY_DEPTH_MAX);
  });
});
