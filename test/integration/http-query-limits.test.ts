import { afterEach, expect, it } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { MetricQueries } from "#http/routes/cluster-metrics.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { ACCESS, errorOf, type Harness, startHarness, TOKENS } from "./http-harness.ts";

// Limits that all callers share, through HTTP: places, the queue, time.

const QUERY = JSON.stringify({
  cluster_id: "edge-1",
  metric_name: "up",
  start_time: 1_748_779_200,
  end_time: 1_748_782_800,
  aggregation: "avg",
});

let ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends) await end();
  ends = [];
});

/** Queries that end when the test says so, with an error that tells that they ran. */
async function start(options: Parameters<typeof startHarness>[0] = {}) {
  const running: (() => void)[] = [];
  const signals: AbortSignal[] = [];
  let arrived = (): void => {};
  const hang = (input: { signal?: AbortSignal | undefined }): Promise<never> =>
    new Promise((_resolve, reject) => {
      signals.push(input.signal!);
      running.push(() => reject(new BridgeError("metric_not_found", "it ran")));
      arrived();
    });
  const metricQueries: MetricQueries = { series: hang, metrics: hang, labels: hang };
  const clusterState = {
    summary: hang,
    health: hang,
    nodes: hang,
    pods: hang,
    gpus: hang,
    gpuUsage: hang,
    fleetGpuUsage: hang,
    listClusters: hang,
  };
  const harness = await startHarness({
    ...options,
    deps: { metricQueries, clusterState, latest: hang, ...options.deps },
  });
  ends.push(() => harness.server.stop());
  const isRunning = async (count: number): Promise<void> => {
    while (running.length < count) await new Promise<void>((resolve) => (arrived = resolve));
  };
  return { harness, running, signals, isRunning };
}

function query(harness: Harness, token?: string): Promise<Response> {
  return fetch(`${harness.url}/cluster-metrics/query`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: QUERY,
  });
}

it("330 parallel queries of one token: 8 run, 64 wait, the others are told to wait; another token is next", async () => {
  const { harness, running, isRunning } = await start({ access: ACCESS });
  const statuses: number[] = [];
  const refused = Promise.withResolvers<void>();
  const flood = Array.from({ length: 330 }, async () => {
    const answer = await query(harness, TOKENS.read);
    statuses.push(answer.status);
    if (statuses.length === 330 - 72) refused.resolve();
    if (answer.status !== 429) return;
    expect(answer.headers.get("retry-after")).toBe("5");
    expect(await errorOf(answer)).toMatchObject({ code: "query_busy", details: { limit: "caller" } });
  });
  await refused.promise;
  expect(new Set(statuses)).toEqual(new Set([429]));
  expect(running).toHaveLength(8);

  const other = query(harness, TOKENS.admin);
  const metricsOfOther = fetch(`${harness.url}/metrics/status`, {
    headers: { authorization: `Bearer ${TOKENS.admin}` },
  });
  expect((await metricsOfOther).status).toBe(200);
  running[0]!();
  await isRunning(9);
  running[8]!();
  expect((await errorOf(await other)).message).toBe("it ran");
  for (let index = 1; index < 73; index++) {
    await isRunning(index + 1);
    running[index]!();
  }
  await Promise.all(flood);
  expect(statuses.filter((status) => status === 404)).toHaveLength(72);
});

it.each([
  "/cluster-metrics/edge-1/latest?metric=up",
  "/cluster-metrics/edge-1/metrics",
  "/cluster-metrics/edge-1/labels?metric=up",
  "/cluster-metrics/edge-1/summary",
  "/cluster-metrics/edge-1/health",
  "/cluster-metrics/edge-1/nodes",
  "/cluster-metrics/edge-1/pods",
  "/cluster-metrics/edge-1/gpus",
])("without tokens one address shares the limits, and %s obeys them", async (path) => {
  const { harness, running, isRunning } = await start();
  // One more than there are places: its refusal says that all are taken.
  const flood = Array.from({ length: 73 }, () => query(harness));
  expect((await Promise.race(flood)).status).toBe(429);
  const answer = await fetch(harness.url + path);
  expect(answer.status).toBe(429);
  expect(answer.headers.get("retry-after")).toBe("5");
  for (let index = 0; index < 72; index++) {
    await isRunning(index + 1);
    running[index]!();
  }
  const statuses = (await Promise.all(flood)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 404)).toHaveLength(72);
});

it("QUERY_TIMEOUT counts the waiting, and ends the query", async () => {
  const clock = createManualClock();
  const { harness, signals, running, isRunning } = await start({ deps: { clock } });
  const first = Array.from({ length: 8 }, () => query(harness));
  await isRunning(8);
  clock.advance(20_000);
  const late = query(harness);
  // Each request has one timer: the late one is there when there are nine.
  while (clock.pending() < 9) await fetch(`${harness.url}/healthz`);
  clock.advance(10_000);
  for (const answer of await Promise.all(first)) {
    expect(answer.status).toBe(504);
    expect(await errorOf(answer)).toMatchObject({ code: "query_timeout", details: { limit: "time" } });
  }
  expect(signals.slice(0, 8).every((signal) => signal.aborted)).toBe(true);
  await isRunning(9);
  expect(signals[8]!.aborted).toBe(false);
  clock.advance(20_000);
  expect((await late).status).toBe(504);
  expect(running).toHaveLength(9);
});
