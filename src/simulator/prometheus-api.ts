import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Clock } from "#lib/clock.ts";
import { createGzipSink, createResponseSink, createTextSink, GONE, spoilSink } from "./answer-body.ts";
import type { TextSink } from "./answer-body.ts";
import { formatLabels, formatScalar, formatText, formatTime, formatValue } from "./answer-format.ts";
import type { PrometheusVersion } from "./answer-format.ts";
import { createEngine } from "./evaluate.ts";
import type { Engine, InstantResult } from "./evaluate.ts";
import type { PrometheusFault } from "./fault-kinds.ts";
import type { FaultSource } from "./faults.ts";
import { writeMatrix, writeRange } from "./matrix-answer.ts";
import { parsePromql } from "./promql.ts";
import { QueryError, tooManySamples } from "./query-error.ts";
import { readParameters, toDurationMs, toTimeMs } from "./query-parameters.ts";
import type { Parameters } from "./query-parameters.ts";
import { selectSeries } from "./select.ts";
import { compareLabels } from "./series.ts";
import { wholesaleAnswer } from "./spoiled-answer.ts";
import { scrapedBy } from "./world.ts";
import type { ClusterWorld } from "./world.ts";

export interface PrometheusSettings {
  /** Default 3. */
  version?: PrometheusVersion;
  /** Which of several that scrape the same targets. Default 0. */
  replica?: number;
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
interface Call {
  request: IncomingMessage;
  response: ServerResponse;
  path: string;
  parameters: Parameters;
  fault: PrometheusFault | undefined;
  engine: Engine;
}

const POINTS_MAX = 11_000;
const HOUR_MS = 3_600_000;

/** Prometheus' HTTP API over a simulated cluster: answers have the bytes that a real one would send. Never throws, never rejects. */
export function createPrometheusApi(
  deps: PrometheusDeps,
  settings: PrometheusSettings = {},
): RequestListener {
  const { version = 3, replica = 0, pathPrefix = "", samplesMax = Number.POSITIVE_INFINITY } = settings;
  const { world, faults } = deps;

  const open = (call: Call): TextSink => {
    const gzip = /\bgzip\b/.test(call.request.headers["accept-encoding"] ?? "");
    call.response.setHeader("content-type", "application/json");
    if (version === 3) call.response.setHeader("vary", ["Accept-Encoding", "Origin"]);
    if (gzip) call.response.setHeader("content-encoding", "gzip");
    const sink = spoilSink(createResponseSink(call.response), call.fault, call.response, deps);
    return createTextSink(gzip ? createGzipSink(sink) : sink);
  };

  const send = async (call: Call, status: number, json: string): Promise<void> => {
    call.response.statusCode = status;
    const sink = open(call);
    await sink.write(json);
    await sink.end();
  };

  const succeed = async (call: Call, json: string): Promise<void> =>
    send(call, 200, `{"status":"success","data":${json}}`);

  const fail = async (call: Call, { status, errorType, message }: QueryError): Promise<void> =>
    send(
      call,
      status,
      `{"status":"error","errorType":"${errorType}","error":${formatText(message, version)}}`,
    );

  const query = async (call: Call): Promise<void> => {
    const atMs = toTimeMs(call.parameters, "time", world.now(), version);
    const result = call.engine.instant(parsePromql(call.parameters.get("query") ?? ""), atMs);
    if (result.type !== "matrix") return succeed(call, smallResult(result, atMs, version));
    const sink = open(call);
    await writeMatrix(sink, result, version, call.fault);
    await sink.end();
  };

  const queryRange = async (call: Call): Promise<void> => {
    const startMs = toTimeMs(call.parameters, "start", undefined, version);
    const endMs = toTimeMs(call.parameters, "end", undefined, version);
    if (endMs < startMs) throw badParameter("end", "end timestamp must not be before start time");
    const stepMs = toDurationMs(call.parameters, "step");
    if (stepMs <= 0) {
      throw badParameter(
        "step",
        "zero or negative query resolution step widths are not accepted. Try a positive integer",
      );
    }
    if ((endMs - startMs) / stepMs > POINTS_MAX) {
      const advice = "Try decreasing the query resolution (?step=XX)";
      throw new QueryError(
        400,
        "bad_data",
        `exceeded maximum resolution of 11,000 points per timeseries. ${advice}`,
      );
    }
    const series = call.engine.range(parsePromql(call.parameters.get("query") ?? ""), startMs, endMs, stepMs);
    const sink = open(call);
    await writeRange(sink, series, version, call.fault);
    await sink.end();
  };

  const metadata = async (call: Call): Promise<void> => {
    const limit = call.parameters.get("limit");
    if (limit !== null && !/^-?\d+$/.test(limit))
      throw new QueryError(400, "bad_data", "limit must be a number");
    const metric = call.parameters.get("metric");
    const families = world.families.filter(({ name }) => metric === null || metric === "" || name === metric);
    const count = limit !== null && Number(limit) >= 0 ? Number(limit) : families.length;
    const entries = families.slice(0, count).map(({ name, type, help, unit }) => {
      const entry = `{"type":"${type}","unit":"${unit}","help":${formatText(help, version)}}`;
      return `${formatText(name, version)}:[${entry}]`;
    });
    return succeed(call, `{${entries.join(",")}}`);
  };

  const series = async (call: Call): Promise<void> => {
    const selectors = call.parameters.getAll("match[]");
    if (selectors.length === 0) throw new QueryError(400, "bad_data", "no match[] parameter provided");
    const toMs = toTimeMs(call.parameters, "end", world.now(), version);
    const fromMs = toTimeMs(call.parameters, "start", toMs - HOUR_MS, version);
    const found = selectors.flatMap((text) => {
      const selector = parsePromql(text);
      if (selector.kind !== "selector")
        throw new QueryError(400, "bad_data", "match[] must be a vector selector");
      return selectSeries(
        world.metrics,
        selector.matchers,
        { fromMs, toMs: scrapedBy(world.shape, toMs) },
        version,
      );
    });
    const labels = found.map((each) => each.labels).sort(compareLabels);
    const texts = new Set(labels.map((each) => formatLabels(each, version)));
    return succeed(call, `[${[...texts].join(",")}]`);
  };

  const names = async (call: Call): Promise<void> =>
    succeed(call, `[${world.metrics.map(({ name }) => formatText(name, version)).join(",")}]`);

  const buildInfo = async (call: Call): Promise<void> => {
    const number = version === 3 ? "3.15.0" : "2.42.0";
    const rest = '"revision":"","branch":"","buildUser":"","buildDate":"","goVersion":"go1.26.8"';
    return succeed(call, `{"version":"${number}",${rest}}`);
  };

  const apis: Record<string, { methods: string[]; run: (call: Call) => Promise<void> }> = {
    "/api/v1/query": { methods: ["GET", "POST"], run: query },
    "/api/v1/query_range": { methods: ["GET", "POST"], run: queryRange },
    "/api/v1/metadata": { methods: ["GET"], run: metadata },
    "/api/v1/series": { methods: ["GET", "POST"], run: series },
    "/api/v1/label/__name__/values": { methods: ["GET"], run: names },
    "/api/v1/status/buildinfo": { methods: ["GET"], run: buildInfo },
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://prometheus.invalid");
    const path = url.pathname.startsWith(pathPrefix) ? url.pathname.slice(pathPrefix.length) : "";
    const parameters = await readParameters(request, url);
    const text = parameters.get("query") ?? "";
    faults.saw({ layer: "prometheus", what: path, query: text });
    const fault = faults.ofPrometheus(path, text);
    if (await wholesaleAnswer(fault, response, deps.clock)) return;
    if (path === "/-/ready") return plain(response, 200, "Prometheus Server is Ready.\n");
    if (path === "/-/healthy") return plain(response, 200, "Prometheus Server is Healthy.\n");
    const api = apis[path];
    if (!api) return plain(response, 404, "404 page not found\n");
    if (!api.methods.includes(request.method ?? "")) {
      response.setHeader("allow", [...api.methods, "OPTIONS"].sort().join(", "));
      return plain(response, 405, "Method Not Allowed\n");
    }
    const limit = fault?.kind === "max-samples" ? fault.samples : samplesMax;
    const engine = createEngine(world, { version, replica, samplesMax: limit });
    const call: Call = { request, response, path, parameters, fault, engine };
    try {
      if (fault?.kind === "max-samples" && limit <= 0 && text !== "") throw tooManySamples();
      await api.run(call);
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      await fail(call, error);
    }
  };

  return (request, response) => {
    request.on("error", () => {});
    response.on("error", () => {});
    answer(request, response).catch((error: unknown) => {
      if (error === GONE || response.destroyed) return;
      if (response.headersSent) response.destroy();
      else if (error instanceof QueryError) plain(response, error.status, `${error.message}\n`);
      else
        plain(
          response,
          500,
          `the simulator failed: ${error instanceof Error ? error.stack : String(error)}\n`,
        );
    });
  };
}

function badParameter(name: string, problem: string): QueryError {
  return new QueryError(400, "bad_data", `invalid parameter "${name}": ${problem}`);
}

function plain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    ...(status >= 400 ? { "x-content-type-options": "nosniff" } : {}),
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

/** Scalars and strings go through Go's general JSON encoder, which drops the zeros at the end of a time. */
function smallResult(
  result: Exclude<InstantResult, { type: "matrix" }>,
  atMs: number,
  version: PrometheusVersion,
): string {
  const seconds = String(atMs / 1000);
  if (result.type === "scalar")
    return `{"resultType":"scalar","result":[${seconds},"${formatScalar(result.value)}"]}`;
  if (result.type === "string") {
    return `{"resultType":"string","result":[${seconds},${formatText(result.value, version)}]}`;
  }
  const at = formatTime(atMs);
  const items = result.items.map(
    ({ labels, value }) =>
      `{"metric":${formatLabels(labels, version)},"value":[${at},"${formatValue(value)}"]}`,
  );
  return `{"resultType":"vector","result":[${items.join(",")}]}`;
}
