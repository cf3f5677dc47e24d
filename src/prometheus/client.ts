import { request, type Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import type { Pick } from "#lib/json-reader.ts";
import { readBeginning } from "#lib/read-body.ts";
import { hiderOf, toAnswerError, toRequestError, type Authorization } from "./answer-errors.ts";
import type { Turns } from "#lib/turns.ts";
import type { Query } from "./catalogue.ts";
import { createMatrixScanner, SCAN_LIMITS, type ScanLimits, type ScanResult } from "./matrix-scanner.ts";
import { familiesOf, type Metadata } from "./metadata.ts";
import { parseSampleValue } from "./sample-value.ts";
import type { SeriesSink } from "./series-sink.ts";
import { listOf, readData, readMetadata, textOf, WANTED } from "./small-answers.ts";

/** Left-open, closed: (fromMs, toMs], ms since the epoch. */
export interface Window {
  fromMs: number;
  toMs: number;
}

export interface PrometheusSettings {
  /** For example "http://prometheus.invalid"; the dispatcher decides where it leads. */
  origin: string;
  /** Empty, or begins with "/" and does not end with one. */
  pathPrefix: string;
  /** Time that one request may take, from sending it to the end of its answer, our own reading included; pauses for the Collector do not count. */
  timeoutMs: number;
  /** Sent with each request. */
  authorization?: Authorization;
  limits?: ScanLimits;
  /** Names of metrics whose metadata are wanted. Default: all. */
  metricNames?: ReadonlySet<string>;
}

interface ReadHooks {
  sink: SeriesSink;
  /** Waited for between chunks: back-pressure. Throws to abandon the answer. */
  pause(): Promise<void> | undefined;
}

/** Prometheus' HTTP API, as far as the collection needs it. Every failure is a BridgeError prometheus_* (or the tunnel's own). */
export interface PrometheusClient {
  /** Prometheus' own clock, ms. */
  now(signal: AbortSignal): Promise<number>;
  metadata(signal: AbortSignal): Promise<Metadata>;
  /** Is it ready (/-/ready)? Undefined when what answers does not know the question. Throws prometheus_not_ready and the others. */
  ready(signal: AbortSignal): Promise<true | undefined>;
  /** "3.15.0", or empty when it does not say. */
  version(signal: AbortSignal): Promise<string>;
  /** Is there any sample of `up` in the five minutes up to `atMs`? */
  hasSamplesAt(atMs: number, signal: AbortSignal): Promise<boolean>;
  /** Time of the oldest sample of `up` in (fromMs, toMs], undefined when there is none. */
  oldestSample(window: Window, signal: AbortSignal): Promise<number | undefined>;
  /** Streams every sample of the query in the window to the sink. */
  read(query: Query, window: Window, hooks: ReadHooks, signal: AbortSignal): Promise<ScanResult>;
}

const ERROR_BYTES_MAX = 64 << 10;
const COMPRESSIONS: ReadonlySet<string> = new Set(["gzip", "x-gzip", "deflate", "br", "zstd", "compress"]);
const PROBE_STEPS = 250;
const FORM_HEADERS = { "content-type": "application/x-www-form-urlencoded", accept: "application/json" };
const LOOKBACK_MS = 300_000;

export function createPrometheusClient(
  deps: { dispatcher: Dispatcher; clock: Clock; turns: Turns },
  settings: PrometheusSettings,
): PrometheusClient {
  const { clock, dispatcher, turns } = deps;
  const { timeoutMs } = settings;
  const late = (): BridgeError =>
    new BridgeError("prometheus_timeout", `Prometheus did not answer in ${Math.round(timeoutMs / 1000)} s`);

  const send = async (
    path: string,
    form: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> => {
    const url = `${settings.origin}${settings.pathPrefix}${path}`;
    const options = { dispatcher, signal, headersTimeout: 0, bodyTimeout: 0 };
    const { authorization } = settings;
    const identity = authorization ? { authorization: authorization.header.expose() } : {};
    const text = new URLSearchParams(form).toString();
    // Queries by POST, as their length is not limited then; Prometheus serves metadata by GET alone.
    const answer = path.startsWith("/api/v1/query")
      ? await request(url, {
          ...options,
          method: "POST",
          headers: { ...FORM_HEADERS, ...identity },
          body: text,
        })
      : await request(`${url}?${text}`, {
          ...options,
          method: "GET",
          headers: { accept: "application/json", ...identity },
        });
    if (answer.statusCode !== 200) {
      throw toAnswerError(
        answer.statusCode,
        answer.headers,
        await readBeginning(answer.body, ERROR_BYTES_MAX),
        authorization,
      );
    }
    const encoding = String(answer.headers["content-encoding"]).toLowerCase();
    if (COMPRESSIONS.has(encoding)) {
      answer.body.on("error", () => {}).destroy();
      throw new BridgeError(
        "prometheus_unexpected_answer",
        `the answer is compressed (${encoding}), which was not asked for: something between changes Prometheus' answers`,
      );
    }
    return answer;
  };

  /** A request whose answer is read as a whole within the time for one. */
  const ask = async <T>(
    path: string,
    form: Record<string, string>,
    take: (body: AsyncIterable<Uint8Array>) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> => {
    const limit = deadline(clock, timeoutMs, late, signal);
    const answered = async (): Promise<T> => await take((await send(path, form, limit.signal)).body);
    try {
      return await abortable(answered(), limit.signal);
    } catch (error) {
      throw limit.signal.aborted ? limit.signal.reason : toRequestError(error);
    } finally {
      limit.dispose();
    }
  };

  const askData = async (
    path: string,
    form: Record<string, string>,
    wanted: Pick,
    signal: AbortSignal,
  ): Promise<{ result?: unknown; version?: unknown }> =>
    await ask(path, form, (body) => readData(body, wanted, turns), signal);

  const read = async (
    query: Query,
    window: Window,
    hooks: ReadHooks,
    signal: AbortSignal,
  ): Promise<ScanResult> => {
    const form =
      query.kind === "selector"
        ? rawForm(query.selector, window)
        : gridForm(query.promql, query.stepMs, window);
    if (!form) return { series: 0, samples: 0, histogramSamples: 0, refused: [], warnings: [] };
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal.reason);
    if (signal.aborted) throw signal.reason;
    signal.addEventListener("abort", abort, { once: true });
    const budget = createWaitBudget(clock, timeoutMs, () => controller.abort(late()));
    try {
      const hide = hiderOf(settings.authorization);
      const scanner = createMatrixScanner(hooks.sink, window, settings.limits ?? SCAN_LIMITS, hide);
      budget.resume();
      const path = query.kind === "selector" ? "/api/v1/query" : "/api/v1/query_range";
      const answer = await abortable(send(path, form, controller.signal), controller.signal);
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        for (let at = 0; at < chunk.length;) {
          at = scanner.scan(chunk, at);
          budget.check();
          controller.signal.throwIfAborted();
          // Neither the wait for the Collector nor the one for other readers is Prometheus' fault.
          const pause = deps.turns.pause() ?? hooks.pause();
          if (!pause) continue;
          budget.suspend();
          await abortable(pause, controller.signal);
          budget.resume();
        }
      }
      return scanner.end();
    } catch (error) {
      const cause: unknown = controller.signal.aborted ? controller.signal.reason : error;
      controller.abort(cause);
      throw toRequestError(cause);
    } finally {
      budget.suspend();
      signal.removeEventListener("abort", abort);
    }
  };

  /** The first of fromMs + step, fromMs + 2 steps, ... with a sample of `up` in the five minutes up to it. */
  const firstStepWithSamples = async (
    { fromMs, toMs }: Window,
    stepMs: number,
    signal: AbortSignal,
  ): Promise<number | undefined> => {
    // Not from fromMs itself: what is found there is older than the window.
    const startMs = fromMs + stepMs;
    if (startMs > toMs) return undefined;
    const data = await askData(
      "/api/v1/query_range",
      { query: "count(up)", start: seconds(startMs), end: seconds(toMs), step: seconds(stepMs) },
      WANTED.matrix,
      signal,
    );
    const [series] = listOf(data.result) as ({ values?: unknown } | undefined)[];
    const [sample] = listOf(series?.values);
    const time = listOf(sample)[0];
    return typeof time === "number" ? Math.round(time * 1000) : undefined;
  };

  return {
    read,
    now: async (signal) => {
      const data = await askData("/api/v1/query", { query: "time()" }, WANTED.scalar, signal);
      const value = listOf(data.result)[1];
      const seconds = parseSampleValue(typeof value === "string" ? value : "");
      if (!(seconds > 0)) throw new BridgeError("prometheus_answer_invalid", "time() is not a time");
      return Math.round(seconds * 1000);
    },
    metadata: async (signal) => {
      const families = settings.metricNames && familiesOf(settings.metricNames);
      const form = { limit_per_metric: "1" };
      return await ask("/api/v1/metadata", form, (body) => readMetadata(body, families, turns), signal);
    },
    ready: async (signal) => {
      try {
        await ask("/-/ready", {}, (body) => readBeginning(body, ERROR_BYTES_MAX), signal);
        return true;
      } catch (error) {
        if (error instanceof BridgeError && error.details?.["status"] === 404) return undefined;
        throw error;
      }
    },
    version: async (signal) => {
      const path = "/api/v1/status/buildinfo";
      const { version } = await askData(path, {}, WANTED.version, signal);
      return textOf(version, "");
    },
    hasSamplesAt: async (atMs, signal) => {
      const form = { query: "count(up)", time: seconds(atMs) };
      const data = await askData("/api/v1/query", form, WANTED.matrix, signal);
      return listOf(data.result).length > 0;
    },
    oldestSample: async (window, signal) => {
      const stepMs = Math.max(
        LOOKBACK_MS,
        Math.ceil((window.toMs - window.fromMs) / PROBE_STEPS / 1000) * 1000,
      );
      const toMs = (await firstStepWithSamples(window, stepMs, signal)) ?? window.toMs;
      let oldest = Number.POSITIVE_INFINITY;
      const up: Query = { name: "up", promql: "up", group: "", kind: "selector", selector: "up" };
      const sink: SeriesSink = {
        series: ({ timestamps }) => void (oldest = Math.min(oldest, timestamps[0]!)),
      };
      const fromMs = Math.max(window.fromMs, toMs - stepMs - LOOKBACK_MS);
      await read(up, { fromMs, toMs }, { sink, pause: () => undefined }, signal);
      return Number.isFinite(oldest) ? oldest : undefined;
    },
  };
}

/** `selector[window]` at the window's end: every raw sample with its own timestamp, in ms. */
function rawForm(selector: string, { fromMs, toMs }: Window): Record<string, string> {
  return { query: `${selector}[${toMs - fromMs}ms]`, time: seconds(toMs) };
}

/** query_range at the multiples of the step inside the window, so that a repeat gives the same timestamps; undefined when there is none. */
function gridForm(
  promql: string,
  stepMs: number,
  { fromMs, toMs }: Window,
): Record<string, string> | undefined {
  const start = (Math.floor(fromMs / stepMs) + 1) * stepMs;
  const end = Math.floor(toMs / stepMs) * stepMs;
  if (start > end) return undefined;
  return { query: promql, start: seconds(start), end: seconds(end), step: seconds(stepMs) };
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}

/**
 * Counts the time between `resume` and `suspend`; calls `onSpent` when the whole of it is spent. `check` looks at once, as no timer fires while we
 * work.
 */
function createWaitBudget(
  clock: Clock,
  budgetMs: number,
  onSpent: () => void,
): { resume(): void; suspend(): void; check(): void } {
  let left = budgetMs;
  let since = 0;
  let cancel: (() => void) | undefined;
  return {
    resume: () => {
      since = clock.monotonic();
      cancel = clock.after(left, onSpent);
    },
    suspend: () => {
      if (!cancel) return;
      cancel();
      cancel = undefined;
      left = Math.max(1, left - (clock.monotonic() - since));
    },
    check: () => {
      if (cancel && clock.monotonic() - since >= left) onSpent();
    },
  };
}
