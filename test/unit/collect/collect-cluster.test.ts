import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { QuerySpec } from "#prometheus/query-spec.ts";
import {
  createCollection,
  endOf,
  HOUR,
  MINUTE,
  SECOND,
  START,
  type Collection,
} from "../../helpers/collection.ts";
import { identityOf, type StoredPoint } from "../../helpers/fake-collector.ts";
import { samplesIn } from "../../helpers/fake-prometheus.ts";

const isOwn = (point: StoredPoint): boolean => point.metric.startsWith("budcluster_");

/** Samples of the cluster that the Collector stored, as identity -> value. */
function stored({ collector }: Collection): Map<string, number> {
  return new Map(
    [...collector.points].filter(([, point]) => !isOwn(point)).map(([key, { value }]) => [key, value]),
  );
}

function source({ prometheus }: Collection, fromMs: number, toMs: number): Map<string, number> {
  const samples = prometheus.series.flatMap((series) => samplesIn(series, { fromMs, toMs }));
  return new Map(samples.map((sample) => [identityOf(sample), sample.value]));
}

function own({ collector }: Collection, metric: string): StoredPoint[] {
  return [...collector.points.values()].filter((point) => point.metric === metric);
}

test("the first collection stores every sample of the lookback, bit for bit, and says so", async () => {
  const collection = createCollection();
  const result = await collection.run();
  const end = endOf(collection);
  const expected = source(collection, end - 15 * MINUTE, end);
  expect(stored(collection)).toEqual(expected);
  expect(result).toMatchObject({
    cluster_id: "one",
    cluster_name: "name of one",
    outcome: "successful",
    points: expected.size,
    series: 4,
    error: null,
  });
  expect(result.bytes).toBeGreaterThan(0);
  const { queries, pod } = await collection.progress();
  expect(pod).toEqual({ uid: "pod-1", name: "prometheus-0", since: end });
  for (const state of Object.values(queries)) {
    expect(state).toMatchObject({ committed: [[end - 15 * MINUTE, end]], gaps: [], attempted: end });
    expect(state.samples_sent).toBe(state.samples_read);
  }
  expect(collection.prometheus).toMatchObject({ opened: 1, closed: 1, pinned: [undefined] });
});

test("later collections go on where the last one ended, on the same Pod, also after a pause", async () => {
  const collection = createCollection();
  await collection.run();
  const begin = endOf(collection) - 15 * MINUTE;
  for (const pause of [5 * MINUTE, 10, 3 * HOUR]) {
    collection.advance(pause);
    expect((await collection.run()).outcome).toBe("successful");
  }
  expect(stored(collection)).toEqual(source(collection, begin, endOf(collection)));
  expect(collection.prometheus.pinned).toEqual([undefined, "pod-1", "pod-1", "pod-1"]);
  const { committed } = (await collection.progress()).queries["node_load1"]!;
  expect(committed).toEqual([[begin, endOf(collection)]]);
});

test("a second collection in the same second reads nothing and changes no word on the groups", async () => {
  const collection = createCollection();
  await collection.run();
  const reads = collection.prometheus.reads.length;
  expect(await collection.run()).toMatchObject({ outcome: "successful", points: 0, error: null });
  expect(collection.prometheus.reads.length).toBe(reads);
  expect((await collection.progress()).last!.groups).toEqual({ node: "present", pod: "present" });
});

test("a point carries the cluster's resource, its kind and its unit, and no label but the source's", async () => {
  const collection = createCollection({
    series: [
      { metric: "node_load1", labels: { instance: "10.0.0.1:9100" }, everyMs: 60_000, offsetMs: 0 },
      { metric: "node_load1", labels: { instance: "[fd00::1]:9100" }, everyMs: 60_000, offsetMs: 1 },
      { metric: "node_load1", labels: { instance: "10.0.0.3:9100" }, everyMs: 60_000, offsetMs: 2 },
      {
        metric: "node_cpu_seconds_total",
        labels: { instance: "10.0.0.1:9100", node: "named" },
        everyMs: 60_000,
        offsetMs: 3,
      },
    ],
  });
  collection.prometheus.nodeNames = new Map([
    ["10.0.0.1", "node-a"],
    ["fd00::1", "node-b"],
  ]);
  await collection.run();
  const labels = new Set(
    [...collection.collector.points.values()]
      .filter((point) => !isOwn(point))
      .map((point) => JSON.stringify(point.labels)),
  );
  expect(labels).toEqual(
    new Set([
      '{"instance":"10.0.0.1:9100"}',
      '{"instance":"[fd00::1]:9100"}',
      '{"instance":"10.0.0.3:9100"}',
      '{"instance":"10.0.0.1:9100","node":"named"}',
    ]),
  );
  const [cpu] = own(collection, "node_cpu_seconds_total");
  expect(cpu).toMatchObject({
    kind: "counter",
    unit: "s",
    resource: {
      "service.name": "budcluster",
      cluster_id: "one",
      cluster_name: "name of one",
      cluster_platform: "kind",
      "k8s.cluster.name": "name of one",
    },
  });
});

test("each collection sends which node has which address, before the samples", async () => {
  const collection = createCollection();
  collection.prometheus.nodeNames = new Map([
    ["10.0.0.1", "node-a"],
    ["node-a", "node-a"],
    ["fd00::1", "node-b"],
  ]);
  const result = await collection.run();
  expect(result.outcome).toBe("successful");
  const info = own(collection, "budcluster_node_info");
  expect(info.map(({ labels, value, kind, timestampMs }) => [labels, value, kind, timestampMs])).toEqual(
    [
      { node: "node-a", address: "10.0.0.1" },
      { node: "node-a", address: "node-a" },
      { node: "node-b", address: "fd00::1" },
    ].map((labels) => [labels, 1, "gauge", collection.clock.now()]),
  );
  const names = collection.collector.batches.map((points) => points[0]!.metric);
  const firstSample = names.findIndex((name) => !name.startsWith("budcluster_"));
  expect(names.indexOf("budcluster_node_info")).toBeLessThan(firstSample);
});

test.each([
  ["an address that is none", [["x".repeat(254), "node-a"]], "1 of 2 addresses of nodes were left out"],
  ["a name that is none", [["10.0.0.9", "x".repeat(254)]], "1 of 2 addresses of nodes were left out"],
  ["an empty name", [["10.0.0.9", ""]], "1 of 2 addresses of nodes were left out"],
  [
    "more than 40,000",
    Array.from({ length: 40_002 }, (_, i) => [`10.${i}`, `n${i}`]),
    "3 of 40003 addresses of nodes were left out",
  ],
] as [string, [string, string][], string][])(
  "addresses of nodes are bounded: %s",
  async (_name, entries, warning) => {
    const collection = createCollection({ batchPointsMax: 20_000, batchBytesMax: 8 << 20 });
    collection.prometheus.nodeNames = new Map([["10.0.0.1", "node-a"], ...entries]);
    expect((await collection.run()).outcome).toBe("successful");
    expect((await collection.progress()).last?.warnings).toEqual([warning]);
    const labels = own(collection, "budcluster_node_info").map((point) => point.labels);
    expect(labels[0]).toEqual({ node: "node-a", address: "10.0.0.1" });
    expect(labels.length).toBe(Math.min(entries.length < 2 ? 1 : 40_000, 40_000));
  },
);

test("a Collector that does not take the addresses of nodes gets the samples all the same", async () => {
  const collection = createCollection();
  collection.prometheus.nodeNames = new Map([["10.0.0.1", "node-a"]]);
  collection.collector.onSend = (points) =>
    points.some(({ metric }) => metric === "budcluster_node_info") ? "down" : "accept";
  expect((await collection.run()).outcome).toBe("successful");
  expect((await collection.progress()).last?.warnings).toEqual([
    "the addresses of nodes were not stored: the Collector answered 503",
  ]);
});

test("each collection reports on itself: up, and per query the watermark, samples and gaps", async () => {
  const collection = createCollection();
  const broken = new BridgeError("prometheus_query_failed", "bad data");
  collection.prometheus.onRead = (query) =>
    query.name === "node_load1" ? { error: broken, afterSeries: 0 } : undefined;
  await collection.run();
  const end = endOf(collection);
  expect(own(collection, "budcluster_cluster_up")).toMatchObject([
    { kind: "gauge", labels: {}, value: 1, timestampMs: START },
  ]);
  const valuesOf = (metric: string): Record<string, number> =>
    Object.fromEntries(own(collection, metric).map(({ labels, value }) => [labels["query"], value]));
  expect(valuesOf("budcluster_query_watermark_seconds")).toEqual({
    node_cpu_seconds_total: end / SECOND,
    node_load1: (end - 15 * MINUTE) / SECOND,
    kube_pod_info: end / SECOND,
  });
  const counts = { node_cpu_seconds_total: 120, node_load1: 0, kube_pod_info: 60 };
  expect(valuesOf("budcluster_query_samples_read_total")).toEqual(counts);
  expect(valuesOf("budcluster_query_samples_sent_total")).toEqual(counts);
  expect(valuesOf("budcluster_query_open_gaps")).toEqual({
    node_cpu_seconds_total: 0,
    node_load1: 1,
    kube_pod_info: 0,
  });
  expect(new Set(Object.values(valuesOf("budcluster_query_lost_gaps")))).toEqual(new Set([0]));
  expect(own(collection, "budcluster_query_samples_sent_total")[0]).toMatchObject({ kind: "counter" });
  expect(own(collection, "budcluster_query_open_gaps").map(({ labels }) => labels)).toContainEqual({
    query: "kube_pod_info",
    group: "pod",
  });
});

test("the record keeps how the last collection went", async () => {
  const collection = createCollection();
  collection.prometheus.nowMs = START + 45 * SECOND;
  collection.prometheus.warnings = ["nodes can't be listed"];
  collection.prometheus.histogramSamples = 2;
  await collection.run();
  const first = (await collection.progress()).last!;
  expect(first).toMatchObject({
    at: START,
    success_at: START,
    error: null,
    points: 246,
    series: 4,
    groups: { node: "present", pod: "present" },
    clock_skew_ms: 45 * SECOND,
  });
  expect(first.warnings).toEqual([
    "nodes can't be listed",
    "Prometheus' clock is 45 s ahead of this one; windows follow Prometheus' clock",
  ]);
  collection.advance(MINUTE);
  collection.prometheus.openFailure = new BridgeError("cluster_timeout", "no answer");
  await collection.run();
  const second = (await collection.progress()).last!;
  expect(second).toMatchObject({
    at: START + MINUTE,
    success_at: START,
    error: { code: "cluster_timeout", message: "no answer", at: new Date(START + MINUTE).toISOString() },
    groups: { node: "present", pod: "present" },
    clock_skew_ms: 45 * SECOND,
  });
});

test("the clocks' difference is measured when Prometheus answers, not when the collection ends", async () => {
  const collection = createCollection();
  collection.prometheus.onRead = () => {
    collection.clock.advance(40 * SECOND);
    return undefined;
  };
  await collection.run();
  expect((await collection.progress()).last).toMatchObject({ clock_skew_ms: 0, warnings: [] });
});

test("a group without samples is absent, one whose queries failed is unknown", async () => {
  const collection = createCollection({
    series: [{ metric: "node_load1", labels: {}, everyMs: 60_000, offsetMs: 0 }],
    specs: [
      { name: "node_load1", promql: "node_load1", group: "node" },
      { name: "DCGM_FI_DEV_GPU_UTIL", promql: "DCGM_FI_DEV_GPU_UTIL", group: "gpu" },
      { name: "kube_pod_info", promql: "kube_pod_info", group: "pod" },
    ],
  });
  const failure = new BridgeError("prometheus_timeout", "late");
  collection.prometheus.onRead = (query) =>
    query.group === "pod" ? { error: failure, afterSeries: 0 } : undefined;
  expect((await collection.run()).outcome).toBe("partial");
  expect((await collection.progress()).last!.groups).toEqual({
    node: "present",
    gpu: "absent",
    pod: "unknown",
  });
});

test("another Pod takes over at a window's boundary, and that is recorded", async () => {
  const collection = createCollection();
  await collection.run();
  collection.advance(5 * MINUTE);
  collection.prometheus.pod = { uid: "pod-2", name: "prometheus-1" };
  await collection.run();
  const { pod } = await collection.progress();
  expect(pod).toEqual({ uid: "pod-2", name: "prometheus-1", since: endOf(collection) });
});

test("what a restarted Prometheus no longer has is a lost gap, also when its first sample is newer than the window", async () => {
  const collection = createCollection();
  await collection.run();
  const before = endOf(collection);
  collection.advance(20 * MINUTE);
  collection.prometheus.oldestMs = collection.prometheus.nowMs - 20 * SECOND;
  expect((await collection.run()).outcome).toBe("successful");
  expect((await collection.progress()).queries["node_load1"]!.gaps).toEqual([]);
  const lost = endOf(collection);
  collection.advance(5 * MINUTE);
  expect(await collection.run()).toMatchObject({ outcome: "partial", error: { code: "samples_lost" } });
  expect((await collection.progress()).queries["node_load1"]!.gaps).toMatchObject([
    {
      from: before,
      to: lost,
      state: "lost",
      reason: "no ready Prometheus Pod has samples of that time any more",
    },
  ]);
  collection.advance(5 * MINUTE);
  await collection.run();
  const { oldestMs, nowMs } = collection.prometheus;
  const oldest = Math.min(
    ...collection.prometheus.series
      .flatMap((series) => samplesIn(series, { fromMs: oldestMs, toMs: nowMs }))
      .map((sample) => sample.timestampMs),
  );
  const { gaps, committed } = (await collection.progress()).queries["node_load1"]!;
  expect(gaps).toMatchObject([{ from: before, to: oldest - 1, state: "lost" }]);
  expect(committed).toEqual([
    [before - 15 * MINUTE, before],
    [oldest - 1, endOf(collection)],
  ]);
});

test.each([
  ["a query that is new", true],
  ["a query that was collected before", false],
])("samples older than Prometheus' first `up` are stored: %s", async (_name, isNew) => {
  const collection = createCollection();
  if (!isNew) await collection.run();
  const before = isNew ? endOf(collection) - 15 * MINUTE : endOf(collection);
  if (!isNew) collection.advance(20 * MINUTE);
  // They came by remote write, or from imported blocks; targets are scraped for three minutes only.
  const { nowMs, series } = collection.prometheus;
  series.push({ metric: "up", labels: {}, everyMs: 15 * SECOND, offsetMs: 0, fromMs: nowMs - 3 * MINUTE });
  expect(await collection.run()).toMatchObject({ outcome: "successful", error: null });
  const window = { fromMs: before, toMs: endOf(collection) };
  const samples = series
    .filter(({ metric }) => metric !== "up")
    .flatMap((each) => samplesIn(each, window))
    .map(identityOf);
  expect(samples.length).toBeGreaterThan(200);
  expect(samples.filter((sample) => !collection.collector.points.has(sample))).toEqual([]);
});

test("a young Pod whose few samples are older than its first `up` does not settle the time that a twin has", async () => {
  const collection = createCollection();
  await collection.run();
  const before = endOf(collection);
  collection.advance(20 * MINUTE);
  const { prometheus } = collection;
  const bornMs = prometheus.nowMs - 5 * MINUTE;
  prometheus.series.push({
    metric: "up",
    labels: {},
    everyMs: 15 * SECOND,
    offsetMs: 0,
    fromMs: bornMs + MINUTE,
  });
  prometheus.oldestMs = bornMs;
  await collection.run();
  collection.advance(6 * MINUTE);
  // The twin is ready again.
  prometheus.otherPods = [{ uid: "pod-2", name: "prometheus-1", oldestMs: 0 }];
  prometheus.series = prometheus.series.map((each) => (each.metric === "up" ? { ...each, fromMs: 0 } : each));
  expect(await collection.run()).toMatchObject({ outcome: "successful" });
  const { queries } = await collection.progress();
  for (const { gaps, committed } of Object.values(queries)) {
    expect(gaps).toEqual([]);
    expect(committed).toHaveLength(1);
  }
  const window = { fromMs: before, toMs: bornMs };
  const missing = prometheus.series
    .filter(({ metric }) => metric !== "up")
    .flatMap((each) => samplesIn(each, window))
    .filter((sample) => !collection.collector.points.has(identityOf(sample)));
  expect(missing).toEqual([]);
});

test("a Pod that can't be asked keeps time from counting as lost", async () => {
  const collection = createCollection();
  await collection.run();
  collection.advance(20 * MINUTE);
  const { prometheus } = collection;
  prometheus.oldestMs = prometheus.nowMs - 5 * MINUTE;
  prometheus.otherPods = [{ uid: "pod-2", name: "prometheus-1", oldestMs: 0 }];
  prometheus.onOpen = (uid) =>
    uid === "pod-2" ? new BridgeError("tunnel_refused", "connection refused") : undefined;
  for (let round = 0; round < 3; round++) {
    await collection.run();
    collection.advance(6 * MINUTE);
  }
  const { queries, last } = await collection.progress();
  expect(Object.values(queries).flatMap(({ gaps }) => gaps)).toEqual([]);
  expect(last!.warnings.join()).toMatch(/Prometheus Pod prometheus-1 could not be asked/);
  prometheus.onOpen = () => undefined;
  await collection.run();
  expect(
    Object.values((await collection.progress()).queries).map(({ committed }) => committed.length),
  ).toEqual([1, 1, 1]);
});

test.each([5 * SECOND, 20 * SECOND, 60 * SECOND, 5 * MINUTE])(
  "of a Prometheus that has only just started, the time before its first sample is not lost: a round every %d ms",
  async (everyMs) => {
    const collection = createCollection({ intervalMs: everyMs, lagMs: 5 * SECOND });
    const { prometheus } = collection;
    // It has no sample at all yet; then those since a moment after the first collection.
    prometheus.oldestMs = prometheus.nowMs + 12 * SECOND;
    for (let round = 0; round < 12; round++) {
      expect(await collection.run()).toMatchObject({ outcome: "successful", error: null });
      const { queries } = await collection.progress();
      expect(Object.values(queries).flatMap(({ gaps }) => gaps)).toEqual([]);
      expect(Object.values(queries).flatMap(({ absent }) => absent ?? [])).toEqual([]);
      collection.advance(everyMs);
    }
  },
);

test("metrics that no query lists are read as long as they are not too many, and their time stays open then", async () => {
  const specs = ["node_load1", "node_cpu_seconds_total"].map((name): QuerySpec => {
    const isUnlisted = name !== "node_load1";
    return { name, promql: name, group: "node", ...(isUnlisted ? { isUnlisted } : {}) };
  });
  const collection = createCollection({ specs, unlistedSeriesMax: 1 });
  const result = await collection.run();
  expect(result).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_too_many_series", message: expect.stringMatching(/ 2 series, more than 1: /) },
  });
  const metricsOf = () => new Set([...collection.collector.points.values()].map(({ metric }) => metric));
  expect(metricsOf()).toContain("node_load1");
  expect(metricsOf()).not.toContain("node_cpu_seconds_total");
  const begin = endOf(collection) - 15 * MINUTE;
  expect((await collection.progress()).queries["node_cpu_seconds_total"]).toMatchObject({
    from: begin,
    committed: [],
    gaps: [],
  });
  collection.settings.unlistedSeriesMax = 2;
  collection.advance(5 * MINUTE);
  expect(await collection.run()).toMatchObject({ outcome: "successful", error: null });
  expect(stored(collection)).toEqual(
    new Map(
      [...source(collection, begin, endOf(collection))].filter(
        ([identity]) => !identity.includes("kube_pod_info"),
      ),
    ),
  );
});

test("nothing of metrics that no query lists is read while the source can't count them", async () => {
  const specs: QuerySpec[] = [
    { name: "node_load1", promql: "node_load1", group: "node" },
    { name: "kube_pod_info", promql: "kube_pod_info", group: "pod", isUnlisted: true },
  ];
  const collection = createCollection({ specs, unlistedSeriesMax: 5 });
  collection.prometheus.onCountSeries = () => new BridgeError("prometheus_overloaded", "busy");
  expect(await collection.run()).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_overloaded" },
  });
  delete collection.prometheus.onCountSeries;
  collection.advance(5 * MINUTE);
  expect(await collection.run()).toMatchObject({ outcome: "successful" });
});
