import { parse as parseForm } from "node:querystring";
import type { FastifyRequest } from "fastify";
import { BridgeError } from "#errors/error.ts";
import type { App } from "./app-types.ts";
import { assertBodyShape } from "./body-shape.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The body is a form; else JSON, if there is one. */
    form?: boolean;
    /** The body is taken as it is, of any type but those that others take. */
    bytes?: boolean;
  }
}

const FORM_TYPE = "application/x-www-form-urlencoded";
const FORM_FIELDS_MAX = 1000;
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
    if (takesForm(request) || takesBytes(request)) return done(wrongType(request));
    const text = body.toString();
    assertBodyShape(text);
    return void parse(request, text, done);
  });
  app.addContentTypeParser(FORM_TYPE, { parseAs: "string" }, (request, body, done) => {
    if (!takesBody(request) || (body.length === 0 && !takesForm(request))) return done(null);
    if (!takesForm(request)) return done(wrongType(request));
    return done(null, parseForm(body.toString(), "&", "=", { maxKeys: FORM_FIELDS_MAX }));
  });
  app.addContentTypeParser("*", { parseAs: "buffer" }, (request, body, done) => {
    if (body.length === 0 || !takesBody(request)) return done(null);
    return takesBytes(request) ? done(null, body) : done(wrongType(request));
  });
  app.addHook("onRequest", async (request) => {
    // Fastify refuses a malformed type without asking a parser.
    if (!takesBody(request)) delete request.headers["content-type"];
  });
}

function wrongType(request: FastifyRequest): BridgeError {
  const type = takesForm(request)
    ? FORM_TYPE
    : takesBytes(request)
      ? "application/x-protobuf"
      : JSON_TYPES[0];
  return new BridgeError("unsupported_media_type", "this route does not take the body's content type", {
    hint: `Send ${type}.`,
  });
}

function takesForm(request: FastifyRequest): boolean {
  return request.routeOptions.config.form === true;
}

function takesBytes(request: FastifyRequest): boolean {
  return request.routeOptions.config.bytes === true;
}

function takesBody(request: FastifyRequest): boolean {
  return request.routeOptions.schema?.body !== undefined;
}
