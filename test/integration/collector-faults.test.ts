import { describe, expect, it } from "vitest";
import type { Gap } from "#collect/progress.ts";
import type { ClusterResult } from "#collect/status.ts";
import {
  ACCEPT,
  isOwn,
  refusal,
  type Answer,
  type OtlpCollector,
  type ReceivedPoint,
  type ReceivedRequest,
} from "../helpers/otlp-collector.ts";
import {
  startTestSystem as startSharedSystem,
  type TestSystem as SharedSystem,
} from "../helpers/test-system.ts";
import { METRICS } from "../helpers/test-bridge.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";

const ID = "sim-1";
const MINUTE_MS = 60_000;
/** Metric after metric, in small batches: the first have arrived when the last are read. */
const ONE_BY_ONE = { METRICS_BATCH_SIZE: "50", QUERY_CONCURRENCY: "1" };

interface TestSystem extends SharedSystem {
  /** One round; its one cluster's result. */
  collect: () => Promise<ClusterResult>;
}

async function startTestSystem(environment: Record<string, string> = {}): Promise<TestSystem> {
  const system = await startSharedSystem({ environment });
  const { bridge } = system;
  return { ...system, collect: async () => bridge.resultOf(await bridge.collect(), ID) };
}

/** Requests that hold samples of the cluster, not only what the bridge itself makes. */
const hasSamples = ({ points }: ReceivedRequest): boolean => points.some((point) => !isOwn(point));

/** Answers so to requests with samples, and takes everything else. */
const toSamples =
  (answer: () => Answer): OtlpCollector["onRequest"] =>
  (request) =>
    hasSamples(request) ? answer() : ACCEPT;

/** The next round works, and then everything is there once. */
async function expectRecovery({ bridge, clock, collect, collector, simulator }: TestSystem): Promise<Gap[]> {
  clock.jump(MINUTE_MS);
  expect(await collect()).toMatchObject({ outcome: "successful", error: null });
  expect(await bridge.statusOf(ID)).toMatchObject({ state: "healthy" });
  const record = await bridge.progress(ID);
  expect(Object.keys(record.queries)).toEqual([...METRICS]);
  for (const { from, committed, attempted } of Object.values(record.queries)) {
    expect(committed).toEqual([[from, attempted]]);
    expect(attempted).toBe(clock.now() - 90_000);
  }
  const compared = compareWithExpected(collector, simulator.cluster(ID).world, record);
  expect(compared).toEqual(noDifferences(compared.samples));
  expect(compared.samples).toBeGreaterThan(400);
  expect(collector.conflicts).toEqual([]);
  return Object.values(record.queries).flatMap((query) => query.gaps);
}

/** The Collector as a whole took nothing: nothing is committed, nothing is called refused. */
async function expectNothingCommitted({ bridge }: TestSystem, code: string): Promise<void> {
  const status = await bridge.statusOf(ID);
  expect(status).toMatchObject({ state: "failing", watermark: null, last_error: { code } });
  expect(status.gaps.filter((gap) => gap.state !== "open")).toEqual([]);
}

describe("a Collector that takes nothing", () => {
  it("down: names the endpoint, the Pod and network policies, and asks Prometheus for no samples", async () => {
    const system = await startTestSystem();
    await system.collector.stop();
    const { outcome, error, points } = await system.collect();
    expect({ outcome, points }).toEqual({ outcome: "failed", points: 0 });
    expect(error?.code).toBe("collector_unreachable");
    expect(error?.hint).toMatch(/OTEL_COLLECTOR_ENDPOINT.*Pod.*NetworkPolicy/);
    await expectNothingCommitted(system, "collector_unreachable");
    const asked = system.simulator.faults.traffic(ID).requests.map(({ query = "" }) => query);
    expect(asked.filter((query) => query.includes("node_cpu"))).toEqual([]);
    await system.collector.start();
    expect(await expectRecovery(system)).toEqual([]);
    expect(system.collector.repeats).toBe(0);
  });

  it("down in the middle of a round: what was acknowledged is not sent again", async () => {
    const system = await startTestSystem(ONE_BY_ONE);
    let left = 6;
    system.collector.onRequest = toSamples(() =>
      left-- > 0 ? ACCEPT : { kind: "reset", when: "before", isStored: false },
    );
    const { outcome, error } = await system.collect();
    expect(outcome).toBe("partial");
    expect(error?.code).toBe("collector_unavailable");
    const status = await system.bridge.statusOf(ID);
    const open = status.gaps.map((gap) => gap.query);
    expect(open.length).toBeGreaterThan(0);
    expect(open.length).toBeLessThan(METRICS.length);
    const settled = METRICS.filter((metric) => !open.includes(metric));
    system.collector.onRequest = () => ACCEPT;
    const before = system.collector.requests.length;
    expect(await expectRecovery(system)).toEqual([]);
    const again = system.collector.requests.slice(before).flatMap(({ points }) => points);
    const endMs = Date.parse(status.gaps[0]!.to);
    const repeated = again.filter((point) => point.timestampMs <= endMs).map(({ metric }) => metric);
    expect(settled.filter((metric) => repeated.includes(metric))).toEqual([]);
  });

  it("slower than EXPORT_TIMEOUT", async () => {
    const system = await startTestSystem();
    system.collector.onRequest = toSamples(() => ({ kind: "hang" }));
    const { outcome, error } = await system.collect();
    expect(outcome).toBe("failed");
    expect(error).toMatchObject({ code: "collector_timeout" });
    expect(error?.hint).toMatch(/EXPORT_TIMEOUT.*max_elapsed_time/);
    await expectNothingCommitted(system, "collector_timeout");
    system.collector.onRequest = () => ACCEPT;
    expect(await expectRecovery(system)).toEqual([]);
  });

  it.each([
    [
      "503 for everything",
      () => refusal(503, "memory_limiter"),
      "collector_unavailable",
      /503: memory_limiter/,
      /ClickHouse/,
    ],
    ["502 for everything", () => refusal(502), "collector_unavailable", /502/, /ClickHouse/],
    [
      "400 for everything",
      () => refusal(400, "bad gateway config"),
      "collector_refused",
      /400: bad gateway/,
      /quotes its answer/,
    ],
    ["500 for everything", () => refusal(500), "collector_refused", /500/, /quotes its answer/],
    ["404: the path is wrong", () => refusal(404), "collector_misconfigured", /404/, /\/v1\/metrics/],
    ["401: the token is wrong", () => refusal(401), "collector_misconfigured", /401/, /OTLP_HEADERS/],
    [
      "200 with a page",
      () => ({ kind: "page" }) as const,
      "collector_misconfigured",
      /without an OTLP response/,
      /OTEL_COLLECTOR_ENDPOINT/,
    ],
  ])("%s: nothing is committed or called refused", async (_name, answer, code, message, hint) => {
    const system = await startTestSystem();
    system.collector.onRequest = answer;
    const { outcome, error } = await system.collect();
    expect(outcome).toBe("failed");
    expect(error?.code).toBe(code);
    expect(error?.message).toMatch(message);
    expect(error?.hint).toMatch(hint);
    await expectNothingCommitted(system, code);
    expect(system.collector.requests.length).toBeLessThan(4);
    system.collector.onRequest = () => ACCEPT;
    expect(await expectRecovery(system)).toEqual([]);
    expect(system.collector.repeats).toBe(0);
  });

  it.each([
    ["503", () => refusal(503), "collector_unavailable"],
    ["400", () => refusal(400), "collector_refused"],
  ])("%s from some request on: not the data's fault, so nothing is given up", async (_name, answer, code) => {
    const system = await startTestSystem(ONE_BY_ONE);
    let isBroken = false;
    let requests = 0;
    system.collector.onRequest = (request) => {
      isBroken ||= request.points.some(({ metric }) => metric === METRICS.at(-1));
      requests += isBroken ? 1 : 0;
      return isBroken ? answer() : ACCEPT;
    };
    expect(await system.collect()).toMatchObject({ outcome: "partial", error: { code } });
    // A few batches were under way; each was followed by one request that is known to be good, none was taken apart.
    expect(requests).toBeLessThanOrEqual(8);
    const { gaps } = await system.bridge.statusOf(ID);
    expect(new Set(gaps.map((gap) => gap.state))).toEqual(new Set(["open"]));
    system.collector.onRequest = () => ACCEPT;
    expect(await expectRecovery(system)).toEqual([]);
  });
});

describe("a Collector that breaks the connection", () => {
  it.each([
    ["before it answers", { when: "before", isStored: false }],
    ["before it answers, though it stored the points", { when: "before", isStored: true }],
    ["in the middle of its answer, though it stored the points", { when: "within", isStored: true }],
  ] as const)("%s: the window is sent again, as the same rows", async (_name, how) => {
    const system = await startTestSystem();
    system.collector.onRequest = toSamples(() => ({ kind: "reset", ...how }));
    expect(await system.collect()).toMatchObject({
      outcome: "failed",
      error: { code: "collector_unavailable" },
    });
    await expectNothingCommitted(system, "collector_unavailable");
    system.collector.onRequest = () => ACCEPT;
    expect(await expectRecovery(system)).toEqual([]);
    expect(system.collector.repeats > 0).toBe(how.isStored);
  });
});

describe("a Collector that asks for patience", () => {
  const PATIENT = { EXPORT_RETRY_MAX_ELAPSED: "60" };

  it.each([
    ["seconds", () => "7", 7000],
    ["a date", (nowMs: number) => new Date(nowMs + 9000).toUTCString(), 9000],
    ["less than the backoff", () => "0", 750],
  ])("429 with Retry-After as %s", async (_name, header, napMs) => {
    const system = await startTestSystem(PATIENT);
    let hits = 0;
    system.collector.onRequest = toSamples(() =>
      ++hits === 1 ? refusal(429, "slow down", { "retry-after": header(system.clock.now()) }) : ACCEPT,
    );
    expect(await system.collect()).toMatchObject({ outcome: "successful", error: null });
    expect(system.clock.naps).toEqual([napMs]);
    expect(await expectRecovery(system)).toEqual([]);
    expect(system.collector.repeats).toBe(0);
  });

  it("429 with a Retry-After beyond the limit is left to the next round", async () => {
    const system = await startTestSystem(PATIENT);
    system.collector.onRequest = toSamples(() => refusal(429, "closed", { "retry-after": "3600" }));
    expect(await system.collect()).toMatchObject({
      outcome: "failed",
      error: { code: "collector_unavailable" },
    });
    expect(system.clock.naps).toEqual([]);
    await expectNothingCommitted(system, "collector_unavailable");
    system.collector.onRequest = () => ACCEPT;
    expect(await expectRecovery(system)).toEqual([]);
  });

  it("503 for a while: waits longer each time", async () => {
    const system = await startTestSystem(PATIENT);
    let hits = 0;
    system.collector.onRequest = toSamples(() => (++hits <= 3 ? refusal(503) : ACCEPT));
    expect(await system.collect()).toMatchObject({ outcome: "successful" });
    expect(system.clock.naps).toEqual([750, 1500, 3000]);
    expect(await expectRecovery(system)).toEqual([]);
  });
});

describe("a Collector that refuses some of the data", () => {
  const isPoison = ({ metric, labels }: Pick<ReceivedPoint, "metric" | "labels">): boolean =>
    metric === "node_cpu_seconds_total" && labels["mode"] === "nice";

  it.each([
    [400, "invalid label value", {}],
    [500, "cannot encode", {}],
    [400, "invalid label value", { METRICS_BATCH_SIZE: "50" }],
  ])(
    "%d (%s) on one series: everything else arrives, and it is recorded",
    async (status, words, environment) => {
      const system = await startTestSystem(environment);
      system.collector.onRequest = ({ points }) => (points.some(isPoison) ? refusal(status, words) : ACCEPT);
      const { outcome, error, points } = await system.collect();
      expect({ outcome, code: error?.code }).toEqual({ outcome: "partial", code: "collector_refused" });
      const cluster = await system.bridge.statusOf(ID);
      expect(cluster.watermark).toBe(new Date(system.clock.now() - 90_000).toISOString());
      expect(cluster.gaps).toMatchObject([{ query: "node_cpu_seconds_total", state: "refused" }]);
      expect(cluster.gaps[0]!.reason).toMatch(new RegExp(`${status}: ${words}.*node_cpu_seconds_total`));
      const told = system.bridge.logs.filter(
        ({ code, level }) => code === "collector_refused" && level === "error",
      );
      expect(told).toHaveLength(1);
      expect(told[0]).toMatchObject({ query: "node_cpu_seconds_total", points: cluster.gaps[0]!.points });
      expect(points).toBe(
        [...system.collector.acknowledged.values()].filter((point) => !isOwn(point)).length,
      );
      expect(system.collector.repeats).toBe(0);

      // The next window's points are refused as well; the first window's are not sent again.
      system.clock.jump(MINUTE_MS);
      expect(await system.collect()).toMatchObject({ outcome: "partial" });
      const { gaps } = await system.bridge.statusOf(ID);
      const world = system.simulator.cluster(ID).world;
      const window = { fromMs: Date.parse(gaps[0]!.from), toMs: Date.parse(gaps[0]!.to) };
      const poisoned = world
        .expected({ ...window, metric: "node_cpu_seconds_total" })
        .filter(({ labels }) =>
          isPoison({ metric: "node_cpu_seconds_total", labels: Object.fromEntries(labels) }),
        );
      expect(gaps).toHaveLength(1);
      expect(gaps[0]!.points).toBe(poisoned.reduce((sum, { values }) => sum + values.length, 0));
      expect(system.collector.repeats).toBe(0);
      const record = await system.bridge.progress(ID);
      const compared = compareWithExpected(system.collector, world, record, { without: isPoison });
      expect(compared).toEqual(noDifferences(compared.samples));
    },
  );

  it.each([{}, { METRICS_BATCH_SIZE: "50" }])(
    "503 on one series: everything else arrives, nothing is refused, and the series follows when it is taken (%j)",
    async (environment) => {
      const system = await startTestSystem(environment);
      system.collector.onRequest = ({ points }) =>
        points.some(isPoison) ? refusal(503, "insert failed") : ACCEPT;
      const { outcome, error } = await system.collect();
      expect({ outcome, code: error?.code }).toEqual({ outcome: "partial", code: "collector_unavailable" });
      const { gaps } = await system.bridge.statusOf(ID);
      expect(new Set(gaps.map(({ query, state }) => `${query} ${state}`))).toEqual(
        new Set(["node_cpu_seconds_total open"]),
      );
      expect([...system.collector.acknowledged.values()].filter(isPoison)).toEqual([]);
      system.collector.onRequest = () => ACCEPT;
      expect(await expectRecovery(system)).toEqual([]);
    },
  );

  it("one table that fails: the other kind arrives, nothing is refused, whatever the status", async () => {
    for (const status of [503, 400, 500]) {
      const system = await startTestSystem();
      const tables: Record<string, boolean> = { counter: false, gauge: true };
      system.collector.onRequest = ({ points }) =>
        points.every(({ kind }) => tables[kind]) ? ACCEPT : refusal(status, "no table");
      expect(await system.collect()).toMatchObject({ outcome: "partial" });
      const gaps = await system.bridge.statusOf(ID).then((cluster) => cluster.gaps);
      expect(gaps.length).toBeGreaterThan(0);
      expect(gaps.filter(({ state }) => state !== "open")).toEqual([]);
      const kinds = new Set([...system.collector.acknowledged.values()].map(({ kind }) => kind));
      expect(kinds).toEqual(new Set(["gauge"]));
      expect(system.collector.requests.length).toBeLessThan(30);
      system.collector.onRequest = () => ACCEPT;
      expect(await expectRecovery(system)).toEqual([]);
    }
  });

  it("a partial success with an impossible count refuses nothing and is named as the Collector's defect", async () => {
    const system = await startTestSystem();
    system.collector.onRequest = toSamples(() => ({ kind: "impossible", count: -1 }));
    expect(await system.collect()).toMatchObject({
      outcome: "failed",
      error: {
        code: "collector_answer_invalid",
        message: expect.stringContaining("defect of the Collector") as string,
      },
    });
    const { gaps } = await system.bridge.statusOf(ID);
    expect(gaps.filter(({ state }) => state !== "open")).toEqual([]);
    system.collector.onRequest = () => ACCEPT;
    expect(await expectRecovery(system)).toEqual([]);
  });

  it("that breaks down while the bad points are being isolated: nothing is given up for it", async () => {
    const system = await startTestSystem();
    let isBroken = false;
    let refused = 0;
    system.collector.onRequest = ({ points }) => {
      refused += points.some(isPoison) ? 1 : 0;
      isBroken ||= refused > 4;
      return isBroken || points.some(isPoison) ? refusal(400, "invalid label value") : ACCEPT;
    };
    expect(await system.collect()).toMatchObject({ error: { code: "collector_refused" } });
    const { gaps } = await system.bridge.statusOf(ID);
    expect(gaps.filter(({ state }) => state === "refused")).toEqual([]);
    system.collector.onRequest = () => ACCEPT;
    expect(await expectRecovery(system)).toEqual([]);
  });

  it("413 above a size: the batch is halved until it fits", async () => {
    const system = await startTestSystem();
    system.collector.onRequest = ({ bytes }) => (bytes > 20_000 ? refusal(413, "too large") : ACCEPT);
    expect(await system.collect()).toMatchObject({ outcome: "successful", error: null });
    expect(system.collector.requests.some(({ status }) => status === 413)).toBe(true);
    expect((await system.bridge.statusOf(ID)).gaps).toEqual([]);
    expect(await expectRecovery(system)).toEqual([]);
    expect(system.collector.repeats).toBe(0);
  });

  it("a partial success: the refused points are recorded and never sent again", async () => {
    const system = await startTestSystem();
    system.collector.onRequest = ({ points }) =>
      points.some(isPoison) ? { kind: "partial", refuses: isPoison, message: "too old" } : ACCEPT;
    const { outcome, points } = await system.collect();
    expect(outcome).toBe("partial");
    expect(points).toBe([...system.collector.acknowledged.values()].filter((point) => !isOwn(point)).length);
    const cluster = await system.bridge.statusOf(ID);
    expect(cluster).toMatchObject({ state: "partial", last_error: { code: "collector_refused" } });
    expect(cluster.watermark).not.toBeNull();
    const [first] = cluster.gaps;
    expect(first).toMatchObject({ state: "refused" });
    expect(first!.reason).toMatch(/too old/);
    const told = system.bridge.logs.filter(
      ({ code, level }) => code === "collector_refused" && level === "error",
    );
    expect(told.length).toBeGreaterThan(0);
    const counted = cluster.gaps.reduce((sum, { points: each = 0 }) => sum + each, 0);
    const sentAll = system.collector.requests.flatMap((request) => request.points);
    expect(counted).toBe(sentAll.filter(isPoison).length);
    system.collector.onRequest = () => ACCEPT;
    const endMs = Date.parse(cluster.watermark!);
    const isRefused = (point: ReceivedPoint): boolean => isPoison(point) && point.timestampMs <= endMs;
    system.clock.jump(MINUTE_MS);
    const before = system.collector.requests.length;
    expect(await system.collect()).toMatchObject({ outcome: "successful" });
    const sent = system.collector.requests.slice(before).flatMap((request) => request.points);
    expect(sent.filter(isRefused)).toEqual([]);
    expect(system.collector.repeats).toBe(0);
  });
});
