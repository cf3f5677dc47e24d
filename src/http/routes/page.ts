import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { RouteModule } from "#http/app-types.ts";
import { toPageDocument, type PageDocument, type PageSettings } from "#http/page-document.ts";
import type { LoadPage } from "#http/page-files.ts";
import { fields } from "#http/schemas.ts";

const FOR_EVER = "public, max-age=31536000, immutable";

/** Sends the page's document. */
export type SendPage = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>;

/** Does the request come from a browser's address bar? Programs ask for anything or for JSON. */
export function wantsPage(request: FastifyRequest): boolean {
  return (request.headers.accept ?? "").includes("text/html");
}

export function createSendPage(load: LoadPage, settings: PageSettings): SendPage {
  let document: PageDocument | undefined;
  return async (request, reply) => {
    document ??= toPageDocument(await load(), settings);
    const { html, policy, etag } = document;
    reply.headers({ "content-security-policy": policy, "cache-control": "no-cache", etag });
    if (request.headers["if-none-match"] === etag) return await reply.code(304).send();
    return await reply.type("text/html; charset=utf-8").send(html);
  };
}

/** GET /page/VERSION/FILE: the scripts and styles of the page. Open to everybody, because they contain no more than the source code. */
export function pageFilesRoute(load: LoadPage): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/page/:version/*",
      config: { scope: "open", quiet: true },
      schema: { hide: true, params: fields({ version: z.string(), "*": z.string() }) },
      handler: async (request, reply) => {
        const { version, "*": path } = request.params;
        const build = await load();
        const file = version === build.version ? build.files.get(path) : undefined;
        if (!file) throw new BridgeError("not_found", "the page has no such file; load the page again");
        const packed = /\bgzip\b/.test(request.headers["accept-encoding"] ?? "");
        reply.headers({ "cache-control": FOR_EVER, vary: "accept-encoding" });
        if (packed) reply.header("content-encoding", "gzip");
        return await reply.type(file.type).send(packed ? file.gzip : file.body);
      },
    });
  };
}
