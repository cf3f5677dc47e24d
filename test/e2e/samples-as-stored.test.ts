import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SeriesAnswer } from "#query/series/series.ts";
import type { PodsAnswer } from "#query/state/pods.ts";
import type { SummaryAnswer } from "#query/state/summary.ts";
import { differences, toPoints } from "../helpers/points.ts";
import type { ReadSample } from "../helpers/remote-read-client.ts";
import { readProgress, runToEnd, startBridge, type BridgeProcess } from "./bridge-process.ts";
import { complaintsIn } from "./delivery.ts";
import { fromSource, readStoredHistograms, toEndsText, toExactText } from "./histogram-texts.ts";
import {
  isMarker,
  startExporters,
  startRecording,
  type Exporters,
  type Recording,
  type Samples,
} from "./recording.ts";
import { keyOf } from "./source.ts";
import { clickhouseEnvironment, freePort, startStack, type Stack } from "./stack.ts";

// Two real Prometheus servers scrape exporters that the test changes: Pods go and come back, targets die, counters restart, Prometheus is killed. Both have got each kind of double and
// samples out of order by remote write. A bridge collects them all the while, through the real Collector into ClickHouse. What is stored there is compared, by bits, with what another
// decoder reads from them by remote read, and the answers of the query role with their instant answers.

const VERSIONS = { "recorded-3": "3.15.0", "recorded-2": "2.42.0" };
const WRITTEN = ["constant", "counter", "noise", "jitter", "gaps", "special", "late", "both"].map(
  (name) => `written_${name}`,
);
/** Their series have labels of the names of external ones, so that remote read can't tell which of them Prometheus added. */
const UNCLEAR = ["equal_region", "mixed_region", "moving_region"];
const SCRAPED = [
  "up",
  "kube_node_info",
  "kube_pod_info",
  "kube_pod_status_phase",
  "requests_total",
  "odd_values",
  "own_region",
  ...UNCLEAR,
];
/** Native ones, which Prometheus 2.42 has only as an experiment: of several schemas, with resets, with counts over 2^53, that end, with bounds of their own. */
const HISTOGRAMS = ["histogram", "reset", "stale", "wide", "custom", "both"].map((name) => `written_${name}`);
/** Scrapes each second take no longer to be stored. */
const LAG_SECONDS = 5;
const MINUTE_MS = 60_000;

let directory: string;
let stack: Stack;
let exporters: Exporters;
let recordings: Recording[];
let bridge: BridgeProcess;
let query: BridgeProcess;
let queryUrl: string;
const started = new AsyncDisposableStack();

function bridgeEnvironment(name: string): Record<string, string> {
  return {
    ROLE: "bridge",
    CLUSTERS_FILE: join(directory, `${name}.yaml`),
    QUERIES_FILE: join(directory, "queries.yaml"),
    DATA_DIR: join(directory, name),
    OTEL_COLLECTOR_ENDPOINT: stack.collectorUrl,
    COLLECTION_LAG: String(LAG_SECONDS),
    INITIAL_LOOKBACK: "1h",
    OWN_METRICS_INTERVAL: "0",
  };
}

/** The same servers; ids end with the name of the bridge that collects them. */
const idOf = (recording: Recording, name: string): string => `${recording.id}-${name}`;

async function writeClusters(name: string): Promise<void> {
  const clusters = recordings.map((recording) => ({
    id: idOf(recording, name),
    trusted: true,
    prometheus: { url: recording.origin },
  }));
  await writeFile(join(directory, `${name}.yaml`), JSON.stringify({ clusters }));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "budcluster-recorded-"));
  started.defer(() => rm(directory, { recursive: true, force: true }));
  exporters = await startExporters();
  started.defer(() => exporters.stop());
  [stack, recordings] = await Promise.all([
    startStack(),
    Promise.all(Object.entries(VERSIONS).map(([id, version]) => startRecording(id, version, exporters))),
  ]);
  started.defer(() => stack.stop());
  for (const recording of recordings) started.defer(() => recording.stop());
  await Promise.all(["auto", "off"].map(writeClusters));
  const queries = [...new Set([...SCRAPED, ...WRITTEN, ...HISTOGRAMS])].map((name) => ({
    name,
    group: "test",
  }));
  await writeFile(join(directory, "queries.yaml"), JSON.stringify({ extends: "none", queries }));
  await runToEnd({ ROLE: "migrate", ...clickhouseEnvironment(stack) });
  const [port, queryPort] = [await freePort(), await freePort()];
  queryUrl = `http://127.0.0.1:${queryPort}/cluster-metrics`;
  [bridge, query] = await Promise.all([
    startBridge(bridgeEnvironment("auto"), port),
    startBridge({ ROLE: "query", ...clickhouseEnvironment(stack) }, queryPort),
  ]);
  started.defer(async () => void (await bridge.kill("SIGKILL")));
  started.defer(async () => void (await query.kill("SIGKILL")));
});

afterAll(() => started.disposeAsync());

async function ask<T>(path: string, body?: object): Promise<T> {
  const request = { method: "POST", headers: { "content-type": "application/json" } };
  const answer = await fetch(
    `${queryUrl}${path}`,
    body === undefined ? {} : { ...request, body: JSON.stringify(body) },
  );
  const content = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${content}`);
  return JSON.parse(content) as T;
}

/** The names of the Pods, by the query role and by Prometheus, as of `atMs` or of the newest time that is stored. */
async function comparePods(recording: Recording, atMs?: number): Promise<void> {
  const until = atMs === undefined ? "" : `&to=${new Date(atMs).toISOString()}`;
  const path = `/${idOf(recording, "auto")}`;
  const answer = await ask<PodsAnswer>(`${path}/pods?limit=1000${until}`);
  const asOfMs = Date.parse(answer.as_of!);
  expect(asOfMs).toBe(atMs ?? asOfMs);
  const summary = await ask<SummaryAnswer>(`${path}/summary?to=${new Date(asOfMs).toISOString()}`);
  const names = (found: { labels: Record<string, string> }[]): string[] =>
    found.map(({ labels }) => labels["pod"]!).toSorted();
  const pods = names(await recording.instant("kube_pod_info", asOfMs));
  const running = await recording.instant('kube_pod_status_phase{phase="Running"} == 1', asOfMs);
  const nodes = await recording.instant("kube_node_info", asOfMs);
  const what = `${recording.id} at ${answer.as_of}`;
  expect([what, ...answer.pods.map(({ pod }) => pod).toSorted()]).toEqual([what, ...pods]);
  expect([what, answer.pod_count]).toEqual([what, pods.length]);
  expect([what, summary.pod_count ?? 0, summary.running_pod_count ?? 0, summary.node_count ?? 0]).toEqual([
    what,
    pods.length,
    running.length,
    nodes.length,
  ]);
}

async function collectAndCompare(): Promise<void> {
  expect(await bridge.collect()).toMatchObject({ successful: 2, failed: 0 });
  await Promise.all(recordings.map((recording) => comparePods(recording)));
}

async function restartAll(whileGone: () => void): Promise<void> {
  await Promise.all(recordings.map((each) => each.kill()));
  whileGone();
  await Promise.all(
    recordings.map(async (recording) => {
      await recording.restart();
      const isReady = (): Promise<boolean> =>
        fetch(`${recording.origin}/-/ready`).then(
          ({ ok }) => ok,
          () => false,
        );
      await expect.poll(isReady, { timeout: 60_000, interval: 200 }).toBe(true);
    }),
  );
}

test("Pods go while both are asked: the answers are those of their Prometheus", async () => {
  const { exported, state, application } = exporters;
  const { pods } = exported;
  const [ofState, ofApplication] = [state.text, application.text];
  const steps: (() => void | Promise<void>)[] = [
    () => {},
    () => void pods.delete("pod-1"),
    () => {
      pods.delete("pod-2");
      pods.add("pod-6");
      application.text = undefined;
    },
    () => {
      pods.add("pod-1");
      exported.nodes.delete("node-1");
      exported.requests = 0;
      application.text = ofApplication;
    },
    () => restartAll(() => void pods.delete("pod-3")),
    () => void (state.text = undefined),
    () => {
      pods.delete("pod-5");
      state.text = ofState;
      exported.hasOwnRegion = true;
    },
    () => {},
  ];
  for (const step of steps) {
    await step();
    await delay(3000);
    await collectAndCompare();
  }
  await delay(LAG_SECONDS * 1000);
  await collectAndCompare();
  const { clusters } = await bridge.status();
  for (const cluster of clusters) {
    expect(cluster.samples_by).toMatchObject({
      transport: "remote_read",
      staleness: "inferred",
    });
    expect(cluster.samples_by!.exceptions.toSorted()).toEqual(UNCLEAR);
    expect(cluster).toMatchObject({ gaps: [], last_error: null });
  }
});

/** Everything up to then is stored. */
async function storedUntil(recording: Recording): Promise<number> {
  return Date.parse((await ask<PodsAnswer>(`/${idOf(recording, "auto")}/pods`)).as_of!);
}

test("at each time before, too", async () => {
  for (const recording of recordings) {
    const toMs = await storedUntil(recording);
    const window = { fromMs: toMs - 5 * MINUTE_MS, toMs };
    const samples = [...(await recording.read("kube_pod_info", window)).values()].flat();
    const ends = [...new Set(samples.filter(isMarker).map(({ ms }) => ms))].toSorted((a, b) => a - b);
    expect(ends.length).toBeGreaterThan(2);
    for (const ms of ends.slice(0, 4)) {
      await comparePods(recording, ms - 1);
      await comparePods(recording, ms);
    }
  }
});

test("count(kube_pod_info) at each second, by SQL on samples and stale markers", async () => {
  for (const recording of recordings) {
    const toMs = await storedUntil(recording);
    const first = Math.min(
      ...[...(await recording.read("kube_pod_info", { fromMs: 0, toMs })).values()].map(([each]) => each!.ms),
    );
    const source = await recording.queryRange("count(kube_pod_info)", first, toMs, 1000);
    const rows = await stack.database.query<{ ms: string; pods: string }>(
      `SELECT toString(at) AS ms, toString(countIf(is_sample)) AS pods FROM (
        SELECT at, series_id, argMax(is_sample, time) AS is_sample
        FROM (
          SELECT series_id, toUnixTimestamp64Milli(time) AS time, 1 AS is_sample FROM metrics.samples
          WHERE cluster_id = {cluster:String} AND metric_name = 'kube_pod_info'
          UNION ALL
          SELECT series_id, toUnixTimestamp64Milli(time) AS time, 0 AS is_sample FROM metrics.stale_markers
          WHERE cluster_id = {cluster:String} AND metric_name = 'kube_pod_info'
        )
        ARRAY JOIN arrayMap(i -> {first:Int64} + i * 1000, range(toUInt64(intDiv({to:Int64} - {first:Int64}, 1000) + 1))) AS at
        WHERE time <= at AND time > at - 300000
        GROUP BY at, series_id
      ) GROUP BY at HAVING countIf(is_sample) > 0`,
      { cluster: idOf(recording, "auto"), first: String(first), to: String(toMs) },
    );
    const counted = new Map(rows.map(({ ms, pods }) => [Number(ms), Number(pods)]));
    expect(new Set(counted.values()).size).toBeGreaterThan(2);
    expect(differences(source, new Map([[[...source.keys()][0]!, counted]]))).toEqual([]);
  }
});

test("POST /cluster-metrics/query counts what its PromQL counts there", async () => {
  for (const recording of recordings) {
    const toMs = await storedUntil(recording);
    const answer = await ask<SeriesAnswer>("/query", {
      cluster_id: idOf(recording, "auto"),
      metric_name: "kube_pod_info",
      aggregation: "count",
      start_time: new Date(toMs - 2 * MINUTE_MS).toISOString(),
      end_time: new Date(toMs).toISOString(),
      step: "1s",
    });
    const [first, last] = [Date.parse(answer.first_point), Date.parse(answer.last_point)];
    const expected = await recording.queryRange(answer.promql, first, last, 1000);
    expect(expected.size).toBe(1);
    expect(differences(expected, toPoints(answer))).toEqual([]);
  }
});

interface Window {
  fromMs: number;
  toMs: number;
}

/** What is stored of a metric in (fromMs, toMs]: samples as users read them, and the markers with their own bits. */
async function readStored(cluster: string, metric: string, { fromMs, toMs }: Window): Promise<Samples> {
  const markers = ["gauge", "sum"].map(
    (table) =>
      `SELECT Attributes AS labels, TimeUnix AS time, Value AS value FROM metrics.otel_metrics_${table} FINAL
      WHERE cluster_id = concat('stale/', {cluster:String}) AND MetricName = {metric:String} AND Flags = 1`,
  );
  const rows = await stack.database.query<{ labels: Record<string, string>; ns: string; bits: string }>(
    `SELECT labels, toString(toUnixTimestamp64Nano(time)) AS ns, lower(hex(reinterpretAsUInt64(value))) AS bits
    FROM (
      SELECT labels, time, value FROM metrics.samples WHERE cluster_id = {cluster:String} AND metric_name = {metric:String}
      UNION ALL ${markers.join(" UNION ALL ")}
    )
    WHERE time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})
    ORDER BY time`,
    { cluster, metric, from: String(fromMs), to: String(toMs) },
  );
  const series: Samples = new Map();
  for (const { labels, ns, bits } of rows) {
    const key = keyOf(labels);
    series.set(key, [...(series.get(key) ?? []), { ms: wholeMs(ns), bits: bits.padStart(16, "0") }]);
  }
  return series;
}

function wholeMs(ns: string): number {
  if (!ns.endsWith("000000")) throw new Error(`${ns} is no whole millisecond`);
  return Number(ns.slice(0, -6));
}

const toTexts = (samples: Samples, toText: (sample: ReadSample) => string | undefined): string[] =>
  [...samples]
    .flatMap(([key, each]) => each.map((sample) => [key, toText(sample)] as const))
    .flatMap(([key, text]) => (text === undefined ? [] : [`${key} ${text}`]))
    .toSorted();

/** Samples that are on one side only, at most ten. */
function unequal(expected: string[], actual: string[]): string[] {
  const [wanted, found] = [new Set(expected), new Set(actual)];
  const lines = [
    ...expected.filter((line) => !found.has(line)).map((line) => `missing ${line}`),
    ...actual.filter((line) => !wanted.has(line)).map((line) => `extra ${line}`),
  ];
  if (actual.length !== found.size) lines.push(`${actual.length - found.size} are stored twice`);
  return lines.slice(0, 10);
}

const exactly = ({ ms, bits }: ReadSample): string => `${ms} ${bits}`;
const MINUS_ZERO = "8000000000000000";
/** Prometheus leaves the sign of 0 out of answers in the form SAMPLES. Which form a window is read in is the bridge's choice. */
const withoutSignOfZero = ({ ms, bits }: ReadSample): string =>
  `${ms} ${bits === MINUS_ZERO ? "0".repeat(16) : bits}`;
/** Through the query API: without markers, and each NaN is one. */
const asQueried = (sample: ReadSample): string | undefined => {
  if (isMarker(sample)) return undefined;
  const isNan = Number.isNaN(Buffer.from(sample.bits, "hex").readDoubleBE());
  return isNan ? `${sample.ms} NaN` : exactly(sample);
};

interface Compared {
  samples: number;
  markers: number;
  problems: string[];
}

async function compareAll(
  name: string,
  form: (metric: string) => (sample: ReadSample) => string | undefined,
): Promise<Map<string, Compared>> {
  const compared = new Map<string, Compared>();
  for (const recording of recordings) {
    const cluster = idOf(recording, name);
    const { queries } = await readProgress(join(directory, name), cluster);
    for (const metric of [...SCRAPED, ...WRITTEN]) {
      const { committed } = queries[metric]!;
      expect([metric, committed.length]).toEqual([metric, 1]);
      const [fromMs, toMs] = committed[0]!;
      const keeps = ["own_region", "equal_region"].includes(metric) ? ["region"] : [];
      const expected = await recording.read(metric, { fromMs, toMs }, keeps);
      const actual = await readStored(cluster, metric, { fromMs, toMs });
      const problems = unequal(toTexts(expected, form(metric)), toTexts(actual, form(metric)));
      const all = [...expected.values()].flat();
      const markers = all.filter(isMarker).length;
      compared.set(`${recording.id} ${metric}`, { samples: all.length - markers, markers, problems });
    }
  }
  const lines = [...compared].map(([what, { samples, markers }]) => `${what} ${samples}+${markers}`);
  process.stderr.write(`compared as ${name}: ${lines.join(", ")}\n`);
  return compared;
}

/** What differs, and a line for each metric that lacks what it is there for. */
async function compareHistograms(
  name: string,
  toText: (histogram: ReturnType<typeof fromSource>) => string | undefined,
): Promise<string[]> {
  const recording = recordings.find(({ id }) => id === "recorded-3")!;
  const cluster = idOf(recording, name);
  const { queries } = await readProgress(join(directory, name), cluster);
  const problems: string[] = [];
  for (const metric of HISTOGRAMS) {
    const [fromMs, toMs] = queries[metric]!.committed[0]!;
    const source = (await recording.readHistograms(metric, { fromMs, toMs })).map(fromSource);
    const stored = await readStoredHistograms(stack.database, cluster, metric, { fromMs, toMs });
    const texts = (all: typeof source): string[] => all.flatMap((each) => toText(each) ?? []);
    problems.push(...unequal(texts(source), texts(stored)).map((line) => `${metric}: ${line}`));
    if (source.length < 20) problems.push(`${metric}: only ${source.length} to compare`);
    const hasMarker = source.some((each) => each.isMarker);
    if (hasMarker !== (metric === "written_stale")) problems.push(`${metric}: marker ${hasMarker}`);
  }
  return problems;
}

test("by remote read, each sample and each stale marker is stored as it is", async () => {
  expect(await bridge.kill("SIGTERM")).toBe(0);
  const compared = await compareAll("auto", (metric) => {
    if (UNCLEAR.includes(metric)) return asQueried;
    return withoutSignOfZero;
  });
  expect([...compared].filter(([, { problems }]) => problems.length > 0)).toEqual([]);
  for (const [what, { samples, markers }] of compared) {
    expect([what, samples > 0]).toEqual([what, true]);
    const ends = /kube_|requests|odd_|region|written_special/.test(what);
    expect([what, markers > 0]).toEqual([what, ends]);
  }
  const views = await stack.database.query<{ markers: number; flagged: number }>(
    `SELECT toUInt32(count()) AS markers, toUInt32(${["gauge", "sum", "histogram", "exponential_histogram"]
      .map((table) => `(SELECT count() FROM metrics.otel_metrics_${table} FINAL WHERE Flags = 1)`)
      .join(" + ")}) AS flagged
    FROM metrics.stale_markers`,
  );
  expect(views[0]!.markers).toBe(views[0]!.flagged);
  expect(views[0]!.markers).toBeGreaterThan(0);
  expect(complaintsIn(await stack.collectorLog())).toEqual([]);
});

test("by remote read, each native histogram is stored with its schema, buckets, counts, sum, and its end", async () => {
  expect(await compareHistograms("auto", toExactText)).toEqual([]);
});

test("by the query API, the same without markers", async () => {
  const off = await startBridge({ ...bridgeEnvironment("off"), REMOTE_READ: "off" }, await freePort());
  try {
    expect(await off.collect()).toMatchObject({ successful: 2, failed: 0 });
    const { clusters } = await off.status();
    for (const cluster of clusters)
      expect(cluster.samples_by).toMatchObject({ transport: "query_api", staleness: "inferred", markers: 0 });
    expect(await off.kill("SIGTERM")).toBe(0);
  } finally {
    await off.kill("SIGKILL");
  }
  const compared = await compareAll("off", () => asQueried);
  expect([...compared].filter(([, { problems }]) => problems.length > 0)).toEqual([]);
  const flagged = await stack.database.query(
    "SELECT 1 FROM metrics.stale_markers WHERE endsWith(cluster_id, '-off')",
  );
  expect(flagged).toEqual([]);
});

test("by the query API, each native histogram is stored with its count, its sum, and its buckets that are not empty", async () => {
  expect(await compareHistograms("off", toEndsText)).toEqual([]);
});
