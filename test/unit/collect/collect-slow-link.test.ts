import { expect, test } from "vitest";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { HOUR, LAG, MINUTE, SECOND, START } from "../../helpers/collection.ts";
import {
  createVirtualCluster,
  type VirtualCluster,
  type VirtualQuery,
} from "../../helpers/virtual-cluster.ts";

// A day of back-fill over a slow link, with new data going on, in virtual time: 300 series every 15 s are 1.4 kB/s of 20 kB/s.

const INTERVAL = 5 * MINUTE;
const DEADLINE = 4 * MINUTE;
const SIZES = [110, 70, 40, 30, 20, 10, 8, 5, 4, 1, 1, 1];
const queries: VirtualQuery[] = SIZES.map((series, i) => ({ name: `metric_${i}`, series }));

/** A round every interval until `isDone`. Returns how many it took. */
async function rounds(
  cluster: VirtualCluster,
  max: number,
  isDone: () => Promise<boolean>,
  check: () => void = () => {},
): Promise<number> {
  for (let round = 1; round <= max; round++) {
    const startedAt = cluster.time.clock.monotonic();
    await cluster.collect(DEADLINE);
    check();
    if (await isDone()) return round;
    cluster.time.clock.advance(INTERVAL - (cluster.time.clock.monotonic() - startedAt));
  }
  throw new Error(`not done after ${max} rounds`);
}

const isComplete = async (cluster: VirtualCluster): Promise<boolean> => {
  const { queries: states } = await cluster.progress();
  return Object.values(states).every(({ committed }) => committed.length === 1);
};

test("a day of back-fill over a slow link completes, nothing is lost, and new data stay fresh", async () => {
  const cluster = createVirtualCluster(queries);
  await cluster.collect(DEADLINE);
  cluster.time.clock.advance(24 * HOUR);
  cluster.costs = () => ({ bytesPerSecond: 20_000, roundTripMs: 80, msPerMinute: 0 });
  const taken = await rounds(
    cluster,
    80,
    () => isComplete(cluster),
    () => {
      const nowMs = cluster.time.clock.now();
      for (const { name } of queries) expect(nowMs - cluster.newest(name)).toBeLessThan(3 * INTERVAL);
    },
  );
  // 124 MB at 20 kB/s are 26 deadlines of 240 s.
  expect(taken).toBeGreaterThan(24);
  const { queries: states } = await cluster.progress();
  for (const { name } of queries) {
    expect(states[name]!.gaps).toEqual([]);
    expect(cluster.missing(name, { fromMs: START - 15 * MINUTE - LAG, toMs: states[name]!.attempted })).toBe(
      0,
    );
  }
}, 300_000);

test.each([29, 20, 7, 1])(
  "an outage of three hours is read where the source answers at most %d minutes in time",
  async (minutes) => {
    const cluster = createVirtualCluster([
      { name: "a", series: 1 },
      { name: "b", series: 1 },
      { name: "c", series: 1 },
    ]);
    await cluster.collect(DEADLINE);
    cluster.time.clock.advance(3 * HOUR);
    // The time-out is 30 s.
    cluster.costs = () => ({ bytesPerSecond: Infinity, roundTripMs: 0, msPerMinute: 29_000 / minutes });
    const taken = await rounds(cluster, 200, () => isComplete(cluster));
    // Three queries read 195 minutes of back-fill and what comes meanwhile, two at a time: that is the least that it can take.
    const secondsNeeded = ((3 * 195) / minutes) * 29;
    const secondsPerRound = (2 * DEADLINE) / 1000 - (3 * 5 * 29) / minutes;
    expect(taken).toBeLessThan(6 + 3 * (secondsNeeded / Math.max(30, secondsPerRound)));
    const { queries: states } = await cluster.progress();
    for (const name of ["a", "b", "c"]) expect(states[name]!.gaps).toEqual([]);
  },
  60_000,
);

test.each<[ErrorCode, string]>([
  ["tunnel_closed", "the port-forward broke off (WebSocket code 1006)"],
  ["prometheus_answer_truncated", "the connection closed before the answer was whole"],
  ["prometheus_overloaded", "Prometheus answered 504 with an HTML page"],
  ["prometheus_query_failed", "Prometheus answered 422 execution: context deadline exceeded"],
])(
  "an outage is read over a proxy that gives a long answer up before its first sample (%s)",
  async (code, message) => {
    const names = ["a", "b", "c", "d"];
    const cluster = createVirtualCluster(names.map((name) => ({ name, series: 1 })));
    await cluster.collect(DEADLINE);
    cluster.time.clock.advance(3 * HOUR);
    // A second for each minute, and the proxy waits for 15.
    cluster.costs = (_query, { fromMs, toMs }) =>
      toMs - fromMs > 15 * MINUTE
        ? {
            bytesPerSecond: Infinity,
            roundTripMs: 15 * SECOND,
            msPerMinute: 0,
            failure: new BridgeError(code, message),
          }
        : { bytesPerSecond: Infinity, roundTripMs: 0, msPerMinute: 1000 };
    await rounds(cluster, 20, () => isComplete(cluster));
    const { queries: states } = await cluster.progress();
    for (const name of names) expect(states[name]!.gaps).toEqual([]);
  },
);

test("twenty queries that can't be answered do not keep the others from their back-fill", async () => {
  const light = Array.from({ length: 10 }, (_, i) => `light_${i}`);
  const heavy = Array.from({ length: 20 }, (_, i) => `heavy_${i}`);
  const cluster = createVirtualCluster([...heavy, ...light].map((name) => ({ name, series: 1 })));
  await cluster.collect(DEADLINE);
  cluster.time.clock.advance(3 * HOUR);
  cluster.costs = (query) => ({
    bytesPerSecond: Infinity,
    roundTripMs: 10,
    msPerMinute: query.startsWith("heavy") ? 100_000 : 0,
  });
  const isRead = async (): Promise<boolean> => {
    const { queries: states } = await cluster.progress();
    return light.every(
      (name) => cluster.missing(name, { fromMs: START, toMs: states[name]!.attempted }) === 0,
    );
  };
  await rounds(cluster, 5, isRead);
  // The heavy ones get their turns all the same.
  cluster.reads.length = 0;
  for (let round = 0; round < 3; round++) {
    cluster.time.clock.advance(INTERVAL);
    await cluster.collect(DEADLINE);
  }
  const read = new Set(cluster.reads.map(({ query }) => query));
  expect(heavy.filter((name) => !read.has(name))).toEqual([]);
});

test("heavy queries do not hold light ones up, though they are first in the catalogue", async () => {
  const names = ["heavy_1", "heavy_2", "heavy_3", "light_1", "light_2", "light_3"];
  const cluster = createVirtualCluster(names.map((name) => ({ name, series: 1 })));
  await cluster.collect(DEADLINE);
  cluster.costs = (query) => ({
    bytesPerSecond: Infinity,
    roundTripMs: 10,
    msPerMinute: query.startsWith("heavy") ? 100_000 : 0,
  });
  for (let round = 0; round < 10; round++) {
    cluster.time.clock.advance(INTERVAL);
    const result = await cluster.collect(DEADLINE);
    const nowMs = cluster.time.clock.now();
    for (const name of names.slice(3))
      expect(nowMs - cluster.newest(name)).toBeLessThan(DEADLINE + LAG + MINUTE);
    expect(result).toMatchObject({ outcome: "partial", error: { code: "prometheus_timeout" } });
  }
});

test("when the deadline fits eight of ten queries, each is read at least every third round", async () => {
  const names = Array.from({ length: 10 }, (_, i) => `metric_${i}`);
  const cluster = createVirtualCluster(
    names.map((name) => ({ name, series: 1 })),
    { lanes: 1 },
  );
  await cluster.collect(DEADLINE);
  cluster.costs = () => ({ bytesPerSecond: Infinity, roundTripMs: 28_000, msPerMinute: 0 });
  const lastRead = new Map<string, number>();
  for (let round = 1; round <= 30; round++) {
    cluster.time.clock.advance(INTERVAL);
    cluster.reads.length = 0;
    await cluster.collect(DEADLINE);
    for (const { query } of cluster.reads.slice(0, 8)) lastRead.set(query, round);
    if (round < 4) continue;
    for (const name of names) expect(round - (lastRead.get(name) ?? 0)).toBeLessThan(3);
  }
});

test("a stretch that can't be read does not keep what is behind it from being read", async () => {
  const cluster = createVirtualCluster([
    { name: "a", series: 1 },
    { name: "b", series: 1 },
  ]);
  await cluster.collect(DEADLINE);
  const fromMs = cluster.time.clock.now() + HOUR;
  const toMs = fromMs + 30 * MINUTE;
  cluster.time.clock.advance(6 * HOUR);
  // A damaged block: each window that touches it hangs.
  cluster.costs = (_query, window) => ({
    bytesPerSecond: Infinity,
    roundTripMs: window.fromMs < toMs && window.toMs > fromMs ? 60_000 : 10,
    msPerMinute: 0,
  });
  for (let round = 0; round < 20; round++) {
    cluster.time.clock.advance(INTERVAL);
    await cluster.collect(DEADLINE);
  }
  const { queries: states } = await cluster.progress();
  for (const name of ["a", "b"]) {
    const open = cluster.missing(name, { fromMs: START, toMs: states[name]!.attempted });
    // Two samples too many at either end at most: the stretch itself has 120.
    expect(open).toBeLessThan(120 + 16);
    expect(states[name]!.gaps).toEqual([]);
  }
  cluster.costs = () => ({ bytesPerSecond: Infinity, roundTripMs: 10, msPerMinute: 0 });
  for (let round = 0; round < 3; round++) {
    cluster.time.clock.advance(INTERVAL);
    await cluster.collect(DEADLINE);
  }
  expect(await isComplete(cluster)).toBe(true);
});
