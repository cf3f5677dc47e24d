import { z } from "zod";
import type { RouteModule } from "#http/app-types.ts";
import { errors, json, OPEN_ERRORS } from "#http/schemas.ts";

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
  clusters: "/clusters",
};

/** GET /: name, version and links to the routes that exist. */
export function indexRoute(service: { name: string; version: string }): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/",
      config: { scope: "open" },
      schema: {
        tags: ["health"],
        summary: "Name, version and links",
        response: { 200: json("The index", index), ...errors(...OPEN_ERRORS) },
      },
      handler: () => ({
        name: service.name,
        version: service.version,
        links: Object.fromEntries(
          Object.entries(LINKS).filter(
            ([, url]) => url.startsWith("/docs") || app.hasRoute({ method: "GET", url }),
          ),
        ),
      }),
    });
  };
}
