import { Agent } from "undici";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { createTurns } from "#lib/turns.ts";
import { DEFAULT_QUERIES, toQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient, type PrometheusClient } from "#prometheus/client.ts";
import { createSampleTransport, type SampleTransport } from "#prometheus/sample-transport.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { PrometheusFault } from "#simulator/fault-kinds.ts";
import { startSimulator, type SimulatedCluster, type Simulator } from "#simulator/simulator.ts";
import type { SimulatorSettings } from "#simulator/simulator.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { createManualClock, type ManualClock } from "../helpers/manual-clock.ts";

// The client against the simulated Prometheus, which answers remote read as the real one does.

const NOW_MS = 1_700_000_000_000;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const { signal } = new AbortController();
const agent = new Agent();
afterAll(() => agent.close());

const QUERIES = toQueries([
  ...DEFAULT_QUERIES,
  { name: "one_job", promql: 'up{job="node-exporter",instance!=""}', group: "test" },
  { name: "by_expression", promql: '{__name__=~"kube_pod_(info|status_phase)"}', group: "test" },
]);

let clock: ManualClock;
let simulator: Simulator;
let cluster: SimulatedCluster;
let transport: SampleTransport;
let client: PrometheusClient;

async function start(settings: SimulatorSettings = {}): Promise<void> {
  await simulator?.stop();
  simulator = await startSimulator({ clock, ...settings });
  cluster = simulator.clusters[0]!;
  connect();
}

function connect(mode: "auto" | "off" = "auto"): void {
  transport = createSampleTransport(clock, mode);
  client = clientBy({ transport, queries: QUERIES });
}

function clientBy(samples?: Parameters<typeof createPrometheusClient>[1]["samples"]): PrometheusClient {
  const parts = { dispatcher: agent, clock, turns: createTurns() };
  const origin = cluster.prometheusUrl;
  return createPrometheusClient(parts, {
    origin,
    pathPrefix: "",
    timeoutMs: 10_000,
    ...(samples ? { samples } : {}),
  });
}

beforeEach(async () => {
  clock = createManualClock(NOW_MS);
  await start();
});
afterEach(async () => simulator.stop());

type WithoutLayer<T> = T extends unknown ? Omit<T, "layer"> : never;

async function withFault(fault: WithoutLayer<PrometheusFault>): Promise<void> {
  await simulator.faults.set(cluster.id, { layer: "prometheus", ...fault });
}

/**
 * Each sample as a text with the bits of its value; -0 as 0, as SAMPLES does not have its sign. Without `hasPayload` each NaN is the same: JSON has
 * no payload.
 */
function textsOf(series: ScannedSeries, hasPayload: boolean): string[] {
  const text = (from = 0, to = 0): string => Buffer.from(series.bytes.subarray(from, to)).toString("utf8");
  const labels = [`__name__=${text(series.nameStart, series.nameEnd)}`];
  for (let i = 0; i < series.labelCount; i++) {
    const [a, b, c, d] = series.labels.subarray(4 * i, 4 * i + 4);
    labels.push(`${text(a, b)}=${text(c, d)}`);
  }
  const { values, timestamps, sampleCount } = series;
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  const head = labels.toSorted().join();
  return Array.from({ length: sampleCount }, (_, i) => {
    const hex = (half: number): string => half.toString(16).padStart(8, "0");
    if (!hasPayload && Number.isNaN(values[i])) return `${head} ${timestamps[i]} NaN`;
    const value = values[i] === 0 ? "0" : hex(bits[2 * i + 1]!) + hex(bits[2 * i]!);
    return `${head} ${timestamps[i]} ${value}`;
  });
}

interface Answer {
  samples: string[];
  markers: string[];
  restarts: number;
  counted: number;
  transport: string;
}

async function read(from: PrometheusClient, name: string, minutes: number): Promise<Answer> {
  const query = QUERIES.find((each) => each.name === name)!;
  const answer: Answer = { samples: [], markers: [], restarts: 0, counted: 0, transport: "" };
  const sink = {
    series: (series: ScannedSeries) => void answer.samples.push(...textsOf(series, false)),
    markers: (series: ScannedSeries) => void answer.markers.push(...textsOf(series, true)),
  };
  const restart = async (): Promise<void> => {
    Object.assign(answer, { samples: [], markers: [], restarts: answer.restarts + 1 });
  };
  const window = { fromMs: NOW_MS - minutes * MINUTE_MS, toMs: NOW_MS - MINUTE_MS };
  const result = await from.read(query, window, { sink, pause: () => undefined, restart }, signal);
  answer.counted = result.samples;
  answer.transport = result.transport ?? "query_api";
  answer.samples.sort();
  answer.markers.sort();
  return answer;
}

/** Both transports give the same samples of the query. */
async function expectSame(name: string, minutes: number): Promise<Answer> {
  const byRemoteRead = await read(client, name, minutes);
  const byQueryApi = await read(clientBy(), name, minutes);
  expect(byRemoteRead.samples).toEqual(byQueryApi.samples);
  expect(byRemoteRead.counted).toBe(byQueryApi.counted);
  expect(byQueryApi.markers).toEqual([]);
  return byRemoteRead;
}

const asked = (what: string): number =>
  simulator.faults.traffic(cluster.id).requests.filter((each) => each.what === what).length;

test.each([5, 40])(
  "every query of the catalogue is the same by both transports, in windows of %i minutes",
  async (minutes) => {
    await start({ prometheus: { externalLabels: { prometheus: "a/b", replica: "0" } } });
    expect(await client.prepareReads(signal)).toMatchObject({
      transport: "remote_read",
      external_labels: [
        { name: "prometheus", value: "a/b" },
        { name: "replica", value: "0" },
      ],
    });
    let samples = 0;
    for (const { name } of QUERIES) {
      const answer = await expectSame(name, minutes);
      expect(answer).toMatchObject({ transport: "remote_read", restarts: 0 });
      samples += answer.samples.length;
    }
    expect(samples).toBeGreaterThan(10_000);
  },
);

test("what is stored is read: stale markers of Pods that went and of a target that was down, bit by bit", async () => {
  await start({
    shape: { churnEveryMs: 5 * MINUTE_MS, outages: { everyMs: 7 * MINUTE_MS, forMs: MINUTE_MS } },
  });
  await client.prepareReads(signal);
  for (const [name, minutes] of [
    ["kube_pod_info", 12],
    ["kube_pod_info", 40],
    ["node_load1", 12],
    ["node_load1", 40],
  ] as const) {
    const { samples, markers } = await expectSame(name, minutes);
    const window = { fromMs: NOW_MS - minutes * MINUTE_MS, toMs: NOW_MS - MINUTE_MS, nowMs: NOW_MS };
    const stored = cluster.world.stored({ ...window, metric: name });
    const expected = stored.flatMap(({ labels, markers: times }) => {
      const head = labels
        .map(([label, value]) => `${label}=${value}`)
        .toSorted()
        .join();
      return times.map((ms) => `${head} ${ms} 7ff0000000000002`);
    });
    expect(samples.length).toBeGreaterThan(0);
    expect(markers.length).toBeGreaterThan(0);
    expect(markers).toEqual(expected.toSorted());
  }
});

test("labels of the series that have the name of an external one are kept, and mixed ones are read by the query API", async () => {
  // Every Pod has a namespace; only containers have a container.
  const externalLabels = { namespace: "outside", container: "outside", replica: "0" };
  await start({ prometheus: { externalLabels } });
  const known = await client.prepareReads(signal);
  expect(known?.external_labels?.find(({ name }) => name === "replica")).toEqual({
    name: "replica",
    value: "0",
  });
  const namespaces = known?.external_labels?.find(({ name }) => name === "namespace");
  expect(namespaces?.kept).toContain("kube_pod_info");
  let transports = "";
  for (const { name } of QUERIES) transports += ` ${(await expectSame(name, 5)).transport}`;
  expect(transports).toContain("remote_read");
  expect(transports.includes("query_api")).toBe(
    known?.external_labels?.some(({ mixed = [] }) => mixed.length > 0) === true,
  );
});

test("a series of the past whose own label is exactly the external one makes an exception of its query, and many of them of all", async () => {
  const shape = { churnEveryMs: 5 * MINUTE_MS };
  await start({ shape });
  await client.prepareReads(signal);
  const [marker = ""] = (await expectSame("kube_pod_info", 40)).markers;
  const gone = /,pod=([^,]+),/.exec(marker)![1]!;
  await start({ shape, prometheus: { externalLabels: { pod: gone } } });
  const known = await client.prepareReads(signal);
  expect(known?.external_labels?.[0]?.kept).toContain("kube_pod_info");
  expect(await expectSame("kube_pod_info", 40)).toMatchObject({ transport: "query_api", restarts: 2 });
  expect(await expectSame("kube_pod_info", 40)).toMatchObject({ transport: "query_api", restarts: 0 });
  expect(transport.known()).toMatchObject({ transport: "remote_read" });
  expect(transport.known()?.external_labels?.[0]?.mixed).toContain("kube_pod_info");
  expect(await expectSame("node_load1", 40)).toMatchObject({ transport: "remote_read", restarts: 0 });
  let contradicting = 0;
  for (const { name } of QUERIES) contradicting += (await expectSame(name, 40)).restarts;
  expect(contradicting).toBe(5);
  expect(transport.known()).toMatchObject({ transport: "query_api", reason: "external_labels_unclear" });
});

test("a matcher for the value of an external label finds the series that have it", async () => {
  await start({ prometheus: { externalLabels: { job: "node-exporter" } } });
  await client.prepareReads(signal);
  expect((await expectSame("one_job", 5)).samples.length).toBeGreaterThan(0);
});

test.each([
  ["not_served", { kind: "status", status: 404, path: "/api/v1/read" }],
  ["not_served", { kind: "status", status: 405, path: "/api/v1/read" }],
  ["not_served", { kind: "status", status: 501, path: "/api/v1/read" }],
  ["not_served", { kind: "html", status: 200, path: "/api/v1/read" }],
  ["not_served", { kind: "remote-read", problem: "content-type" }],
  ["forbidden", { kind: "status", status: 403, path: "/api/v1/read" }],
  ["no_answer", { kind: "status", status: 503, path: "/api/v1/read" }],
  ["configuration_closed", { kind: "status", status: 403, path: "/api/v1/status/config" }],
  ["configuration_closed", { kind: "status", status: 404, path: "/api/v1/status/config" }],
] as const)("%s: the query API is used (%o)", async (reason, fault) => {
  await withFault(fault);
  expect(await client.prepareReads(signal)).toMatchObject({ transport: "query_api", reason });
  const answer = await expectSame("kube_pod_info", 5);
  expect(answer).toMatchObject({ transport: "query_api", restarts: 0, markers: [] });
  expect(answer.samples.length).toBeGreaterThan(0);
});

test.each([404, 403, 413])(
  "a source that stops to answer remote read (%i) is read by the query API in the same read",
  async (status) => {
    await client.prepareReads(signal);
    await withFault({ kind: "status", status, path: "/api/v1/read" });
    expect(await expectSame("kube_pod_info", 5)).toMatchObject({ transport: "query_api", restarts: 1 });
    const before = asked("/api/v1/read");
    expect(await expectSame("kube_pod_info", 5)).toMatchObject({ transport: "query_api", restarts: 0 });
    expect(asked("/api/v1/read")).toBe(before);
  },
);

test("it is asked again after a day, after an hour where the failure may pass, and a Pod's decision is remembered", async () => {
  await withFault({ kind: "status", status: 404, path: "/api/v1/read" });
  const first = await client.prepareReads(signal);
  expect(first).toMatchObject({ reason: "not_served", since: NOW_MS });
  await simulator.faults.clear();
  connect();
  transport.recall(first);
  expect(await client.prepareReads(signal)).toBe(first);
  clock.advance(DAY_MS);
  expect(await client.prepareReads(signal)).toMatchObject({
    transport: "remote_read",
    since: NOW_MS + DAY_MS,
  });
  await withFault({ kind: "status", status: 503, path: "/api/v1/read" });
  connect();
  const passing = await client.prepareReads(signal);
  expect(passing).toMatchObject({ reason: "no_answer" });
  await simulator.faults.clear();
  clock.advance(60 * MINUTE_MS);
  expect(await client.prepareReads(signal)).toMatchObject({ transport: "remote_read" });
});

test("REMOTE_READ=off asks nothing, and counts at once", async () => {
  connect("off");
  expect(await client.prepareReads(signal)).toMatchObject({ transport: "query_api", reason: "switched_off" });
  expect(await read(client, "kube_pod_info", 5)).toMatchObject({ transport: "query_api" });
  expect(asked("/api/v1/read") + asked("/api/v1/status/config")).toBe(0);
});

test("external labels that changed since the decision are found out in the read", async () => {
  await start({ prometheus: { externalLabels: { replica: "0" } } });
  const known = (await client.prepareReads(signal))!;
  connect();
  transport.recall({ ...known, external_labels: [{ name: "replica", value: "another" }] });
  expect(await expectSame("kube_pod_info", 5)).toMatchObject({ transport: "remote_read", restarts: 1 });
  connect();
  transport.recall({ ...known, external_labels: [{ name: "missing", value: "" + 1 }] });
  expect(await expectSame("kube_pod_info", 5)).toMatchObject({ transport: "remote_read", restarts: 1 });
});

test.each([
  ["prometheus_too_many_samples", 5, { kind: "max-samples", samples: 10 }],
  ["prometheus_answer_truncated", 5, { kind: "truncate", atByte: 2000, how: "complete" }],
  ["prometheus_answer_truncated", 40, { kind: "truncate", atByte: 2000, how: "complete" }],
  ["prometheus_answer_truncated", 40, { kind: "truncate", atByte: 2000, how: "chunked" }],
  ["prometheus_answer_invalid", 40, { kind: "remote-read", problem: "checksum" }],
  ["prometheus_answer_too_large", 40, { kind: "remote-read", problem: "frame-size" }],
  ["prometheus_answer_invalid", 40, { kind: "remote-read", problem: "query-index" }],
  ["prometheus_overloaded", 5, { kind: "status", status: 502, path: "/api/v1/read" }],
  ["prometheus_overloaded", 5, { kind: "status", status: 429, path: "/api/v1/read" }],
] as const)(
  "a failure of the moment or the window is one: %s in %i minutes (%o)",
  async (code, minutes, fault) => {
    await client.prepareReads(signal);
    await withFault(fault);
    const error = await bridgeErrorOf(read(client, "kube_pod_container_resource_requests", minutes));
    expect(error.code).toBe(code);
    expect(transport.known()).toMatchObject({ transport: "remote_read" });
  },
);

test("a bomb and chunks of an unknown encoding are read in another way", async () => {
  await client.prepareReads(signal);
  await withFault({ kind: "remote-read", problem: "bomb" });
  expect(await expectSame("kube_pod_info", 5)).toMatchObject({ transport: "remote_read", restarts: 1 });
  expect(transport.known()?.large).toEqual(["kube_pod_info"]);
  await withFault({ kind: "remote-read", problem: "encoding" });
  expect(await expectSame("kube_pod_info", 40)).toMatchObject({ transport: "query_api", restarts: 1 });
  expect(transport.known()).toMatchObject({ transport: "query_api", reason: "unknown_format" });
});

test("a source that prefers samples is read although chunks were asked for", async () => {
  await client.prepareReads(signal);
  await withFault({ kind: "remote-read", problem: "samples" });
  expect(await expectSame("kube_pod_info", 40)).toMatchObject({ transport: "remote_read", restarts: 0 });
});

test("remote read that fails three times in a row gives way to the query API for an hour", async () => {
  await client.prepareReads(signal);
  await withFault({ kind: "status", status: 500, path: "/api/v1/read" });
  for (let i = 0; i < 2; i++) await bridgeErrorOf(read(client, "kube_pod_info", 5));
  expect(transport.known()).toMatchObject({ transport: "remote_read" });
  expect(await expectSame("kube_pod_info", 5)).toMatchObject({ transport: "query_api", restarts: 1 });
  expect(transport.known()).toMatchObject({ transport: "query_api", reason: "no_answer" });
  await simulator.faults.clear();
  clock.advance(60 * MINUTE_MS);
  expect(await client.prepareReads(signal)).toMatchObject({ transport: "remote_read" });
});
