import { expect, test } from "vitest";
import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import { createClusterReport } from "#collect/cluster-report.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createExporter } from "#otlp/exporter.ts";
import { toHistogramPoint } from "#otlp/histogram-point.ts";
import type { PointKind } from "#otlp/split.ts";
import type { Payload, Transport } from "#otlp/transport.ts";
import { createNativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import { createCollection, testCluster } from "../../helpers/collection.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createKeepingWriter } from "../../helpers/otlp-points.ts";
import { ACCEPTED, rejected } from "../../helpers/poisoned-collector.ts";
import { toScanned } from "../../helpers/scanned-series.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

const codec = createOtlpCodec();

test("histograms are points of their own kind, and do not change that of the metric's other samples", async () => {
  const plain = createCollection();
  await plain.run();
  const collection = createCollection();
  collection.prometheus.histogramSamples = 2;
  expect(await collection.run()).toMatchObject({ outcome: "successful" });
  const [before, after] = [await plain.progress(), await collection.progress()];
  for (const [name, { types, samples_read, samples_sent }] of Object.entries(after.queries)) {
    expect(types).toEqual(before.queries[name]!.types);
    expect(samples_sent).toBe(samples_read);
    const points = [...collection.collector.points.values()].filter(({ metric }) => metric === name);
    expect(points.some(({ kind }) => kind === "histogram")).toBe(true);
    expect(samples_read).toBeGreaterThan(before.queries[name]!.samples_read);
  }
  expect(collection.collector.conflicts).toEqual([]);
});

test("histograms without a form in OTLP are refused by name, and the window is committed", async () => {
  const collection = createCollection();
  Object.assign(collection.prometheus, { histogramSamples: 2, histogramParts: { count: 0.5 } });
  await collection.run();
  const progress = await collection.progress();
  const { gaps, samples_read, samples_sent } = progress.queries["kube_pod_info"]!;
  expect(gaps).toMatchObject([{ state: "refused", points: samples_read - samples_sent }]);
  expect(gaps[0]!.reason).toBe(
    "a native histogram is refused: its counts are not whole numbers below 2^64, and OTLP has no others",
  );
  expect(samples_read - samples_sent).toBeGreaterThanOrEqual(2);
  expect([...collection.collector.points.values()].map(({ kind }) => kind)).not.toContain("histogram");
  expect(collection.logs.some(({ code }) => code === "prometheus_histogram_refused")).toBe(true);
});

test("histograms that an expression gives are refused", async () => {
  const collection = createCollection({
    specs: [{ name: "rates", promql: "rate(a_total[5m])", group: "t" }],
  });
  collection.prometheus.histogramSamples = 1;
  await collection.run();
  const { gaps } = (await collection.progress()).queries["rates"]!;
  expect(gaps[0]).toMatchObject({ state: "refused", reason: expect.stringMatching(/expression/) });
});

test("a Collector that takes no histograms gets everything else, and refuses none of them", async () => {
  const hasHistograms = (body: Uint8Array): boolean =>
    codec
      .decodeRequest(body)
      .resourceMetrics[0]!.scopeMetrics[0]!.metrics.some(({ histogram, exponentialHistogram }) =>
        Boolean(histogram ?? exponentialHistogram),
      );
  const transport: Transport = {
    encode: (body) => Promise.resolve({ body: Buffer.from(body), encoding: "none" }),
    pack: (body) => Promise.resolve({ body: Buffer.from(body), encoding: "none" }),
    unpack: (payload) => Promise.resolve(payload),
    decode: ({ body }) => Promise.resolve(body),
    send: ({ body }: Payload) => Promise.resolve(hasHistograms(body) ? rejected(400) : ACCEPTED),
  };
  const exporter = createExporter(
    { transport, single: transport, logger: createSilentLogger() },
    { isolationRequestsMax: 100 },
  );
  const { writer, batches } = createKeepingWriter<string>();
  const point = toHistogramPoint(createNativeHistogram());
  if (typeof point === "string") throw new Error(point);
  const metric = { name: "m", unit: "", description: "" };
  for (let i = 0; i < 5; i++) {
    const series = toScanned({ name: "m", labels: [["i", String(i)]], samples: [[1000, i]] });
    writer.series(series, { ...metric, kind: "gauge" }, "plain");
    writer.histogram(series, point, { ...metric, kind: point.kind }, "native");
  }
  writer.flush();
  const probed: PointKind[] = [];
  const probe = async (kind: PointKind): Promise<boolean> => {
    probed.push(kind);
    return kind === "gauge" || kind === "sum";
  };
  const batch = { ...batches[0]!, release: () => {} };
  const outcome = await exporter.send(batch, probe, new AbortController().signal);
  expect(probed).toContain("exponential_histogram");
  expect(outcome).not.toHaveProperty("stop");
  const states = new Set(outcome.parts.map(({ owner, outcome: { state } }) => `${owner} ${state}`));
  expect(states).toEqual(new Set(["plain acknowledged", "native failed"]));
});

test.each(["histogram", "exponential_histogram"] as const)(
  "the probe of %s is one observation",
  async (kind) => {
    const bodies: Uint8Array[] = [];
    const report = createClusterReport(
      {
        exporter: {
          pack: (batch) => Promise.resolve(batch),
          send: () => Promise.reject(new Error("a probe is sent once")),
          isAccepted: async ({ body }) => bodies.push(Uint8Array.from(body)) > 0,
        },
        clock: createManualClock(1000),
        pool: createBufferPool(1),
      },
      { queries: [], batchPointsMax: 10, batchBytesMax: 128 << 10, version: "1" },
      testCluster("one"),
    );
    expect(await report.probe(kind, new AbortController().signal)).toBe(true);
    const [{ metrics } = { metrics: [] }] = codec.decodeRequest(bodies[0]!).resourceMetrics[0]!.scopeMetrics;
    expect(metrics.map(({ name }) => name)).toEqual(["budcluster_probe_total"]);
    const data = kind === "histogram" ? metrics[0]!.histogram : metrics[0]!.exponentialHistogram;
    expect(data!.dataPoints.map(({ count, sum }) => [count.toNumber(), sum])).toEqual([[1, 1]]);
  },
);
