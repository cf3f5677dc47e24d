import { randomUUID } from "node:crypto";
import { isIPv6 } from "node:net";
import { fastify, type FastifyRequest, type HTTPMethods } from "fastify";
import { serializerCompiler, type ZodTypeProvider } from "fastify-type-provider-zod";
import type { ClusterAdmin } from "#clusters/cluster-admin.ts";
import type { ClusterRegistry } from "#clusters/cluster.ts";
import type { ClusterCompleteness } from "#collect/completeness.ts";
import type { LiveRounds } from "#collect/live-rounds.ts";
import type { Collection } from "#collect/status.ts";
import type { DiagnoseCluster } from "#diagnose/cluster.ts";
import type { DiagnoseStorage } from "#diagnose/storage.ts";
import { BridgeError } from "#errors/error.ts";
import { type Clock, deadline } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import type { App, RouteModule } from "./app-types.ts";
import { type Access, type AccessSettings, createAccess } from "./auth.ts";
import { createAudit, type WriteAudit } from "./audit.ts";
import { type BeginRequest, createBeginRequest, pathOf } from "./access-log.ts";
import { type ConnectionLimits, type Connections, createConnections } from "./connections.ts";
import {
  createEventStreams,
  EVENT_STREAM_LIMITS,
  type EventStreamLimits,
  type EventStreams,
} from "./event-stream.ts";
import { refuseForeignClusters } from "./cluster-scope.ts";
import { readBodies } from "./bodies.ts";
import { toAddressKey } from "./failed-logins.ts";
import { createErrorHandler, validateByZod } from "./errors.ts";
import { refuseOpenBind } from "./loopback.ts";
import { registerDocs, registerOpenApi } from "./openapi.ts";
import type { PageSettings } from "./page-document.ts";
import { createLoadPage } from "./page-files.ts";
import { clusterChangeRoutes } from "./routes/cluster-changes.ts";
import { clusterRoutes } from "./routes/clusters.ts";
import { completenessRoutes } from "./routes/completeness.ts";
import { diagnoseRoutes, storageDiagnosisRoute } from "./routes/diagnose.ts";
import { healthRoutes, type Readiness } from "./routes/health.ts";
import { indexRoute } from "./routes/index-page.ts";
import { liveRoutes } from "./routes/live.ts";
import { collectionRoutes, ownMetricsRoutes } from "./routes/metrics.ts";
import { onboardRoutes, type Onboarding } from "./routes/onboard.ts";
import { createSendPage, pageFilesRoute } from "./routes/page.ts";
import { type QueryRouteDeps, queryRoutesOf } from "./query-routes.ts";
import { whoamiRoute } from "./routes/whoami.ts";
import { answerClientError, answerUnusualRequests } from "./raw-answers.ts";
import type { ApiToken } from "./tokens.ts";

export interface HttpServerDeps extends QueryRouteDeps {
  logger: Logger;
  clock: Clock;
  ownMetrics: Pick<OwnMetrics, "prometheusText" | "requestAnswered">;
  readiness: Readiness;
  /** Warnings about the program as a whole, for the status and /readyz; the latter is open to everybody, so they have no details. */
  warnings?: () => readonly string[];
  /** Of the bridge role. The routes of this and the next ones exist only when it is given. */
  collection?: Collection;
  liveRounds?: LiveRounds;
  completeness?: ClusterCompleteness;
  clusters?: ClusterRegistry;
  clusterAdmin?: ClusterAdmin;
  /** What is tried before a cluster is registered. */
  onboarding?: Onboarding;
  /** With `clusters`. */
  diagnoseCluster?: DiagnoseCluster;
  diagnoseStorage?: DiagnoseStorage;
  /** Routes of other roles. */
  routes?: readonly RouteModule[];
}

export interface HttpServerSettings {
  host: string;
  /** 0 takes a free one. */
  port: number;
  service: { name: string; version: string };
  access: AccessSettings;
  /** Serves the page (docs/page.md) to browsers. */
  page?: Pick<PageSettings, "role" | "bridgeUrl">;
  limits?: Partial<HttpLimits>;
}

export interface HttpLimits extends ConnectionLimits, EventStreamLimits {
  bodyBytesMax: number;
  /** All headers of a request together. */
  headerBytesMax: number;
  /** From the connection (or the end of the request before) to the end of the headers. */
  headersTimeoutMs: number;
  /** From there to the end of the body. How long an answer takes is not limited: `wait=true` may wait for a whole round. */
  requestTimeoutMs: number;
  keepAliveTimeoutMs: number;
  /** Time that running requests have when the server stops, before their connections are closed. */
  stopGraceMs: number;
}

export const HTTP_LIMITS: HttpLimits = {
  bodyBytesMax: 1024 * 1024,
  headerBytesMax: 16 * 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 72_000,
  connectionsMax: 1000,
  connectionsReserved: 50,
  stopGraceMs: 5000,
  ...EVENT_STREAM_LIMITS,
};

const PARAM_CHARS_MAX = 256;
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;
const METHODS: readonly HTTPMethods[] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

export interface HttpServer {
  /** Listens. Throws config_invalid: HOST and PORT can't be bound, or would be open to the network without a token. */
  start(): Promise<{ url: string }>;
  /** Accepts no more requests, answers waiting ones with shutting_down, and closes the other connections after the grace period. Never throws. */
  stop(): Promise<void>;
  /** Replaces the tokens, from the next request on, and ends the event streams of those that changed. Ignores an empty list. */
  replaceTokens(tokens: readonly ApiToken[]): void;
  /** A request without a socket, for tests. */
  inject: App["inject"];
}

/** The HTTP API: the routes for `deps`, access control, error answers, access log, OpenAPI. */
export function createHttpServer(deps: HttpServerDeps, settings: HttpServerSettings): HttpServer {
  const limits = { ...HTTP_LIMITS, ...settings.limits };
  const access = createAccess(deps, settings.access);
  const stopping = new AbortController();
  const streams = createEventStreams(deps, limits, stopping.signal);
  const begin = createBeginRequest(deps);
  const app = createApp(deps.logger, begin, limits);
  const connections = createConnections(app.server, deps, limits);
  addRequestHooks(app, { begin, access, connections }, stopping.signal);
  addAudit(app, createAudit(deps.logger));
  registerOpenApi(app, settings.service);
  registerDocs(app);
  registerRoutes(app, [
    ...indexRoutesOf(deps, settings, access.mode === "tokens"),
    whoamiRoute(access.mode),
    ...routesOf(deps, settings, streams, stopping.signal),
  ]);
  return {
    inject: app.inject.bind(app),
    replaceTokens: (tokens) => {
      access.replaceTokens(tokens);
      streams.endRevoked();
    },
    start: async () => {
      refuseOpenBind(settings.host, access.mode !== "loopback");
      // A resolver may give "localhost" any address.
      const host = settings.host === "localhost" ? "127.0.0.1" : settings.host;
      await app.ready();
      await listen(app, host, settings.port);
      return { url: toUrl(app, host) };
    },
    stop: async () => {
      if (!stopping.signal.aborted) {
        stopping.abort(new BridgeError("shutting_down", "the server is ending"));
      }
      const grace = deadline(deps.clock, limits.stopGraceMs, () => new Error("grace is over"));
      grace.signal.addEventListener("abort", () => app.server.closeAllConnections(), { once: true });
      await app.close().then(
        () => undefined,
        (error: unknown) => deps.logger.warn({ err: error }, "the HTTP server did not close cleanly"),
      );
      grace.dispose();
    },
  };
}

function indexRoutesOf(
  deps: HttpServerDeps,
  { service, page }: HttpServerSettings,
  needsToken: boolean,
): RouteModule[] {
  if (!page) return [indexRoute(service)];
  const load = createLoadPage();
  const settings: PageSettings = {
    ...page,
    version: service.version,
    needsToken,
    parts: {
      collection: deps.collection !== undefined,
      changes: deps.clusterAdmin !== undefined,
      queries: deps.clusterState !== undefined,
    },
  };
  return [indexRoute(service, createSendPage(load, settings)), pageFilesRoute(load)];
}

function routesOf(
  deps: HttpServerDeps,
  { service }: HttpServerSettings,
  streams: EventStreams,
  stopping: AbortSignal,
): RouteModule[] {
  const warnings = deps.warnings ?? (() => []);
  return [
    healthRoutes({ readiness: deps.readiness, warnings }, stopping),
    ownMetricsRoutes(deps.ownMetrics),
    ...(deps.collection ? [collectionRoutes(deps.collection, warnings, stopping)] : []),
    ...(deps.liveRounds ? [liveRoutes(deps.liveRounds, streams, deps.clock)] : []),
    ...(deps.completeness ? [completenessRoutes(deps.completeness, deps.clock)] : []),
    ...(deps.clusters ? [clusterRoutes(deps.clusters, deps.clock)] : []),
    ...(deps.clusters && deps.diagnoseCluster
      ? [diagnoseRoutes(deps.clusters, deps.diagnoseCluster, streams, stopping)]
      : []),
    ...(deps.clusterAdmin ? [clusterChangeRoutes(deps.clusterAdmin, deps.clock, stopping)] : []),
    ...(deps.onboarding ? [onboardRoutes(deps.onboarding, deps.clock, streams, stopping)] : []),
    ...(deps.diagnoseStorage ? [storageDiagnosisRoute(deps.diagnoseStorage, stopping)] : []),
    ...queryRoutesOf(deps, service, stopping),
    ...(deps.routes ?? []),
  ];
}

function createApp(logger: Logger, begin: BeginRequest, limits: HttpLimits): App {
  const onError = createErrorHandler(logger);
  const app: App = fastify({
    http: {
      maxHeaderSize: limits.headerBytesMax,
      headersTimeout: limits.headersTimeoutMs,
      // Node's own refusal has no body and no headers; the onRequest hook refuses instead.
      requireHostHeader: false,
      connectionsCheckingInterval: Math.max(10, Math.min(5000, limits.headersTimeoutMs / 2)),
    },
    bodyLimit: limits.bodyBytesMax,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    // The access log below replaces Fastify's, which logs headers and raw errors.
    logger: false,
    // Its answer has another form than ours; the onRequest hook refuses instead.
    return503OnClosing: false,
    genReqId: (request) => {
      const given = request.headers["x-request-id"];
      return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
    },
    routerOptions: { maxParamLength: PARAM_CHARS_MAX },
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, request, reply) => {
      begin(request, reply);
      void onError(error, request, reply);
    },
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validateByZod);
  app.setSerializerCompiler(serializerCompiler);
  app.decorateRequest("errorCode", null);
  app.decorateRequest("caller", null);
  app.decorateRequest("auditCluster", null);
  app.decorateRequest("scopes", null);
  app.decorateRequest("clustersSeen", "none");
  app.decorateRequest("viaDapr", false);
  app.decorateRequest("share", "");
  app.decorateRequest("isStillAllowed", () => false);
  app.decorateRequest("sees", function sees(this: FastifyRequest, clusterId: string): boolean {
    const seen = this.clustersSeen;
    return seen === "all" || (seen !== "none" && seen.has(clusterId));
  });
  app.setErrorHandler(onError);
  app.setNotFoundHandler((request) => {
    throw new BridgeError("not_found", `there is no ${request.method} ${pathOf(request)}`);
  });
  readBodies(app);
  answerUnusualRequests(app.server);
  return app;
}

function addRequestHooks(
  app: App,
  { begin, access, connections }: { begin: BeginRequest; access: Access; connections: Connections },
  stopping: AbortSignal,
): void {
  app.addHook("onRequest", async (request, reply) => {
    begin(request, reply);
    if (request.headers.host === undefined && request.raw.httpVersion === "1.1") {
      reply.header("connection", "close");
      throw new BridgeError("request_invalid", "the request has no Host header");
    }
    const { scope, quiet } = request.routeOptions.config;
    const asked = {
      method: request.method,
      headers: request.headers,
      address: request.ip,
      // Fails closed; registration refuses a route without a scope anyway.
      scope: request.is404 ? "open" : (scope ?? "admin"),
    } as const;
    const decision = access.decide(asked);
    const { caller, scopes, clustersSeen, refusal, viaDapr } = decision;
    request.caller = caller;
    request.scopes = scopes;
    request.clustersSeen = clustersSeen;
    request.viaDapr = viaDapr;
    request.isStillAllowed = () => access.isStillAllowed(asked, decision);
    request.share = access.mode === "tokens" ? `token ${caller}` : `address ${toAddressKey(request.ip)}`;
    connections.requestBegun(reply.raw, {
      isKnown: refusal === undefined && clustersSeen !== "none",
      mayUseReserve: quiet === true,
    });
    if (refusal) throw refusal;
    if (stopping.aborted && !quiet) throw stopping.reason;
  });
  // After the body is parsed, because it may name the cluster.
  app.addHook("preHandler", async (request) => refuseForeignClusters(request));
}

/** Before the answer is sent, so that a client can't avoid the audit line by disconnecting. */
function addAudit(app: App, audit: WriteAudit): void {
  app.addHook("onSend", async (request, reply) => audit(request, reply));
}

function registerRoutes(app: App, modules: readonly RouteModule[]): void {
  // async: a synchronous plugin that throws ends the process instead of failing `ready`.
  app.register(async (api: App) => {
    const methodsOf = new Map<string, Set<string>>();
    api.addHook("onRoute", (route) => {
      const methods = Array.isArray(route.method) ? route.method : [route.method];
      if (!route.config?.scope) {
        throw new Error(`the route ${methods.join(",")} ${route.url} declares no scope`);
      }
      const known = methodsOf.get(route.url) ?? new Set();
      for (const method of methods) known.add(method);
      methodsOf.set(route.url, known);
    });
    for (const register of modules) register(api);
    api.after(() => refuseOtherMethods(app, methodsOf));
  });
}

/** A known path with another method is 405 with Allow, not 404. */
function refuseOtherMethods(app: App, methodsOf: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const [url, known] of methodsOf) {
    app.route({
      method: METHODS.filter((method) => !known.has(method)),
      url,
      config: { scope: "open" },
      schema: { hide: true },
      // Before the body is read: its type and size do not matter here.
      onRequest: async (request, reply) => {
        reply.header("allow", [...known].sort().join(", "));
        throw new BridgeError("method_not_allowed", `${pathOf(request)} does not take ${request.method}`);
      },
      handler: () => undefined,
    });
  }
}

async function listen(app: App, host: string, port: number): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new BridgeError(
      "config_invalid",
      `can't listen on HOST=${host} PORT=${port}: ${code ?? "unknown reason"}`,
      {
        hint: "Set PORT to a free port and HOST to an address of this machine.",
        cause: error,
      },
    );
  }
}

function toUrl(app: App, host: string): string {
  const address = app.server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${isIPv6(name) ? `[${name}]` : name}:${port}`;
}
