import type { Series } from "#promql/source.ts";
import { remoteWrite, startPrometheus } from "../e2e/prometheus.ts";
import { toWriteRequest } from "../helpers/remote-write.ts";
import type { Sample } from "../helpers/stored-series.ts";
import { Labels } from "#promql/labels.ts";
import { type HistogramJson, numbersOf, type Outcome, toNumber } from "./outcome.ts";
import type { QueryCase } from "./query-case.ts";

/** The real Prometheus, asked by its HTTP API. */
export interface RealPrometheus {
  origin: string;
  ask(query: QueryCase): Promise<Outcome>;
  stop(): Promise<void>;
}

const WINDOW_MS = 10 * 60_000;

/** A real Prometheus 3.15 that holds these series. */
export async function startReal(series: readonly Series[]): Promise<RealPrometheus> {
  const prometheus = await startPrometheus();
  const origin = `http://${prometheus.address.host}:${prometheus.address.port}`;
  try {
    await write(origin, series);
  } catch (error) {
    await prometheus.stop();
    throw error;
  }
  return { origin, ask: (query) => askOrigin(origin, query), stop: () => prometheus.stop() };
}

async function write(origin: string, series: readonly Series[]): Promise<void> {
  const first = Math.min(...series.map(({ times }) => times[0]!));
  const last = Math.max(...series.map(({ times }) => times.at(-1)!));
  for (let from = first; from <= last; from += WINDOW_MS) {
    await remoteWrite(
      origin,
      toWriteRequest(series.flatMap((each) => partsOf(each, from, from + WINDOW_MS))),
    );
  }
}

/** Each part but the last ends with a stale marker. */
function partsOf(series: Series, fromMs: number, toMs: number): Parameters<typeof toWriteRequest>[0] {
  const labels = Object.fromEntries(series.labels.entries());
  const parts: { labels: Record<string, string>; samples: Sample[]; endMs?: number }[] = [];
  let samples: Sample[] = [];
  for (const [i, ms] of series.times.entries()) {
    if (ms < fromMs || ms >= toMs) continue;
    if (series.stale?.[i] === 1) {
      parts.push({ labels, samples, endMs: ms });
      samples = [];
    } else samples.push([ms, series.values[i]!]);
  }
  if (samples.length > 0) parts.push({ labels, samples });
  return parts;
}

interface Body {
  status: string;
  error?: string;
  warnings?: string[];
  infos?: string[];
  data?: { resultType: string; result: unknown; explain?: { computed: string | null; series: number }[] };
}

interface Result {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
  histogram?: [number, HistogramJson];
  histograms?: [number, HistogramJson][];
}

/** Prometheus ignores it. */
const EXPLAIN = { explain: "1" };

/** What the HTTP API at that origin answers, ours or that of Prometheus. */
export async function askOrigin(
  origin: string,
  query: QueryCase,
  headers: Record<string, string> = {},
): Promise<Outcome> {
  return toOutcome(await fetchAnswer(origin, query, headers));
}

/** The same as the text of its body. */
export async function fetchAnswer(
  origin: string,
  { query, times }: QueryCase,
  headers: Record<string, string> = {},
): Promise<string> {
  const seconds = (ms: number): string => String(ms / 1000);
  const form =
    times.stepMs === undefined
      ? { query, time: seconds(times.startMs), ...EXPLAIN }
      : {
          query,
          ...EXPLAIN,
          start: seconds(times.startMs),
          end: seconds(times.endMs),
          step: seconds(times.stepMs),
        };
  const path = times.stepMs === undefined ? "query" : "query_range";
  const answer = await fetch(`${origin}/api/v1/${path}`, {
    method: "POST",
    headers,
    body: new URLSearchParams(form),
  });
  return await answer.text();
}

export function toOutcome(answer: string): Outcome {
  const body = JSON.parse(answer) as Body;
  if (body.status !== "success") {
    return { error: (body.error ?? "").replace(/^invalid parameter "query": /, "") };
  }
  const { resultType, result, explain = [] } = body.data!;
  const isComputed = explain.some(({ computed, series }) => computed !== null && series > 0);
  const remarks = { warnings: body.warnings ?? [], infos: body.infos ?? [], isComputed };
  if (resultType === "scalar" || resultType === "string") {
    const [time, text] = result as [number, string];
    const value = resultType === "scalar" ? toNumber(text) : text;
    return { type: resultType, ...remarks, time: Math.round(time * 1000), value };
  }
  const series = (result as Result[]).map(({ metric, value, values, histogram, histograms }) => {
    const points = values ?? (value ? [value] : []);
    return {
      labels: Labels.of(Object.entries(metric)),
      times: points.map(([time]) => Math.round(time * 1000)),
      values: points.map(([, text]) => toNumber(text)),
      histograms: (histograms ?? (histogram ? [histogram] : [])).map(([time, shown]) => ({
        time: Math.round(time * 1000),
        numbers: numbersOf(shown),
      })),
    };
  });
  return { type: resultType as "vector" | "matrix", ...remarks, series };
}
