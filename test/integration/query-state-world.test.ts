import { beforeAll, describe, expect, test } from "vitest";
import { createClusterState, type ClusterState } from "#query/state/cluster-state.ts";
import { createEngine, type Engine } from "#simulator/evaluate.ts";
import { parsePromql } from "#simulator/promql.ts";
import { createWorld, type ClusterWorld } from "#simulator/world.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { storeRecord, storeWorld } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

/**
 * The numbers beside what PromQL says about the same simulated cluster, whose counters are reset, whose Pods come and go and whose
 * container_* samples are late. The simulator evaluates the PromQL from its own functions of time, not from what is stored.
 */
const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
/** The end of what is stored; no whole second, as a watermark of Prometheus' time() is. */
const AS_OF_MS = Math.floor(Date.now() / 3_600_000) * 3_600_000 - 30 * MINUTE_MS + 123;
const GIB = 2 ** 30;

let world: ClusterWorld;
let promql: Engine;
let state: ClusterState;

beforeAll(async () => {
  // Later than all samples, so that the late ones are there.
  const clock = createManualClock(AS_OF_MS + 10 * MINUTE_MS);
  world = createWorld({ clock }, { shape: { pods: 10, cpus: 2, gpus: 2, scrapeIntervalMs: 30_000 } }).cluster(
    "sim-1",
  );
  promql = createEngine(world, { version: 3, replica: 0, samplesMax: Number.POSITIVE_INFINITY });
  const metrics = world.metrics
    .map(({ name }) => name)
    .filter((name) => /^(node|kube|container|DCGM)_/.test(name));
  const { database } = engine;
  await storeWorld(database, world, {
    fromMs: AS_OF_MS - 75 * MINUTE_MS,
    toMs: AS_OF_MS + MINUTE_MS,
    metrics,
    // The bridge is upgraded within the windows of the answers.
    upgradedMs: AS_OF_MS - 10 * MINUTE_MS,
  });
  // A part of it arrives a second time, with the same values: what was sent before the upgrade as well.
  await storeWorld(database, world, { fromMs: AS_OF_MS - 20 * MINUTE_MS, toMs: AS_OF_MS, metrics });
  await storeRecord(database, "sim-1", { atMs: AS_OF_MS - 65 * MINUTE_MS, queries: metrics, read: 10 });
  await storeRecord(database, "sim-1", {
    atMs: AS_OF_MS + 2 * MINUTE_MS,
    watermarkMs: AS_OF_MS,
    queries: metrics,
    read: 1000,
  });
  state = createClusterState(
    { database, clock: createManualClock(AS_OF_MS + 3 * MINUTE_MS) },
    QUERY_DEFAULTS,
  );
}, 300_000);

/** Values of a vector by the values of some labels. */
function vector(expression: string, atMs: number, ...by: string[]): Map<string, number> {
  const result = promql.instant(parsePromql(expression), atMs);
  if (result.type !== "vector") throw new Error(`a ${result.type} instead of a vector`);
  return new Map(
    result.items.map(({ labels, value }) => [
      by.map((name) => labels.find(([own]) => own === name)?.[1] ?? "").join("|"),
      value,
    ]),
  );
}

const steps = Array.from({ length: 60 }, (_, i) => AS_OF_MS - (59 - i) * MINUTE_MS);
const sum = (values: Iterable<number>): number => [...values].reduce((total, value) => total + value, 0);
const mean = (values: number[]): number => sum(values) / values.length;
/** Only machines of the cluster: one more instance carries odd values. */
const NODES = 'instance=~"10[.].*"';
const gauge = (metric: string): string => `last_over_time(${metric}{${NODES}}[5m])`;

/** How far a number is from the expected one, relative to it; both may be null. */
function off(actual: number | null, expected: number | null): number {
  if (actual === null || expected === null) return actual === expected ? 0 : Infinity;
  return Number.isFinite(expected) ? Math.abs(actual - expected) / Math.max(1, Math.abs(expected)) : Infinity;
}
const EXACT = 1e-9;

/** Newest sample of each group of series, whichever series of the group it is from: PromQL has no such thing. */
function newest(metric: string, atMs: number, ...by: string[]): Map<string, { value: number; pod: string }> {
  const found = new Map<string, { value: number; pod: string; timeMs: number }>();
  for (const series of world.expected({ fromMs: atMs - 5 * MINUTE_MS, toMs: atMs, metric })) {
    const labels = Object.fromEntries(series.labels);
    const key = by.map((name) => labels[name] ?? "").join("|");
    const timeMs = series.timestamps.at(-1)!;
    if (timeMs > (found.get(key)?.timeMs ?? 0)) {
      found.set(key, { value: series.values.at(-1)!, pod: labels["pod"] ?? "", timeMs });
    }
  }
  return found;
}

describe("summary", () => {
  test("says of what it is the summary", async () => {
    const answer = await state.summary({ clusterId: "sim-1" });
    expect(answer).toMatchObject({
      cluster_id: "sim-1",
      as_of: new Date(AS_OF_MS).toISOString(),
      window: {
        from: new Date(AS_OF_MS - 60 * MINUTE_MS).toISOString(),
        to: new Date(AS_OF_MS).toISOString(),
        step_seconds: 60,
        lookback_seconds: 300,
      },
      completeness: { complete: true, lag_seconds: 180, cluster_up: true, behind: [], not_collected: [] },
    });
    const { queries, samples_read, samples_sent } = answer.completeness;
    expect([samples_read, samples_sent]).toEqual([990 * queries, 990 * queries]);
  });

  test("CPU, in counters that are reset", async () => {
    const answer = await state.summary({ clusterId: "sim-1" });
    const idle = `rate(node_cpu_seconds_total{mode="idle"}[5m])`;
    const all = `rate(node_cpu_seconds_total[5m])`;
    const cluster = steps.map(
      (at) => 100 * (1 - sum(vector(`sum(${idle})`, at).values()) / sum(vector(`sum(${all})`, at).values())),
    );
    const nodes = steps.flatMap((at) => {
      const total = vector(`sum by (instance)(${all})`, at, "instance");
      return [...vector(`sum by (instance)(${idle})`, at, "instance")].map(
        ([instance, value]) => 100 * (1 - value / total.get(instance)!),
      );
    });
    expect(answer.total_cpu_cores).toBe(6);
    expect(off(answer.avg_cpu_usage_percent, mean(cluster))).toBeLessThan(EXACT);
    expect(off(answer.max_cpu_usage_percent, Math.max(...nodes))).toBeLessThan(EXACT);
  });

  test("memory", async () => {
    const answer = await state.summary({ clusterId: "sim-1" });
    const at = (timeMs: number) => {
      const total = vector(gauge("node_memory_MemTotal_bytes"), timeMs, "instance");
      const available = vector(gauge("node_memory_MemAvailable_bytes"), timeMs, "instance");
      return [...total].map(([node, value]) => ({ total: value, used: value - available.get(node)! }));
    };
    const last = at(AS_OF_MS);
    expect(off(answer.total_memory_gb, sum(last.map(({ total }) => total)) / GIB)).toBeLessThan(EXACT);
    expect(off(answer.used_memory_gb, sum(last.map(({ used }) => used)) / GIB)).toBeLessThan(EXACT);
    const whole = (nodes: typeof last): number =>
      (100 * sum(nodes.map(({ used }) => used))) / sum(nodes.map(({ total }) => total));
    expect(off(answer.avg_memory_usage_percent, mean(steps.map((step) => whole(at(step)))))).toBeLessThan(
      EXACT,
    );
    expect(
      off(
        answer.max_memory_usage_percent,
        Math.max(...steps.flatMap((step) => at(step).map((n) => (100 * n.used) / n.total))),
      ),
    ).toBeLessThan(EXACT);
  });

  test("disks, each device of a node once however often it is mounted", async () => {
    const answer = await state.summary({ clusterId: "sim-1" });
    const at = (timeMs: number) => {
      const size = vector(
        `max by (instance, device)(${gauge("node_filesystem_size_bytes")})`,
        timeMs,
        "instance",
        "device",
      );
      const free = vector(
        `max by (instance, device)(${gauge("node_filesystem_avail_bytes")})`,
        timeMs,
        "instance",
        "device",
      );
      return [...size].map(([device, value]) => ({ total: value, used: value - free.get(device)! }));
    };
    const last = at(AS_OF_MS);
    expect(last).toHaveLength(7);
    expect(off(answer.total_disk_gb, sum(last.map(({ total }) => total)) / GIB)).toBeLessThan(EXACT);
    expect(off(answer.used_disk_gb, sum(last.map(({ used }) => used)) / GIB)).toBeLessThan(EXACT);
    const whole = (devices: typeof last): number =>
      (100 * sum(devices.map(({ used }) => used))) / sum(devices.map(({ total }) => total));
    expect(off(answer.avg_disk_usage_percent, mean(steps.map((step) => whole(at(step)))))).toBeLessThan(
      EXACT,
    );
    expect(
      off(
        answer.max_disk_usage_percent,
        Math.max(...steps.flatMap((step) => at(step).map((d) => (100 * d.used) / d.total))),
      ),
    ).toBeLessThan(EXACT);
  });

  test("load, without the machine that is no node of the cluster", async () => {
    const answer = await state.summary({ clusterId: "sim-1" });
    const load = (minutes: number): number =>
      mean(steps.map((at) => mean([...vector(gauge(`node_load${minutes}`), at, "instance").values()])));
    expect(off(answer.avg_load_1, load(1))).toBeLessThan(EXACT);
    expect(off(answer.avg_load_5, load(5))).toBeLessThan(EXACT);
    expect(off(answer.avg_load_15, load(15))).toBeLessThan(EXACT);
  });

  test("nodes, Pods and GPUs", async () => {
    const answer = await state.summary({ clusterId: "sim-1" });
    const pods = vector("last_over_time(kube_pod_info[5m])", AS_OF_MS, "namespace", "pod");
    const running = vector(
      'last_over_time(kube_pod_status_phase{phase="Running"}[5m])',
      AS_OF_MS,
      "namespace",
      "pod",
    );
    expect([answer.node_count, answer.pod_count, answer.running_pod_count, answer.gpu_count]).toEqual([
      3,
      pods.size,
      [...running.values()].filter((value) => value === 1).length,
      6,
    ]);
    const values = (metric: string, at: number): number[] =>
      [...newest(metric, at, "UUID").values()].map(({ value }) => value);
    // The exporter has SM_ACTIVE, which counts before GPU_UTIL.
    const utilization = steps.flatMap((at) => values("DCGM_FI_PROF_SM_ACTIVE", at).map((each) => 100 * each));
    expect(off(answer.avg_gpu_utilization_percent, mean(utilization))).toBeLessThan(EXACT);
    expect(off(answer.max_gpu_utilization_percent, Math.max(...utilization))).toBeLessThan(EXACT);
    const used = (at: number): number => sum(values("DCGM_FI_DEV_FB_USED", at));
    const total = (at: number): number => used(at) + sum(values("DCGM_FI_DEV_FB_FREE", at));
    expect(off(answer.used_gpu_memory_gb, used(AS_OF_MS) / 1024)).toBeLessThan(EXACT);
    expect(off(answer.total_gpu_memory_gb, total(AS_OF_MS) / 1024)).toBeLessThan(EXACT);
    expect(
      off(answer.avg_gpu_memory_usage_percent, mean(steps.map((at) => (100 * used(at)) / total(at)))),
    ).toBeLessThan(EXACT);
    expect(
      off(
        answer.max_gpu_memory_usage_percent,
        Math.max(
          ...steps.flatMap((at) => {
            const free = newest("DCGM_FI_DEV_FB_FREE", at, "UUID");
            return [...newest("DCGM_FI_DEV_FB_USED", at, "UUID")].map(
              ([uuid, { value }]) => (100 * value) / (value + free.get(uuid)!.value),
            );
          }),
        ),
      ),
    ).toBeLessThan(EXACT);
    expect(off(answer.gpu_power_watts, sum(values("DCGM_FI_DEV_POWER_USAGE", AS_OF_MS)))).toBeLessThan(EXACT);
    expect(
      off(answer.avg_gpu_power_watts, mean(steps.map((at) => sum(values("DCGM_FI_DEV_POWER_USAGE", at))))),
    ).toBeLessThan(EXACT);
  });

  test("of a past hour with its own end is the same as it was then", async () => {
    const toMs = AS_OF_MS - 10 * MINUTE_MS;
    const answer = await state.summary({
      clusterId: "sim-1",
      fromMs: toMs - 30 * MINUTE_MS,
      toMs,
    });
    expect(answer.as_of).toBe(new Date(toMs).toISOString());
    const loads = Array.from({ length: 30 }, (_, i) => toMs - i * MINUTE_MS).map((at) =>
      mean([...vector(gauge("node_load1"), at, "instance").values()]),
    );
    expect(off(answer.avg_load_1, mean(loads))).toBeLessThan(EXACT);
  });
});

test("nodes: CPU over the whole window, the rest as of now", async () => {
  const { nodes, node_count } = await state.nodes({ clusterId: "sim-1" });
  expect(node_count).toBe(3);
  const idle = vector(
    'sum by (instance)(rate(node_cpu_seconds_total{mode="idle"}[15m]))',
    AS_OF_MS,
    "instance",
  );
  const all = vector("sum by (instance)(rate(node_cpu_seconds_total[15m]))", AS_OF_MS, "instance");
  const pods = vector("count by (node)(last_over_time(kube_pod_info[5m]))", AS_OF_MS, "node");
  for (const { name, address } of world.layout.nodes) {
    const node = nodes.find((each) => each.node === name)!;
    const instance = `${address}:9100`;
    const value = (metric: string): number => vector(gauge(metric), AS_OF_MS, "instance").get(instance)!;
    expect(node).toMatchObject({ ready: true, conditions: [], cpu_cores: 2, pod_count: pods.get(name) });
    expect(off(node.cpu_usage_percent, 100 * (1 - idle.get(instance)! / all.get(instance)!))).toBeLessThan(
      EXACT,
    );
    expect(off(node.memory_total_bytes, value("node_memory_MemTotal_bytes"))).toBeLessThan(EXACT);
    expect(
      off(
        node.memory_used_bytes,
        value("node_memory_MemTotal_bytes") - value("node_memory_MemAvailable_bytes"),
      ),
    ).toBeLessThan(EXACT);
    expect(off(node.load_1, value("node_load1"))).toBeLessThan(EXACT);
    expect(off(node.load_15, value("node_load15"))).toBeLessThan(EXACT);
  }
});

test("pods: page by page, each once, and the numbers of PromQL", async () => {
  const pods = [];
  let cursor: string | null = null;
  do {
    const page = await state.pods({
      clusterId: "sim-1",
      sort: "cpu",
      limit: 7,
      ...(cursor === null ? {} : { cursor }),
    });
    pods.push(...page.pods);
    cursor = page.next_cursor;
    expect(page.as_of).toBe(new Date(AS_OF_MS).toISOString());
    expect(pods.length === page.pod_count).toBe(cursor === null);
  } while (cursor !== null);

  const by = ["namespace", "pod"];
  const cpu = vector(
    "sum by (namespace, pod)(rate(container_cpu_usage_seconds_total[15m]))",
    AS_OF_MS,
    ...by,
  );
  const memory = vector(
    "sum by (namespace, pod)(last_over_time(container_memory_working_set_bytes[5m]))",
    AS_OF_MS,
    ...by,
  );
  const requests = vector(
    'last_over_time(kube_pod_container_resource_requests{resource="memory"}[5m])',
    AS_OF_MS,
    ...by,
  );
  const restarts = newest("kube_pod_container_status_restarts_total", AS_OF_MS, ...by);
  const info = vector("last_over_time(kube_pod_info[5m])", AS_OF_MS, ...by);
  expect(pods.map(({ namespace, pod }) => `${namespace}|${pod}`).sort()).toEqual([...info.keys()].sort());
  for (const pod of pods) {
    const key = `${pod.namespace}|${pod.pod}`;
    expect(off(pod.cpu_usage_cores, cpu.get(key) ?? null)).toBeLessThan(EXACT);
    expect(off(pod.memory_working_set_bytes, memory.get(key) ?? null)).toBeLessThan(EXACT);
    expect(pod.memory_request_bytes).toBe(requests.get(key) ?? null);
    expect(pod.restarts_total).toBe(restarts.get(key)?.value ?? null);
  }
  const known = pods.map((pod) => pod.cpu_usage_cores ?? 0);
  expect(known).toEqual(known.toSorted((a, b) => b - a));
});

test("pods: restarts are counted in the window, from the sample before it", async () => {
  const { pods } = await state.pods({ clusterId: "sim-1" });
  const fromMs = AS_OF_MS - 15 * MINUTE_MS;
  const restarts = new Map<string, number>();
  const metric = "kube_pod_container_status_restarts_total";
  for (const series of world.expected({ fromMs: fromMs - 5 * MINUTE_MS, toMs: AS_OF_MS, metric })) {
    const { namespace, pod } = Object.fromEntries(series.labels);
    const increase = series.values.map((value, i) =>
      i > 0 && series.timestamps[i]! > fromMs ? value - series.values[i - 1]! : 0,
    );
    restarts.set(`${namespace}|${pod}`, sum(increase));
  }
  expect(Math.max(...restarts.values())).toBeGreaterThan(0);
  for (const { namespace, pod, restarts: counted } of pods) {
    expect([pod, counted]).toEqual([pod, restarts.get(`${namespace}|${pod}`) ?? 0]);
  }
});

test("gpus: the newest sample of each, and the Pod that holds it now", async () => {
  const { gpus } = await state.gpus({ clusterId: "sim-1" });
  const utilization = newest("DCGM_FI_PROF_SM_ACTIVE", AS_OF_MS, "UUID");
  expect(gpus.map(({ uuid }) => uuid).sort()).toEqual([...utilization.keys()].sort());
  expect(gpus.map(({ node, gpu }) => `${node}/${gpu}`)).toEqual(
    world.layout.nodes.flatMap(({ name }) => [`${name}/0`, `${name}/1`]),
  );
  const power = newest("DCGM_FI_DEV_POWER_USAGE", AS_OF_MS, "UUID");
  for (const gpu of gpus) {
    expect(gpu.utilization_percent).toBe(100 * utilization.get(gpu.uuid)!.value);
    expect(gpu.utilization_source).toBe("DCGM_FI_PROF_SM_ACTIVE");
    expect(gpu.power_watts).toBe(power.get(gpu.uuid)!.value);
    expect(gpu.pods.map(({ pod }) => pod)).toEqual([utilization.get(gpu.uuid)!.pod]);
  }
});
