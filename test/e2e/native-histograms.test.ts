import { Agent } from "undici";
import { expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { toHistogramPoint, type Count, type HistogramPoint } from "#otlp/histogram-point.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient } from "#prometheus/client.ts";
import type { NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import { createSampleTransport } from "#prometheus/sample-transport.ts";
import type { ScannedSeries, SeriesSink } from "#prometheus/series-sink.ts";
import { toHistogramWriteRequest, WRITTEN_WINDOW, writtenSeries } from "../helpers/remote-read-scenario.ts";
import { remoteWrite, startPrometheus } from "./prometheus.ts";

// Native histograms of a real Prometheus, read by the bridge's client in both ways: as points of OTLP they say the same.

type Point = { name: string; ms: number } & (
  | { refused: string }
  | { count: string; sum: string; zero: string; buckets: [low: number, high: number, count: string][] }
);

const near = (value: number): number => Number(value.toPrecision(10));

/** The buckets that are not empty, each with its ends. */
function bucketsOf(point: HistogramPoint): [number, number, string][] {
  const all: [number, number, Count][] = [];
  if (point.kind === "histogram") {
    const { bounds } = point;
    point.counts.forEach((count, i) => all.push([bounds[i - 1] ?? -Infinity, bounds[i] ?? Infinity, count]));
  } else {
    const bound = (index: number): number => near(2 ** (index * 2 ** -point.scale));
    const { positive, negative } = point;
    positive.counts.forEach((count, i) =>
      all.push([bound(positive.offset + i), bound(positive.offset + i + 1), count]),
    );
    negative.counts.forEach((count, i) =>
      all.push([-bound(negative.offset + i + 1), -bound(negative.offset + i), count]),
    );
  }
  return all.filter(([, , count]) => count > 0).map(([low, high, count]) => [low, high, String(count)]);
}

function toPoint(series: ScannedSeries, histogram: NativeHistogram): Point {
  const name = Buffer.from(series.bytes.subarray(series.nameStart, series.nameEnd)).toString();
  const head = { name, ms: histogram.timestampMs };
  const point = toHistogramPoint(histogram);
  if (typeof point === "string") return { ...head, refused: point };
  const zero = point.kind === "histogram" ? "0" : String(point.zeroCount);
  const { count, sumBits } = point;
  return { ...head, count: String(count), sum: sumBits.join(), zero, buckets: bucketsOf(point) };
}

test("the query API and remote read of a real Prometheus give the same histograms", async () => {
  const prometheus = await startPrometheus({ version: "3.15.0" });
  const agent = new Agent();
  try {
    const { host, port } = prometheus.address;
    const origin = `http://${host}:${port}`;
    const written = writtenSeries("3").filter(({ histograms }) => histograms.length > 0);
    await remoteWrite(origin, toHistogramWriteRequest(written));

    const queries = toQueries([{ name: "written", promql: '{__name__=~"written_.*"}', group: "test" }]);
    const read = async (
      mode: "auto" | "off",
    ): Promise<{ points: Point[]; stale: number; counted: number }> => {
      const transport = createSampleTransport(systemClock, mode);
      const client = createPrometheusClient(
        { dispatcher: agent, clock: systemClock, turns: createTurns() },
        { origin, pathPrefix: "", timeoutMs: 10_000, samples: { transport, queries } },
      );
      const { signal } = new AbortController();
      await client.prepareReads(signal);
      const points: Point[] = [];
      let stale = 0;
      const sink: SeriesSink = {
        series: () => undefined,
        histogram: (series, histogram) => {
          if (histogram.isStale) stale++;
          else points.push(toPoint(series, histogram));
        },
      };
      const hooks = { sink, pause: () => undefined, restart: async () => {} };
      const result = await client.read(queries[0]!, WRITTEN_WINDOW, hooks, signal);
      expect(result.transport ?? "query_api").toBe(mode === "auto" ? "remote_read" : "query_api");
      points.sort((a, b) => (a.name === b.name ? a.ms - b.ms : a.name < b.name ? -1 : 1));
      return { points, stale, counted: result.histogramSamples };
    };
    const exact = await read("auto");
    const byQueryApi = await read("off");

    const samples = written.flatMap(({ histograms }) => histograms);
    expect(exact.counted).toBe(samples.length - exact.stale);
    expect(byQueryApi.counted).toBe(exact.counted);
    expect([exact.stale, byQueryApi.stale]).toEqual([1, 0]);
    const refused = (points: readonly Point[]) =>
      new Set(points.flatMap((point) => ("refused" in point ? [`${point.name}: ${point.refused}`] : [])));
    expect([...refused(exact.points)]).toEqual([
      "written_float_histogram: its counts are not whole numbers below 2^64, and OTLP has no others",
      "written_gauge: it is a gauge histogram, which OTLP does not have",
    ]);
    // The query API hides which are gauges, and rounds counts of 2^53 and more.
    const isHidden = ({ name }: Point): boolean => name === "written_gauge" || name === "written_wide";
    const comparable = exact.points.filter((point) => !isHidden(point));
    expect(comparable.length).toBeGreaterThan(150);
    expect(byQueryApi.points.filter((point) => !isHidden(point))).toEqual(comparable);
    const wide = byQueryApi.points.filter(({ name }) => name === "written_wide");
    for (const [i, point] of exact.points.filter(({ name }) => name === "written_wide").entries()) {
      const rounded = wide[i]!;
      if ("refused" in point || "refused" in rounded) throw new Error("a wide histogram is refused");
      expect(Number(rounded.count)).toBe(Number(point.count));
      expect([rounded.ms, rounded.sum]).toEqual([point.ms, point.sum]);
    }
  } finally {
    await agent.close();
    await prometheus.stop();
  }
});
