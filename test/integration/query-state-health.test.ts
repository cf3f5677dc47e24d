import { describe, expect, test } from "vitest";
import { useEngine } from "../helpers/engine.ts";
import {
  AS_OF_MS,
  createStateCases,
  gauge,
  MINUTE_MS,
  node,
  NOW_MS,
  now,
  toMetrics,
} from "../helpers/state-cases.ts";
import { point } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);

describe("health", () => {
  test("of a cluster within all thresholds is healthy", async () => {
    const id = await cluster(toMetrics([node("a", {}), node("b", {})]));
    expect(await state().health({ clusterId: id })).toMatchObject({
      status: "healthy",
      node_count: 2,
      issues: [],
      recommendations: [],
      completeness: { cluster_up: true },
    });
  });

  test("names what is over a threshold, the critical first", async () => {
    const id = await cluster([
      ...toMetrics([
        node("busy", { cpu: 75, memory: 85, load: 2.5 }),
        node("full", { cpu: 85, memory: 95, disk: 95 }),
        node("gone", { ready: false }),
      ]),
      gauge("DCGM_FI_DEV_GPU_TEMP", [now({ UUID: "GPU-1", gpu: "0", Hostname: "busy" }, 85)]),
      gauge("DCGM_FI_DEV_XID_ERRORS", [
        point({ UUID: "GPU-1", gpu: "0", Hostname: "busy" }, AS_OF_MS - 10 * MINUTE_MS, 31),
        now({ UUID: "GPU-1", gpu: "0", Hostname: "busy" }, 0),
        point({ UUID: "GPU-2", gpu: "1", Hostname: "busy" }, AS_OF_MS - 10 * MINUTE_MS, 79),
      ]),
      {
        name: "kube_pod_container_status_restarts_total",
        kind: "sum",
        points: [0, 2, 4].map((count, i) =>
          point({ namespace: "ns", pod: "p", container: "c" }, AS_OF_MS - (3 - i) * MINUTE_MS, count),
        ),
      },
    ]);
    const answer = await state().health({ clusterId: id });
    expect(answer.status).toBe("critical");
    expect(
      answer.issues.map(({ severity, metric, node: name, object, threshold }) => [
        severity,
        metric,
        name,
        object,
        threshold,
      ]),
    ).toEqual([
      ["critical", "cpu_usage_percent", "full", null, 80],
      ["critical", "memory_usage_percent", "full", null, 90],
      ["critical", "disk_usage_percent", "full", "/dev/sda1", 90],
      ["critical", "node_ready", "gone", null, 1],
      ["critical", "gpu_xid_error", "busy", "GPU-2", 0],
      ["warning", "cpu_usage_percent", "busy", null, 70],
      ["warning", "memory_usage_percent", "busy", null, 80],
      ["warning", "load_per_core", "busy", null, 2],
      ["warning", "gpu_temperature_celsius", "busy", "GPU-1", 80],
      ["warning", "gpu_xid_error", "busy", "GPU-1", 0],
      ["warning", "pod_restarts", null, "ns/p", 3],
    ]);
    expect(answer.issues[0]!.value).toBeCloseTo(85, 9);
    expect(answer.recommendations).toHaveLength(8);
  });

  test("thresholds are the caller's", async () => {
    const id = await cluster(toMetrics([node("a", { cpu: 30 })]));
    const thresholds = { ...QUERY_DEFAULTS.thresholds, cpuPercent: { warning: 20, critical: 40 } };
    const strict = state(NOW_MS, { thresholds });
    expect((await strict.health({ clusterId: id })).status).toBe("warning");
  });

  test("without any data is unknown, never healthy", async () => {
    const neverReached = await cluster([], [{ queries: [], up: 0 }]);
    expect(await state().health({ clusterId: neverReached })).toMatchObject({
      status: "unknown",
      as_of: null,
      completeness: { complete: false, watermark: null, cluster_up: false },
      issues: [{ metric: "cluster_up", severity: "warning" }],
    });
    const empty = await cluster([]);
    expect(await state().health({ clusterId: empty })).toMatchObject({ status: "unknown", node_count: 0 });
  });

  test("credentials that end within two weeks are a warning, until others are used", async () => {
    const day = 24 * 60 * MINUTE_MS;
    const soon = { credentialsEndMs: NOW_MS + 3 * day };
    const metrics = toMetrics([node("a", {})]);
    const health = async (records: Parameters<typeof cluster>[1]) =>
      await state().health({ clusterId: await cluster(metrics, records) });
    expect(await health([soon])).toMatchObject({
      status: "warning",
      issues: [{ metric: "credentials_days_left", value: 3, threshold: 14, node: null }],
    });
    expect(await health([{ credentialsEndMs: NOW_MS - day }])).toMatchObject({
      issues: [
        { metric: "credentials_days_left", value: -1, message: expect.stringContaining("has expired") },
      ],
    });
    expect(await health([{ credentialsEndMs: NOW_MS + 15 * day }])).toMatchObject({ status: "healthy" });
    const replaced = [{ ...soon, atMs: NOW_MS - 5 * MINUTE_MS }, {}];
    expect(await health(replaced)).toMatchObject({ status: "healthy", issues: [] });
  });

  test("a node that nobody measures is a warning", async () => {
    const [listed] = toMetrics([node("silent", {})]);
    const id = await cluster([listed!, ...toMetrics([node("a", {})]).slice(1)]);
    expect(await state().health({ clusterId: id })).toMatchObject({
      status: "warning",
      issues: [{ metric: "node_metrics", node: "silent" }],
    });
  });

  test("is stale when what is stored is old, and still says what was last known", async () => {
    const id = await cluster(toMetrics([node("full", { disk: 95 })]));
    const later = state(NOW_MS + 26 * 60 * MINUTE_MS);
    expect(await later.health({ clusterId: id })).toMatchObject({
      status: "stale",
      as_of: new Date(AS_OF_MS).toISOString(),
      issues: [{ metric: "disk_usage_percent", node: "full" }],
    });
    const summary = await later.summary({ clusterId: id });
    expect(summary).toMatchObject({ node_count: 1, completeness: { lag_seconds: 26 * 3600 + 120 } });
  });
});
