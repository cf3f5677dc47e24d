import type { IncomingMessage, ServerResponse } from "node:http";
import { startSourcePrometheus, type SourceCall, type SourcePrometheus } from "./source-prometheus.ts";

/** A series of a case: a sample at every multiple of `everyMs`, `offsetMs` later. */
export interface ServedSeries {
  metric: string;
  labels: Readonly<Record<string, string>>;
  everyMs: number;
  offsetMs: number;
  /** undefined: no sample at that time. */
  valueAt: (timeMs: number) => number | undefined;
}

/** What the Prometheus of one cluster has, and how it answers otherwise than a Prometheus. */
export interface ServedCase {
  series: readonly ServedSeries[];
  metadata?: Readonly<Record<string, unknown>>;
  /** Beside the data of each answer with samples, such as warnings. */
  beside?: () => object;
  /** Answers by itself; false: Prometheus answers. */
  handle?: (call: ServedCall) => boolean | Promise<boolean>;
}

export interface ServedCall {
  req: IncomingMessage;
  res: ServerResponse;
  path: string;
  p: URLSearchParams;
  json: (body: unknown, status?: number) => void;
}

/** One server for the Prometheus of many clusters: that of case NAME is under /NAME. */
export async function serveCases(cases: Readonly<Record<string, ServedCase>>): Promise<SourcePrometheus> {
  const standIns = Object.entries(cases).map(([name, each]) => [
    name,
    (call: SourceCall): boolean => {
      void answer(each, call);
      return true;
    },
  ]);
  return await startSourcePrometheus([], {}, Object.fromEntries(standIns));
}

async function answer(served: ServedCase, { request, response, path, form }: SourceCall): Promise<void> {
  const json = (body: unknown, status = 200): void => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };
  if (await served.handle?.({ req: request, res: response, path, p: form, json })) return;
  if (path === "/-/ready") {
    response.end("Prometheus Server is Ready.\n");
    return;
  }
  const data = answerOf(served, path, form);
  if (data === undefined) json({ status: "error", errorType: "bad_data", error: "unsupported" }, 400);
  else json({ status: "success", data, ...served.beside?.() });
}

function answerOf(served: ServedCase, path: string, form: URLSearchParams): unknown {
  const query = form.get("query") ?? "";
  const at = Number(form.get("time") ?? Date.now() / 1000);
  if (path === "/api/v1/status/buildinfo") return { version: "3.15.0" };
  if (path === "/api/v1/metadata") return served.metadata ?? {};
  if (query === "time()") return { resultType: "scalar", result: [at, String(at)] };
  if (query === "count(up)") return countOfUp(path, form, at);
  const range = /^(?:\{"([^"]+)"\}|([\w:]+))\[(\d+)ms\]$/.exec(query);
  if (!range) return undefined;
  const toMs = Math.round(at * 1000);
  return toMatrix(served.series, range[1] ?? range[2]!, toMs - Number(range[3]), toMs);
}

function countOfUp(path: string, form: URLSearchParams, at: number): unknown {
  if (path === "/api/v1/query") {
    return { resultType: "vector", result: [{ metric: {}, value: [at, "1"] }] };
  }
  const [start, end, step] = ["start", "end", "step"].map((name) => Number(form.get(name)));
  const values: [number, string][] = [];
  for (let time = start!; time <= end!; time += step!) values.push([time, "1"]);
  return { resultType: "matrix", result: values.length === 0 ? [] : [{ metric: {}, values }] };
}

function toMatrix(all: readonly ServedSeries[], metric: string, fromMs: number, toMs: number): unknown {
  const result = all
    .filter((each) => each.metric === metric)
    .map((each) => ({ metric: { __name__: metric, ...each.labels }, values: samplesOf(each, fromMs, toMs) }))
    .filter(({ values }) => values.length > 0);
  return { resultType: "matrix", result };
}

function samplesOf(
  { everyMs, offsetMs, valueAt }: ServedSeries,
  fromMs: number,
  toMs: number,
): [number, string][] {
  const values: [number, string][] = [];
  const first = Math.floor((fromMs - offsetMs) / everyMs + 1) * everyMs + offsetMs;
  for (let timeMs = first; timeMs <= toMs; timeMs += everyMs) {
    const value = valueAt(timeMs);
    if (value !== undefined) values.push([timeMs / 1000, String(value)]);
  }
  return values;
}
