import { expect, test } from "vitest";
import { createCollection, endOf, MINUTE, SECOND } from "../../helpers/collection.ts";
import { samplesIn } from "../../helpers/fake-prometheus.ts";

const GONE = { metric: "kube_pod_info", labels: { pod: "gone" } };
const withMarkers = (...beforeMs: number[]) => {
  const collection = createCollection();
  const end = endOf(collection);
  collection.prometheus.markers = beforeMs.map((ms) => ({ ...GONE, timestampMs: end - ms }));
  return { collection, end };
};

test("stale markers are points of their metric, flagged, and no samples", async () => {
  const { collection, end } = withMarkers(MINUTE, 2 * MINUTE);
  const read: unknown[] = [];
  collection.deps.metrics.samplesRead = (samples, markers) => void read.push(samples, markers);
  expect(await collection.run()).toMatchObject({ outcome: "successful" });
  const points = [...collection.collector.points.values()];
  const markers = points.filter(({ isMarker }) => isMarker);
  expect(markers).toMatchObject([
    { ...GONE, kind: "gauge", timestampMs: end - MINUTE },
    { ...GONE, kind: "gauge", timestampMs: end - 2 * MINUTE },
  ]);
  const progress = await collection.progress();
  const { samples_read, samples_sent } = progress.queries["kube_pod_info"]!;
  const stored = points.filter(({ metric, isMarker }) => metric === "kube_pod_info" && !isMarker);
  expect([samples_read, samples_sent]).toEqual([stored.length, stored.length]);
  expect(progress.last?.markers).toBe(2);
  expect(read.at(-1)).toBe(2);
});

test("a window with nothing but markers is settled when they are acknowledged", async () => {
  const { collection, end } = withMarkers(MINUTE);
  collection.prometheus.series = collection.prometheus.series.filter(
    ({ metric }) => metric !== "kube_pod_info",
  );
  collection.collector.onSend = (points) => (points.some(({ isMarker }) => isMarker) ? "down" : "accept");
  expect((await collection.run()).outcome).not.toBe("successful");
  const committed = async () => (await collection.progress()).queries["kube_pod_info"]!.committed;
  expect(await committed()).toEqual([]);
  collection.collector.onSend = () => "accept";
  expect((await collection.run()).outcome).toBe("successful");
  expect((await committed()).at(-1)?.[1]).toBe(end);
  expect([...collection.collector.points.values()].filter(({ isMarker }) => isMarker)).toHaveLength(1);
});

test("a marker that the Collector refuses is a gap, and its window is committed", async () => {
  const { collection, end } = withMarkers(MINUTE);
  collection.collector.onSend = () => (point) => point.isMarker === true;
  await collection.run();
  const query = (await collection.progress()).queries["kube_pod_info"]!;
  expect(query.committed.at(-1)?.[1]).toBe(end);
  expect(query.gaps).toMatchObject([{ state: "refused", points: 1 }]);
  expect(query.samples_sent).toBe(query.samples_read);
});

test("markers are not in the counts that the source is compared with", async () => {
  const { collection } = withMarkers(MINUTE, 4 * MINUTE);
  collection.settings = Object.assign(collection.settings, {
    proof: { stretchMs: 10 * MINUTE, delayMs: MINUTE },
  });
  await collection.run();
  for (let i = 0; i < 8; i++) {
    collection.advance(5 * MINUTE);
    await collection.run();
  }
  expect(collection.prometheus.counts.length).toBeGreaterThan(0);
  expect((await collection.progress()).last?.warnings).toEqual([]);
});

test("a read that begins again sends nothing of its first beginning, and nothing twice", async () => {
  const { collection, end } = withMarkers(30 * SECOND);
  collection.prometheus.restarting = "kube_pod_info";
  expect(await collection.run()).toMatchObject({ outcome: "successful" });
  const sent = collection.collector.batches.flat().filter(({ metric }) => metric === "kube_pod_info");
  const [series] = collection.prometheus.series.filter(({ metric }) => metric === "kube_pod_info");
  const { initialLookbackMs } = collection.settings;
  const expected = samplesIn(series!, { fromMs: end - initialLookbackMs, toMs: end });
  expect(
    sent
      .filter(({ isMarker }) => !isMarker)
      .map(({ timestampMs }) => timestampMs)
      .toSorted((a, b) => a - b),
  ).toEqual(expected.map(({ timestampMs }) => timestampMs).toSorted((a, b) => a - b));
  expect(sent.filter(({ isMarker }) => isMarker)).toHaveLength(1);
});
