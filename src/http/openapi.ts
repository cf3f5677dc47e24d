import { fastifySwagger, type SwaggerTransform, type SwaggerTransformObject } from "@fastify/swagger";
import { fastifySwaggerUi } from "@fastify/swagger-ui";
import { jsonSchemaTransform, jsonSchemaTransformObject } from "fastify-type-provider-zod";
import type { App } from "./app-types.ts";

/**
 * The page loads its own scripts and styles and talks to this server; nothing else, and no page may frame it. Swagger UI needs
 * inline styles (swagger-api/swagger-ui#10655), but no inline scripts.
 */
const DOCS_CSP =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

const SECURITY = {
  open: [],
  any: [{ bearer: [] }, { dapr: [] }],
  read: [{ bearer: [] }],
  collect: [{ bearer: [] }, { dapr: [] }],
  admin: [{ bearer: [] }],
} as const;

/** Collects the routes that are registered from here on into an OpenAPI 3.1 document. */
export function registerOpenApi(app: App, service: { name: string; version: string }): void {
  app.register(fastifySwagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: service.name,
        version: service.version,
        description:
          "Collects metrics from the Prometheus of many Kubernetes clusters and delivers them as OTLP. Every error answer has the schema ErrorAnswer, but those of /api/v1, which are as Prometheus gives them.",
      },
      tags: [
        { name: "metrics", description: "The collection and its status" },
        { name: "clusters", description: "The registered clusters" },
        { name: "onboard", description: "On the way to a registered cluster" },
        { name: "cluster-metrics", description: "The stored metrics" },
        { name: "prometheus", description: "Prometheus' HTTP API over all clusters" },
        { name: "health", description: "Probes" },
      ],
      components: {
        securitySchemes: {
          bearer: { type: "http", scheme: "bearer", description: "A token of API_TOKENS_FILE" },
          dapr: {
            type: "apiKey",
            in: "header",
            name: "dapr-api-token",
            description: "APP_API_TOKEN, sent by Dapr's sidecar",
          },
        },
      },
    },
    transform: withSecurity,
    transformObject: withUsedSchemas,
  });
}

const withSecurity: SwaggerTransform = (input) => {
  const transformed = jsonSchemaTransform(input);
  const scope = input.route.config?.scope;
  if (scope && transformed.schema) {
    transformed.schema.security = SECURITY[scope];
    if (scope !== "open") {
      const text = transformed.schema.description;
      transformed.schema.description = `${text ? `${text}\n\n` : ""}Scope: \`${scope}\`${scope === "any" ? " (every valid token)" : ""}.`;
    }
  }
  return transformed;
};

/** Schemas are registered for the whole program, each as input and as output. Keeps those that a route of this server refers to. */
const withUsedSchemas: SwaggerTransformObject = (input) => {
  const document = jsonSchemaTransformObject(input);
  if (!("components" in document)) return document;
  const schemas = document.components?.schemas ?? {};
  const used = new Set<string>();
  const visit = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    for (const [key, value] of Object.entries(node)) {
      const name = key === "$ref" && typeof value === "string" ? value.replace(/^.*\//, "") : undefined;
      if (name === undefined) visit(value);
      else if (!used.has(name)) {
        used.add(name);
        visit(schemas[name]);
      }
    }
  };
  visit(document.paths);
  for (const name of Object.keys(schemas)) if (!used.has(name)) delete schemas[name];
  return document;
};

/** GET /docs (a page), /docs/json and /docs/yaml: open to everybody, because they contain no more than the source code. */
export function registerDocs(app: App): void {
  app.register(async (docs) => {
    docs.addHook("onRoute", (route) => {
      route.config = { ...route.config, scope: "open", quiet: true };
    });
    docs.register(fastifySwaggerUi, { routePrefix: "/docs", staticCSP: DOCS_CSP });
  });
}
