import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeReadRequest } from "#prometheus/remote-read/request.ts";
import type { PrometheusFault } from "#simulator/fault-kinds.ts";
import type { NativeHistogram } from "#simulator/native-histogram.ts";
import { startSimulator } from "#simulator/simulator.ts";
import type { SimulatedCluster, Simulator, SimulatorSettings } from "#simulator/simulator.ts";
import type { StoredSeries } from "#simulator/world.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import type { ManualClock } from "../helpers/manual-clock.ts";
import { decodeAnswer } from "../helpers/remote-read-answers.ts";
import {
  bitsOfValue,
  readChunkAnswer,
  readFrames,
  readSampleAnswer,
  STALE_BITS,
  toReadRequest,
  toSnappyLiterals,
} from "../helpers/remote-read-client.ts";
import { startSourcePrometheus } from "../helpers/source-prometheus.ts";
import type { ReadSample, ReadSeries, RemoteReadQuery } from "../helpers/remote-read-client.ts";

const NOW_MS = 1_700_000_000_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const EVERYTHING: RemoteReadQuery["matchers"] = [["!=", "__name__", ""]];

let clock: ManualClock;
let simulator: Simulator;
let cluster: SimulatedCluster;

async function start(settings: SimulatorSettings = {}): Promise<void> {
  await simulator?.stop();
  simulator = await startSimulator({ clock, ...settings });
  cluster = simulator.clusters[0] as SimulatedCluster;
}

beforeEach(async () => {
  clock = createManualClock(NOW_MS);
  await start();
});
afterEach(async () => simulator.stop());

interface Answer {
  status: number;
  headers: Headers;
  body: Buffer;
  text: string;
}

async function post(body: Buffer, method = "POST"): Promise<Answer> {
  const url = `${cluster.prometheusUrl}/api/v1/read`;
  const response = await fetch(url, method === "GET" ? { method } : { method, body: new Uint8Array(body) });
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, body: bytes, text: bytes.toString() };
}

const SAMPLES = [0];
const CHUNKS = [1, 0];

async function ask(accepted: number[], ...queries: Partial<RemoteReadQuery>[]): Promise<Answer> {
  const whole = { fromMs: NOW_MS - MINUTE_MS, toMs: NOW_MS, matchers: EVERYTHING };
  return post(
    toReadRequest(
      queries.map((query) => ({ ...whole, ...query })),
      accepted,
    ),
  );
}

async function read(accepted: number[], query: Partial<RemoteReadQuery> = {}): Promise<ReadSeries[]> {
  const { status, body, text } = await ask(accepted, query);
  expect([status, status === 200 ? "" : text]).toEqual([200, ""]);
  return accepted === SAMPLES ? readSampleAnswer(body) : readChunkAnswer(body);
}

type WithoutLayer<T> = T extends unknown ? Omit<T, "layer"> : never;

async function withFault(fault: WithoutLayer<PrometheusFault>): Promise<void> {
  await simulator.faults.set(cluster.id, { layer: "prometheus", ...fault });
}

/** What is stored with a time in [fromMs, toMs], by the labels. */
function truth(window: { fromMs: number; toMs: number; metric?: string }): Map<string, ReadSample[]> {
  const stored = cluster.world.stored({ ...window, fromMs: window.fromMs - 1, nowMs: NOW_MS });
  return new Map(stored.map((series) => [keyOf(Object.fromEntries(series.labels)), samplesOf(series)]));
}

function samplesOf({ timestamps, values, markers }: StoredSeries): ReadSample[] {
  const samples = timestamps.map((ms, i) => ({ ms, bits: bitsOfValue(values[i]!) }));
  return [...samples, ...markers.map((ms) => ({ ms, bits: STALE_BITS }))].sort((a, b) => a.ms - b.ms);
}

function keyOf(labels: Record<string, string>): string {
  return JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function found(series: readonly ReadSeries[]): Map<string, ReadSample[]> {
  const map = new Map(series.map(({ labels, samples }) => [keyOf(labels), samples]));
  expect(map.size).toBe(series.length);
  return map;
}

describe("the answer is the truth, bit by bit", () => {
  test("as samples: all series of a minute; only the sign of -0 is lost, as Prometheus loses it", async () => {
    const window = { fromMs: NOW_MS - MINUTE_MS, toMs: NOW_MS };
    const expected = truth(window);
    for (const samples of expected.values()) {
      for (const sample of samples) sample.bits = sample.bits.replace(/^80{15}$/, "0000000000000000");
    }
    const answer = found((await read(SAMPLES)).filter(({ samples }) => samples.length > 0));
    expect(answer.size).toBeGreaterThan(500);
    expect(answer).toEqual(expected);
  });

  test("as chunks: all series of an hour, in the order of their labels, 120 samples a chunk", async () => {
    await start({ shape: { nodes: 2, pods: 4, gpus: 1, cpus: 1 } });
    const window = { fromMs: NOW_MS - HOUR_MS, toMs: NOW_MS };
    const answer = await read(CHUNKS, window);
    const expected = truth(window);
    expect([...found(answer).keys()].toSorted()).toEqual([...expected.keys()].toSorted());
    expect(found(answer)).toEqual(expected);
    const chunks = answer.flatMap((series) => series.chunks);
    const counts = chunks.map(({ data }) => data.readUInt16BE(0));
    expect(Math.max(...counts)).toBeGreaterThanOrEqual(119);
    expect(Math.max(...counts)).toBeLessThanOrEqual(122);
    for (const { samples, chunks: own } of answer) {
      expect(own.map(({ minMs }) => minMs)[0]).toBe(samples[0]?.ms);
      expect(own.at(-1)?.maxMs).toBe(samples.at(-1)?.ms);
    }
    expect(new Set(chunks.map(({ type }) => type))).toEqual(new Set([1]));
  });

  test("both ends of the range belong to it, in 2.x and 3.x", async () => {
    for (const version of [2, 3] as const) {
      await start({ prometheus: { version } });
      const [series] = cluster.world.expected({
        metric: "up",
        fromMs: NOW_MS - 2 * MINUTE_MS,
        toMs: NOW_MS,
        nowMs: NOW_MS,
      });
      const [fromMs = 0, , , toMs = 0] = series!.timestamps;
      const instance = series!.labels.find(([name]) => name === "instance")![1];
      const matchers = [
        ["=", "__name__", "up"],
        ["=", "instance", instance],
      ] as const;
      for (const accepted of [SAMPLES, CHUNKS]) {
        const [only] = await read(accepted, { fromMs, toMs, matchers });
        expect(only?.samples.map(({ ms }) => ms)).toEqual(series!.timestamps.slice(0, 4));
      }
    }
  });

  test("all kinds of matchers; those that the query API refuses choose everything, none choose nothing", async () => {
    const names = async (...matchers: RemoteReadQuery["matchers"]): Promise<string[]> => {
      const series = await read(CHUNKS, { matchers });
      return [...new Set(series.map(({ labels }) => labels["__name__"]!))].toSorted();
    };
    expect(await names(["=~", "__name__", "node_load(1|5)"])).toEqual(["node_load1", "node_load5"]);
    expect(await names(["=~", "__name__", "node_load.*"], ["!~", "__name__", ".*5"])).toEqual(["node_load1"]);
    expect(await names(["=~", "__name__", "node_load.*"], ["!=", "__name__", "node_load1"])).toEqual([
      "node_load15",
      "node_load5",
    ]);
    expect((await names(["!=", "__name__", "up"])).length).toBeGreaterThan(50);
    expect((await names(["=", "no_such_label", ""])).length).toBeGreaterThan(50);
    expect(await names()).toEqual([]);
  });

  test("several queries: each has its own result, in the request's order", async () => {
    const queries = ["node_load5", "nothing", "node_load1"].map((name) => ({
      matchers: [["=", "__name__", name]] as const,
    }));
    const summary = (series: readonly ReadSeries[]): string[] =>
      series.map(({ queryIndex, labels }) => `${queryIndex} ${labels["__name__"]}`);
    const expected = [
      ...Array.from({ length: 3 }, () => "0 node_load5"),
      ...Array.from({ length: 3 }, () => "2 node_load1"),
    ];
    expect(summary(readSampleAnswer((await ask(SAMPLES, ...queries)).body))).toEqual(expected);
    expect(summary(readChunkAnswer((await ask(CHUNKS, ...queries)).body))).toEqual(expected);
  });

  test("the range of the hints is what counts", async () => {
    const matchers = [["=", "__name__", "up"]] as const;
    const hints = { fromMs: NOW_MS - 3 * MINUTE_MS, toMs: NOW_MS - 2 * MINUTE_MS };
    const answer = await read(CHUNKS, { matchers, hints });
    expect(found(answer)).toEqual(truth({ ...hints, metric: "up" }));
    const [first] = await read(SAMPLES, { matchers, hints: { ...hints, run: "series" } });
    expect(first?.samples).toEqual([]);
  });

  test("a range between two scrapes: series without samples, but no chunks", async () => {
    const matchers = [["=", "__name__", "node_load1"]] as const;
    const [first] = cluster.world.expected({ metric: "node_load1", fromMs: NOW_MS - HOUR_MS, toMs: NOW_MS });
    const between = { fromMs: first!.timestamps[5]! + 1, toMs: first!.timestamps[6]! - 1, matchers };
    const series = await read(SAMPLES, between);
    expect(series.map(({ samples }) => samples.length).filter((count) => count === 0).length).toBeGreaterThan(
      0,
    );
    expect((await read(CHUNKS, between)).every(({ samples }) => samples.length > 0)).toBe(true);
    const longAgo = { fromMs: 1000, toMs: 2000, matchers };
    expect(await read(SAMPLES, longAgo)).toEqual([]);
    expect(await read(CHUNKS, longAgo)).toEqual([]);
  });
});

describe("the bridge's own decoder reads the same", () => {
  test.each(["samples", "chunks"] as const)("%s", async (form) => {
    await start({
      shape: { nodes: 2, nativeHistograms: true, outages: { everyMs: 10 * MINUTE_MS, forMs: MINUTE_MS } },
    });
    const window = { fromMs: NOW_MS - 12 * MINUTE_MS, toMs: NOW_MS };
    const request = encodeReadRequest(
      { startMs: window.fromMs + 1, endMs: NOW_MS, matchers: [{ type: "!=", name: "__name__", value: "" }] },
      [form],
    );
    const { status, body } = await post(request);
    expect(status).toBe(200);
    const { result, series } = decodeAnswer(form, [body]);
    expect(result).toMatchObject({ refused: [], overlappingChunks: 0 });
    const expected = cluster.world.stored({ ...window, nowMs: NOW_MS });
    const decoded = new Map(series.map((each) => [keyOf(each.labels), each]));
    expect(decoded.size).toBe(expected.length);
    for (const each of expected) {
      const own = decoded.get(keyOf(Object.fromEntries(each.labels)))!;
      const isOfHistograms = new Set(each.histogramMarkers);
      const floats = samplesOf(each).filter(({ ms }) => !isOfHistograms.has(ms));
      const bits = floats.map((sample) => BigInt(`0x${sample.bits}`));
      // A message leaves out a value of -0, as Prometheus does.
      const isLost = (value: bigint): boolean => form === "samples" && value === 1n << 63n;
      expect(own.samples.map(([ms]) => ms)).toEqual(floats.map(({ ms }) => ms));
      expect(own.samples.map(([, value]) => value)).toEqual(
        bits.map((value) => (isLost(value) ? 0n : value)),
      );
      expect(own.histograms.length).toBe((each.histograms?.length ?? 0) + isOfHistograms.size);
    }
  });
});

test("a stand-in of given series answers both forms", async () => {
  const source = await startSourcePrometheus([
    { name: "requests_total", labels: { job: "a" }, valueAt: (ms) => ms / 1000 },
  ]);
  try {
    for (const form of ["samples", "chunks"] as const) {
      const request = encodeReadRequest(
        {
          startMs: NOW_MS - MINUTE_MS,
          endMs: NOW_MS,
          matchers: [{ type: "=", name: "__name__", value: "requests_total" }],
        },
        [form],
      );
      const url = `http://127.0.0.1:${source.port}/api/v1/read`;
      const response = await fetch(url, { method: "POST", body: new Uint8Array(request) });
      const { series } = decodeAnswer(form, [Buffer.from(await response.arrayBuffer())]);
      expect(series.map(({ labels }) => labels)).toEqual([{ __name__: "requests_total", job: "a" }]);
      const times = [NOW_MS - 50_000, NOW_MS - 20_000];
      expect(series[0]!.samples).toEqual(times.map((ms) => [ms, BigInt(`0x${bitsOfValue(ms / 1000)}`)]));
    }
    const refused = await fetch(`http://127.0.0.1:${source.port}/api/v1/read`, { method: "POST", body: "x" });
    expect(refused.status).toBe(400);
  } finally {
    await source.stop();
  }
});

describe("stale markers", () => {
  const markersOf = ({ samples }: ReadSeries): number[] =>
    samples.filter(({ bits }) => bits === STALE_BITS).map(({ ms }) => ms);

  test("a Pod that is replaced: its series end with a marker in the scrape that brings the new Pod's", async () => {
    const window = { fromMs: NOW_MS - 20 * MINUTE_MS, toMs: NOW_MS };
    const series = await read(CHUNKS, { ...window, matchers: [["=", "__name__", "kube_pod_info"]] });
    const ended = series.filter((each) => markersOf(each).length > 0);
    expect(ended.length).toBeGreaterThanOrEqual(3);
    for (const { labels, samples } of ended) {
      expect(samples.filter(({ bits }) => bits === STALE_BITS)).toEqual([samples.at(-1)]);
      const next = series.find(
        (other) =>
          other.labels["created_by_name"] === labels["created_by_name"] &&
          other.samples[0]?.ms === samples.at(-1)?.ms,
      );
      expect(next?.labels["uid"]).not.toBe(labels["uid"]);
    }
  });

  test("samples with timestamps of their own are never marked", async () => {
    const window = { fromMs: NOW_MS - 40 * MINUTE_MS, toMs: NOW_MS };
    const matchers = [["=~", "__name__", "container_.*"]] as const;
    const series = await read(CHUNKS, { ...window, matchers });
    expect(series.some(({ samples }) => samples.at(-1)!.ms < NOW_MS - 10 * MINUTE_MS)).toBe(true);
    expect(series.flatMap(markersOf)).toEqual([]);
  });

  test("a target that cannot be scraped: all its series are marked once, and `up` is 0", async () => {
    await start({ shape: { outages: { everyMs: 10 * MINUTE_MS, forMs: MINUTE_MS } } });
    const window = { fromMs: NOW_MS - 20 * MINUTE_MS, toMs: NOW_MS };
    const address = cluster.world.layout.nodes[0]!.address;
    const ofNode = ["=", "instance", `${address}:9100`] as const;
    const series = await read(CHUNKS, { ...window, matchers: [ofNode, ["=~", "__name__", "node_.*"]] });
    const marked = series.map(markersOf);
    expect(marked.length).toBeGreaterThan(20);
    expect(new Set(marked.map((times) => times.join()))).toHaveProperty("size", 1);
    expect(marked[0]).toHaveLength(2);
    const [up] = await read(CHUNKS, { ...window, matchers: [ofNode, ["=", "__name__", "up"]] });
    expect(markersOf(up!)).toEqual([]);
    const downAt = up!.samples.filter(({ bits }) => bits === bitsOfValue(0)).map(({ ms }) => ms);
    expect(downAt).toHaveLength(8);
    expect(downAt).toEqual(expect.arrayContaining(marked[0]!));
    expect(series[0]!.samples.filter(({ ms }) => downAt.includes(ms)).map(({ bits }) => bits)).toEqual([
      STALE_BITS,
      STALE_BITS,
    ]);
  });

  test("the query API shows none: an instant selector ends the series there, a range selector leaves them out", async () => {
    await start({ shape: { outages: { everyMs: 10 * MINUTE_MS, forMs: MINUTE_MS } } });
    const window = { fromMs: NOW_MS - 20 * MINUTE_MS, toMs: NOW_MS };
    const [series] = cluster.world.stored({ ...window, metric: "node_load1", nowMs: NOW_MS });
    const marker = series!.markers[0]!;
    const query = async (promql: string, atMs: number): Promise<unknown[]> => {
      const parameters = new URLSearchParams({ query: promql, time: String(atMs / 1000) });
      const response = await fetch(`${cluster.prometheusUrl}/api/v1/query?${parameters.toString()}`);
      return ((await response.json()) as { data: { result: unknown[] } }).data.result;
    };
    expect(await query("node_load1", marker - 1)).toHaveLength(3);
    expect(await query("node_load1", marker)).toHaveLength(2);
    const rows = await query("node_load1[20m]", NOW_MS);
    expect(JSON.stringify(rows)).not.toContain("NaN");
    expect(cluster.world.expected({ ...window, metric: "node_load1", nowMs: NOW_MS })[0]?.timestamps).toEqual(
      series!.timestamps,
    );
  });

  test("a Prometheus that was away in between marks nothing", async () => {
    const [pod] = cluster.kube.pods;
    const [series] = cluster.world
      .stored({ metric: "kube_pod_info", fromMs: NOW_MS - 20 * MINUTE_MS, toMs: NOW_MS, nowMs: NOW_MS })
      .filter(({ markers }) => markers.length > 0);
    const marker = series!.markers[0]!;
    cluster.scrapes.set(pod!.name, (_, ms) => ms < marker - 20_000 || ms > marker + 20_000);
    const window = { fromMs: NOW_MS - 20 * MINUTE_MS, toMs: NOW_MS };
    const uid = Object.fromEntries(series!.labels)["uid"]!;
    const [found] = await read(CHUNKS, {
      ...window,
      matchers: [
        ["=", "uid", uid],
        ["=", "__name__", "kube_pod_info"],
      ],
    });
    expect(markersOf(found!)).toEqual([]);
    expect(found!.samples.at(-1)!.ms).toBeLessThan(marker - 20_000);
  });
});

describe("external labels", () => {
  beforeEach(async () =>
    start({ prometheus: { externalLabels: { replica: "$(POD_NAME)", cluster: "alpha", job: "outer" } } }),
  );

  test("stand in each series of both forms, in their order; the series' own win", async () => {
    const podName = cluster.kube.pods[0]!.name;
    for (const accepted of [SAMPLES, CHUNKS]) {
      const [first] = await read(accepted, { matchers: [["=", "__name__", "node_load1"]] });
      expect(first?.labels).toMatchObject({ cluster: "alpha", replica: podName, job: "node-exporter" });
      expect(Object.keys(first!.labels)).toEqual(Object.keys(first!.labels).toSorted());
    }
  });

  test("a matcher for the very value is met, another or a regular expression is not", async () => {
    const count = async (...matcher: RemoteReadQuery["matchers"][number]): Promise<number> =>
      (await read(SAMPLES, { matchers: [["=", "__name__", "node_load1"], matcher] })).length;
    expect(await count("=", "cluster", "alpha")).toBe(3);
    expect(await count("=", "cluster", "beta")).toBe(0);
    expect(await count("=~", "cluster", "alpha")).toBe(0);
    expect(await count("!=", "cluster", "alpha")).toBe(3);
  });

  test("are in the configuration, and not in the query API", async () => {
    const get = async (path: string): Promise<string> => (await fetch(cluster.prometheusUrl + path)).text();
    expect(JSON.parse(await get("/api/v1/status/config"))).toMatchObject({
      status: "success",
      data: {
        yaml: expect.stringMatching(
          /^global:\n {2}scrape_interval: 15s\n {2}scrape_timeout: 10s\n {2}evaluation_interval: 1m\n {2}external_labels:\n {4}cluster: alpha\n {4}job: outer\n {4}replica: prometheus-[\w-]+-0\n/,
        ) as string,
      },
    });
    expect(JSON.parse(await get("/api/v1/status/flags"))).toMatchObject({
      data: { "storage.remote.read-sample-limit": "50000000" },
    });
    expect(await get("/api/v1/query?query=node_load1")).not.toContain("alpha");
  });
});

describe("native histograms", () => {
  const window = { fromMs: NOW_MS - 35 * MINUTE_MS, toMs: NOW_MS };
  const named = (metric: string): Partial<RemoteReadQuery> => ({
    ...window,
    matchers: [["=", "__name__", metric]],
  });
  beforeEach(async () =>
    start({ shape: { nativeHistograms: true, outages: { everyMs: 10 * MINUTE_MS, forMs: MINUTE_MS } } }),
  );

  function truthOf(metric: string): StoredSeries[] {
    return cluster.world.stored({ ...window, fromMs: window.fromMs - 1, metric, nowMs: NOW_MS });
  }

  /** As both forms tell a histogram, the reset hint left out. */
  function fieldsOf(histogram: NativeHistogram): Record<string, unknown> {
    const { count, zeroCount, positiveCounts, negativeCounts, startedMs: _, ...rest } = histogram;
    const deltas = (counts: readonly number[]): number[] =>
      counts.map((each, i) => each - (counts[i - 1] ?? 0));
    const all = {
      ...rest,
      countInt: count,
      zeroCountInt: zeroCount,
      positiveDeltas: deltas(positiveCounts),
      negativeDeltas: deltas(negativeCounts),
    };
    return withoutEmpty(all);
  }

  function withoutEmpty(fields: object): Record<string, unknown> {
    const isThere = (value: unknown): boolean => (Array.isArray(value) ? value.length > 0 : true);
    const isLeftOut = (name: string, value: unknown): boolean =>
      name === "resetHint" || (name === "zeroThreshold" && value === 0);
    return Object.fromEntries(
      Object.entries(fields).filter(([name, value]) => isThere(value) && !isLeftOut(name, value)),
    );
  }

  test.each([
    ["sim_rpc_latency_seconds", 3],
    ["sim_request_size_bytes", 1],
    ["sim_mixed_seconds", 1],
  ])("%s is the truth in both forms, with its markers", async (metric, count) => {
    const stored = truthOf(metric);
    expect(stored).toHaveLength(count);
    for (const accepted of [SAMPLES, CHUNKS]) {
      const series = await read(accepted, named(metric));
      expect(series).toHaveLength(count);
      for (const { labels, histograms, samples } of series) {
        const own = stored.find((each) => keyOf(Object.fromEntries(each.labels)) === keyOf(labels))!;
        const whole = histograms.filter(({ fields }) => fields["schema"] !== undefined);
        expect(whole.map(({ ms, fields }) => [ms, withoutEmpty(fields)])).toEqual(
          own.histograms!.map(({ timeMs, histogram }) => [timeMs, fieldsOf(histogram)]),
        );
        const ends = histograms.filter(({ fields }) => fields["schema"] === undefined);
        expect(ends.map(({ ms }) => ms)).toEqual(own.histogramMarkers ?? []);
        expect(ends.map(({ fields }) => fields["sum"])).toEqual(ends.map(() => Number.NaN));
        expect(samples.map(({ ms }) => ms)).toEqual(own.timestamps);
      }
    }
    const markers = stored.flatMap(({ histogramMarkers }) => histogramMarkers ?? []);
    expect(markers.length).toBe(metric === "sim_rpc_latency_seconds" ? 4 : 0);
  });

  test("counts that go back to 0 begin a chunk, which says so; the sample says it, too", async () => {
    const metric = "sim_request_size_bytes";
    const all = truthOf(metric)[0]!.histograms!;
    const resets = all.filter(({ histogram }, i) => i > 0 && histogram.count < all[i - 1]!.histogram.count);
    expect(resets.length).toBeGreaterThanOrEqual(3);
    const [series] = await read(SAMPLES, named(metric));
    const hinted = series!.histograms.filter(({ fields }) => fields["resetHint"] === 1);
    expect(hinted.map(({ ms }) => ms)).toEqual(resets.map(({ timeMs }) => timeMs));
    const [chunked] = await read(CHUNKS, named(metric));
    const begun = chunked!.chunks.filter(({ data }) => data[2] === 0x80);
    expect(begun.map(({ minMs }) => minMs)).toEqual(resets.map(({ timeMs }) => timeMs));
  });

  test("a series of both kinds has a chunk for each turn, and both members in the query API", async () => {
    const [series] = await read(CHUNKS, named("sim_mixed_seconds"));
    const types = series!.chunks.map(({ type }) => type);
    expect(new Set(types)).toEqual(new Set([1, 2]));
    expect(types.length).toBeGreaterThan(60);
    const ask = async (query: string): Promise<Record<string, unknown>[]> => {
      const parameters = new URLSearchParams({ query, time: String(NOW_MS / 1000) });
      const response = await fetch(`${cluster.prometheusUrl}/api/v1/query?${parameters.toString()}`);
      return ((await response.json()) as { data: { result: Record<string, unknown>[] } }).data.result;
    };
    const [mixed] = await ask("sim_mixed_seconds[10m]");
    expect((mixed!["values"] as unknown[]).length).toBeGreaterThan(10);
    expect((mixed!["histograms"] as unknown[]).length).toBeGreaterThan(10);
    const [native] = await ask("sim_request_size_bytes[1m]");
    expect(Object.keys(native!)).toEqual(["metric", "histograms"]);
    const [now] = await ask("sim_request_size_bytes");
    const { histogram } = truthOf("sim_request_size_bytes")[0]!.histograms!.at(-1)!;
    const text = (value: number): string => String(value);
    expect(now!["histogram"]).toEqual([
      NOW_MS / 1000,
      {
        count: text(histogram.count),
        sum: text(histogram.sum),
        buckets: [
          [3, "-Inf", "100", text(histogram.positiveCounts[0]!)],
          [0, "100", "1000.5", text(histogram.positiveCounts[1]!)],
          [0, "1000.5", "4096.0001", text(histogram.positiveCounts[2]!)],
          [0, "4096.0001", "+Inf", text(histogram.positiveCounts[3]!)],
        ],
      },
    ]);
    expect(await ask("count(sim_request_size_bytes)")).toMatchObject([{ value: [NOW_MS / 1000, "1"] }]);
    expect(await ask("count_over_time(sim_request_size_bytes[1m])")).toMatchObject([
      { value: [NOW_MS / 1000, "4"] },
    ]);
    expect(await ask("max_over_time(sim_request_size_bytes[1m])")).toEqual([]);
    expect(await ask("-sim_request_size_bytes")).toEqual([]);
  });

  test("2.x has no histograms with custom buckets, and by default there are none at all", async () => {
    await start({ prometheus: { version: 2 }, shape: { nativeHistograms: true } });
    expect(await read(SAMPLES, named("sim_request_size_bytes"))).toEqual([]);
    expect(await read(SAMPLES, named("sim_rpc_latency_seconds"))).toHaveLength(3);
    await start();
    expect(await read(SAMPLES, { matchers: [["=~", "__name__", "sim_.*"]] })).toEqual([]);
  });
});

describe("form of the answers", () => {
  test("headers of both forms are Prometheus' own", async () => {
    const samples = await ask(SAMPLES, {});
    expect(Object.fromEntries(samples.headers)).toMatchObject({
      "content-type": "application/x-protobuf",
      "content-encoding": "snappy",
      "transfer-encoding": "chunked",
    });
    const chunks = await ask([1], { matchers: [["=", "__name__", "nothing"]] });
    expect(Object.fromEntries(chunks.headers)).toMatchObject({
      "content-type": "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
      "transfer-encoding": "chunked",
    });
    expect(chunks.body).toHaveLength(0);
    const small = await ask([], { matchers: [["=", "__name__", "nothing"]] });
    expect(small.headers.get("content-length")).toBe("4");
    expect(small.headers.get("content-type")).toBe("application/x-protobuf");
    expect((await ask([7, 1], {})).headers.get("content-type")).toContain("x-streamed-protobuf");
  });

  test("a long series is split over frames, each with one series and all its labels", async () => {
    await start({ prometheus: { remoteRead: { frameBytesMax: 1000 } } });
    const query = {
      fromMs: NOW_MS - 5 * HOUR_MS,
      toMs: NOW_MS,
      matchers: [["=", "__name__", "node_load1"]] as const,
    };
    const { body } = await ask(CHUNKS, query);
    expect(readFrames(body).length).toBeGreaterThan(6);
    expect(Math.max(...readFrames(body).map(({ length }) => length))).toBeLessThan(3500);
    const series = readChunkAnswer(body);
    expect(found(series)).toEqual(truth({ ...query, metric: "node_load1" }));
    await start();
    expect(readFrames((await ask(CHUNKS, query)).body)).toHaveLength(3);
  });

  test("errors have Prometheus' texts and statuses", async () => {
    const up: RemoteReadQuery["matchers"][number] = ["=", "__name__", "up"];
    const block = (hex: string): Buffer => toSnappyLiterals(Buffer.from(hex, "hex"));
    const text = async (answer: Promise<Answer>): Promise<string> => {
      const { status, text: words, headers } = await answer;
      expect(headers.get("content-type")).toBe("text/plain; charset=utf-8");
      return `${status} ${words}`;
    };
    expect(await text(post(Buffer.from("abc")))).toBe("400 snappy: corrupt input\n");
    expect(await text(post(block("0f0a")))).toBe("400 proto: wrong wireType = 7 for field Queries\n");
    expect(await text(post(block("0a05")))).toBe("400 unexpected EOF\n");
    expect(await text(post(block("0a0a1a08080912016a1a0162")))).toBe("500 invalid matcher type\n");
    expect(await text(ask([7, 9], { matchers: [up] }))).toBe(
      "400 server does not support any of the requested response types: [7 9]; supported: map[SAMPLES:{} STREAMED_XOR_CHUNKS:{}]\n",
    );
    for (const accepted of [SAMPLES, CHUNKS]) {
      expect(await text(ask(accepted, { matchers: [["=~", "job", "["]] }))).toMatch(
        /^500 error parsing regexp: /,
      );
    }
    expect(await text(post(Buffer.alloc(0), "GET"))).toBe("405 Method Not Allowed\n");
    expect((await post(Buffer.alloc(0), "GET")).headers.get("allow")).toBe("OPTIONS, POST");
  });

  test("the limit of samples is each query's, and holds for samples only", async () => {
    await start({ prometheus: { remoteRead: { samplesMax: 60 } } });
    const up = { matchers: [["=", "__name__", "up"]] as const };
    const { status, text, headers } = await ask(SAMPLES, { ...up, fromMs: NOW_MS - 10 * MINUTE_MS });
    expect([status, text]).toEqual([400, "exceeded sample limit (60)\n"]);
    expect(headers.get("content-encoding")).toBe("snappy");
    expect((await ask(SAMPLES, up, up)).status).toBe(200);
    expect((await ask(CHUNKS, { ...up, fromMs: NOW_MS - 10 * MINUTE_MS })).status).toBe(200);
  });

  test("more requests than the limit wait for their turn", async () => {
    await start({ prometheus: { remoteRead: { concurrency: 1 } } });
    await withFault({ kind: "drip", bytes: 1_000_000, delayMs: 1000, times: 1 });
    const slow = ask(SAMPLES, {});
    await expect.poll(() => clock.pending()).toBe(1);
    const aborted = new AbortController();
    const url = `${cluster.prometheusUrl}/api/v1/read`;
    const body = new Uint8Array(toReadRequest([], SAMPLES));
    const given = fetch(url, { method: "POST", body, signal: aborted.signal });
    const waiting = ask(SAMPLES, { matchers: [["=", "__name__", "up"]] });
    await expect.poll(() => simulator.faults.traffic(cluster.id).prometheus).toBe(3);
    aborted.abort();
    await expect(given).rejects.toThrow("aborted");
    clock.advance(1000);
    expect((await slow).status).toBe(200);
    expect((await waiting).status).toBe(200);
  });
});

describe("faults", () => {
  const PATH = "/api/v1/read";

  test("answers in place of Prometheus' own, only here", async () => {
    await withFault({ kind: "status", status: 404, body: "404 page not found\n", path: PATH });
    expect(await ask(CHUNKS, {})).toMatchObject({ status: 404, text: "404 page not found\n" });
    expect((await fetch(`${cluster.prometheusUrl}/api/v1/query?query=up`)).status).toBe(200);
    await withFault({ kind: "html", path: PATH });
    expect((await ask(CHUNKS, {})).headers.get("content-type")).toContain("text/html");
    await withFault({ kind: "max-samples", samples: 3, path: PATH });
    expect((await ask(SAMPLES, {})).text).toBe("exceeded sample limit (3)\n");
    await withFault({ kind: "status", status: 503, query: '__name__="up"' });
    expect((await ask(CHUNKS, { matchers: [["=", "__name__", "up"]] })).status).toBe(503);
    expect((await ask(CHUNKS, { matchers: [["=", "__name__", "node_load1"]] })).status).toBe(200);
    expect(simulator.faults.traffic(cluster.id).requests.at(-1)).toMatchObject({
      what: PATH,
      query: '{__name__="node_load1"}',
    });
  });

  test("a streamed body that ends anywhere, as HTTP notices or not", async () => {
    const query = { matchers: [["=", "__name__", "node_load1"]] as const };
    const { body } = await ask(CHUNKS, query);
    for (const atByte of [0, 1, 3, 6, 50, readFrames(body)[0]!.length + 6, body.length - 1]) {
      await withFault({ kind: "truncate", atByte, how: "complete" });
      const cut = await ask(CHUNKS, query);
      expect(cut.body.equals(body.subarray(0, atByte))).toBe(true);
      await withFault({ kind: "truncate", atByte, how: "chunked" });
      await expect(ask(CHUNKS, query)).rejects.toThrow("terminated");
    }
  });

  test("frames, chunks and blocks that lie", async () => {
    const query = { matchers: [["=", "__name__", "up"]] as const };
    const right = await ask(CHUNKS, query);
    const spoil = async (problem: string, accepted = CHUNKS): Promise<Answer> => {
      await withFault({ kind: "remote-read", problem } as WithoutLayer<PrometheusFault>);
      return ask(accepted, query);
    };
    expect(readSampleAnswer((await spoil("samples")).body)).toHaveLength(12);
    expect(await spoil("content-type")).toMatchObject({ status: 200, body: right.body });
    expect((await spoil("content-type")).headers.get("content-type")).toBe("text/plain; charset=utf-8");
    const { body: checksum } = await spoil("checksum");
    expect(() => readFrames(checksum)).toThrow("the checksum of a frame is wrong");
    const { body: size } = await spoil("frame-size");
    expect(size.subarray(0, 5).toString("hex")).toBe("ffffffff0f");
    expect((await spoil("bomb", SAMPLES)).body.subarray(0, 5).toString("hex")).toBe("ffffffff0f");
    const { body: count } = await spoil("chunk-count");
    expect(() => readChunkAnswer(count)).toThrow("the chunk is cut");
    expect(readChunkAnswer((await spoil("encoding")).body)[0]?.chunks[0]?.type).toBe(99);
    expect(readChunkAnswer((await spoil("query-index")).body)[0]?.queryIndex).toBe(7);
  });
});
