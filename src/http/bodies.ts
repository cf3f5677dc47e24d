import type { FastifyRequest } from "fastify";
import { BridgeError } from "#errors/error.ts";
import type { App } from "./app-types.ts";
import { assertBodyShape } from "./body-shape.ts";

/** RFC 7396 has a type of its own for the patches. */
const JSON_TYPES = ["application/json", "application/merge-patch+json"];

/**
 * Reads the bodies of requests, up to the limit. A route that takes no body ignores whatever comes, of any type. An empty body is no body,
 * whatever its type: Dapr sends none as `application/json`, which Fastify's own parser refuses, and `curl -d ''` one as a form.
 */
export function readBodies(app: App): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(JSON_TYPES, { parseAs: "string" }, (request, body, done) => {
    if (body.length === 0 || !takesBody(request)) return done(null);
    const text = body.toString();
    assertBodyShape(text);
    return void parse(request, text, done);
  });
  app.addContentTypeParser("*", { parseAs: "buffer" }, (request, body, done) => {
    if (body.length === 0 || !takesBody(request)) return done(null);
    return done(
      new BridgeError("unsupported_media_type", "this route does not take the body's content type"),
    );
  });
  app.addHook("onRequest", async (request) => {
    // Fastify refuses a malformed type without asking a parser.
    if (!takesBody(request)) delete request.headers["content-type"];
  });
}

function takesBody(request: FastifyRequest): boolean {
  return request.routeOptions.schema?.body !== undefined;
}
