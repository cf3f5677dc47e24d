import { z } from "zod";
import type { RouteModule } from "#http/app-types.ts";
import { errors, OPEN_ERRORS } from "#http/schemas.ts";
import { type SendPage, wantsPage } from "./page.ts";

const index = z
  .object({ name: z.string(), version: z.string(), links: z.record(z.string(), z.string()) })
  .meta({
    id: "Index",
    examples: [{ name: "budcluster", version: "0.1.0", links: { docs: "/docs", openapi: "/docs/json" } }],
  });

const LINKS: Record<string, string> = {
  docs: "/docs",
  openapi: "/docs/json",
  health: "/healthz",
  readiness: "/readyz",
  metrics: "/metrics",
  status: "/metrics/status",
  whoami: "/whoami",
  clusters: "/clusters",
};

/** GET /: name, version and links to the routes that exist; to browsers the page, if there is one. */
export function indexRoute(service: { name: string; version: string }, sendPage?: SendPage): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/",
      config: { scope: "open" },
      schema: {
        tags: ["health"],
        summary: "Name, version and links; for `Accept: text/html` the page (docs/page.md)",
        response: {
          200: {
            description: "The index",
            content: {
              "application/json": { schema: index },
              ...(sendPage ? { "text/html": { schema: z.string() } } : {}),
            },
          },
          ...errors(...OPEN_ERRORS),
        },
      },
      handler: (request, reply) => {
        reply.header("vary", "accept");
        if (sendPage && wantsPage(request)) return sendPage(request, reply);
        return reply.type("application/json; charset=utf-8").send({
          name: service.name,
          version: service.version,
          links: Object.fromEntries(
            Object.entries(LINKS).filter(
              ([, url]) => url.startsWith("/docs") || app.hasRoute({ method: "GET", url }),
            ),
          ),
        });
      },
    });
  };
}
