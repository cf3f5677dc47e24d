import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Clock } from "#lib/clock.ts";
import { createGzipSink, createResponseSink, createTextSink, GONE, spoilSink } from "./answer-body.ts";
import type { TextSink } from "./answer-body.ts";
import { formatText } from "./answer-format.ts";
import type { PrometheusVersion } from "./answer-format.ts";
import { createEngine } from "./evaluate.ts";
import type { PrometheusFault } from "./fault-kinds.ts";
import type { FaultSource } from "./faults.ts";
import { ROUTES } from "./prometheus-routes.ts";
import type { Route } from "./prometheus-routes.ts";
import { QueryError, tooManySamples } from "./query-error.ts";
import { readParameters } from "./query-parameters.ts";
import type { Parameters } from "./query-parameters.ts";
import type { Scrapes } from "./series.ts";
import { wholesaleAnswer } from "./spoiled-answer.ts";
import type { ClusterWorld } from "./world.ts";

export interface PrometheusSettings {
  /** Default 3. */
  version?: PrometheusVersion;
  /** Number of this replica among those that scrape the same targets. Default 0. */
  replica?: number;
  /** The targets that it scrapes. Default: all. */
  scrapes?: Scrapes;
  /** Empty, or begins with "/" and does not end with one. Default empty. */
  pathPrefix?: string;
  /** --query.max-samples. Default: no limit. */
  samplesMax?: number;
}

export interface PrometheusDeps {
  world: ClusterWorld;
  clock: Clock;
  faults: FaultSource;
  /** For the fault that replaces the Pod in the middle of an answer. */
  restartPod: () => void;
}

/** One request on its way through the API. */
interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  parameters: Parameters;
  fault: PrometheusFault | undefined;
}

/**
 * Prometheus' HTTP API over a simulated cluster: answers have the bytes that a real one would send (compared
 * with 3.15 and 2.42).
 * The listener never throws and leaves no promise behind that rejects.
 */
export function createPrometheusApi(
  deps: PrometheusDeps,
  settings: PrometheusSettings = {},
): RequestListener {
  const { version = 3, replica = 0, pathPrefix = "", samplesMax = Number.POSITIVE_INFINITY } = settings;
  const { world, faults } = deps;

  const runRoute = async (route: Route, exchange: Exchange): Promise<void> => {
    const { fault, parameters, request, response } = exchange;
    if (!route.methods.includes(request.method ?? "")) {
      response.setHeader("allow", [...route.methods, "OPTIONS"].sort().join(", "));
      return plain(response, 405, "Method Not Allowed\n");
    }
    const limit = fault?.kind === "max-samples" ? fault.samples : samplesMax;
    const scrapes = settings.scrapes ? { scrapes: settings.scrapes } : {};
    const engine = createEngine(world, { version, replica, samplesMax: limit, ...scrapes });
    const open = (): TextSink => openBody(exchange, version, deps);
    const send = async (json: string): Promise<void> => {
      const sink = open();
      await sink.write(json);
      await sink.end();
    };
    const succeed = async (json: string): Promise<void> => send(`{"status":"success","data":${json}}`);
    try {
      if (limit <= 0 && parameters.get("query") !== null) throw tooManySamples();
      await route.run({ world, engine, version, parameters, fault, open, succeed });
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      response.statusCode = error.status;
      const words = formatText(error.message, version);
      await send(`{"status":"error","errorType":"${error.errorType}","error":${words}}`);
    }
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://prometheus.invalid");
    const path = url.pathname.startsWith(pathPrefix) ? url.pathname.slice(pathPrefix.length) : "";
    const parameters = await readParameters(request, url);
    const text = parameters.get("query") ?? "";
    faults.saw({ layer: "prometheus", what: path, query: text });
    const fault = faults.ofPrometheus(path, text);
    if (await wholesaleAnswer(fault, request, response, deps.clock)) return;
    if (path === "/-/ready") return plain(response, 200, "Prometheus Server is Ready.\n");
    if (path === "/-/healthy") return plain(response, 200, "Prometheus Server is Healthy.\n");
    const route = ROUTES[path];
    if (!route) return plain(response, 404, "404 page not found\n");
    await runRoute(route, { request, response, parameters, fault });
  };

  return (request, response) => {
    request.on("error", () => {});
    response.on("error", () => {});
    answer(request, response).catch((error: unknown) => {
      if (error === GONE || response.destroyed) return;
      if (response.headersSent) response.destroy();
      else if (error instanceof QueryError) plain(response, error.status, `${error.message}\n`);
      else plain(response, 500, `the simulator failed: ${error instanceof Error ? error.stack : ""}\n`);
    });
  };
}

function openBody(
  { request, response, fault }: Exchange,
  version: PrometheusVersion,
  deps: PrometheusDeps,
): TextSink {
  const isGzip = /\bgzip\b/.test(request.headers["accept-encoding"] ?? "");
  response.setHeader("content-type", "application/json");
  if (version === 3) response.setHeader("vary", ["Accept-Encoding", "Origin"]);
  if (isGzip) response.setHeader("content-encoding", "gzip");
  const sink = spoilSink(createResponseSink(response), fault, response, deps);
  return createTextSink(isGzip ? createGzipSink(sink) : sink);
}

function plain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    ...(status >= 400 ? { "x-content-type-options": "nosniff" } : {}),
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}
