import type { Expr } from "#promql/ast.ts";
import type { Engine, QueryOptions, QueryResult, ResultSeries } from "#promql/engine.ts";
import { PromqlError } from "#promql/error.ts";
import { parseExpr } from "#promql/parse.ts";
import { printExpr } from "#promql/print.ts";
import { fixedAt } from "./at-times.ts";
import { type Answer, differenceOf, isExpected, remarkDifference } from "./compare.ts";
import type { Evaluation } from "./test-file.ts";

const signal = new AbortController().signal;
const MINUTE = 60_000;
/** These are of the query, not of its time: as range queries they are others. */
const OF_QUERY = /(?:start|end|range|step)\(\)/;

/**
 * Evaluates as Prometheus' own runner does: an instant query also with `@` at all its selectors, at other times and as the middle of a range
 * query. What differs from the expectation, or undefined.
 */
export async function runEvaluation(engine: Engine, evaluation: Evaluation): Promise<string | undefined> {
  const { query, startMs } = evaluation;
  if (evaluation.stepMs !== undefined) return runRange(engine, evaluation);
  const first = await runInstant(engine, evaluation, parseOrThrow(query), query, startMs);
  if (first !== undefined) return first;
  const fixed = evaluation.fail ? undefined : fixedAt(query, atOf(evaluation));
  if (!fixed) return undefined;
  const text = printExpr(fixed);
  const at = atOf(evaluation);
  const times = at === 0 ? [-1000, 0, 1000] : [-10 * at, 0, Math.trunc(at / 5), at, 10 * at];
  for (const time of times) {
    const difference = await runInstant(engine, evaluation, parseExpr(text), text, time);
    if (difference !== undefined) return `${text} at ${time}: ${difference}`;
  }
  return undefined;
}

function atOf({ expected, startMs }: Evaluation): number {
  return expected.kind === "matrix" ? expected.endMs : startMs;
}

function parseOrThrow(query: string): Expr | PromqlError {
  try {
    return parseExpr(query);
  } catch (error) {
    if (error instanceof PromqlError) return error;
    throw error;
  }
}

async function runRange(engine: Engine, evaluation: Evaluation): Promise<string | undefined> {
  const { query, startMs, endMs, stepMs } = evaluation;
  const expr = parseOrThrow(query);
  return judge(evaluation, expr, query, (parsed, options) =>
    engine.range(parsed, { startMs, endMs, stepMs: stepMs! }, options, signal),
  );
}

async function runInstant(
  engine: Engine,
  evaluation: Evaluation,
  expr: Expr | PromqlError,
  text: string,
  timeMs: number,
): Promise<string | undefined> {
  let type: QueryResult["type"] | undefined;
  const difference = await judge(evaluation, expr, text, async (parsed, options) => {
    const result = await engine.instant(parsed, timeMs, options, signal);
    ({ type } = result);
    return result;
  });
  const { expected } = evaluation;
  if (
    difference !== undefined ||
    evaluation.fail ||
    expected.kind === "matrix" ||
    expected.kind === "string"
  ) {
    return difference;
  }
  if (OF_QUERY.test(text) || expr instanceof PromqlError || evaluation.isOrdered) return undefined;
  const times = { startMs: timeMs - MINUTE, endMs: timeMs + MINUTE, stepMs: MINUTE };
  const range = await engine.range(expr, times, { text }, signal);
  if (range.type !== "matrix") return `a ${range.type} of a range query`;
  const middle = range.series.flatMap((series) => atTime(series, timeMs));
  const answer: Answer =
    type === "scalar"
      ? { type, value: middle[0]?.values[0] ?? Number.NaN }
      : { type: "vector", series: middle };
  const inRange = differenceOf(evaluation, answer);
  return inRange === undefined ? undefined : `as a range query: ${inRange}`;
}

function atTime(series: ResultSeries, timeMs: number): ResultSeries[] {
  const at = series.times.indexOf(timeMs);
  if (at < 0) return [];
  return [
    {
      labels: series.labels,
      times: series.times.slice(at, at + 1),
      values: series.values.slice(at, at + 1),
      ...(series.histograms && { histograms: series.histograms.slice(at, at + 1) }),
    },
  ];
}

async function judge(
  evaluation: Evaluation,
  expr: Expr | PromqlError,
  text: string,
  run: (expr: Expr, options: QueryOptions) => Promise<QueryResult>,
): Promise<string | undefined> {
  let result: QueryResult;
  try {
    if (expr instanceof PromqlError) throw expr;
    result = await run(expr, { text });
  } catch (error) {
    if (!(error instanceof PromqlError)) throw error;
    if (!evaluation.fail) return `failed: ${error.message}`;
    return isExpected(evaluation.fail, error.message) ? undefined : `another error: ${error.message}`;
  }
  if (evaluation.fail) return "it did not fail";
  return remarkDifference(evaluation, result) ?? differenceOf(evaluation, result);
}
