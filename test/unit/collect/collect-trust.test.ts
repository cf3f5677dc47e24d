import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { createCollection, endOf, HOUR, MINUTE, SECOND, type Collection } from "../../helpers/collection.ts";
import { identityOf } from "../../helpers/fake-collector.ts";
import { samplesIn } from "../../helpers/fake-prometheus.ts";

function missing({ prometheus, collector }: Collection, fromMs: number, toMs: number): string[] {
  const wanted = prometheus.series.flatMap((series) => samplesIn(series, { fromMs, toMs })).map(identityOf);
  return wanted.filter((identity) => !collector.points.has(identity));
}

test("a window that takes too long is read in smaller ones", async () => {
  const collection = createCollection();
  await collection.run();
  const begin = endOf(collection);
  collection.advance(3 * HOUR);
  collection.prometheus.onRead = (_query, { fromMs, toMs }) =>
    toMs - fromMs > 40 * MINUTE
      ? { error: new BridgeError("prometheus_timeout", "Prometheus did not answer in 30 s"), afterSeries: 1 }
      : undefined;
  for (let round = 0; round < 4; round++) await collection.run();
  expect((await collection.run()).outcome).toBe("successful");
  expect(missing(collection, begin, endOf(collection))).toEqual([]);
});

test("a Prometheus that hangs is asked three times a query, not again and again by ever smaller windows", async () => {
  const collection = createCollection();
  await collection.run();
  const before = collection.prometheus.reads.length;
  collection.advance(12 * HOUR);
  const error = new BridgeError("prometheus_timeout", "Prometheus did not answer in 30 s");
  collection.prometheus.onRead = () => ({ error, afterSeries: 0 });
  const result = await collection.run();
  expect(result).toMatchObject({ outcome: "failed", error: { code: "prometheus_timeout" } });
  const reads = collection.prometheus.reads.slice(before).map(({ query }) => query);
  const counts = [...Map.groupBy(reads, (query) => query).values()].map(({ length }) => length);
  expect(counts).toEqual([3, 3, 3]);
});

test("a Prometheus whose clock runs ahead for a while leaves no time uncollected", async () => {
  const collection = createCollection();
  await collection.run();
  const begin = endOf(collection);
  collection.prometheus.nowMs += 30 * MINUTE;
  collection.prometheus.series = collection.prometheus.series.map((series) => ({
    ...series,
    toMs: begin + MINUTE,
  }));
  await collection.run();
  const { committed } = (await collection.progress()).queries["node_load1"]!;
  expect(committed.at(-1)![1]).toBeLessThanOrEqual(begin + 30 * SECOND);
  // The clock is right again, and the samples of the time that seemed to be over come only now.
  collection.prometheus.nowMs -= 30 * MINUTE;
  collection.prometheus.series = collection.prometheus.series.map(({ toMs: _toMs, ...series }) => series);
  collection.advance(30 * MINUTE);
  await collection.run();
  expect(missing(collection, begin + MINUTE, endOf(collection))).toEqual([]);
});

test("an expression's result is stored under the query's name, whatever name it kept", async () => {
  const specs = [
    { name: "node_load1", promql: "node_load1", group: "node" },
    { name: "load_an_hour_ago", promql: "node_load1 offset 1h", group: "node", stepSeconds: 15 },
  ];
  const collection = createCollection({ specs });
  collection.prometheus.series.push({
    metric: "node_load1 offset 1h",
    labels: { instance: "10.0.0.1:9100" },
    everyMs: 15 * SECOND,
    offsetMs: 0,
  });
  await collection.run();
  const metrics = [...new Set([...collection.collector.points.values()].map((point) => point.metric))];
  expect(metrics).not.toContain("node_load1 offset 1h");
  expect(metrics).toEqual(expect.arrayContaining(["node_load1", "load_an_hour_ago"]));
});
