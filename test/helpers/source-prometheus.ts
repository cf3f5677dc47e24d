import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createDirectSink } from "#simulator/answer-body.ts";
import { memberMetric } from "#simulator/metric.ts";
import { QueryError } from "#simulator/query-error.ts";
import { answerRemoteRead, decodeReadRequest } from "#simulator/remote-read.ts";
import type { SimulatedMetric } from "#simulator/series.ts";

/** A series with a sample every 30 s, its value a function of the time in ms. */
export interface SourceSeries {
  name: string;
  labels: Record<string, string>;
  valueAt: (timeMs: number) => number;
}

/** A Prometheus' HTTP API over given series, for what the simulator's world has not got; the simulator's port-forward can lead to it. */
export interface SourcePrometheus {
  port: number;
  stop(): Promise<void>;
}

/** One request, and the `data` that Prometheus would answer with; undefined: 404. */
export interface SourceCall {
  request: IncomingMessage;
  response: ServerResponse;
  path: string;
  form: URLSearchParams;
  /** As it came. */
  body: string;
  data: unknown;
}

/** Answers in another way than Prometheus does. Returns false to leave the answer to Prometheus. */
export type StandIn = (call: SourceCall) => boolean;

const EVERY_MS = 30_000;
const UP: SourceSeries = { name: "up", labels: { job: "prometheus" }, valueAt: () => 1 };

export async function startSourcePrometheus(
  series: readonly SourceSeries[],
  metadata: Record<string, { type: string; help: string; unit: string }[]> = {},
  /** Other programs by the first part of the path. */
  standIns: Readonly<Record<string, StandIn>> = {},
  /** It speaks TLS. */
  tls?: ServerOptions,
): Promise<SourcePrometheus> {
  const all = [UP, ...series];
  const answer = (path: string, form: URLSearchParams): unknown => {
    const query = form.get("query") ?? "";
    const at = Number(form.get("time") ?? Date.now() / 1000);
    if (path === "/api/v1/status/buildinfo") return { version: "3.15.0" };
    if (path === "/api/v1/metadata") return metadata;
    if (query === "time()") return { resultType: "scalar", result: [at, String(at)] };
    if (query === "count(up)") return { resultType: "vector", result: [{ metric: {}, value: [at, "1"] }] };
    const range = /^(?:\{"([^"]+)"\}|([\w:]+))\[(\d+)ms\]$/.exec(query);
    if (range) return toMatrix(all, range[1] ?? range[2]!, at * 1000 - Number(range[3]), at * 1000);
    return undefined;
  };
  const listener: RequestListener = (request, response) => {
    void bytesOf(request).then(async (bytes) => {
      const url = new URL(request.url ?? "/", "http://prometheus.invalid");
      const [, prefix = "", rest = ""] = /^\/([^/]+)(\/.*)$/.exec(url.pathname) ?? [];
      const standIn = standIns[prefix];
      const path = standIn ? rest : url.pathname;
      if (path === "/api/v1/read" && !standIn) return answerRead(all, bytes, response);
      const body = bytes.toString("utf8");
      const form = new URLSearchParams(body || url.search);
      const data = answer(path, form);
      if (standIn?.({ request, response, path, form, body, data })) return;
      response.writeHead(data === undefined ? 404 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify({ status: data === undefined ? "error" : "success", data }));
    });
  };
  const server = tls ? createTlsServer(tls, listener) : createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function toMatrix(series: readonly SourceSeries[], name: string, fromMs: number, toMs: number): unknown {
  const times: number[] = [];
  for (let t = Math.floor(fromMs / EVERY_MS + 1) * EVERY_MS; t <= toMs; t += EVERY_MS) times.push(t);
  const result = series
    .filter((each) => each.name === name && times.length > 0)
    .map(({ labels, valueAt }) => ({
      metric: { __name__: name, ...labels },
      values: times.map((t) => [t / 1000, String(valueAt(t))]),
    }));
  return { resultType: "matrix", result };
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts);
}

/** Remote read in both forms. Stand-ins have none: Mimir and VictoriaMetrics answer 404 there. */
async function answerRead(
  series: readonly SourceSeries[],
  body: Buffer,
  response: ServerResponse,
): Promise<void> {
  const names = [...new Set(series.map(({ name }) => name))].toSorted();
  try {
    await answerRemoteRead({
      world: {
        metrics: names.map((name) => toMetric(name, series)),
        shape: { scrapeIntervalMs: EVERY_MS, lateMs: 0 },
      },
      horizon: { oldestMs: Number.NEGATIVE_INFINITY, nowMs: Number.POSITIVE_INFINITY, replica: 0 },
      version: 3,
      request: decodeReadRequest(body),
      externalLabels: [],
      limits: { samplesMax: 0, concurrency: 10, frameBytesMax: 1_048_576 },
      problem: undefined,
      response,
      sinkOf: () => createDirectSink(response),
    });
  } catch (error) {
    if (response.destroyed) return;
    if (!response.headersSent) response.writeHead(error instanceof QueryError ? error.status : 500);
    response.end(String(error));
  }
}

function toMetric(name: string, all: readonly SourceSeries[]): SimulatedMetric {
  // With this hash scrapes are at the multiples of the interval.
  const target = { hash: 0, labels: [], intervalMs: EVERY_MS, jitterMs: 0 };
  const parts = all
    .filter((each) => each.name === name)
    .map(({ labels, valueAt }) => ({ target, labels: Object.entries(labels), value: () => valueAt }));
  return memberMetric(name, null, () => parts);
}
