import { z } from "zod";
import { json } from "./schemas.ts";

// What https://prometheus.io/docs/prometheus/latest/querying/api/ describes. Values are checked by the handlers, which answer in Prometheus' words.

const text = (description: string, example?: string) =>
  z
    .string()
    .optional()
    .meta({ description, ...(example === undefined ? {} : { examples: [example] }) });

const time = (description: string) => text(`${description}: Unix seconds or RFC 3339`);
const limit = text("At most this many results; 0: no limit");
const matches = z
  .union([z.string(), z.array(z.string())])
  .optional()
  .meta({
    description: "Selectors; a series that one of them selects is listed",
    examples: ['up{job="node"}'],
  });

const ofQuery = {
  query: text("A PromQL expression", "sum by (cluster) (up)"),
  timeout: text("Seconds or a duration; at most QUERY_TIMEOUT"),
  lookback_delta: text("How old the sample of an instant selector may be; default PROMQL_LOOKBACK"),
  stats: text("With any text, the answer has statistics"),
  explain: text("With 1, the answer's data have what was asked of ClickHouse"),
  limit,
};

/** The parameters of each path: of the URL, and of the form of a POST. Others are ignored, as Prometheus does. */
export const PARAMETERS = {
  query: z.looseObject({ ...ofQuery, time: time("Default: now") }),
  range: z.looseObject({
    ...ofQuery,
    start: time("First time"),
    end: time("Last time"),
    step: text("Seconds or a duration", "60"),
  }),
  lookup: z.looseObject({
    "match[]": matches,
    start: time("Default: everything"),
    end: time("Default: everything"),
    limit,
  }),
  metadata: z.looseObject({
    metric: text("Only of this metric"),
    limit: text("At most this many metrics"),
    limit_per_metric: text("At most this many of each metric"),
  }),
  expression: z.looseObject({ query: text("A PromQL expression", "sum by (cluster) (up)") }),
  none: z.looseObject({}),
} as const;

const remarks = z.array(z.string()).optional();

export const prometheusAnswer = z
  .object({ status: z.literal("success"), data: z.unknown(), warnings: remarks, infos: remarks })
  .meta({
    id: "PrometheusAnswer",
    description: "As https://prometheus.io/docs/prometheus/latest/querying/api/ says",
  });

const prometheusError = z
  .object({
    status: z.literal("error"),
    errorType: z.string().meta({ examples: ["bad_data"] }),
    error: z.string(),
  })
  .meta({ id: "PrometheusError" });

const ERRORS = {
  400: "`bad_data`: a parameter is wrong",
  401: "`unauthorized`: no token, or an unknown one",
  403: "`forbidden`: the token lacks the scope",
  404: "`not_found`",
  413: "`bad_data`: the body is too large",
  415: "`bad_data`: the body is no form",
  421: "`bad_data`: without tokens, only this machine is answered",
  422: "`execution`: the query can't be executed, or is over a limit",
  429: "`too_many_requests`",
  500: "`internal`",
  502: "`internal`: ClickHouse refused",
  503: "`timeout` or `unavailable`",
} as const;

export const prometheusErrors = Object.fromEntries(
  Object.entries(ERRORS).map(([status, description]) => [status, json(description, prometheusError)]),
);
