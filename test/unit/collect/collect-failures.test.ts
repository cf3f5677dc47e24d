import { expect, test } from "vitest";
import type { ClusterProgress } from "#collect/progress.ts";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { createCollection, endOf, MINUTE, SECOND, START, type Collection } from "../../helpers/collection.ts";
import { DOWN, identityOf } from "../../helpers/fake-collector.ts";
import { samplesIn } from "../../helpers/fake-prometheus.ts";

const error = (code: ErrorCode): BridgeError => new BridgeError(code, `it was ${code}`);

/** Samples of the source in the whole covered time that the Collector has not, and the other way round. */
function differences({ prometheus, collector }: Collection, fromMs: number, toMs: number): string[] {
  const expected = new Set(
    prometheus.series.flatMap((series) => samplesIn(series, { fromMs, toMs })).map(identityOf),
  );
  const actual = [...collector.points.keys()].filter((key) => !key.includes("budcluster_"));
  const missing = [...expected].filter((key) => !collector.points.has(key));
  return [...missing, ...actual.filter((key) => !expected.has(key))];
}

const sentQueries = ({ collector }: Collection): string[] =>
  collector.batches.flat().map((point) => point.metric);

test("a Collector that is down costs one small request: no query is read", async () => {
  const collection = createCollection();
  collection.collector.onSend = () => "down";
  const result = await collection.run();
  expect(result).toMatchObject({ outcome: "failed", points: 0, error: { code: "collector_unavailable" } });
  expect(collection.prometheus.reads).toEqual([]);
  expect(sentQueries(collection)).toEqual(["budcluster_cluster_up"]);
  expect(collection.prometheus.closed).toBe(1);
  expect((await collection.progress()).last).toMatchObject({ success_at: null, error: { code: DOWN.code } });
});

test("a cluster that can't be reached is reported as down", async () => {
  const collection = createCollection();
  collection.prometheus.openFailure = error("cluster_unauthorized");
  expect(await collection.run()).toMatchObject({
    outcome: "failed",
    error: { code: "cluster_unauthorized", message: "it was cluster_unauthorized" },
  });
  expect([...collection.collector.points.values()]).toMatchObject([
    { metric: "budcluster_cluster_up", value: 0, timestampMs: START },
    { metric: "budcluster_cluster_error", value: 1, labels: { code: "cluster_unauthorized" } },
    { metric: "budcluster_stretch_length_seconds" },
  ]);
});

test("when the credentials end is reported with it, whether the cluster can be reached or not", async () => {
  const collection = createCollection();
  const ends = {
    certificate_expires_at: "2026-01-02T00:00:00.000Z",
    token_expires_at: "2026-01-01T00:00:00.000Z",
  };
  collection.cluster.facts = {
    server: "https://one:6443",
    user: "token",
    ca_sha256: [],
    prometheus_auth: null,
    ...ends,
  };
  const reported = (): number[] =>
    collection.collector.batches
      .flat()
      .filter(({ metric }) => metric === "budcluster_cluster_credentials_expiry_seconds")
      .map(({ value }) => value);
  await collection.run();
  expect(reported()).toEqual([Date.parse("2026-01-01T00:00:00Z") / 1000]);
  collection.prometheus.openFailure = error("cluster_unauthorized");
  await collection.run();
  expect(reported()).toHaveLength(2);
});

test("an unreachable cluster and a Collector that is down together are still only a failed result", async () => {
  const collection = createCollection();
  collection.prometheus.openFailure = error("cluster_unreachable");
  collection.collector.onSend = () => "down";
  expect((await collection.run()).error?.code).toBe("cluster_unreachable");
});

test("a failing query keeps its window open, hurts no other and is named in the log", async () => {
  const collection = createCollection();
  collection.prometheus.onRead = (query) =>
    query.name === "node_load1" ? { error: error("prometheus_query_failed"), afterSeries: 0 } : undefined;
  expect(await collection.run()).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_query_failed" },
  });
  const { queries } = await collection.progress();
  expect(queries["node_load1"]!.committed).toEqual([]);
  expect(queries["kube_pod_info"]!.committed).toHaveLength(1);
  expect(collection.logs).toMatchObject([
    { level: "warn", code: "prometheus_query_failed", queries: ["node_load1"], cluster_id: "one" },
  ]);
});

test("an answer that ends in the middle leaves the window open; the next round stores it without a double", async () => {
  const collection = createCollection();
  const end = endOf(collection);
  collection.prometheus.onRead = ({ name }) =>
    name === "node_cpu_seconds_total"
      ? { error: error("prometheus_answer_truncated"), afterSeries: 1 }
      : undefined;
  expect((await collection.run()).outcome).toBe("partial");
  expect((await collection.progress()).queries["node_cpu_seconds_total"]!.committed).toEqual([]);
  collection.prometheus.onRead = () => undefined;
  expect((await collection.run()).outcome).toBe("successful");
  expect(differences(collection, end - 15 * MINUTE, end)).toEqual([]);
});

test.each(["prometheus_too_many_samples", "prometheus_answer_too_large"] as const)(
  "%s halves the window until it passes",
  async (code) => {
    const collection = createCollection();
    const end = endOf(collection);
    collection.prometheus.onRead = (query, { fromMs, toMs }) =>
      query.name === "node_load1" && toMs - fromMs > 4 * MINUTE
        ? { error: error(code), afterSeries: 1 }
        : undefined;
    expect(await collection.run()).toMatchObject({ outcome: "successful", error: null });
    expect(differences(collection, end - 15 * MINUTE, end)).toEqual([]);
    expect((await collection.progress()).queries["node_load1"]!.committed).toEqual([
      [end - 15 * MINUTE, end],
    ]);
    const lengths = collection.prometheus.reads
      .filter((read) => read.query === "node_load1")
      .map(({ window }) => window.toMs - window.fromMs);
    // Two windows may be under way at once, and the longer one is tried again after two shorter ones.
    expect(new Set(lengths)).toEqual(new Set([15, 7.5, 3.75].map((minutes) => minutes * MINUTE)));
    expect(lengths.length).toBeLessThanOrEqual(8);
  },
);

test("a window that is too much even when it can't be halved any more fails by name", async () => {
  const collection = createCollection({ initialLookbackMs: 8 * SECOND });
  collection.prometheus.onRead = ({ name }) =>
    name === "node_load1" ? { error: error("prometheus_too_many_samples"), afterSeries: 0 } : undefined;
  expect((await collection.run()).error?.code).toBe("prometheus_too_many_samples");
  const reads = collection.prometheus.reads.filter((read) => read.query === "node_load1");
  expect(Math.min(...reads.map(({ window }) => window.toMs - window.fromMs))).toBe(SECOND);
  // Four to find the shortest window; then every failure leaves out twice as much of the rest.
  expect(reads.length).toBeLessThanOrEqual(4 + 8);
});

test("when the cluster is unreachable, the other queries do not wait for it too", async () => {
  const specs = Array.from({ length: 20 }, (_, i) => ({
    name: `metric_${i}`,
    promql: `metric_${i}`,
    group: "node",
  }));
  const collection = createCollection({ specs, lanes: 1 });
  collection.prometheus.onRead = () => ({ error: error("tunnel_closed"), afterSeries: 0 });
  expect((await collection.run()).error?.code).toBe("tunnel_closed");
  expect(collection.prometheus.reads).toHaveLength(3);
  expect(collection.logs).toMatchObject([{ code: "tunnel_closed", windows: 20 }]);
});

test("when the Collector breaks down in the middle, nothing more is read, and what was stored is kept", async () => {
  const collection = createCollection({ windowMsMax: MINUTE, lanes: 1, batchPointsMax: 10 });
  let batches = 0;
  collection.collector.onSend = () => (++batches > 8 ? "down" : "accept");
  const result = await collection.run();
  expect(result).toMatchObject({ outcome: "partial", error: { code: "collector_unavailable" } });
  expect(collection.prometheus.reads.length).toBeLessThan(25);
  expect(sentQueries(collection)).not.toContain("budcluster_query_open_gaps");
  const { queries } = await collection.progress();
  const committed = Object.values(queries).flatMap((state) => state.committed);
  expect(committed.length).toBeGreaterThan(0);
  collection.collector.onSend = () => "accept";
  expect((await collection.run()).outcome).toBe("successful");
  const end = endOf(collection);
  expect(differences(collection, end - 15 * MINUTE, end)).toEqual([]);
});

test("after a Collector that broke down nothing more is sent, not even what is buffered", async () => {
  const collection = createCollection({ windowMsMax: MINUTE, batchPointsMax: 7, batchesInFlightMax: 1 });
  let failures = 0;
  collection.collector.onSend = ([first]) => {
    if (first?.metric.startsWith("budcluster_")) return "accept";
    failures++;
    return "down";
  };
  expect((await collection.run()).error?.code).toBe("collector_unavailable");
  expect(failures).toBe(1);
});

test("reading waits for the Collector: few batches are on their way at once", async () => {
  const collection = createCollection({ windowMsMax: 5 * MINUTE, batchPointsMax: 20, lanes: 2 });
  const { exporter } = collection.collector;
  let under = 0;
  let most = 0;
  collection.deps.exporter = {
    ...exporter,
    send: async (...input) => {
      most = Math.max(most, ++under);
      try {
        await new Promise((resolve) => setImmediate(resolve));
        return await exporter.send(...input);
      } finally {
        under--;
      }
    },
  };
  expect((await collection.run()).outcome).toBe("successful");
  const { batchesInFlightMax, lanes } = collection.settings;
  expect(most).toBeGreaterThan(1);
  expect(most).toBeLessThanOrEqual(batchesInFlightMax + lanes - 1);
});

test("the deadline ends a collection at once and keeps what was acknowledged", async () => {
  const collection = createCollection({ lanes: 1 });
  const controller = new AbortController();
  collection.prometheus.onRead = ({ name }) => {
    if (name !== "kube_pod_info") return undefined;
    controller.abort(error("cluster_deadline_exceeded"));
    return "hang";
  };
  const result = await collection.run({ signal: controller.signal });
  expect(result.error?.code).toBe("cluster_deadline_exceeded");
  expect(result.outcome).not.toBe("successful");
  expect((await collection.progress()).queries["kube_pod_info"]!.committed).toEqual([]);
  expect(collection.prometheus.closed).toBe(1);
});

test("a deadline that comes after the last window was read, but not sent, is not a success", async () => {
  const collection = createCollection({ batchPointsMax: 20_000, lanes: 1 });
  const controller = new AbortController();
  let reads = 0;
  collection.prometheus.onRead = () => {
    if (++reads === 3) queueMicrotask(() => controller.abort(error("cluster_deadline_exceeded")));
    return undefined;
  };
  collection.prometheus.series = collection.prometheus.series.filter(
    (series) => series.metric !== "kube_pod_info",
  );
  const result = await collection.run({ signal: controller.signal });
  expect(result.error?.code).toBe("cluster_deadline_exceeded");
  const { queries } = await collection.progress();
  expect(queries["node_load1"]!.committed).toEqual([]);
});

test("a Collector that does not answer is left at the deadline", async () => {
  const collection = createCollection();
  const controller = new AbortController();
  collection.collector.onSend = ([first]) => {
    if (first?.metric.startsWith("budcluster_")) return "accept";
    queueMicrotask(() => controller.abort(error("cluster_deadline_exceeded")));
    return "hang";
  };
  expect((await collection.run({ signal: controller.signal })).error?.code).toBe("cluster_deadline_exceeded");
  const { queries } = await collection.progress();
  expect(Object.values(queries).flatMap((state) => state.committed)).toEqual([]);
});

test("a soft stop ends and commits what is being read and begins nothing new", async () => {
  const collection = createCollection({ lanes: 1, windowMsMax: MINUTE });
  let stopping = false;
  collection.prometheus.onRead = () => {
    stopping = collection.prometheus.reads.length >= 5;
    return undefined;
  };
  const result = await collection.run({ isStopping: () => stopping });
  expect(result).toMatchObject({ outcome: "partial", error: { code: "shutting_down" } });
  expect(collection.prometheus.reads).toHaveLength(5);
  const { queries } = await collection.progress();
  const committed = Object.values(queries).flatMap((state) => state.committed);
  const length = committed.reduce((sum, [from, to]) => sum + to - from, 0);
  expect(length).toBe(5 * MINUTE);
  expect(sentQueries(collection)).toContain("budcluster_query_watermark_seconds");
});

test("refused points are recorded with their reason and let the window commit", async () => {
  const collection = createCollection();
  const end = endOf(collection);
  collection.collector.onSend = () => (point) =>
    point.metric === "node_load1" && point.timestampMs < end - 10 * MINUTE;
  const result = await collection.run();
  expect(result).toMatchObject({ outcome: "partial", points: 240 - 20 });
  const { gaps, committed, samples_read, samples_sent } = (await collection.progress()).queries[
    "node_load1"
  ]!;
  expect(committed).toEqual([[end - 15 * MINUTE, end]]);
  expect({ samples_read, samples_sent }).toEqual({ samples_read: 60, samples_sent: 40 });
  expect(gaps.map(({ state, reason }) => ({ state, reason }))).toEqual([
    { state: "refused", reason: "bad value" },
  ]);
  expect(gaps[0]!.points).toBe(20);
  expect(collection.logs).toMatchObject([{ level: "error", code: "collector_refused", points: 20 }]);
  collection.advance(MINUTE);
  await collection.run();
  expect((await collection.progress()).queries["node_load1"]!.gaps).toHaveLength(1);
});

test("metadata that can't be had is a warning, unless the way itself is broken", async () => {
  const collection = createCollection();
  collection.prometheus.metadataFailure = error("prometheus_timeout");
  expect((await collection.run()).outcome).toBe("successful");
  expect((await collection.progress()).last!.warnings).toEqual([
    "metric types are known by their names only: /api/v1/metadata failed (it was prometheus_timeout)",
  ]);
  collection.prometheus.metadataFailure = error("tunnel_closed");
  expect(await collection.run()).toMatchObject({ outcome: "failed", error: { code: "tunnel_closed" } });
});

test("without its state store a cluster is not collected; a store that breaks down later fails the collection", async () => {
  const collection = createCollection();
  collection.store.failure = error("state_unavailable");
  expect(await collection.run()).toMatchObject({ outcome: "failed", error: { code: "state_unavailable" } });
  expect(collection.prometheus.opened).toBe(0);
  collection.store.failure = undefined;
  collection.prometheus.onRead = () => {
    collection.store.failure = error("state_unavailable");
    return undefined;
  };
  expect(await collection.run()).toMatchObject({ outcome: "failed", error: { code: "state_unavailable" } });
  collection.store.failure = undefined;
  expect((await collection.progress()).queries["node_load1"]!.committed).toEqual([]);
});

test("before the first point leaves, the record says how far anything may have been sent, and as what", async () => {
  const collection = createCollection({ batchPointsMax: 10 });
  collection.prometheus.metadata.set("node_load1", { type: "counter", help: "", unit: "" });
  const records: Promise<[string[], ClusterProgress]>[] = [];
  collection.collector.onSend = (points) => {
    const metrics = points.map((point) => point.metric).filter((name) => !name.startsWith("budcluster_"));
    if (metrics.length > 0) records.push(collection.progress().then((progress) => [metrics, progress]));
    return "accept";
  };
  await collection.run();
  const end = endOf(collection);
  expect(records.length).toBeGreaterThan(10);
  for (const [metrics, { queries }] of await Promise.all(records)) {
    for (const name of metrics) {
      expect(queries[name]!.attempted).toBe(end);
      expect(queries[name]!.types[name]).toEqual([
        { kind: name === "kube_pod_info" ? "gauge" : "counter", since: end - 15 * MINUTE },
      ]);
    }
  }
});

test("points whose kind can't be recorded are not sent", async () => {
  const collection = createCollection();
  collection.prometheus.onRead = () => {
    collection.store.failure = error("state_unavailable");
    return undefined;
  };
  await collection.run();
  expect(sentQueries(collection).filter((name) => !name.startsWith("budcluster_"))).toEqual([]);
});

test("a defect is a failed result, not an exception", async () => {
  const collection = createCollection();
  collection.deps.openPrometheus = () => Promise.reject(new TypeError("undefined is not a function"));
  expect(await collection.run()).toMatchObject({
    outcome: "failed",
    error: { code: "internal", message: "unexpected error" },
  });
});
