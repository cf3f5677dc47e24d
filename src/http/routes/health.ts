import { z } from "zod";
import type { RouteModule } from "#http/app-types.ts";
import { errors, json, OPEN_ERRORS } from "#http/schemas.ts";

/** Problems that keep the program from its work, without addresses or secrets; none means ready. */
export type Readiness = () => readonly string[] | Promise<readonly string[]>;

const alive = z.object({ status: z.literal("ok") }).meta({ id: "Alive", examples: [{ status: "ok" }] });
const warnings = z
  .array(z.string())
  .exactOptional()
  .meta({ description: "Problems that the operator should know about although the program works" });
const ready = z
  .object({ status: z.literal("ready"), warnings })
  .meta({ id: "Ready", examples: [{ status: "ready" }] });
const notReady = z.object({ status: z.literal("not_ready"), problems: z.array(z.string()), warnings }).meta({
  id: "NotReady",
  examples: [{ status: "not_ready", problems: ["the state store can't be written"] }],
});

/** GET /healthz (the process answers; also Dapr's app health check) and GET /readyz (it can do its work). */
export function healthRoutes(
  deps: { readiness: Readiness; warnings: () => readonly string[] },
  stopping: AbortSignal,
): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/healthz",
      config: { scope: "open", quiet: true },
      schema: {
        tags: ["health"],
        summary: "Is the process alive?",
        response: { 200: json("Alive", alive), ...errors(...OPEN_ERRORS) },
      },
      handler: () => ({ status: "ok" as const }),
    });
    app.route({
      method: "GET",
      url: "/readyz",
      config: { scope: "open", quiet: true },
      schema: {
        tags: ["health"],
        summary: "Can the program do its work?",
        response: { ...errors(...OPEN_ERRORS), 200: json("Ready", ready), 503: json("Not ready", notReady) },
      },
      handler: async (_request, reply) => {
        const problems = stopping.aborted ? ["the process is ending"] : await deps.readiness();
        const warned = deps.warnings();
        const also = warned.length === 0 ? {} : { warnings: [...warned] };
        if (problems.length === 0) return { status: "ready" as const, ...also };
        return reply.code(503).send({ status: "not_ready", problems: [...problems], ...also });
      },
    });
  };
}
