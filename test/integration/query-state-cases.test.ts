import { describe, expect, test } from "vitest";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import {
  AS_OF_MS,
  createStateCases,
  gauge,
  GIB,
  MINUTE_MS,
  node,
  NOW_MS,
  now,
  QUERIES,
  toMetrics,
} from "../helpers/state-cases.ts";
import { point, storeNodes, type StoredRecord } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);

describe("completeness", () => {
  const of = async (records: Partial<StoredRecord>[]) => {
    const id = await cluster(toMetrics([node("a", {})]), records);
    return (await state().summary({ clusterId: id })).completeness;
  };
  const before = { atMs: NOW_MS - 65 * MINUTE_MS, watermarkMs: NOW_MS - 70 * MINUTE_MS };

  test("a gap that was lost before the window does not count, one that was lost in it does", async () => {
    expect(await of([{ ...before, lostGaps: 1 }, { lostGaps: 1 }])).toMatchObject({
      complete: true,
      lost_gaps: 0,
    });
    expect(await of([{ ...before, lostGaps: 1 }, { lostGaps: 2 }])).toMatchObject({ complete: false });
  });

  test("samples that the Collector refused are missing", async () => {
    const completeness = await of([
      { ...before, read: 100, sent: 90 },
      { read: 200, sent: 189 },
    ]);
    const { queries } = completeness;
    expect(completeness).toMatchObject({
      complete: false,
      samples_read: 100 * queries,
      samples_sent: 99 * queries,
    });
    expect(
      await of([
        { ...before, read: 100, sent: 90 },
        { read: 200, sent: 190 },
      ]),
    ).toMatchObject({
      complete: true,
    });
  });

  test("a query that is behind is named and does not hold the others back", async () => {
    const atMs = NOW_MS - MINUTE_MS;
    const completeness = await of([
      before,
      { atMs, queries: QUERIES.slice(1) },
      { atMs, queries: ["kube_node_info"], watermarkMs: NOW_MS - 50 * MINUTE_MS, openGaps: 1 },
    ]);
    expect(completeness).toMatchObject({
      complete: false,
      open_gaps: 1,
      behind: [{ query: "kube_node_info", watermark: new Date(NOW_MS - 50 * MINUTE_MS).toISOString() }],
    });
    expect(completeness.not_collected).toContain("node_load5");
  });

  test("a collection that began in the window says so", async () => {
    expect(await of([{}])).toMatchObject({
      complete: false,
      collected_since: new Date(NOW_MS - MINUTE_MS).toISOString(),
    });
  });
});

describe("summary", () => {
  test("only real file systems count, each device once", async () => {
    const at = { instance: "a:9100", "k8s.node.name": "a" };
    const files: [device: string, fstype: string, mountpoint: string, size: number, available: number][] = [
      ["/dev/sda1", "xfs", "/", 100, 40],
      ["/dev/sda1", "xfs", "/var/lib/kubelet", 100, 40],
      ["/dev/sda1", "xfs", "/quota", 10, 1],
      ["/dev/sdb", "ext4", "/data", 300, 30],
      ["tmpfs", "tmpfs", "/run", 1e6, 0],
      ["overlay", "overlay", "/var/lib/x", 1e6, 0],
      ["/dev/loop0", "squashfs", "/snap", 1e6, 0],
      ["nas:/export", "nfs4", "/mnt", 1e6, 0],
      ["lxcfs", "fuse.lxcfs", "/lxc", 1e6, 0],
    ];
    const labels = (device: string, fstype: string, mountpoint: string) => ({
      ...at,
      device,
      fstype,
      mountpoint,
    });
    const id = await cluster([
      gauge(
        "node_filesystem_size_bytes",
        files.map(([d, f, m, size]) => now(labels(d, f, m), size * GIB)),
      ),
      gauge(
        "node_filesystem_avail_bytes",
        files.map(([d, f, m, , free]) => now(labels(d, f, m), free * GIB)),
      ),
    ]);
    expect(await state().summary({ clusterId: id })).toMatchObject({
      total_disk_gb: 400,
      used_disk_gb: 330,
      avg_disk_usage_percent: 82.5,
      max_disk_usage_percent: 90,
      total_cpu_cores: null,
      avg_cpu_usage_percent: null,
      total_memory_gb: null,
      pod_count: null,
      gpu_count: 0,
      avg_gpu_utilization_percent: null,
      gpu_power_watts: null,
    });
  });

  test("a node that vanished is in the averages of its time, and no more in what is now", async () => {
    const gone = { node: "gone", instance: "ksm:8080", internal_ip: "10.0.0.2" };
    const then = (labels: Record<string, string>, value: number) =>
      point(labels, AS_OF_MS - 30 * MINUTE_MS - 1000, value);
    const goneAt = { instance: "10.0.0.2:9100" };
    const at = { instance: "10.0.0.1:9100" };
    const id = await cluster([
      gauge("kube_node_info", [
        now({ node: "here", instance: "ksm:8080", internal_ip: "10.0.0.1" }, 1),
        then(gone, 1),
      ]),
      gauge("node_memory_MemTotal_bytes", [now(at, 4 * GIB), then(goneAt, 8 * GIB)]),
      gauge("node_memory_MemAvailable_bytes", [now(at, 3 * GIB), then(goneAt, 2 * GIB)]),
    ]);
    const answer = await state().summary({ clusterId: id });
    expect(answer).toMatchObject({
      node_count: 1,
      total_memory_gb: 4,
      used_memory_gb: 1,
      max_memory_usage_percent: 75,
    });
    // One step has the present node, five have the one that is gone.
    expect(answer.avg_memory_usage_percent).toBeCloseTo((25 + 5 * 75) / 6, 9);
    expect((await state().nodes({ clusterId: id })).nodes).toMatchObject([
      { node: "here", cpu_cores: null, memory_used_bytes: GIB },
    ]);
  });

  test("a reset is no fall, and a node whose name was unknown for a round stays one series", async () => {
    const counter = (mode: string, values: number[]) =>
      values.map((value, i) =>
        point(
          { instance: "x:9100", cpu: "0", mode, ...(i % 2 === 0 ? { "k8s.node.name": "a" } : {}) },
          AS_OF_MS - (values.length - 1 - i) * MINUTE_MS - 1000,
          value,
        ),
      );
    const cpu: TestMetric = {
      name: "node_cpu_seconds_total",
      kind: "sum",
      points: [
        ...counter("idle", [1000, 1045, 1090, 45, 90, 135]),
        ...counter("user", [5000, 5015, 5030, 15, 30, 45]),
      ],
    };
    const id = await cluster([cpu], [{}], "before");
    const answer = await state().summary({ clusterId: id, fromMs: AS_OF_MS - 30_000 });
    expect(answer).toMatchObject({ node_count: 1, total_cpu_cores: 1 });
    expect(answer.avg_cpu_usage_percent).toBeCloseTo(25, 9);
    expect((await state().nodes({ clusterId: id })).nodes).toMatchObject([{ node: "a" }]);
  });

  test("NaN and infinities are left out", async () => {
    const at = (name: string) => ({ instance: name });
    const id = await cluster([
      gauge("node_load1", [now(at("a"), 3), now(at("b"), Number.NaN), now(at("c"), Infinity)]),
    ]);
    expect(await state().summary({ clusterId: id })).toMatchObject({ avg_load_1: 3, node_count: 1 });
  });
});

test("a metric whose type is another now counts as before, from either table", async () => {
  const known = toMetrics([node("a", { memory: 40, disk: 30, load: 3 })]);
  const gpu = gauge("DCGM_FI_DEV_GPU_UTIL", [now({ UUID: "GPU-1", gpu: "0", Hostname: "a" }, 50)]);
  const asGauges = await cluster([...known, gpu]);
  const asSums = await cluster([...known, gpu].map((metric) => ({ ...metric, kind: "sum" as const })));
  const numbers = async (clusterId: string) => {
    const { completeness: _, cluster_id: _id, ...summary } = await state().summary({ clusterId });
    const { nodes } = await state().nodes({ clusterId });
    const { gpus } = await state().gpus({ clusterId });
    return { summary, nodes, gpus };
  };
  expect(await numbers(asSums)).toEqual(await numbers(asGauges));
  expect((await numbers(asSums)).nodes).toMatchObject([{ node: "a", memory_usage_percent: 40, load_1: 3 }]);
});

describe("gpus", () => {
  test("shared, partitioned, free and renamed by Prometheus", async () => {
    const of = (uuid: string, more: Record<string, string>) => ({ UUID: uuid, Hostname: "a", ...more });
    const exporter = { namespace: "gpu", pod: "dcgm-x", container: "nvidia-dcgm-exporter" };
    const id = await cluster([
      gauge("DCGM_FI_DEV_GPU_UTIL", [
        now(of("GPU-1", { gpu: "0", namespace: "ns", pod: "one", container: "c" }), 50),
        now(of("GPU-1", { gpu: "0", namespace: "ns", pod: "two", container: "c" }), 50),
        point(of("GPU-1", { gpu: "0", namespace: "ns", pod: "old", container: "c" }), AS_OF_MS - 40_000, 99),
        now(of("GPU-10", { gpu: "10", ...exporter }), 0),
        now(
          of("GPU-2", {
            gpu: "2",
            ...exporter,
            exported_namespace: "ns",
            exported_pod: "three",
            exported_container: "c",
          }),
          70,
        ),
      ]),
      gauge("DCGM_FI_DEV_FB_USED", [
        now(of("GPU-3", { gpu: "3", GPU_I_ID: "1" }), 100),
        now(of("GPU-3", { gpu: "3", GPU_I_ID: "2" }), 200),
      ]),
      gauge("DCGM_FI_DEV_FB_FREE", [
        now(of("GPU-3", { gpu: "3", GPU_I_ID: "1" }), 300),
        now(of("GPU-3", { gpu: "3", GPU_I_ID: "2" }), 200),
      ]),
      gauge("DCGM_FI_DEV_POWER_USAGE", [
        now(of("GPU-3", { gpu: "3", GPU_I_ID: "1" }), 250),
        now(of("GPU-3", { gpu: "3", GPU_I_ID: "2" }), 250),
      ]),
    ]);
    const { gpus } = await state().gpus({ clusterId: id });
    expect(
      gpus.map(({ uuid, mig_instance, pods, utilization_percent }) => [
        uuid,
        mig_instance,
        pods.map(({ namespace, pod }) => `${namespace}/${pod}`).sort(),
        utilization_percent,
      ]),
    ).toEqual([
      ["GPU-1", null, ["ns/one", "ns/two"], 50],
      ["GPU-2", null, ["ns/three"], 70],
      ["GPU-3", "1", [], null],
      ["GPU-3", "2", [], null],
      ["GPU-10", null, [], 0],
    ]);
    expect(await state().summary({ clusterId: id })).toMatchObject({
      gpu_count: 4,
      total_gpu_memory_gb: 800 / 1024,
      used_gpu_memory_gb: 300 / 1024,
      gpu_power_watts: 250,
      max_gpu_memory_usage_percent: 37.5,
    });
  });
});

describe("pods", () => {
  test("of one namespace, sorted, with a cursor that belongs to the question", async () => {
    const info = (namespace: string, pod: string) => now({ namespace, pod, node: "a" }, 1);
    const used = (namespace: string, pod: string, container: string, value: number) =>
      now({ namespace, pod, container, id: `/${pod}/${container}` }, value);
    const id = await cluster([
      gauge("kube_pod_info", [info("x", "p1"), info("x", "p2"), info("x", "p3"), info("y'); --", "p1")]),
      gauge("container_memory_working_set_bytes", [
        used("x", "p1", "c", 10),
        used("x", "p2", "c", 20),
        used("x", "p2", "d", 5),
        used("x", "p2", "", 1000),
        used("x", "p2", "POD", 1000),
      ]),
    ]);
    const first = await state().pods({ clusterId: id, namespace: "x", sort: "memory", limit: 2 });
    expect(first).toMatchObject({
      pod_count: 3,
      pods: [
        { pod: "p2", memory_working_set_bytes: 25 },
        { pod: "p1", memory_working_set_bytes: 10 },
      ],
    });
    const cursor = first.next_cursor!;
    const second = await state().pods({ clusterId: id, namespace: "x", sort: "memory", limit: 2, cursor });
    expect(second).toMatchObject({
      pod_count: 3,
      pods: [{ pod: "p3", node: "a", memory_working_set_bytes: null }],
      next_cursor: null,
    });
    const odd = await state().pods({ clusterId: id, namespace: "y'); --" });
    expect(odd.pods.map(({ pod }) => pod)).toEqual(["p1"]);
    for (const wrong of [{ cursor: "x" }, { cursor, sort: "name" as const }, { cursor, namespace: "y" }]) {
      const error = await bridgeErrorOf(
        state().pods({ clusterId: id, namespace: "x", sort: "memory", limit: 2, ...wrong }),
      );
      expect([error.code, error.details]).toEqual([
        "request_invalid",
        { fields: [{ field: "cursor", problem: expect.any(String) }] },
      ]);
    }
  });
});

describe("refusals", () => {
  test("an unknown cluster, and ids that are none", async () => {
    for (const ask of [state().summary, state().health, state().nodes, state().pods, state().gpus]) {
      expect((await bridgeErrorOf(ask({ clusterId: "nobody" }))).code).toBe("cluster_not_found");
      expect((await bridgeErrorOf(ask({ clusterId: "a' OR 1=1" }))).code).toBe("request_invalid");
    }
  });

  test("more rows than may be read", async () => {
    const id = await cluster(toMetrics([node("a", {})]));
    const small = state(NOW_MS, { limits: { ...QUERY_DEFAULTS.limits, rowsReadMax: 1 } });
    expect((await bridgeErrorOf(small.summary({ clusterId: id }))).code).toBe("query_too_large");
  });

  test("nobody waits any more", async () => {
    const id = await cluster(toMetrics([node("a", {})]));
    const reason = new Error("gone");
    await expect(state().health({ clusterId: id, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe("nodes by the lists of their addresses", () => {
  const memory = (instance: string, value: number, ago = 0) =>
    point({ instance }, AS_OF_MS - ago * MINUTE_MS - 1000, value);

  test("name what says nothing else of its node: node_exporter's series, and GPUs", async () => {
    const id = await cluster([
      gauge("node_load1", [now({ instance: "10.0.0.1:9100" }, 1), now({ instance: "[fd00::2]:9100" }, 2)]),
      gauge("DCGM_FI_DEV_GPU_UTIL", [
        now({ UUID: "GPU-1", gpu: "0", instance: "10.0.0.1:9400" }, 10),
        now({ UUID: "GPU-2", gpu: "1", instance: "10.244.0.1:9400" }, 20),
      ]),
    ]);
    const byAddress = new Map([
      ["10.0.0.1", "a"],
      ["fd00::2", "b"],
    ]);
    // The only list is later than as_of: that of the collection that read the samples.
    await storeNodes(engine.database, id, byAddress, { fromMs: NOW_MS, toMs: NOW_MS });
    expect((await state().nodes({ clusterId: id })).nodes.map((each) => [each.node, each.load_1])).toEqual([
      ["a", 1],
      ["b", 2],
    ]);
    expect((await state().gpus({ clusterId: id })).gpus.map((each) => [each.uuid, each.node])).toEqual([
      ["GPU-2", "10.244.0.1:9400"],
      ["GPU-1", "a"],
    ]);
    expect(await state().summary({ clusterId: id })).toMatchObject({ node_count: 2, avg_load_1: 1.5 });
  });

  test("are those of the time that is asked for", async () => {
    const id = await cluster(
      [gauge("node_load1", [memory("10.0.0.1:9100", 1, 120), memory("10.0.0.1:9100", 2)])],
      [{ atMs: AS_OF_MS - 130 * MINUTE_MS, watermarkMs: AS_OF_MS - 130 * MINUTE_MS }, {}],
    );
    const at = (minutes: number) => AS_OF_MS - minutes * MINUTE_MS;
    await storeNodes(engine.database, id, new Map([["10.0.0.1", "old"]]), { fromMs: at(150), toMs: at(60) });
    await storeNodes(engine.database, id, new Map([["10.0.0.1", "new"]]), { fromMs: at(50), toMs: at(-1) });
    const namesAt = async (minutes: number) => {
      const range = { fromMs: at(minutes + 15), toMs: at(minutes) };
      return (await state().nodes({ clusterId: id, ...range })).nodes.map((each) => each.node);
    };
    expect(await namesAt(120)).toEqual(["old"]);
    expect(await namesAt(0)).toEqual(["new"]);
  });

  test("a label k8s.node.name of the source goes before them", async () => {
    const own = { instance: "10.0.0.1:9100", "k8s.node.name": "theirs" };
    const id = await cluster([gauge("node_load1", [now(own, 1)])]);
    await storeNodes(engine.database, id, new Map([["10.0.0.1", "a"]]), { fromMs: NOW_MS, toMs: NOW_MS });
    expect((await state().nodes({ clusterId: id })).nodes.map((each) => each.node)).toEqual(["theirs"]);
  });
});
