import type { TextSink } from "./answer-body.ts";
import { formatLabels, formatScalar, formatText, formatTime, formatValue } from "./answer-format.ts";
import type { PrometheusVersion } from "./answer-format.ts";
import type { Engine, InstantResult } from "./evaluate.ts";
import type { PrometheusFault } from "./fault-kinds.ts";
import { writeMatrix, writeRange } from "./matrix-answer.ts";
import { formatHistogram } from "./native-histogram.ts";
import { parsePromql } from "./promql.ts";
import { QueryError } from "./query-error.ts";
import { toDurationMs, toTimeMs } from "./query-parameters.ts";
import type { Parameters } from "./query-parameters.ts";
import { selectSeries } from "./select.ts";
import type { RemoteReadLimits } from "./remote-read.ts";
import { compareLabels } from "./series.ts";
import type { Label } from "./series.ts";
import { scrapedBy } from "./world.ts";
import type { ClusterWorld } from "./world.ts";

/** One request, as a route sees it. */
interface RouteCall {
  world: ClusterWorld;
  engine: Engine;
  version: PrometheusVersion;
  parameters: Parameters;
  served: ServedSettings;
  fault: PrometheusFault | undefined;
  /** Begins a 200 answer of JSON. */
  open: () => TextSink;
  /** Sends a 200 answer with this JSON as `data`. */
  succeed: (json: string) => Promise<void>;
}

/** What the settings' own routes tell. */
interface ServedSettings {
  samplesMax: number;
  limits: Required<RemoteReadLimits>;
  /** Sorted by name. */
  externalLabels: readonly Label[];
}

export interface Route {
  methods: readonly string[];
  /** Throws QueryError before anything is sent. */
  run(call: RouteCall): Promise<void>;
}

const POINTS_MAX = 11_000;
const HOUR_MS = 3_600_000;
const GET = ["GET"];
const GET_OR_POST = ["GET", "POST"];

/** The routes under /api/v1 by path, with the methods that a real one takes. */
export const ROUTES: Readonly<Record<string, Route>> = {
  "/api/v1/query": { methods: GET_OR_POST, run: query },
  "/api/v1/query_range": { methods: GET_OR_POST, run: queryRange },
  "/api/v1/series": { methods: GET_OR_POST, run: series },
  "/api/v1/metadata": { methods: GET, run: metadata },
  "/api/v1/label/__name__/values": { methods: GET, run: names },
  "/api/v1/status/buildinfo": { methods: GET, run: buildInfo },
  "/api/v1/status/config": { methods: GET, run: configuration },
  "/api/v1/status/flags": { methods: GET, run: flags },
};

async function query(call: RouteCall): Promise<void> {
  const { engine, parameters, version, world } = call;
  const atMs = toTimeMs(parameters, "time", world.now(), version);
  const result = engine.instant(parsePromql(parameters.get("query") ?? ""), atMs);
  if (result.type !== "matrix") return call.succeed(smallResult(result, atMs, version));
  const sink = call.open();
  await writeMatrix(sink, result, version, call.fault);
  await sink.end();
}

async function queryRange(call: RouteCall): Promise<void> {
  const { engine, parameters, version } = call;
  const startMs = toTimeMs(parameters, "start", undefined, version);
  const endMs = toTimeMs(parameters, "end", undefined, version);
  if (endMs < startMs) throw badParameter("end", "end timestamp must not be before start time");
  const stepMs = toDurationMs(parameters, "step");
  if (stepMs <= 0) {
    const advice = "Try a positive integer";
    throw badParameter("step", `zero or negative query resolution step widths are not accepted. ${advice}`);
  }
  if ((endMs - startMs) / stepMs > POINTS_MAX) {
    const advice = "Try decreasing the query resolution (?step=XX)";
    const problem = "exceeded maximum resolution of 11,000 points per timeseries";
    throw new QueryError(400, "bad_data", `${problem}. ${advice}`);
  }
  const result = engine.range(parsePromql(parameters.get("query") ?? ""), startMs, endMs, stepMs);
  const sink = call.open();
  await writeRange(sink, result, version, call.fault);
  await sink.end();
}

async function metadata({ parameters, version, world, succeed }: RouteCall): Promise<void> {
  const limit = parameters.get("limit");
  if (limit !== null && !/^-?\d+$/.test(limit)) {
    throw new QueryError(400, "bad_data", "limit must be a number");
  }
  const metric = parameters.get("metric");
  const families = world.families.filter(({ name }) => metric === null || metric === "" || name === metric);
  const count = limit !== null && Number(limit) >= 0 ? Number(limit) : families.length;
  const entries = families.slice(0, count).map(({ name, type, help, unit }) => {
    const members = [`"unit":"${unit}"`, `"help":${formatText(help, version)}`];
    if (version === 2) members.reverse();
    return `${formatText(name, version)}:[{"type":"${type}",${members.join(",")}}]`;
  });
  return succeed(`{${entries.join(",")}}`);
}

async function series({ parameters, version, world, succeed }: RouteCall): Promise<void> {
  const selectors = parameters.getAll("match[]");
  if (selectors.length === 0) throw new QueryError(400, "bad_data", "no match[] parameter provided");
  const toMs = toTimeMs(parameters, "end", world.now(), version);
  const fromMs = toTimeMs(parameters, "start", toMs - HOUR_MS, version);
  const span = { fromMs, toMs: scrapedBy(world.shape, toMs) };
  const found = selectors.flatMap((text) => {
    const selector = parsePromql(text);
    if (selector.kind === "selector") return selectSeries(world.metrics, selector.matchers, span, version);
    throw new QueryError(400, "bad_data", "match[] must be a vector selector");
  });
  const labels = found.map((each) => each.labels).sort(compareLabels);
  const texts = new Set(labels.map((each) => formatLabels(each, version)));
  return succeed(`[${[...texts].join(",")}]`);
}

async function names({ version, world, succeed }: RouteCall): Promise<void> {
  return succeed(`[${world.metrics.map(({ name }) => formatText(name, version)).join(",")}]`);
}

async function buildInfo({ version, succeed }: RouteCall): Promise<void> {
  const number = version === 3 ? "3.15.0" : "2.42.0";
  const rest = '"revision":"","branch":"","buildUser":"","buildDate":"","goVersion":"go1.26.8"';
  return succeed(`{"version":"${number}",${rest}}`);
}

/** The configuration as YAML: of it only the part that tells of the Prometheus as a whole. */
async function configuration({ served, version, world, succeed }: RouteCall): Promise<void> {
  const lines = [
    "global:",
    `  scrape_interval: ${durationText(world.shape.scrapeIntervalMs)}`,
    `  scrape_timeout: ${durationText(Math.min(10_000, world.shape.scrapeIntervalMs))}`,
    "  evaluation_interval: 1m",
    ...(served.externalLabels.length > 0 ? ["  external_labels:"] : []),
    ...served.externalLabels.map(([name, value]) => `    ${name}: ${yamlText(value)}`),
    ...(version === 3 ? ["  metric_name_validation_scheme: utf8", "runtime:", "  gogc: 75"] : []),
  ];
  return succeed(`{"yaml":${formatText(`${lines.join("\n")}\n`, version)}}`);
}

async function flags({ served, version, succeed }: RouteCall): Promise<void> {
  const { limits, samplesMax } = served;
  const texts: Record<string, string> = {
    "query.lookback-delta": "5m",
    "query.max-samples": String(Number.isFinite(samplesMax) ? samplesMax : 50_000_000),
    "storage.remote.read-concurrent-limit": String(limits.concurrency),
    "storage.remote.read-max-bytes-in-frame": String(limits.frameBytesMax),
    "storage.remote.read-sample-limit": String(limits.samplesMax),
  };
  const members = Object.entries(texts).map(([name, text]) => `"${name}":${formatText(text, version)}`);
  return succeed(`{${members.join(",")}}`);
}

/** As Prometheus writes a duration: in the largest unit that leaves no rest. */
function durationText(ms: number): string {
  const units = [
    ["h", HOUR_MS],
    ["m", 60_000],
    ["s", 1000],
  ] as const;
  const [unit, size] = units.find(([, each]) => ms % each === 0) ?? ["ms", 1];
  return `${ms / size}${unit}`;
}

/** A YAML scalar that is read as a string. */
function yamlText(text: string): string {
  const isPlain = /^[A-Za-z][\w./-]*$/.test(text) && !/^(true|false|yes|no|on|off|null|y|n)$/i.test(text);
  return isPlain ? text : JSON.stringify(text);
}

function badParameter(name: string, problem: string): QueryError {
  return new QueryError(400, "bad_data", `invalid parameter "${name}": ${problem}`);
}

/** Scalars and strings go through Go's general JSON encoder, which drops the zeros at the end of a time. */
function smallResult(
  result: Exclude<InstantResult, { type: "matrix" }>,
  atMs: number,
  version: PrometheusVersion,
): string {
  const seconds = String(atMs / 1000);
  if (result.type === "scalar") {
    return `{"resultType":"scalar","result":[${seconds},"${formatScalar(result.value)}"]}`;
  }
  if (result.type === "string") {
    return `{"resultType":"string","result":[${seconds},${formatText(result.value, version)}]}`;
  }
  const at = formatTime(atMs);
  const items = result.items.map(
    ({ labels, value, histogram }) =>
      `{"metric":${formatLabels(labels, version)},${
        histogram
          ? `"histogram":${formatHistogram(atMs, histogram)}`
          : `"value":[${at},"${formatValue(value)}"]`
      }}`,
  );
  return `{"resultType":"vector","result":[${items.join(",")}]}`;
}
