import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { AnswerQuery } from "#http/answer-query.ts";
import type { RouteModule } from "#http/app-types.ts";
import { addPrometheusRoute } from "#http/prometheus-route.ts";
import { CUT, printLabels, toListStream, toSuccess } from "#http/promql-answer.ts";
import { type Parameters, refuseParameter, toLimit, toTimeMs } from "#http/promql-parameters.ts";
import { PARAMETERS } from "#http/promql-schemas.ts";
import { unescapeName } from "#http/escaped-names.ts";
import { fields } from "#http/schemas.ts";
import type { Clock } from "#lib/clock.ts";
import type { Matcher } from "#promql/ast.ts";
import { PromqlError } from "#promql/error.ts";
import { parseSelector } from "#promql/parse.ts";
import type { Lookup } from "#query/promql/lookup.ts";
import { toTest } from "#query/promql/matching.ts";
import type { Promql } from "#query/promql/promql.ts";

/** Names, values and series of an answer: more are cut, with a warning. */
const LIST_MAX = 100_000;
const METADATA_MS = 24 * 3_600_000;

const params = fields({
  name: z
    .string()
    .min(1)
    .meta({ description: "A label's name", examples: ["job"] }),
});

/** /api/v1/series, labels, label/NAME/values and metadata. */
export function prometheusSeriesRoutes(promql: Promql, answer: AnswerQuery, clock: Clock): RouteModule {
  const ask = <T>(
    request: FastifyRequest,
    reply: FastifyReply,
    run: (lookup: Lookup, signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const { lookup } = promql.forCaller((id) => request.sees(id));
    return answer(request, reply, (signal) => run(lookup, signal));
  };
  return (app) => {
    addPrometheusRoute(app, {
      path: "series",
      summary: "The series that selectors select",
      parameters: PARAMETERS.lookup,
      takesForm: true,
      run: async (parameters, request, reply) => {
        const asked = toRequest(parameters);
        if (asked.selectors.length === 0) throw new PromqlError("bad_data", "no match[] parameter provided");
        const { found, isCut } = await ask(request, reply, (lookup, signal) =>
          lookup.series({ ...asked, signal }),
        );
        return toListStream(found, printLabels, toRemarks(isCut));
      },
    });
    addPrometheusRoute(app, {
      path: "labels",
      summary: "The names of labels",
      parameters: PARAMETERS.lookup,
      takesForm: true,
      run: async (parameters, request, reply) => {
        const asked = toRequest(parameters);
        const { found, isCut } = await ask(request, reply, (lookup, signal) =>
          lookup.labelNames({ ...asked, signal }),
        );
        return toSuccess(JSON.stringify(found), toRemarks(isCut));
      },
    });
    addPrometheusRoute(app, {
      path: "label/:name/values",
      summary: "The values of a label",
      params,
      parameters: PARAMETERS.lookup,
      run: async (parameters, request, reply) => {
        const name = unescapeName((request.params as z.output<typeof params>).name);
        const asked = toRequest(parameters);
        const { found, isCut } = await ask(request, reply, (lookup, signal) =>
          lookup.labelValues(name, { ...asked, signal }),
        );
        return toListStream(found, (value) => JSON.stringify(value), toRemarks(isCut));
      },
    });
    addPrometheusRoute(app, {
      path: "metadata",
      summary: "Type, help and unit of the metrics of the last day",
      parameters: PARAMETERS.metadata,
      run: async (parameters, request, reply) => {
        const limit = toNumber(parameters, "limit") ?? LIST_MAX;
        const perMetric = toNumber(parameters, "limit_per_metric") ?? LIST_MAX;
        const metric = parameters.get("metric") || undefined;
        const nowMs = clock.now();
        const range = { fromMs: nowMs - METADATA_MS, toMs: nowMs };
        const found = await ask(request, reply, (lookup, signal) =>
          lookup.metadata({ metric, range, limit: Math.min(limit, LIST_MAX), signal }),
        );
        const print = (text: unknown): string => JSON.stringify(text);
        const metrics = [...found].map(([name, all]) => `${print(name)}:${print(all.slice(0, perMetric))}`);
        return toSuccess(`{${metrics.join(",")}}`);
      },
    });
  };
}

function toRequest(parameters: Parameters) {
  const startMs = toTimeMs(parameters, "start", -Number.MAX_SAFE_INTEGER);
  const endMs = toTimeMs(parameters, "end", Number.MAX_SAFE_INTEGER);
  if (endMs < startMs) throw refuseParameter("end", "end timestamp must not be before start time");
  return {
    selectors: parameters.all("match[]").map(toSelector),
    // Prometheus' ranges of these answers have both ends.
    range: { fromMs: startMs - 1, toMs: endMs },
    limit: Math.min(toLimit(parameters) ?? LIST_MAX, LIST_MAX),
  };
}

function toSelector(text: string): Matcher[] {
  try {
    const matchers = parseSelector(text);
    if (matchers.every((matcher) => toTest(matcher)("")))
      throw new PromqlError("bad_data", "match[] must contain at least one non-empty matcher");
    return matchers;
  } catch (error) {
    throw error instanceof PromqlError ? refuseParameter("match[]", error.message) : error;
  }
}

function toRemarks(isCut: boolean) {
  return isCut ? { warnings: [CUT] } : {};
}

/** A limit that is negative is none, in this answer only. */
function toNumber(parameters: Parameters, name: string): number | undefined {
  const text = parameters.get(name);
  if (text === "") return undefined;
  if (!/^[+-]?\d{1,18}$/.test(text)) throw new PromqlError("bad_data", `${name} must be a number`);
  return Number(text) < 0 ? undefined : Number(text);
}
