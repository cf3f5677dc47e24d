import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Clock } from "#lib/clock.ts";
import {
  createDirectSink,
  createGzipSink,
  createResponseSink,
  createTextSink,
  GONE,
  spoilSink,
} from "./answer-body.ts";
import type { TextSink } from "./answer-body.ts";
import { formatText } from "./answer-format.ts";
import type { PrometheusVersion } from "./answer-format.ts";
import { createEngine } from "./evaluate.ts";
import type { PrometheusFault } from "./fault-kinds.ts";
import type { FaultSource } from "./faults.ts";
import { ROUTES } from "./prometheus-routes.ts";
import type { Route } from "./prometheus-routes.ts";
import { QueryError, tooManySamples } from "./query-error.ts";
import { readBody, readParameters } from "./query-parameters.ts";
import type { Parameters } from "./query-parameters.ts";
import { createGate } from "./request-gate.ts";
import { answerRemoteRead, decodeReadRequest, REMOTE_READ_BODY_MAX } from "./remote-read.ts";
import { sendRemoteReadFlood } from "./remote-read-flood.ts";
import type { RemoteReadLimits } from "./remote-read.ts";
import { selectorsOf } from "./remote-read-protobuf.ts";
import type { RemoteReadRequest } from "./remote-read-protobuf.ts";
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
  /** global.external_labels: remote read adds them to each series, the query API does not. Default: none. */
  externalLabels?: Readonly<Record<string, string>>;
  remoteRead?: RemoteReadLimits;
}

export interface PrometheusDeps {
  world: ClusterWorld;
  clock: Clock;
  faults: FaultSource;
  /** For the fault that replaces the Pod in the middle of an answer. */
  restartPod: () => void;
}

const REMOTE_READ = "/api/v1/read";

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
  const externalLabels = Object.entries(settings.externalLabels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const limits = {
    samplesMax: 50_000_000,
    concurrency: 10,
    frameBytesMax: 1_048_576,
    ...settings.remoteRead,
  };
  const gate = createGate(limits.concurrency);

  const runRoute = async (route: Route, exchange: Exchange): Promise<void> => {
    const { fault, parameters, request, response } = exchange;
    if (!route.methods.includes(request.method ?? "")) {
      return notAllowed(response, route.methods);
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
      const served = { samplesMax, limits, externalLabels };
      await route.run({ world, engine, version, parameters, served, fault, open, succeed });
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      response.statusCode = error.status;
      const words = formatText(error.message, version);
      await send(`{"status":"error","errorType":"${error.errorType}","error":${words}}`);
    }
  };

  const askedBy = ({ headers }: IncomingMessage): { atMs: number; orgId?: string } => {
    const orgId = headers["x-scope-orgid"];
    return { atMs: deps.clock.now(), ...(typeof orgId === "string" ? { orgId } : {}) };
  };

  const remoteRead = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await readBody(request, REMOTE_READ_BODY_MAX);
    const asked = requestOrError(body);
    const query = asked instanceof QueryError ? "" : selectorsOf(asked);
    const spans = asked instanceof QueryError ? [] : asked.queries;
    const span = spans.length === 0 ? {} : { span: spanOf(spans) };
    faults.saw({ layer: "prometheus", what: REMOTE_READ, query, ...askedBy(request), ...span });
    const fault = faults.ofPrometheus(REMOTE_READ, query);
    if (await wholesaleAnswer(fault, request, response, deps.clock)) return;
    if (request.method !== "POST") return notAllowed(response, ["POST"]);
    await gate.pass(response, async () => {
      if (asked instanceof QueryError) throw asked;
      if (fault?.kind === "remote-read-flood") {
        return sendRemoteReadFlood(response, fault.flood, asked.queries[0]?.toMs ?? 0);
      }
      const samples = fault?.kind === "max-samples" ? { samplesMax: fault.samples } : {};
      await answerRemoteRead({
        world,
        horizon: { ...world.horizon(replica), ...(settings.scrapes ? { scrapes: settings.scrapes } : {}) },
        version,
        request: asked,
        externalLabels,
        limits: { ...limits, ...samples },
        problem: fault?.kind === "remote-read" ? fault.problem : undefined,
        response,
        sinkOf: (isStreamed) =>
          spoilSink(
            isStreamed ? createDirectSink(response) : createResponseSink(response),
            fault,
            response,
            deps,
          ),
      });
    });
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://prometheus.invalid");
    const path = url.pathname.startsWith(pathPrefix) ? url.pathname.slice(pathPrefix.length) : "";
    if (path === REMOTE_READ) return remoteRead(request, response);
    const parameters = await readParameters(request, url);
    const text = parameters.get("query") ?? "";
    faults.saw({ layer: "prometheus", what: path, query: text, ...askedBy(request) });
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

/** The error in place of the request when the body is none. */
/** From the first to the last time that any of the queries asks for. */
function spanOf(queries: readonly { fromMs: number; toMs: number }[]): { fromMs: number; toMs: number } {
  return {
    fromMs: Math.min(...queries.map(({ fromMs }) => fromMs)),
    toMs: Math.max(...queries.map(({ toMs }) => toMs)),
  };
}

function requestOrError(body: Buffer): RemoteReadRequest | QueryError {
  try {
    return decodeReadRequest(body);
  } catch (error) {
    if (error instanceof QueryError) return error;
    throw error;
  }
}

function notAllowed(response: ServerResponse, methods: readonly string[]): void {
  response.setHeader("allow", [...methods, "OPTIONS"].sort().join(", "));
  plain(response, 405, "Method Not Allowed\n");
}

function plain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    ...(status >= 400 ? { "x-content-type-options": "nosniff" } : {}),
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}
