import { z } from "zod";
import type { RouteModule } from "#http/app-types.ts";
import type { AccessMode } from "#http/auth.ts";
import { ACCESS_ERRORS, clusterId, errors, json } from "#http/schemas.ts";
import { assert } from "#lib/assert.ts";
import { GRANTED_SCOPES } from "#http/tokens.ts";

export const whoamiAnswer = z
  .object({
    name: z.string().meta({
      description:
        "The token's name, as in the access log; `dapr` for Dapr's sidecar, `local` on loopback, `anonymous` with AUTH_ENABLED=false",
    }),
    access: z.enum(["tokens", "loopback", "off"]).meta({
      description:
        "tokens: callers are known by their tokens; loopback: no token is configured, and everybody on this machine may do everything; off: AUTH_ENABLED=false, and everybody may do everything",
    }),
    scopes: z
      .array(z.enum(GRANTED_SCOPES))
      .meta({ description: "What the caller may do. `admin` includes the others, which are listed too" }),
    clusters: z.array(clusterId).nullable().meta({
      description:
        "The only clusters that the caller may read, sorted, whether they exist or not; null: all clusters",
    }),
  })
  .meta({
    id: "Whoami",
    examples: [{ name: "team-a", access: "tokens", scopes: ["read"], clusters: ["edge-1", "edge-2"] }],
  });

/** GET /whoami: who the caller is to this program. For every valid token, also one without the scope read. */
export function whoamiRoute(mode: AccessMode): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/whoami",
      config: { scope: "any", onlySeen: true },
      schema: {
        tags: ["health"],
        summary: "The name, the scopes and the clusters of the caller",
        response: { 200: json("The caller", whoamiAnswer), ...errors(...ACCESS_ERRORS) },
      },
      handler: ({ caller, scopes, clustersSeen }) => {
        assert(caller !== null && scopes !== null, "a route with a scope knows its caller");
        return {
          name: caller,
          access: mode,
          scopes: [...scopes],
          clusters: typeof clustersSeen === "string" ? null : [...clustersSeen].toSorted(),
        };
      },
    });
  };
}
