import { describe, expect, it } from "vitest";
import { parseExpr } from "#promql/parse.ts";
import { printExpr, toParseTree } from "#promql/print.ts";

describe("printExpr", () => {
  it.each([
    ['SUM( up )by(job,"x.y")', 'sum by (job, "x.y") (up)'],
    ["sum(up) without ()", "sum without () (up)"],
    ["topk(3,up)", "topk(3, up)"],
    ['up{z="1",a!~"x\\"\\n",}', 'up{a!~"x\\"\\n",z="1"}'],
    ['{__name__="up"}', '{__name__="up"}'],
    ['{"a.b"}', '{__name__="a.b"}'],
    ["up[90m:]offset-1w @1.5", "up[1h30m:] @ 1.500 offset -1w"],
    ["rate(up[86400])", "rate(up[1d])"],
    ["a* on(x)group_left b", "a * on (x) group_left () b"],
    ["a==bool 1e-7", "a == bool 0.0000001"],
    ["-(1+2)", "-(1 + 2)"],
    ["1e25+0x10", "10000000000000000000000000 + 16"],
    ["-1h30m", "-1h30m"],
    ["up[(step()+1m)*2]", "up[(step() + 1m) * 2]"],
    ["up offset -max_of(1h,range())", "up offset -max_of(1h, range())"],
    ["up # why\n", "up"],
  ])("%s", (query, text) => {
    expect(printExpr(parseExpr(query))).toBe(text);
  });

  it("breaks what is longer than 100 bytes into lines", () => {
    const name = "container_network_receive_bytes_total";
    const query = `topk(5, sum by (namespace) (rate(${name}{job="kubelet", namespace!=""}[5m]))) / on (namespace) group_left () -(count(${name}) > 3)`;
    expect(printExpr(parseExpr(query))).toBe(
      [
        "  topk(",
        "    5,",
        `    sum by (namespace) (rate(${name}{job="kubelet",namespace!=""}[5m]))`,
        "  )",
        "/ on (namespace) group_left ()",
        `  -(count(${name}) > 3)`,
      ].join("\n"),
    );
  });
});

describe("toParseTree", () => {
  it("has the fields of Prometheus' answer", () => {
    expect(toParseTree(parseExpr('rate(up{a="b"}[5m] offset 1m) > on (a) vector(-0)'))).toEqual({
      type: "binaryExpr",
      op: ">",
      bool: false,
      matching: {
        card: "one-to-one",
        labels: ["a"],
        on: true,
        include: [],
        fillValues: { lhs: null, rhs: null },
      },
      lhs: {
        type: "call",
        func: { name: "rate", argTypes: ["matrix"], variadic: 0, returnType: "vector" },
        args: [
          {
            type: "matrixSelector",
            name: "up",
            matchers: [
              { name: "a", value: "b", type: "=" },
              { name: "__name__", value: "up", type: "=" },
            ],
            range: 300_000,
            rangeExpr: null,
            offset: 60_000,
            offsetExpr: null,
            timestamp: null,
            startOrEnd: null,
            anchored: false,
            smoothed: false,
          },
        ],
      },
      rhs: {
        type: "call",
        func: { name: "vector", argTypes: ["scalar"], variadic: 0, returnType: "vector" },
        args: [{ type: "numberLiteral", val: "-0" }],
      },
    });
    expect(toParseTree(parseExpr("max_over_time(up[1h:step()] @ end())"))).toMatchObject({
      args: [
        {
          type: "subquery",
          range: 3_600_000,
          step: 0,
          stepExpr: { type: "durationExpr", op: "step", lhs: null, rhs: null, wrapped: false },
          startOrEnd: "end",
        },
      ],
    });
  });
});
