import type { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { AnswerQuery } from "#http/answer-query.ts";
import type { RouteModule } from "#http/app-types.ts";
import { closeWhenSent } from "#http/close-when-sent.ts";
import { addPrometheusRoute } from "#http/prometheus-route.ts";
import { toQueryStream, toSuccess } from "#http/promql-answer.ts";
import {
  type Parameters,
  refuseParameter,
  toDurationMs,
  toLimit,
  toOptionalDurationMs,
  toRange,
  toTimeMs,
} from "#http/promql-parameters.ts";
import { PARAMETERS } from "#http/promql-schemas.ts";
import { type Clock, deadline } from "#lib/clock.ts";
import type { Expr } from "#promql/ast.ts";
import type { Engine, QueryOptions, QueryResult } from "#promql/engine.ts";
import { PromqlError } from "#promql/error.ts";
import { parseExpr } from "#promql/parse.ts";
import { matcherText, printExpr, toParseTree } from "#promql/print.ts";
import type { Promql } from "#query/promql/promql.ts";

/** /api/v1/query, query_range, format_query, parse_query and query_exemplars. */
export function prometheusQueryRoutes(promql: Promql, answer: AnswerQuery, clock: Clock): RouteModule {
  const run = createRunQuery(promql, answer, clock);
  return (app) => {
    addPrometheusRoute(app, {
      path: "query",
      summary: "A PromQL expression at one time",
      parameters: PARAMETERS.query,
      takesForm: true,
      run: async (parameters, request, reply) => {
        const limit = toLimit(parameters);
        const timeMs = toTimeMs(parameters, "time", clock.now());
        return await run({ parameters, limit, request, reply }, (engine, expr, options, signal) =>
          engine.instant(expr, timeMs, options, signal),
        );
      },
    });
    addPrometheusRoute(app, {
      path: "query_range",
      summary: "A PromQL expression over a range of time",
      parameters: PARAMETERS.range,
      takesForm: true,
      run: async (parameters, request, reply) => {
        const limit = toLimit(parameters);
        const range = toRange(parameters);
        return await run({ parameters, limit, request, reply }, (engine, expr, options, signal) =>
          engine.range(expr, range, options, signal),
        );
      },
    });
    addPrometheusRoute(app, {
      path: "format_query",
      summary: "A PromQL expression, well laid out",
      parameters: PARAMETERS.expression,
      takesForm: true,
      run: async (parameters) => toSuccess(JSON.stringify(printExpr(parseQuery(parameters)))),
    });
    addPrometheusRoute(app, {
      path: "parse_query",
      summary: "The syntax tree of a PromQL expression",
      parameters: PARAMETERS.expression,
      takesForm: true,
      run: async (parameters) => toSuccess(JSON.stringify(toParseTree(parseQuery(parameters)))),
    });
    addPrometheusRoute(app, {
      path: "query_exemplars",
      summary: "Always empty: no exemplars are collected",
      parameters: PARAMETERS.range,
      takesForm: true,
      run: async (parameters) => {
        parseQuery(parameters);
        return toSuccess("[]");
      },
    });
  };
}

interface QueryRequest {
  parameters: Parameters;
  limit: number | undefined;
  request: FastifyRequest;
  reply: FastifyReply;
}

type Evaluate = (
  engine: Engine,
  expr: Expr,
  options: QueryOptions,
  signal: AbortSignal,
) => Promise<QueryResult>;

/** Evaluates, and answers while the result is printed. What the result holds counts until it is sent. */
function createRunQuery(promql: Promql, answer: AnswerQuery, clock: Clock) {
  const { settings, pool } = promql;
  return async (
    { parameters, limit, request, reply }: QueryRequest,
    evaluate: Evaluate,
  ): Promise<Readable> => {
    const timeoutMs = toOptionalDurationMs(parameters, "timeout") ?? settings.timeoutMs;
    const lookbackMs = toLookback(parameters);
    const expr = parseQuery(parameters);
    const { engine } = promql.forCaller((id) => request.sees(id));
    const budget = pool.open(settings.limits);
    const startedMs = clock.monotonic();
    try {
      const options = {
        budget,
        text: parameters.get("query"),
        ...(lookbackMs === undefined ? {} : { lookbackMs }),
      };
      const result = await answer(request, reply, async (signal) => {
        const limited = deadline(clock, Math.min(timeoutMs, settings.timeoutMs), timedOut, signal);
        try {
          return await evaluate(engine, expr, options, limited.signal);
        } finally {
          limited.dispose();
        }
      });
      const seconds = (clock.monotonic() - startedMs) / 1000;
      const more = {
        ...(parameters.get("stats") === "" ? {} : { stats: toStats(result, budget.peak, seconds) }),
        ...(parameters.get("explain") === "1" ? { explain: toExplanation(result) } : {}),
      };
      closeWhenSent(reply, clock, settings.timeoutMs, () => budget.close());
      return toQueryStream(result, limit, more);
    } catch (error) {
      budget.close();
      const isAboutQuery = error instanceof PromqlError && error.type === "bad_data";
      throw isAboutQuery ? refuseParameter("query", error.message) : error;
    }
  };
}

function parseQuery(parameters: Parameters): Expr {
  try {
    return parseExpr(parameters.get("query"));
  } catch (error) {
    throw error instanceof PromqlError ? refuseParameter("query", error.message) : error;
  }
}

function toLookback(parameters: Parameters): number | undefined {
  const text = parameters.get("lookback_delta");
  if (text === "") return undefined;
  try {
    const ms = toDurationMs(text);
    return ms > 0 ? ms : undefined;
  } catch (error) {
    if (!(error instanceof PromqlError)) throw error;
    throw new PromqlError("bad_data", `error parsing lookback delta duration: ${error.message}`);
  }
}

function timedOut(): PromqlError {
  return new PromqlError("timeout", "query timed out in expression evaluation");
}

/** As Prometheus has them. */
function toStats({ stats }: QueryResult, peak: number, seconds: number): object {
  const samples = stats.reads.reduce((sum, read) => sum + read.samples, 0);
  return {
    timings: { evalTotalTime: seconds, execTotalTime: seconds },
    samples: { totalQueryableSamples: samples, samplesRead: samples, peakSamples: peak },
  };
}

/** What was asked of ClickHouse. */
function toExplanation({ stats }: QueryResult): object[] {
  return stats.reads.map(({ matchers, fromMs, toMs, bySource, series, samples }) => ({
    selector: `{${matchers.map(matcherText).join(", ")}}`,
    after: fromMs / 1000,
    until: toMs / 1000,
    // What ClickHouse computed; null: it gave samples.
    computed: bySource ?? null,
    series,
    samples,
  }));
}
