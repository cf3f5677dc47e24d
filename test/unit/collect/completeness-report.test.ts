import { expect, test } from "vitest";
import { readCollectionRecords, stretchesOfQuery } from "#collect/completeness.ts";
import { BridgeError } from "#errors/error.ts";
import { SAMPLE_COUNTS } from "#lib/completeness.ts";
import { STATE_NUMBERS, STRETCH_REASONS } from "#lib/stretch-states.ts";
import { createCollection, HOUR, MINUTE, type Collection } from "../../helpers/collection.ts";
import type { StoredPoint } from "../../helpers/fake-collector.ts";

const STRETCH = 5 * MINUTE;
const counting = (change: Parameters<typeof createCollection>[0] = {}): Collection =>
  createCollection({ proof: { stretchMs: STRETCH, delayMs: 0 }, ...change });

const own = ({ collector }: Collection, metric: string): StoredPoint[] =>
  [...collector.points.values()].filter((point) => point.metric === metric);
const isAboutStretches = ({ metric }: StoredPoint): boolean => /^budcluster_stretch_(?!length)/.test(metric);
/** Points about stretches of the last batches, since `before` batches. */
const sentSince = ({ collector }: Collection, before: number): StoredPoint[] =>
  collector.batches.slice(before).flat().filter(isAboutStretches);

/** What the stored points say, by query and end of the stretch. */
function toldStretches({ collector }: Collection): Map<string, Record<string, number>> {
  const told = new Map<string, Record<string, number>>();
  for (const point of [...collector.points.values()].filter(isAboutStretches)) {
    expect(point.labels["stretch_seconds"]).toBe("300");
    const key = `${point.labels["query"]} ${point.timestampMs}`;
    const name = point.labels["count"] ?? point.metric.replace("budcluster_stretch_", "");
    told.set(key, { ...told.get(key), [name]: point.value });
  }
  return told;
}

/** What the records say of stretches that have ended. */
async function knownStretches({ store, settings, clock }: Collection) {
  const records = await readCollectionRecords(store, "one", STRETCH);
  const range = { from: clock.now() - 30 * HOUR, to: Math.floor(clock.now() / STRETCH) * STRETCH };
  const known = settings.queries.flatMap((query) => stretchesOfQuery(query, records, range));
  return new Map(
    known.map((stretch) => [
      `${stretch.query} ${stretch.to}`,
      {
        state: STATE_NUMBERS[stretch.state!],
        reason: stretch.reason === null ? NaN : STRETCH_REASONS[stretch.reason].number,
        compared_seconds: stretch.comparedAt === null ? NaN : stretch.comparedAt / 1000,
        ...Object.fromEntries(SAMPLE_COUNTS.map((name) => [name, stretch[name] ?? NaN])),
      },
    ]),
  );
}

test("what is told of each stretch is what the records say, after each collection", async () => {
  const collection = counting();
  const states = new Set<number>();
  for (let i = 0; i < 6; i++) {
    await collection.run();
    const told = toldStretches(collection);
    expect(told).toEqual(await knownStretches(collection));
    for (const { state } of told.values()) states.add(state!);
    collection.advance(5 * MINUTE);
  }
  expect([...states]).toContain(STATE_NUMBERS.proved);
});

test("a stretch is told again only when it has changed", async () => {
  const collection = counting();
  for (let i = 0; i < 4; i++) {
    await collection.run();
    collection.advance(5 * MINUTE);
  }
  collection.advance(-5 * MINUTE);
  await collection.run();
  const before = collection.collector.batches.length;
  await collection.run();
  expect(sentSince(collection, before)).toEqual([]);
  collection.advance(5 * MINUTE);
  await collection.run();
  const ends = new Set(sentSince(collection, before).map(({ timestampMs }) => timestampMs));
  expect(ends.size).toBeGreaterThan(0);
  expect(ends.size).toBeLessThan(4);
});

test("a report that the Collector does not take never fails the collection, and is made up for", async () => {
  const collection = counting();
  collection.collector.onSend = (points) => (points.some(isAboutStretches) ? "down" : "accept");
  expect(await collection.run()).toMatchObject({ outcome: "successful", error: null });
  expect(toldStretches(collection).size).toBe(0);
  expect(collection.logs).toMatchObject([{ msg: "the completeness of the cluster could not be reported" }]);
  collection.collector.onSend = () => "accept";
  await collection.run();
  expect(toldStretches(collection)).toEqual(await knownStretches(collection));
});

test("an error is told as 1 with its code while it lasts, and once as 0", async () => {
  const collection = counting();
  const failWith = async (failure: BridgeError | undefined): Promise<void> => {
    collection.prometheus.openFailure = failure;
    collection.advance(MINUTE);
    await collection.run();
  };
  await failWith(new BridgeError("cluster_unauthorized", "no"));
  await failWith(new BridgeError("cluster_unauthorized", "no"));
  await failWith(new BridgeError("cluster_timeout", "late"));
  await failWith(undefined);
  await failWith(undefined);
  const told = own(collection, "budcluster_cluster_error").map(({ labels, value }) => [
    labels["code"],
    value,
  ]);
  expect(told).toEqual([
    ["cluster_unauthorized", 1],
    ["cluster_unauthorized", 1],
    ["cluster_timeout", 1],
    ["cluster_unauthorized", 0],
    ["cluster_timeout", 0],
  ]);
});

test("sources and gaps are told with codes, not with texts", async () => {
  const collection = counting();
  await collection.run();
  expect(own(collection, "budcluster_cluster_source")).toMatchObject([
    { value: 1, labels: { pod: "prometheus-0", transport: "tunnel_query" } },
  ]);
  expect(own(collection, "budcluster_query_gap")).toEqual([]);
  collection.advance(26 * HOUR);
  await collection.run();
  const gaps = own(collection, "budcluster_query_gap").map(({ labels }) => [
    labels["state"],
    labels["reason"],
  ]);
  expect(gaps).toContainEqual(["lost", "older_than_max_backfill"]);
});

test("a collection whose time is over tells the error and nothing else", async () => {
  const collection = counting();
  const late = new AbortController();
  collection.prometheus.openFailure = new BridgeError("cluster_deadline_exceeded", "late");
  late.abort(collection.prometheus.openFailure);
  await collection.run({ signal: late.signal });
  const metrics = new Set([...collection.collector.points.values()].map(({ metric }) => metric));
  expect([...metrics]).toEqual(["budcluster_cluster_up", "budcluster_cluster_error"]);
});

test("a damaged record of what was told is replaced, and everything is told again", async () => {
  const collection = counting();
  await collection.run();
  const before = collection.collector.batches.length;
  const { etag } = (await collection.store.get("told:one"))!;
  await collection.store.put("told:one", { version: 1, stretches: [3] }, etag);
  await collection.run();
  expect(new Set(sentSince(collection, before).map(({ timestampMs }) => timestampMs)).size).toBeGreaterThan(
    1,
  );
});
