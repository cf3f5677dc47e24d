import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createClusterCompleteness, type KnownStretch } from "#collect/completeness.ts";
import { BridgeError, ERRORS } from "#errors/error.ts";
import { createTally, type StretchReport } from "#lib/completeness.ts";
import { STATE_NUMBERS, STRETCH_STATES } from "#lib/stretch-states.ts";
import { createReadClusterCompleteness } from "#query/cluster-completeness.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { createCollection, HOUR, MINUTE, type Collection } from "../helpers/collection.ts";
import { useEngine } from "../helpers/engine.ts";
import type { StoredPoint } from "../helpers/fake-collector.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { point, storeMetrics } from "../helpers/stored-world.ts";

// Collections whose points go into the embedded engine: the query role's answer must be what the bridge's records say.

const DAY = 24 * HOUR;
const STRETCH = 15 * MINUTE;
const SPECS = [
  { name: "node_load1", promql: "node_load1", group: "node" },
  { name: "busy", promql: "sum(node_load1)", group: "node" },
];

const engine = useEngine({ migrated: true });

/** Rows are dropped after 90 days: what a collection sent in its own time is stored as if it were of today. */
function shiftOf({ clock }: Collection): number {
  return Math.floor((Date.now() - clock.now()) / DAY) * DAY;
}

async function storePoints(
  points: readonly StoredPoint[],
  clusterId: string,
  shiftMs: number,
): Promise<void> {
  const metrics = [...Map.groupBy(points, ({ metric }) => metric)].map(([name, same]) => ({
    name,
    kind: "gauge" as const,
    points: same.map(({ labels, timestampMs, value }) =>
      point(labels, timestampMs + shiftMs, /_compared_/.test(name) ? value + shiftMs / 1000 : value),
    ),
  }));
  await storeMetrics(engine.database, clusterId, metrics);
}

const counting = (): Collection =>
  createCollection({
    specs: SPECS,
    proof: { stretchMs: STRETCH, delayMs: 0 },
    maxBackfillMs: 6 * HOUR,
  });

/** Runs a collection and stores what it reports. */
async function collect(collection: Collection, clusterId: string, shiftMs: number): Promise<void> {
  const before = collection.collector.batches.length;
  await collection.run();
  const sent = collection.collector.batches.slice(before).flat();
  await storePoints(
    sent.filter(({ metric }) => metric.startsWith("budcluster_") && !metric.endsWith("_total")),
    clusterId,
    shiftMs,
  );
}

const queryRole = (nowMs: number) =>
  createReadClusterCompleteness(
    { database: engine.database, clock: createManualClock(nowMs) },
    QUERY_DEFAULTS,
  );
const signal = new AbortController().signal;

/** Both roles' answers about the range, in the bridge's time. */
async function askBoth(
  { store, settings, deps, cluster }: Collection,
  range: { from: number; to: number },
  { clusterId, shiftMs, nowMs }: { clusterId: string; shiftMs: number; nowMs: number },
) {
  const bridge = await createClusterCompleteness(
    { registry: { list: async () => [cluster] }, store, turns: deps.turns },
    { queries: settings.queries, stretchMs: STRETCH },
  ).read({ clusterId: cluster.id, ...range });
  const query = await queryRole(nowMs + shiftMs)({
    clusterId,
    fromMs: range.from + shiftMs,
    toMs: range.to + shiftMs,
    signal,
  });
  return { bridge, query };
}

function toReport({ detail: _detail, ...stretch }: KnownStretch, shiftMs: number): StretchReport {
  const comparedAt = stretch.comparedAt === null ? null : stretch.comparedAt + shiftMs;
  return { ...stretch, from: stretch.from + shiftMs, to: stretch.to + shiftMs, comparedAt };
}

const byQuery = (a: StretchReport, b: StretchReport): number =>
  a.from - b.from || (a.query < b.query ? -1 : Number(a.query > b.query));

test("both roles say the same of each stretch: proved, refused, lost, open and unproved ones", async () => {
  const collection = counting();
  const shiftMs = shiftOf(collection) - 2 * DAY;
  const begin = collection.clock.now();
  const round = async (advanceMs: number): Promise<void> => {
    await collect(collection, "one", shiftMs);
    collection.advance(advanceMs);
  };
  await round(20 * MINUTE);
  // For good: a window that reaches over a stretch's border is sent again when something of it was refused.
  const refusedUntil = collection.clock.now();
  collection.collector.onSend = () => (sample) =>
    sample.metric === "node_load1" &&
    sample.timestampMs > refusedUntil - 10 * MINUTE &&
    sample.timestampMs <= refusedUntil;
  await round(20 * MINUTE);
  for (let i = 0; i < 5; i++) await round(15 * MINUTE);
  collection.advance(9 * HOUR);
  for (let i = 0; i < 3; i++) await round(5 * MINUTE);
  const nowMs = collection.clock.now();
  const range = { from: begin - HOUR, to: Math.floor((nowMs - 5 * MINUTE) / STRETCH) * STRETCH };
  const { bridge, query } = await askBoth(collection, range, { clusterId: "one", shiftMs, nowMs });
  const expected = bridge.map((stretch) => toReport(stretch, shiftMs)).sort(byQuery);
  expect(query.stretches.toSorted(byQuery)).toEqual(expected);
  const tally = createTally({ from: query.fromMs, to: query.toMs });
  tally.add(expected);
  expect({ totals: query.totals, hours: query.hours }).toEqual(tally.summary());
  const found = (state: string): StretchReport | undefined =>
    query.stretches.find((stretch) => stretch.query === "node_load1" && stretch.state === state);
  expect(found("proved")).toMatchObject({ reason: null, late: 0 });
  expect(found("proved")!.source).toBe(found("proved")!.acknowledged);
  expect(found("refused")).toMatchObject({ reason: "refused" });
  expect(found("refused")!.refused).toBeGreaterThan(0);
  expect(found("lost")).toMatchObject({ reason: "older_than_max_backfill" });
  expect(query.stretches.some(({ reason }) => reason === "expression")).toBe(true);
  expect(query.totals.stretches.not_comparable).toBeGreaterThan(0);
  expect(query.gaps).toContainEqual(
    expect.objectContaining({ query: "node_load1", state: "lost", reason: "older_than_max_backfill" }),
  );
  expect(query.sources).toEqual([{ pod: "prometheus-0", transport: "tunnel_query" }]);
  expect(query.stretchSeconds).toBe(STRETCH / 1000);
  expect(await documentedHours("one", shiftMs + nowMs)).toEqual(
    query.hours.flatMap(({ from, state }) => (state === null ? [] : [[Date.parse(from), state]])),
  );
});

/** The SQL of docs/completeness.md, at another time and without the limit of a day. */
async function documentedHours(clusterId: string, nowMs: number): Promise<[number, string][]> {
  const [, sql = ""] = /```sql\n([^`]+)```/.exec(readFileSync("docs/completeness.md", "utf8"))!;
  const rows = await engine.database.query<{ hour: string; worst: number }>(
    sql
      .replace("'sim-1'", `'${clusterId}'`)
      .replace("now() - INTERVAL 1 DAY", `toDateTime(${Math.floor((nowMs - 3 * DAY) / 1000)})`),
  );
  return rows.map(({ hour, worst }) => [
    Date.parse(`${hour.replace(" ", "T")}Z`),
    STRETCH_STATES.find((state) => STATE_NUMBERS[state] === worst)!,
  ]);
}

test("the last error is answered with its remedy until the bridge reports that it is over", async () => {
  const collection = counting();
  const shiftMs = shiftOf(collection) - 2 * DAY;
  const ask = async () => await queryRole(collection.clock.now() + shiftMs)({ clusterId: "failing", signal });
  collection.prometheus.openFailure = new BridgeError("cluster_unauthorized", "no");
  await collect(collection, "failing", shiftMs);
  expect((await ask()).lastError).toEqual({
    code: "cluster_unauthorized",
    cause: ERRORS.cluster_unauthorized.cause,
    hint: ERRORS.cluster_unauthorized.remedy,
    atMs: collection.clock.now() + shiftMs,
  });
  collection.advance(5 * MINUTE);
  collection.prometheus.openFailure = undefined;
  await collect(collection, "failing", shiftMs);
  expect((await ask()).lastError).toBeNull();
});

test("of a bridge that reports no stretches nothing is known, and nothing is guessed", async () => {
  const now = Math.floor(Date.now() / HOUR) * HOUR;
  await storeMetrics(engine.database, "old", [
    { name: "budcluster_cluster_up", kind: "gauge", points: [point({}, now - MINUTE, 1)] },
  ]);
  const answer = await queryRole(now)({ clusterId: "old", fromMs: now - 2 * HOUR, toMs: now, signal });
  expect(answer).toMatchObject({
    reportedAtMs: null,
    stretchSeconds: null,
    lastError: null,
    sources: [],
    gaps: [],
    stretches: [],
    hours: [{ state: null }, { state: null }],
  });
});

test("a cluster without any report is not found, and a range with too many stretches is refused", async () => {
  const now = Math.floor(Date.now() / HOUR) * HOUR;
  expect(await bridgeErrorOf(queryRole(now)({ clusterId: "nobody", signal }))).toMatchObject({
    code: "cluster_not_found",
  });
  const labels = { stretch_seconds: "60" };
  const state = Array.from({ length: 10_001 }, (_, i) =>
    point({ query: `q${i % 1000}`, ...labels }, now - 60_000 * Math.floor(i / 1000), 0),
  );
  await storeMetrics(engine.database, "many", [
    { name: "budcluster_cluster_up", kind: "gauge", points: [point({}, now, 1)] },
    { name: "budcluster_stretch_length_seconds", kind: "gauge", points: [point({}, now, 60)] },
    { name: "budcluster_stretch_state", kind: "gauge", points: state },
  ]);
  expect(await bridgeErrorOf(queryRole(now)({ clusterId: "many", signal }))).toMatchObject({
    code: "query_too_large",
    details: { limit: "stretches" },
  });
  const one = await queryRole(now)({ clusterId: "many", query: "q7", signal });
  expect(one.stretches.map(({ state: each, read }) => [each, read])).toEqual(
    Array.from({ length: 10 }, () => ["proved", null]),
  );
});
