import { describe, expect, it } from "vitest";
import { ACCEPT, isOwn, refusal } from "../helpers/otlp-collector.ts";
import { startTestSystem } from "../helpers/test-system.ts";
import { noDifferences } from "../helpers/expected-samples.ts";

// Defects of the system that this one replaces: each must stay out.

describe("A 4xx or exhausted retries lose the data and still report success; what is counted is queries", () => {
  it.each([400, 404, 500, 503])(
    "a Collector that answers %d: no success, no points, nothing lost",
    async (status) => {
      const { bridge, clock, collector, compareAll } = await startTestSystem();
      await bridge.collect();
      clock.jump(60_000);
      collector.onRequest = () => refusal(status);
      expect(await bridge.collect()).toMatchObject({ successful: 0, failed: 1, points: 0 });
      const { last_error, last_success, watermark } = await bridge.statusOf("sim-1");
      expect(last_error?.code).toMatch(/^collector_/);
      expect(Date.parse(last_success!)).toBe(clock.now() - 60_000);
      expect(Date.parse(watermark!)).toBe(clock.now() - 60_000 - 90_000);
      collector.onRequest = () => ACCEPT;
      expect(await bridge.collect()).toMatchObject({ successful: 1 });
      const compared = await compareAll();
      expect(compared).toEqual(noDifferences(compared.samples));
    },
  );

  it("counts points, not queries", async () => {
    const { bridge, collector } = await startTestSystem();
    const { points } = await bridge.collect();
    expect(points).toBe([...collector.acknowledged.values()].filter((point) => !isOwn(point)).length);
    expect(points).toBeGreaterThan(300);
  });
});

describe("Every 5xx is tried again, without Retry-After, jitter or partial success", () => {
  const environment = { EXPORT_RETRY_MAX_ELAPSED: "60" };

  it.each([
    [400, 0],
    [408, 0],
    [500, 0],
    [501, 0],
    [505, 0],
    [429, 1],
    [502, 1],
    [503, 1],
    [504, 1],
  ])("after %d: %d retries", async (status, retries) => {
    const { bridge, clock, collector } = await startTestSystem({ environment });
    let refused = 0;
    collector.onRequest = ({ points }) => (points.every(isOwn) || refused++ > 0 ? ACCEPT : refusal(status));
    await bridge.collect();
    expect(clock.naps).toHaveLength(retries);
  });

  it("heeds Retry-After, and waits a share of the time that chance decides otherwise", async () => {
    const { bridge, clock, collector } = await startTestSystem({ environment });
    let refused = 0;
    collector.onRequest = ({ points }) => {
      if (points.every(isOwn) || refused > 1) return ACCEPT;
      return refusal(503, "busy", refused++ === 0 ? { "retry-after": "12" } : {});
    };
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    // The bridge's chance is fixed at one half here: 2 s of backoff become 1.5 s.
    expect(clock.naps).toEqual([12_000, 1500]);
  });

  it("a partial success is no whole one", async () => {
    const { bridge, collector } = await startTestSystem();
    const refuses = ({ metric }: { metric: string }): boolean => metric === "up";
    collector.onRequest = ({ points }) =>
      points.some(refuses) ? { kind: "partial", refuses, message: "no" } : ACCEPT;
    const refused = (await bridge.collect()).clusters[0]!;
    expect(refused.outcome).toBe("partial");
    const { gaps } = await bridge.statusOf("sim-1");
    expect(gaps.map(({ state }) => state)).toContain("refused");
  });
});

describe("No batching: requests pass the limit of the Collector and are dropped as success", () => {
  const LIMIT = 128 << 10;

  it("requests stay below the limits of points and of bytes, whatever the cluster's size", async () => {
    const metrics = ["node_cpu_seconds_total", "kube_pod_info", "container_memory_usage_bytes"];
    const { bridge, collector, compareAll } = await startTestSystem({
      metrics,
      shape: { nodes: 4, pods: 60, cpus: 8 },
      environment: { METRICS_BATCH_BYTES: String(LIMIT), METRICS_BATCH_SIZE: "300", INITIAL_LOOKBACK: "5m" },
    });
    collector.onRequest = ({ bytes }) => (bytes > LIMIT ? refusal(400, "request body too large") : ACCEPT);
    expect(await bridge.collect()).toMatchObject({ successful: 1, partial: 0 });
    expect(collector.requests.length).toBeGreaterThan(20);
    expect(Math.max(...collector.requests.map(({ points }) => points.length))).toBeLessThanOrEqual(300);
    expect(Math.max(...collector.requests.map(({ bytes }) => bytes))).toBeLessThanOrEqual(LIMIT);
    const compared = await compareAll();
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(5000);
  });
});
