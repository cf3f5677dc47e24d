import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { Clock } from "#lib/clock.ts";
import { createLogger } from "#telemetry/logger.ts";
import { createOwnMetrics, type OwnMetrics, type OwnMetricsSettings } from "#telemetry/metrics.ts";

/** A clock whose sleeps end when the test says so. */
function createHandClock() {
  const sleepers: { ms: number; wake: () => void }[] = [];
  const timers = new Set<() => void>();
  const arrivals: (() => void)[] = [];
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        sleepers.push({ ms, wake: resolve });
        signal?.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        arrivals.shift()?.();
      }),
    after: (_ms, run) => {
      timers.add(run);
      return () => timers.delete(run);
    },
  };
  const sleeping = async (): Promise<{ ms: number; wake: () => void }> => {
    if (sleepers.length === 0) await new Promise<void>((resolve) => arrivals.push(resolve));
    const sleeper = sleepers.shift();
    if (!sleeper) throw new Error("nobody sleeps");
    return sleeper;
  };
  return { clock, sleeping, fireTimers: () => timers.forEach((run) => run()), timers };
}

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function create(push?: OwnMetricsSettings["push"], lagClustersMax = 2) {
  const lines: string[] = [];
  const hand = createHandClock();
  const metrics: OwnMetrics = createOwnMetrics(
    {
      clock: hand.clock,
      logger: createLogger({ level: "debug", destination: { write: (l) => lines.push(l) } }),
    },
    {
      serviceName: "budcluster",
      serviceVersion: "1.2.3",
      instanceId: "replica-1",
      lagClustersMax,
      ...(push ? { push } : {}),
    },
  );
  ends.push(() => metrics.stop());
  return { metrics, lines, ...hand };
}

/** A Collector that answers with the status that `answer` gives, or never when it gives null. */
async function createCollector(answer: (request: number) => number | null) {
  const bodies: string[] = [];
  const arrivals: (() => void)[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString("utf8")));
    request.on("end", () => {
      bodies.push(body);
      const status = answer(bodies.length);
      if (status !== null) {
        response
          .writeHead(status, { "content-type": "application/json" })
          .end(status < 300 ? "{}" : "broken token: abc");
      }
      arrivals.shift()?.();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/metrics`;
  return { url, bodies, arrived: () => new Promise<void>((resolve) => arrivals.push(resolve)) };
}

describe("GET /metrics' text", () => {
  it("has every own metric under its name, with its attributes", async () => {
    const { metrics, clock } = create();
    metrics.start();
    metrics.roundFinished({ outcome: "partial", durationSeconds: 3 });
    metrics.collectionFinished({ outcome: "successful", durationSeconds: 2, points: 100, series: 10 });
    metrics.collectionFinished({
      outcome: "failed",
      durationSeconds: 1,
      points: 0,
      series: 0,
      error: "cluster_timeout",
    });
    metrics.exportFinished({ outcome: "accepted", durationSeconds: 0.2, bytes: 2048 });
    metrics.exportFinished({
      outcome: "rejected",
      durationSeconds: 0.1,
      bytes: 10,
      error: "collector_refused",
    });
    metrics.batchStarted();
    metrics.batchStarted();
    metrics.batchFinished();
    metrics.tunnelOpened();
    metrics.tunnelOpened();
    metrics.tunnelClosed();
    metrics.tunnelFailed("tunnel_refused");
    metrics.errorOccurred("prometheus_timeout");
    metrics.requestAnswered({ method: "GET", route: "/healthz", status: 200, durationSeconds: 0.001 });
    metrics.clusterWatermark("edge-1", clock.now() - 95_000);
    const lines = (await metrics.prometheusText()).split("\n");
    expect(lines).toEqual(
      expect.arrayContaining([
        'budcluster_rounds_total{budcluster_outcome="partial"} 1',
        'budcluster_round_duration_sum{budcluster_outcome="partial"} 3',
        'budcluster_round_duration_bucket{budcluster_outcome="partial",le="5"} 1',
        'budcluster_collections_total{budcluster_outcome="successful"} 1',
        'budcluster_collections_total{budcluster_outcome="failed",error_type="cluster_timeout"} 1',
        "budcluster_collection_points_total 100",
        "budcluster_collection_series_total 10",
        'budcluster_export_requests_total{budcluster_outcome="accepted"} 1',
        'budcluster_export_requests_total{budcluster_outcome="rejected",error_type="collector_refused"} 1',
        'budcluster_export_io_total{budcluster_outcome="accepted"} 2048',
        "budcluster_export_active_batches 1",
        "budcluster_tunnel_active 1",
        "budcluster_tunnel_opens_total 2",
        'budcluster_tunnel_opens_total{error_type="tunnel_refused"} 1',
        'budcluster_errors_total{error_type="prometheus_timeout"} 1',
        'http_server_request_duration_count{http_request_method="GET",http_route="/healthz",http_response_status_code="200"} 1',
        'budcluster_cluster_lag{budcluster_cluster_id="edge-1"} 95',
        expect.stringMatching(/^process_memory_usage \d+$/),
        expect.stringMatching(/^v8js_memory_heap_used \d+$/),
        expect.stringMatching(/^nodejs_eventloop_utilization [\d.e-]+$/),
        expect.stringMatching(/^process_cpu_time_total\{cpu_mode="user"\} [\d.]+$/),
        expect.stringMatching(/^target_info\{.*service_name="budcluster"/),
      ]),
    );
  });

  it("shows the lag of this replica's clusters only", async () => {
    const { metrics, clock } = create();
    let own = ["a"];
    metrics.showLagOf((id) => own.includes(id));
    for (const id of ["a", "b"]) metrics.clusterWatermark(id, clock.now() - 5000);
    const shown = async (): Promise<string[]> =>
      [...(await metrics.prometheusText()).matchAll(/^budcluster_cluster_lag\{.*"(.)"\} 5$/gm)].map(
        ([, id = ""]) => id,
      );
    expect(await shown()).toEqual(["a"]);
    own = ["b"];
    expect(await shown()).toEqual(["b"]);
  });

  it("bounds the clusters that have a lag of their own, and forgets", async () => {
    const { metrics, clock } = create(undefined, 2);
    for (const [id, lag] of [
      ["a", 1],
      ["b", 2],
      ["c", 30],
      ["d", 4],
    ] as const)
      metrics.clusterWatermark(id, clock.now() - lag * 1000);
    const lagLines = async (): Promise<string[]> =>
      (await metrics.prometheusText())
        .split("\n")
        .filter((line) => line.startsWith("budcluster_cluster_lag"));
    expect(await lagLines()).toEqual([
      'budcluster_cluster_lag{budcluster_cluster_id="a"} 1',
      'budcluster_cluster_lag{budcluster_cluster_id="b"} 2',
      'budcluster_cluster_lag{otel_metric_overflow="true"} 30',
    ]);
    metrics.clusterWatermark("a", null);
    metrics.clusterWatermark("c", null);
    expect(await lagLines()).toEqual([
      'budcluster_cluster_lag{budcluster_cluster_id="b"} 2',
      'budcluster_cluster_lag{budcluster_cluster_id="d"} 4',
    ]);
  });
});

describe("the push", () => {
  it("sends OTLP at every interval, and once more at the end", async () => {
    const collector = await createCollector(() => 200);
    const { metrics, sleeping } = create({ url: collector.url, intervalMs: 60_000, timeoutMs: 5000 });
    metrics.start();
    metrics.errorOccurred("internal");
    const first = await sleeping();
    expect(first.ms).toBe(60_000);
    expect(collector.bodies).toHaveLength(0);
    first.wake();
    await sleeping();
    expect(collector.bodies).toHaveLength(1);
    expect(collector.bodies[0]).toContain('"budcluster.errors"');
    expect(collector.bodies[0]).toContain('"replica-1"');
    await metrics.stop();
    await metrics.stop();
    expect(collector.bodies).toHaveLength(2);
  });

  it("that fails is logged once, does no harm, and its recovery is logged", async () => {
    const collector = await createCollector((request) => (request <= 3 ? 400 : 200));
    const { metrics, sleeping, lines } = create({ url: collector.url, intervalMs: 1000, timeoutMs: 5000 });
    metrics.start();
    for (let push = 0; push < 4; push++) (await sleeping()).wake();
    await sleeping();
    const logged = lines.map((line) => JSON.parse(line) as { level: string; msg: string; failures: number });
    expect(logged.map(({ level, failures }) => ({ level, failures }))).toEqual([
      { level: "warn", failures: 1 },
      { level: "info", failures: 3 },
    ]);
    expect(lines.join("")).not.toContain("abc");
    expect(await metrics.prometheusText()).toContain("process_uptime");
  });

  it("to nobody is logged once", async () => {
    const { metrics, sleeping, lines } = create({
      url: "http://127.0.0.1:1/v1/metrics",
      intervalMs: 1000,
      timeoutMs: 50,
    });
    metrics.start();
    for (let push = 0; push < 3; push++) (await sleeping()).wake();
    await sleeping();
    expect(lines).toHaveLength(1);
  });

  it("to a Collector that hangs does not hold the end up", async () => {
    const collector = await createCollector(() => null);
    const { metrics, sleeping, fireTimers, timers } = create({
      url: collector.url,
      intervalMs: 1000,
      timeoutMs: 60_000,
    });
    metrics.start();
    const arrived = collector.arrived();
    (await sleeping()).wake();
    await arrived;
    const stopped = metrics.stop();
    expect(timers.size).toBe(1);
    fireTimers();
    await expect(stopped).resolves.toBeUndefined();
  });
});
