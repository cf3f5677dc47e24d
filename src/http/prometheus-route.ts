import type { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { z } from "zod";
import type { App } from "./app-types.ts";
import { type Parameters, toParameters } from "./promql-parameters.ts";
import { prometheusAnswer, prometheusErrors } from "./promql-schemas.ts";
import { json } from "./schemas.ts";

export const PROMETHEUS_TAG = "prometheus";
const FORM = "application/x-www-form-urlencoded";

interface PrometheusRoute {
  /** Behind /api/v1/. */
  path: string;
  summary: string;
  /** Of the path. */
  params?: z.ZodType;
  parameters: z.ZodType;
  /** Also as POST, with the parameters as a form. */
  takesForm?: boolean;
  /** Resolves with the JSON of the answer. */
  run(parameters: Parameters, request: FastifyRequest, reply: FastifyReply): Promise<string | Readable>;
}

/** A path of Prometheus' HTTP API. It may be called by a token for some clusters: what it answers is about these only. */
export function addPrometheusRoute(app: App, route: PrometheusRoute): void {
  const { path, summary, params, parameters, takesForm } = route;
  for (const method of takesForm ? (["GET", "POST"] as const) : (["GET"] as const)) {
    app.route({
      method,
      url: `/api/v1/${path}`,
      config: { scope: "read", onlySeen: true, errorsAs: "prometheus", form: method === "POST" },
      schema: {
        tags: [PROMETHEUS_TAG],
        summary,
        ...(params ? { params } : {}),
        querystring: parameters,
        ...(method === "POST" ? { body: parameters, consumes: [FORM] } : {}),
        response: { 200: json("The answer", prometheusAnswer), ...prometheusErrors },
      },
      // A form may be empty, and then has no type.
      preValidation: async (request) => {
        if (method === "POST") request.body ??= {};
      },
      handler: async (request, reply) => {
        const answer = await route.run(toParameters(request.query, request.body), request, reply);
        await (reply as FastifyReply).type("application/json; charset=utf-8").send(answer);
      },
    });
  }
}
