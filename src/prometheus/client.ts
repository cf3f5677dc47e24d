import type { Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Pick } from "#lib/json-reader.ts";
import { readBeginning } from "#lib/read-body.ts";
import type { Turns } from "#lib/turns.ts";
import { hiderOf } from "./answer-errors.ts";
import type { Query } from "./catalogue.ts";
import type { ScanResult } from "./matrix-scanner.ts";
import type { ReadHooks } from "./answer-stream.ts";
import type { StreamSettings } from "./matrix-stream.ts";
import { familiesOf, type Metadata } from "./metadata.ts";
import type { Compression } from "./compression.ts";
import { toSeconds } from "./query-forms.ts";
import { createQueryMethod, ERROR_BYTES_MAX, requestWhole } from "./requests.ts";
import { partialAnswer } from "./remarks.ts";
import { createSampleReader } from "./sample-reader.ts";
import type { KnownTransport, SampleTransport } from "./sample-transport.ts";
import { parseSampleValue } from "./sample-value.ts";
import type { SeriesSink } from "./series-sink.ts";
import {
  toCountForm,
  toCounts,
  toRangeStart,
  toRangeStartForm,
  toSeriesCountForm,
  type RangeStart,
} from "./sample-counts.ts";
import { listOf, readData, readMetadata, readWholeData, textOf, WANTED } from "./small-answers.ts";
import type { Window } from "./window.ts";

export interface PrometheusSettings extends StreamSettings {
  /** Names of metrics whose metadata are wanted. Default: all. */
  metricNames?: ReadonlySet<string>;
  /** Absent: answers are not asked for compressed. */
  compression?: Compression;
  /** Absent: samples are read by the query API. */
  samples?: { transport: SampleTransport; queries: readonly Query[] };
}

/** Prometheus' HTTP API, as far as the collection needs it. Every failure is a BridgeError prometheus_* (or the tunnel's own). */
export interface PrometheusClient {
  /** Prometheus' own clock, ms. */
  now(signal: AbortSignal): Promise<number>;
  metadata(signal: AbortSignal): Promise<Metadata>;
  /** Is it ready (/-/ready)? Undefined when the endpoint does not exist (404). Throws prometheus_not_ready and the others. */
  ready(signal: AbortSignal): Promise<true | undefined>;
  /** "3.15.0", or empty when the answer has no version. */
  version(signal: AbortSignal): Promise<string>;
  /** Is there any sample of `up` in the five minutes up to `atMs`? */
  hasSamplesAt(atMs: number, signal: AbortSignal): Promise<boolean>;
  /** Time of the oldest sample of `up` in (fromMs, toMs], undefined when there is none. */
  oldestSample(window: Window, signal: AbortSignal): Promise<number | undefined>;
  /**
   * The number of samples of each selector in the window, native histogram samples included: one request, however many selectors. It
   * throws `prometheus_query_failed` or another error prometheus_* when the source can't count.
   */
  countSamples(selectors: readonly string[], window: Window, signal: AbortSignal): Promise<number[]>;
  /** The number of series that the selector has at present. Throws as `countSamples` does. */
  countSeries(selector: string, signal: AbortSignal): Promise<number>;
  /**
   * Finds out, once a day, how samples are read: by remote read, or by the query API. Until then they are read by the query API. Returns what is
   * known then; undefined: the client has nothing but the query API. Throws the signal's reason alone.
   */
  prepareReads(signal: AbortSignal): Promise<KnownTransport | undefined>;
  /** Streams every sample of the query in the window to the sink. */
  read(query: Query, window: Window, hooks: ReadHooks, signal: AbortSignal): Promise<ScanResult>;
}

const PROBE_STEPS = 250;
/** Prometheus' look-back: a sample counts for up to five minutes. */
const LOOKBACK_MS = 300_000;
const UP: Query = { name: "up", promql: "up", group: "", kind: "selector", selector: "up" };

/** Asks Prometheus' API for `data`, of which the wanted part is read. */
type AskData = (
  path: string,
  form: Record<string, string>,
  wanted: Pick,
  signal: AbortSignal,
) => Promise<{ result?: unknown; version?: unknown }>;

export function createPrometheusClient(
  parts: { dispatcher: Dispatcher; clock: Clock; turns: Turns },
  settings: PrometheusSettings,
): PrometheusClient {
  const { turns } = parts;
  const { compression } = settings;
  const deps = { ...parts, queryMethod: createQueryMethod(), ...(compression ? { compression } : {}) };
  const askData: AskData = async (path, form, wanted, signal) =>
    await requestWhole(deps, settings, { path, form }, (body) => readData(body, wanted, turns), signal);
  const countsOf = async (form: Record<string, string>, signal: AbortSignal): Promise<unknown> => {
    const hide = hiderOf(settings.authorization);
    const take = async (body: AsyncIterable<Uint8Array>): Promise<unknown> =>
      (await readWholeData(body, WANTED.counts, hide, turns)).result;
    return await requestWhole(deps, settings, { path: "/api/v1/query", form }, take, signal);
  };
  const { read, prepareReads } = createSampleReader(deps, settings, settings.samples, countsOf);

  return {
    prepareReads,
    read,
    now: async (signal) => await askTime(askData, signal),
    metadata: async (signal) => {
      const families = settings.metricNames && familiesOf(settings.metricNames);
      const asked = { path: "/api/v1/metadata", form: { limit_per_metric: "1" } };
      const take = (body: AsyncIterable<Uint8Array>): Promise<Metadata> =>
        readMetadata(body, families, turns);
      return await requestWhole(deps, settings, asked, take, signal);
    },
    ready: async (signal) => {
      try {
        const take = (body: AsyncIterable<Uint8Array>): Promise<Buffer> =>
          readBeginning(body, ERROR_BYTES_MAX);
        await requestWhole(deps, settings, { path: "/-/ready", form: {} }, take, signal);
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
      const form = { query: "count(up)", time: toSeconds(atMs) };
      const data = await askData("/api/v1/query", form, WANTED.matrix, signal);
      return listOf(data.result).length > 0;
    },
    oldestSample: async (window, signal) => await findOldestSample(askData, read, window, signal),
    countSamples: createCountSamples(countsOf),
    countSeries: async (selector, signal) =>
      toCounts(await countsOf(toSeriesCountForm([selector]), signal), 1)[0]!,
  };
}

/** Finds out once how this source's ranges begin. */
function createCountSamples(
  ask: (form: Record<string, string>, signal: AbortSignal) => Promise<unknown>,
): PrometheusClient["countSamples"] {
  let start: RangeStart | undefined;
  return async (selectors, window, signal) => {
    start ??= toRangeStart(await ask(toRangeStartForm(window.toMs), signal));
    return toCounts(await ask(toCountForm(selectors, window, start), signal), selectors.length);
  };
}

async function askTime(askData: AskData, signal: AbortSignal): Promise<number> {
  const data = await askData("/api/v1/query", { query: "time()" }, WANTED.number, signal);
  const result = listOf(data.result);
  // VictoriaMetrics has no scalars: it answers with a vector of one.
  const [series] = result as ({ value?: unknown } | null | undefined)[];
  const value = typeof series === "object" ? listOf(series?.value)[1] : result[1];
  const seconds = parseSampleValue(typeof value === "string" ? value : "");
  if (!(seconds > 0)) throw new BridgeError("prometheus_answer_invalid", "time() is not a time");
  return Math.round(seconds * 1000);
}

/** Finds the step that has the first samples with one range query, then reads the samples around it. */
async function findOldestSample(
  askData: AskData,
  read: PrometheusClient["read"],
  window: Window,
  signal: AbortSignal,
): Promise<number | undefined> {
  const stepMs = Math.max(LOOKBACK_MS, Math.ceil((window.toMs - window.fromMs) / PROBE_STEPS / 1000) * 1000);
  const toMs = (await firstStepWithSamples(askData, window, stepMs, signal)) ?? window.toMs;
  const fromMs = Math.max(window.fromMs, toMs - stepMs - LOOKBACK_MS);
  let oldest = Number.POSITIVE_INFINITY;
  const sink: SeriesSink = {
    series: ({ timestamps }) => void (oldest = Math.min(oldest, timestamps[0]!)),
  };
  const { noStores } = await read(UP, { fromMs, toMs }, { sink, pause: () => undefined }, signal);
  if (noStores) throw partialAnswer("no store has data of the present");
  return Number.isFinite(oldest) ? oldest : undefined;
}

/** The first of fromMs + step, fromMs + 2 steps, ... with a sample of `up` in the five minutes up to it. */
async function firstStepWithSamples(
  askData: AskData,
  { fromMs, toMs }: Window,
  stepMs: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  // Not from fromMs itself: a sample that is found there is older than the window.
  const startMs = fromMs + stepMs;
  if (startMs > toMs) return undefined;
  const form = {
    query: "count(up)",
    start: toSeconds(startMs),
    end: toSeconds(toMs),
    step: toSeconds(stepMs),
  };
  const data = await askData("/api/v1/query_range", form, WANTED.matrix, signal);
  const [series] = listOf(data.result) as ({ values?: unknown } | undefined)[];
  const [sample] = listOf(series?.values);
  const time = listOf(sample)[0];
  return typeof time === "number" ? Math.round(time * 1000) : undefined;
}
