import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ResourceMetrics } from "#allinone/otlp-proto.ts";
import { SCHEMA_VERSION, type MetricDescription } from "#otlp/request-encoder.ts";
import {
  attributesOf,
  createKeepingWriter,
  decodeRequest,
  expectedPoints,
  pointsOf,
  RESOURCE,
} from "../../helpers/otlp-points.ts";
import { toScanned, type PlainSeries } from "../../helpers/scanned-series.ts";

const GAUGE: MetricDescription = { name: "up", kind: "gauge", unit: "", description: "" };
const COUNTER: MetricDescription = {
  name: "node_cpu_seconds_total",
  kind: "counter",
  unit: "s",
  description: "Zeit je Modus – „idle“ u. a.",
};
const DCGM: MetricDescription = {
  name: "DCGM_FI_DEV_FB_USED",
  kind: "gauge",
  unit: "MiBy",
  description: "FB",
};
const METRICS = [GAUGE, COUNTER, DCGM];
const NOW = 1_767_225_600_000;

const seriesOf = (labels: [string, string][], samples: [number, number][] = [[NOW, 1]]): PlainSeries => ({
  name: "x",
  labels,
  samples,
});

const text = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: "grapheme", maxLength: 20 }) },
  fc.integer({ min: 100, max: 300 }).map((length) => "ö".repeat(length)),
  fc.constantFrom(
    "a".repeat(127),
    "a".repeat(128),
    "a".repeat(129),
    "a".repeat(16_383),
    "b".repeat(16_384),
    "🚀".repeat(4_096),
  ),
);
const labelName = fc
  .string({ minLength: 1, maxLength: 12 })
  .filter((name) => !/^(instance|node|k8s\.node\.name)$/.test(name));
const time = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: NOW - 86_400_000, max: NOW }) },
  fc.integer({ min: 0, max: 9_223_372_036_854 }),
  fc.constantFrom(0, 1, 65_535, 65_536, 4_294_967_295, 4_294_967_296, 4_295_000_000_000, 9_223_372_036_854),
);
const value = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.constantFrom(Number.NaN, Infinity, -Infinity, -0, 5e-324, Number.MAX_VALUE, 0.1),
);
const anySeries: fc.Arbitrary<PlainSeries> = fc.record({
  name: fc.constant("x"),
  labels: fc.uniqueArray(fc.tuple(labelName, text), { maxLength: 5, selector: ([name]) => name }),
  samples: fc.array(fc.tuple(time, value), { maxLength: 30 }),
});
const input = fc.record({
  series: fc.array(fc.record({ series: anySeries, metric: fc.nat(METRICS.length - 1), owner: fc.nat(3) }), {
    maxLength: 12,
  }),
  pointsMax: fc.constantFrom(1, 2, 3, 7, 50, 20_000),
  bytesMax: fc.constantFrom(128 << 10, 1 << 20),
});

describe("the writer", () => {
  test("writes exactly the points it is given, in their order, within the limits", () => {
    fc.assert(
      fc.property(input, ({ series, pointsMax, bytesMax }) => {
        const { writer, batches } = createKeepingWriter<number>({ pointsMax, bytesMax });
        for (const one of series) writer.series(toScanned(one.series), METRICS[one.metric]!, one.owner);
        writer.flush();
        const decoded = batches.map(({ body }) => pointsOf(body));
        expect(decoded.flat()).toEqual(
          series.flatMap((one) => expectedPoints(one.series, METRICS[one.metric]!)),
        );
        expect(batches.map(({ points }) => points)).toEqual(decoded.map(({ length }) => length));
        for (const { body, points, parts } of batches) {
          expect(points).toBeGreaterThan(0);
          expect(points).toBeLessThanOrEqual(pointsMax);
          expect(body.length).toBeLessThanOrEqual(bytesMax);
          expect(parts.reduce((sum, part) => sum + part.points, 0)).toBe(points);
          for (const [i, part] of parts.entries()) expect(part.owner).not.toBe(parts[i - 1]?.owner);
        }
        const owners = (list: { owner: number; points: number }[]): number[] =>
          list.flatMap(({ owner, points }) => Array<number>(points).fill(owner));
        expect(owners(batches.flatMap(({ parts }) => parts))).toEqual(
          owners(series.map(({ owner, series: { samples } }) => ({ owner, points: samples.length }))),
        );
      }),
      { numRuns: 150 },
    );
  });

  test("puts resource and scope on every batch", () => {
    const { writer, batches } = createKeepingWriter<string>({ pointsMax: 1 });
    writer.series(
      toScanned(
        seriesOf(
          [],
          [
            [NOW, 1],
            [NOW + 1, 2],
          ],
        ),
      ),
      GAUGE,
      "o",
    );
    expect(batches).toHaveLength(2);
    for (const { body } of batches) {
      const { resourceMetrics } = decodeRequest(body);
      expect(resourceMetrics).toHaveLength(1);
      const [{ resource, scopeMetrics }] = resourceMetrics as [(typeof resourceMetrics)[0]];
      expect(Object.fromEntries(attributesOf(resource!.attributes))).toEqual(RESOURCE);
      expect(scopeMetrics).toHaveLength(1);
      expect(scopeMetrics[0]!.scope).toMatchObject({ name: "budcluster", version: "1.2.3" });
    }
  });

  test("says kind, unit and description of each metric, and no start time", () => {
    const { writer, batches } = createKeepingWriter<string>();
    for (const metric of [GAUGE, COUNTER, GAUGE])
      writer.series(toScanned(seriesOf([["a", "b"]])), metric, "o");
    writer.flush();
    const { metrics } = decodeRequest(batches[0]!.body).resourceMetrics[0]!.scopeMetrics[0]!;
    expect(metrics.map(({ name, unit, description }) => ({ name, unit, description }))).toEqual(
      [GAUGE, COUNTER, GAUGE].map(({ name, unit, description }) => ({ name, unit, description })),
    );
    expect(metrics[1]!.sum).toMatchObject({ aggregationTemporality: 2, isMonotonic: true });
    expect(metrics[1]!.gauge).toBeNull();
    expect(metrics[0]!.sum).toBeNull();
    for (const point of [...metrics[0]!.gauge!.dataPoints, ...metrics[1]!.sum!.dataPoints]) {
      expect(point.startTimeUnixNano.toString()).toBe("0");
      expect(point.flags).toBe(0);
    }
  });

  test("writes neighbouring series of a metric into one Metric", () => {
    const { writer, batches } = createKeepingWriter<string>();
    for (let i = 0; i < 100; i++) writer.series(toScanned(seriesOf([["i", String(i)]])), COUNTER, "o");
    writer.flush();
    expect(decodeRequest(batches[0]!.body).resourceMetrics[0]!.scopeMetrics[0]!.metrics).toHaveLength(1);
  });

  test("hands nothing over when there is nothing", () => {
    const { writer, batches } = createKeepingWriter<string>();
    writer.flush();
    writer.series(toScanned(seriesOf([["a", "b"]], [])), GAUGE, "o");
    writer.flush();
    expect(batches).toEqual([]);
  });
});

describe("a batch", () => {
  const samples = Array.from({ length: 10 }, (_, i): [number, number] => [NOW + i, i]);

  test("of one point at most", () => {
    const { writer, batches } = createKeepingWriter<string>({ pointsMax: 1 });
    writer.series(toScanned(seriesOf([["a", "b"]], samples)), COUNTER, "o");
    expect(batches.map(({ points }) => points)).toEqual(samples.map(() => 1));
    expect(batches.flatMap(({ body }) => pointsOf(body).map(({ ns }) => ns))).toEqual(
      samples.map(([ms]) => BigInt(ms) * 1_000_000n),
    );
  });

  test("is handed over as soon as it is full, the rest at the flush", () => {
    const { writer, batches } = createKeepingWriter<string>({ pointsMax: 4 });
    writer.series(toScanned(seriesOf([], samples)), GAUGE, "a");
    expect(batches.map(({ points }) => points)).toEqual([4, 4]);
    writer.series(toScanned(seriesOf([], samples.slice(0, 2))), GAUGE, "b");
    expect(batches.map(({ parts }) => parts).slice(2)).toEqual([
      [
        { owner: "a", points: 2 },
        { owner: "b", points: 2 },
      ],
    ]);
    writer.series(toScanned(seriesOf([], samples.slice(0, 1))), GAUGE, "b");
    writer.flush();
    expect(batches[3]!.parts).toEqual([{ owner: "b", points: 1 }]);
  });

  test("is cut by bytes, close to the limit, in the middle of a series if need be", () => {
    const bytesMax = 128 << 10;
    const { writer, batches } = createKeepingWriter<string>({ bytesMax });
    const long = Array.from({ length: 5_000 }, (_, i): [number, number] => [NOW + i, i]);
    const series = seriesOf([["a", "x".repeat(500)]], long);
    writer.series(toScanned(series), COUNTER, "o");
    writer.flush();
    expect(batches.length).toBeGreaterThan(10);
    for (const { body } of batches) expect(body.length).toBeLessThanOrEqual(bytesMax);
    for (const { body } of batches.slice(0, -1)) expect(body.length).toBeGreaterThan(bytesMax - 1_000);
    expect(batches.flatMap(({ body }) => pointsOf(body))).toEqual(expectedPoints(series, COUNTER));
  });

  test("ends within its bytes, whatever the size of its points", () => {
    const bytesMax = 128 << 10;
    const long = Array.from({ length: 5_000 }, (_, i): [number, number] => [NOW + i, i]);
    const sizes = Array.from({ length: 120 }, (_, labelBytes) => {
      const { writer, batches } = createKeepingWriter<string>({ bytesMax });
      writer.series(toScanned(seriesOf([["a", "x".repeat(labelBytes)]], long)), COUNTER, "o");
      return batches[0]!.body.length;
    });
    expect(Math.max(...sizes)).toBeLessThanOrEqual(bytesMax);
    expect(Math.max(...sizes)).toBeGreaterThan(bytesMax - 4);
  });

  test("never holds a metric without points, however close its bytes are to the limit", () => {
    const bytesMax = 128 << 10;
    const { writer, batches } = createKeepingWriter<number>({ bytesMax });
    for (let i = 0; i < 600; i++) {
      const labels: [string, string][] = [["a", "x".repeat((i * 397) % 20_000)]];
      writer.series(toScanned(seriesOf(labels)), METRICS[i % 3]!, i);
    }
    writer.flush();
    const metrics = batches.flatMap(
      ({ body }) => decodeRequest(body).resourceMetrics[0]!.scopeMetrics[0]!.metrics,
    );
    for (const { gauge, sum } of metrics) expect((gauge ?? sum)!.dataPoints.length).toBeGreaterThan(0);
    expect(batches.flatMap(({ parts }) => parts.map(({ owner }) => owner))).toEqual(
      Array.from({ length: 600 }, (_, i) => i),
    );
  });

  test("takes no point that is larger than a batch, and goes on with the next", () => {
    const { writer, batches } = createKeepingWriter<string>({ bytesMax: 128 << 10 });
    writer.series(toScanned(seriesOf([["a", "before"]])), GAUGE, "o");
    const huge = toScanned(seriesOf([["a", "x".repeat(200 << 10)]]));
    expect(writer.series(huge, COUNTER, "o")).toMatch(
      /^one point of it has 2\d{5} bytes, more than a batch may have$/,
    );
    writer.series(toScanned(seriesOf([["a", "after"]])), GAUGE, "o");
    writer.flush();
    expect(batches.flatMap(({ body }) => pointsOf(body).map(({ attributes }) => attributes[0]![1]))).toEqual([
      "before",
      "after",
    ]);
    expect(batches.flatMap(({ parts }) => parts.map(({ points }) => points))).toEqual([1, 1]);
  });
});

describe("attributes", () => {
  test.each<[string, [string, string][]]>([
    ["an instance", [["instance", "10.0.0.1:9100"]]],
    [
      "a node's name of its own",
      [
        ["instance", "10.0.0.1:9100"],
        ["k8s.node.name", "a"],
      ],
    ],
    [
      "labels that are called like what the bridge knows of a cluster",
      [
        ["cluster_id", "theirs"],
        ["cluster_name", "theirs"],
        ["k8s.cluster.name", "theirs"],
        ["service.name", "theirs"],
        [SCHEMA_VERSION.name, "1"],
      ],
    ],
  ])("are the source's labels and nothing else: %s", (_name, labels) => {
    const { writer, batches } = createKeepingWriter<string>();
    writer.series(toScanned(seriesOf(labels)), GAUGE, "o");
    writer.flush();
    const { body } = batches[0]!;
    expect(pointsOf(body)[0]!.attributes).toEqual(labels);
    const [{ resource, scopeMetrics }] = decodeRequest(body).resourceMetrics as [ResourceMetrics];
    expect(Object.fromEntries(attributesOf(resource!.attributes))).toEqual(RESOURCE);
    expect(attributesOf(scopeMetrics[0]!.scope!.attributes)).toEqual([[SCHEMA_VERSION.name, "2"]]);
  });
});
