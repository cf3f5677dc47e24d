import { describe, expect, test } from "vitest";
import type { GpuState } from "#query/state/gpus.ts";
import { useEngine } from "../helpers/engine.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { AS_OF_MS, createStateCases, gauge, MINUTE_MS, now } from "../helpers/state-cases.ts";
import { point } from "../helpers/stored-world.ts";

// GPUs as the exporters of public bug reports show them. The reports are named beside each case.

type Labels = Record<string, string>;

const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);

const uuid = (n: number): string => `GPU-00000000-0000-0000-0000-00000000000${n}`;
const dcgm = (n: number, more: Labels = {}): Labels => ({
  job: "dcgm",
  instance: "10.244.1.7:9400",
  gpu: String(n),
  UUID: uuid(n),
  modelName: "H100",
  Hostname: "a",
  ...more,
});
/** One sample of each metric, as new as any. */
const metrics = (series: readonly (readonly [string, Labels, number])[]): TestMetric[] =>
  [...Map.groupBy(series, ([name]) => name)].map(([name, own]) =>
    gauge(
      name,
      own.map(([, labels, value]) => now(labels, value)),
    ),
  );
/** A sample a minute for that many minutes, up to now. */
const over = (minutes: number, labels: Labels, value: (minutesAgo: number) => number): TestMetric["points"] =>
  Array.from({ length: minutes + 1 }, (_, i) => point(labels, AS_OF_MS - 1000 - i * MINUTE_MS, value(i)));
const gpusOf = async (id: string): Promise<GpuState[]> => (await state().gpus({ clusterId: id })).gpus;

describe("numbers that are no values", () => {
  test("are null, and the other GPU's count (gpu-monitoring-tools#92, DCGM#199, #202)", async () => {
    const id = await cluster(
      metrics([
        ["DCGM_FI_DEV_GPU_UTIL", dcgm(0), 40],
        ["DCGM_FI_DEV_FB_USED", dcgm(0), 1000],
        ["DCGM_FI_DEV_FB_FREE", dcgm(0), 79_000],
        ["DCGM_FI_DEV_POWER_USAGE", dcgm(0), 100],
        ["DCGM_FI_DEV_GPU_UTIL", dcgm(1), 60],
        ["DCGM_FI_DEV_FB_USED", dcgm(1), Number(9_223_372_036_854_775_794n)],
        ["DCGM_FI_DEV_FB_FREE", dcgm(1), 2_147_483_634],
        ["DCGM_FI_DEV_POWER_USAGE", dcgm(1), 140_737_488_355_328],
      ]),
    );
    expect(await gpusOf(id)).toMatchObject([
      { uuid: uuid(0), memory_used_mib: 1000, memory_total_mib: 80_000, power_watts: 100 },
      {
        uuid: uuid(1),
        utilization_percent: 60,
        memory_used_mib: null,
        memory_total_mib: null,
        power_watts: null,
      },
    ]);
    // Of the GPU that has numbers.
    expect(await state().summary({ clusterId: id })).toMatchObject({
      gpu_count: 2,
      avg_gpu_utilization_percent: 50,
      used_gpu_memory_gb: 1000 / 1024,
      total_gpu_memory_gb: 80_000 / 1024,
      gpu_power_watts: 100,
    });
  });
});

describe("one GPU counts once", () => {
  const part = (id: string): Labels => dcgm(0, { GPU_I_ID: id, GPU_I_PROFILE: "3g.20gb" });

  test("a GPU beside its MIG parts: its own row has their sum already (dcgm-exporter#3, #18)", async () => {
    const memory = (labels: Labels, used: number, free: number) =>
      [
        ["DCGM_FI_DEV_FB_USED", labels, used],
        ["DCGM_FI_DEV_FB_FREE", labels, free],
        ["DCGM_FI_DEV_POWER_USAGE", labels, 90],
      ] as const;
    const id = await cluster(
      metrics([
        ...memory(dcgm(0), 12_000, 28_000),
        ...memory(part("1"), 8000, 11_000),
        ...memory(part("2"), 4000, 15_000),
      ]),
    );
    expect(await state().gpus({ clusterId: id })).toMatchObject({
      gpu_count: 1,
      part_count: 2,
      gpus: [
        { mig_instance: null, mig_profile: null, memory_total_mib: 40_000 },
        { mig_instance: "1", mig_profile: "3g.20gb", memory_total_mib: 19_000 },
        { mig_instance: "2", mig_profile: "3g.20gb", memory_total_mib: 19_000 },
      ],
    });
    expect(await state().summary({ clusterId: id })).toMatchObject({
      gpu_count: 1,
      total_gpu_memory_gb: 40_000 / 1024,
      used_gpu_memory_gb: 12_000 / 1024,
      gpu_power_watts: 90,
    });
  });

  test("MIG parts by their own metrics: GPU_UTIL is 0 or absent there (dcgm-exporter#216, #430)", async () => {
    const id = await cluster(
      metrics([
        ["DCGM_FI_PROF_GR_ENGINE_ACTIVE", part("1"), 0.95],
        ["DCGM_FI_DEV_GPU_UTIL", part("1"), 0],
        ["DCGM_FI_PROF_GR_ENGINE_ACTIVE", part("2"), 0.9],
        ["DCGM_FI_DEV_GPU_UTIL", part("2"), 0],
        // The GPU itself: GPU_UTIL says nothing of a partitioned one.
        ["DCGM_FI_DEV_GPU_UTIL", dcgm(0), 0],
      ]),
    );
    const source = "DCGM_FI_PROF_GR_ENGINE_ACTIVE";
    expect(await gpusOf(id)).toMatchObject([
      { mig_instance: null, utilization_percent: null, utilization_source: null },
      { mig_instance: "1", utilization_percent: 95, utilization_source: source },
      { mig_instance: "2", utilization_percent: 90, utilization_source: source },
    ]);
    const { avg_gpu_utilization_percent } = await state().summary({ clusterId: id });
    expect(avg_gpu_utilization_percent).toBeCloseTo(92.5, 9);
  });

  test("two exporters of one GPU: the answers are those of one of them", async () => {
    // Scraped 20 s apart, with other values in between; the second has honor_labels: false.
    const of = (copy: 0 | 1): Labels =>
      copy === 0
        ? dcgm(0, { namespace: "ml", pod: "train", container: "main" })
        : dcgm(0, {
            job: "gpu-operator",
            instance: "10.244.1.9:9400",
            pod: "nvidia-dcgm-exporter-x",
            namespace: "gpu-operator",
            container: "nvidia-dcgm-exporter",
            endpoint: "metrics",
            exported_namespace: "ml",
            exported_pod: "train",
            exported_container: "main",
          });
    const all = (copies: readonly (0 | 1)[]): TestMetric[] =>
      ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_POWER_USAGE"].map(
        (name, m) =>
          gauge(
            name,
            copies.flatMap((copy) =>
              Array.from({ length: 60 }, (_, i) =>
                point(
                  of(copy),
                  AS_OF_MS - 5000 - copy * 20_000 - i * MINUTE_MS,
                  1000 * m + 10 + i + copy * 100,
                ),
              ),
            ),
          ),
      );
    const [one, two] = [await cluster(all([0])), await cluster(all([0, 1]))];
    const answers = async (id: string) => {
      const [{ gpus, gpu_count, uses }, { gpu_uses, ...summary }] = [
        await state().gpus({ clusterId: id }),
        await state().summary({ clusterId: id }),
      ];
      const numbers = Object.entries(summary).filter(([name]) => name.includes("gpu"));
      return { gpus, gpu_count, uses, gpu_uses, numbers };
    };
    // The first has fewer labels.
    expect(await answers(two)).toEqual(await answers(one));
    expect((await answers(two)).gpus).toMatchObject([
      { pods: [{ namespace: "ml", pod: "train", container: "main" }] },
    ]);
  });

  test("virtual GPUs: the series without a Pod is the device, those of Pods are their shares (dcgm-exporter PR 594)", async () => {
    const pod = (name: string): Labels => dcgm(0, { namespace: "ml", pod: name, container: "main" });
    const id = await cluster(
      metrics([
        ["DCGM_FI_DEV_GPU_UTIL", pod("one"), 20],
        ["DCGM_FI_DEV_GPU_UTIL", dcgm(0), 90],
        ["DCGM_FI_DEV_GPU_UTIL", pod("two"), 70],
        ["DCGM_FI_DEV_FB_USED", pod("one"), 20_000],
        ["DCGM_FI_DEV_FB_USED", pod("two"), 40_000],
        ["DCGM_FI_DEV_FB_USED", dcgm(0), 60_000],
        // Metrics without shares: once for each Pod.
        ["DCGM_FI_DEV_FB_FREE", pod("one"), 20_000],
        ["DCGM_FI_DEV_FB_FREE", pod("two"), 20_000],
      ]),
    );
    expect(await gpusOf(id)).toMatchObject([
      {
        utilization_percent: 90,
        memory_used_mib: 60_000,
        memory_total_mib: 80_000,
        use: "in_use",
        pods: [
          { pod: "one", utilization_percent: 20, memory_used_mib: 20_000 },
          { pod: "two", utilization_percent: 70, memory_used_mib: 40_000 },
        ],
      },
    ]);
    expect(await state().summary({ clusterId: id })).toMatchObject({
      gpu_count: 1,
      avg_gpu_utilization_percent: 90,
      used_gpu_memory_gb: 60_000 / 1024,
    });
  });
});

describe("utilization", () => {
  test.each([
    [
      ["DCGM_FI_PROF_SM_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_GPU_UTIL"],
      "DCGM_FI_PROF_SM_ACTIVE",
      30,
    ],
    [["DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_GPU_UTIL"], "DCGM_FI_PROF_GR_ENGINE_ACTIVE", 60],
    [["DCGM_FI_DEV_GPU_UTIL"], "DCGM_FI_DEV_GPU_UTIL", 90],
  ])("of %j is from %s", async (names, source, percent) => {
    const VALUES: Record<string, number> = {
      DCGM_FI_PROF_SM_ACTIVE: 0.3,
      DCGM_FI_PROF_GR_ENGINE_ACTIVE: 0.6,
      DCGM_FI_DEV_GPU_UTIL: 90,
    };
    const id = await cluster(metrics(names.map((name) => [name, dcgm(0), VALUES[name]!])));
    expect(await gpusOf(id)).toMatchObject([{ utilization_percent: percent, utilization_source: source }]);
    expect(await state().summary({ clusterId: id })).toMatchObject({ max_gpu_utilization_percent: percent });
  });
});

describe("which Pod holds it, and on which node it is", () => {
  const target = { namespace: "gpu-operator", pod: "dcgm-x", service: "dcgm" };
  test.each([
    // dcgm-exporter's serviceMonitor.honorLabels is false by default (deployment/values.yaml).
    [
      "renamed",
      {
        ...target,
        container: "nvidia-dcgm-exporter",
        exported_namespace: "ml",
        exported_pod: "p",
        exported_container: "c",
      },
      ["ml/p/c"],
    ],
    ["free, with the exporter's own labels", { ...target, container: "nvidia-dcgm-exporter" }, []],
    // A scrape by annotations often adds only namespace and pod (prometheus-community/prometheus, job kubernetes-pods).
    ["free, the target has no container", target, []],
    [
      "renamed, the target has no container",
      { ...target, exported_namespace: "ml", exported_pod: "p", container: "c" },
      ["ml/p/c"],
    ],
    // A custom name of the exporter's container: `up` has the target's labels.
    ["free, the exporter's container has another name", { ...target, container: "gpu-metrics" }, []],
    ["honor_labels: true", { namespace: "ml", pod: "p", container: "c" }, ["ml/p/c"]],
    // gpu-monitoring-tools and dcgm-exporter before 2.2.
    [
      "old names",
      { ...target, container: "dcgm-exporter", pod_namespace: "ml", pod_name: "p", container_name: "c" },
      ["ml/p/c"],
    ],
  ])("%s", async (_what, labels, expected) => {
    const up = { job: "dcgm", instance: "10.244.1.7:9400", ...target, container: "gpu-metrics" };
    const id = await cluster(
      metrics([
        ["DCGM_FI_DEV_GPU_UTIL", dcgm(0, labels), 50],
        ["up", up, 1],
      ]),
    );
    const [gpu] = await gpusOf(id);
    expect(gpu!.pods.map(({ namespace, pod, container }) => `${namespace}/${pod}/${container}`)).toEqual(
      expected,
    );
  });

  test.each([
    // dcgm-exporter#129, #78: Hostname is the exporter's Pod.
    ["Hostname is the exporter's Pod", { Hostname: "dcgm-x", ...target, container: "nvidia-dcgm-exporter" }],
    // dcgm-exporter#655: the label is lower case in newer versions.
    ["hostname", { Hostname: "", hostname: "a" }],
    ["Hostname with a domain", { Hostname: "a.example.internal" }],
    [
      "only the address of the exporter's Pod",
      { Hostname: "", ...target, container: "nvidia-dcgm-exporter" },
    ],
    ["a label of the target", { Hostname: "dcgm-x", node: "a" }],
  ])("the node, by %s", async (_what, labels) => {
    const ksm = { job: "ksm", instance: "10.244.9.9:8080" };
    const id = await cluster(
      metrics([
        ["DCGM_FI_DEV_GPU_UTIL", dcgm(0, labels), 50],
        ["kube_node_info", { ...ksm, node: "a", internal_ip: "10.0.0.1" }, 1],
        [
          "kube_pod_info",
          { ...ksm, namespace: "gpu-operator", pod: "dcgm-x", node: "a", pod_ip: "10.244.1.7" },
          1,
        ],
      ]),
    );
    expect((await gpusOf(id)).map(({ node }) => node)).toEqual(["a"]);
  });
});

describe("other exporters", () => {
  test("AMD's, in lower case (ROCm/device-metrics-exporter, metricslist.md)", async () => {
    const amd = (n: number, more: Labels = {}): Labels => ({
      job: "amd",
      instance: "10.244.1.8:5000",
      gpu_id: String(n),
      serial_number: `69240900540${n}`,
      card_series: "AMD Instinct MI300X OAM",
      gpu_compute_partition_type: "spx",
      gpu_partition_id: "0",
      hostname: "a",
      ...more,
    });
    const held = { pod: "train", namespace: "ml", container: "main" };
    const id = await cluster(
      metrics([
        ["gpu_gfx_activity", amd(0, held), 75],
        ["gpu_used_vram", amd(0, held), 1000],
        ["gpu_total_vram", amd(0, held), 196_000],
        ["gpu_package_power", amd(0, held), 300],
        ["gpu_junction_temperature", amd(0, held), 65_535],
        ["gpu_clock", amd(0, { ...held, clock_type: "memory", clock_index: "8" }), 900],
        ["gpu_clock", amd(0, { ...held, clock_type: "system", clock_index: "0" }), 2100],
        ["gpu_gfx_activity", amd(1), 0],
        ["gpu_used_vram", amd(1), 283],
        ["gpu_total_vram", amd(1), 196_000],
      ]),
    );
    expect(await gpusOf(id)).toMatchObject([
      {
        uuid: "692409005400",
        gpu: "0",
        node: "a",
        mig_instance: null,
        model: "AMD Instinct MI300X OAM",
        utilization_percent: 75,
        utilization_source: "gpu_gfx_activity",
        memory_used_mib: 1000,
        memory_total_mib: 196_000,
        power_watts: 300,
        // The number that the driver does not have (#662).
        temperature_celsius: null,
        sm_clock_mhz: 2100,
        use: "in_use",
        pods: [{ namespace: "ml", pod: "train", container: "main" }],
      },
      { uuid: "692409005401", use: "free", pods: [] },
    ]);
    expect(await state().summary({ clusterId: id })).toMatchObject({
      gpu_count: 2,
      avg_gpu_utilization_percent: 37.5,
    });
  });

  test.each([
    [
      "HAMi",
      { device_uuid: uuid(0), device_index: "0", device_type: "NVIDIA-H100", node: "a" },
      (pod: string): Labels => ({
        device_uuid: uuid(0),
        vdevice_index: "0",
        namespace: "ml",
        pod,
        container: "c",
      }),
      ["hami_host_gpu_utilization_ratio", "hami_host_gpu_memory_used_bytes", "hami_gpu_memory_limit_bytes"],
      [
        "hami_container_device_utilization_ratio",
        "hami_vgpu_memory_used_bytes",
        "hami_vgpu_memory_limit_bytes",
      ],
    ],
    [
      "HAMi's legacy names",
      { deviceuuid: uuid(0), deviceidx: "0", devicetype: "NVIDIA-H100", nodeid: "a" },
      (pod: string): Labels => ({
        deviceuuid: uuid(0),
        vdeviceid: "0",
        podnamespace: "ml",
        podname: pod,
        ctrname: "c",
      }),
      ["HostCoreUtilization", "HostGPUMemoryUsage", "GPUDeviceMemoryLimit"],
      [
        "Device_utilization_desc_of_container",
        "vGPU_device_memory_usage_in_bytes",
        "vGPU_device_memory_limit_in_bytes",
      ],
    ],
  ])("%s: slices for each device and Pod", async (_name, device, slice, ofDevice, ofSlice) => {
    const scraped = { job: "hami", instance: "10.244.1.6:9394" };
    const GIB = 2 ** 30;
    const id = await cluster(
      metrics([
        ...[60, 30 * GIB, 80 * GIB].map(
          (value, i) => [ofDevice[i]!, { ...device, ...scraped }, value] as const,
        ),
        ...[20, 10 * GIB, 12 * GIB].map(
          (value, i) => [ofSlice[i]!, { ...slice("one"), ...scraped }, value] as const,
        ),
        ...[40, 20 * GIB, 24 * GIB].map(
          (value, i) => [ofSlice[i]!, { ...slice("two"), ...scraped }, value] as const,
        ),
      ]),
    );
    expect(await gpusOf(id)).toMatchObject([
      {
        uuid: uuid(0),
        node: "a",
        utilization_percent: 60,
        memory_used_mib: 30 * 1024,
        memory_total_mib: 80 * 1024,
        pods: [
          { pod: "one", utilization_percent: 20, memory_used_mib: 10 * 1024, memory_limit_mib: 12 * 1024 },
          { pod: "two", utilization_percent: 40, memory_used_mib: 20 * 1024, memory_limit_mib: 24 * 1024 },
        ],
      },
    ]);
  });

  test("HAMi beside dcgm-exporter: one GPU, with the numbers of dcgm-exporter and the slices of HAMi", async () => {
    const slice = {
      device_uuid: uuid(0),
      namespace: "ml",
      pod: "one",
      container: "c",
      job: "hami",
      instance: "10.244.1.6:9394",
    };
    const id = await cluster(
      metrics([
        ["DCGM_FI_PROF_SM_ACTIVE", dcgm(0), 0.5],
        [
          "hami_host_gpu_utilization_ratio",
          { device_uuid: uuid(0), device_index: "0", job: "hami", instance: "10.244.1.6:9394" },
          80,
        ],
        ["hami_vgpu_memory_used_bytes", slice, 2 ** 30],
      ]),
    );
    expect(await state().gpus({ clusterId: id })).toMatchObject({
      gpu_count: 1,
      gpus: [
        { model: "H100", node: "a", utilization_percent: 50, pods: [{ pod: "one", memory_used_mib: 1024 }] },
      ],
    });
    expect(await state().summary({ clusterId: id })).toMatchObject({
      gpu_count: 1,
      avg_gpu_utilization_percent: 50,
    });
  });
});

describe("who uses it", () => {
  const held = { namespace: "ml", pod: "p", container: "c" };
  const SITUATIONS: [
    string,
    { pod?: (minutesAgo: number) => boolean; util?: (minutesAgo: number) => number; used?: number },
    string | null,
  ][] = [
    ["busy", { util: () => 80 }, "in_use"],
    ["held and idle for 25 minutes, with memory", { util: () => 0 }, "idle_held"],
    ["below 1 % all the time", { util: () => 0.9 }, "idle_held"],
    ["at 1 %", { util: () => 1 }, "in_use"],
    ["busy ten minutes ago for a moment", { util: (ago) => (ago === 10 ? 40 : 0) }, "in_use"],
    ["busy 20 minutes ago", { util: (ago) => (ago >= 20 ? 90 : 0) }, "idle_held"],
    // The value of 16 minutes ago holds until 15 minutes ago.
    ["busy until 15 minutes ago", { util: (ago) => (ago >= 15 ? 90 : 0) }, "allocated"],
    ["held without memory on it", { util: () => 0, used: 0 }, "allocated"],
    ["held with what the driver needs", { util: () => 0, used: 4 }, "allocated"],
    ["held since five minutes, idle before", { util: () => 0, pod: (ago) => ago <= 5 }, "allocated"],
    ["no Pod, nothing", { util: () => 0, used: 4, pod: () => false }, "free"],
    ["no Pod, but computing", { util: () => 50, used: 9000, pod: () => false }, "unattributed"],
    ["no Pod, but memory", { util: () => 0, used: 9000, pod: () => false }, "unattributed"],
    ["its Pod ended a minute ago", { util: () => 0, used: 4, pod: (ago) => ago > 0 }, "free"],
  ];

  test.each(SITUATIONS)("%s", async (_what, { pod = () => true, util = () => 0, used = 60_000 }, use) => {
    const series = (name: string, value: (ago: number) => number): TestMetric => ({
      name,
      kind: "gauge",
      points: [true, false].flatMap((isHeld) =>
        over(25, dcgm(0, isHeld ? held : {}), value).filter((_, ago) => pod(ago) === isHeld),
      ),
    });
    const id = await cluster([
      series("DCGM_FI_DEV_GPU_UTIL", util),
      series("DCGM_FI_DEV_FB_USED", () => used),
      series("DCGM_FI_DEV_FB_FREE", () => 80_000 - used),
    ]);
    const answer = await state().gpus({ clusterId: id });
    expect(answer.gpus.map((gpu) => gpu.use)).toEqual([use]);
    expect(answer.uses).toMatchObject({ [use!]: 1 });
    // The summary says the same.
    expect((await state().summary({ clusterId: id })).gpu_uses).toEqual(answer.uses);
  });

  test("only a sample of a sensor: nobody knows", async () => {
    const id = await cluster(metrics([["DCGM_FI_DEV_GPU_TEMP", dcgm(0), 40]]));
    expect((await gpusOf(id)).map(({ use }) => use)).toEqual([null]);
  });

  test("requests: of unfinished Pods, and without HAMi's shares (HAMi#332, kube-state-metrics#1051)", async () => {
    const request = (pod: string, resource: string, value: number) =>
      [
        "kube_pod_container_resource_requests",
        { namespace: "ml", pod, container: "c", resource, node: "a" },
        value,
      ] as const;
    const phase = (pod: string, name: string) =>
      ["kube_pod_status_phase", { namespace: "ml", pod, phase: name }, 1] as const;
    const id = await cluster(
      metrics([
        request("runs", "nvidia_com_gpu", 2),
        request("runs", "nvidia_com_gpumem", 1000),
        request("runs", "nvidia_com_gpucores", 20),
        request("mig", "nvidia_com_mig_1g_10gb", 1),
        request("done", "nvidia_com_gpu", 4),
        request("failed", "nvidia_com_gpu", 8),
        phase("runs", "Running"),
        phase("mig", "Pending"),
        phase("done", "Succeeded"),
        phase("failed", "Failed"),
      ]),
    );
    expect((await state().gpus({ clusterId: id })).requested).toBe(3);
  });
});

describe("errors", () => {
  const issuesOf = async (id: string) =>
    (await state().health({ clusterId: id })).issues.filter(({ metric }) => metric.startsWith("gpu_"));
  const xid = async (value: (minutesAgo: number) => number, minutes = 25) =>
    await cluster([{ name: "DCGM_FI_DEV_XID_ERRORS", kind: "gauge", points: over(minutes, dcgm(0), value) }]);

  test.each([
    // dcgm-exporter#500: the metric keeps the last XID until the exporter restarts.
    ["79 since before the window", () => 79, false, "warning"],
    ["79 five minutes ago", (ago: number) => (ago <= 5 ? 79 : 0), true, "critical"],
    ["another one than before", (ago: number) => (ago <= 5 ? 79 : 31), true, "critical"],
    [
      "again after a restart of the exporter",
      (ago: number) => (ago <= 2 || ago >= 8 ? 79 : 0),
      true,
      "critical",
    ],
    ["a program's error (13: RESTART_APP)", (ago: number) => (ago <= 5 ? 13 : 0), true, "warning"],
  ])("XID %s", async (_what, value, isNew, severity) => {
    const id = await xid(value);
    const [gpu] = await gpusOf(id);
    expect(gpu!.xid).toMatchObject({ is_new: isNew });
    expect(await issuesOf(id)).toMatchObject([{ metric: "gpu_xid_error", severity, object: uuid(0) }]);
  });

  test("XID 79: NVIDIA's action, and when", async () => {
    const id = await xid((ago) => (ago <= 5 ? 79 : 0));
    const since = new Date(AS_OF_MS - 1000 - 5 * MINUTE_MS).toISOString();
    expect((await gpusOf(id))[0]).toMatchObject({
      xid_error: 79,
      // The first sample after the last 0.
      xid: { code: 79, description: "GPU has fallen off the bus", action: "RESTART_BM", since },
    });
  });

  test("a program's error of before the window is no issue", async () => {
    expect(await issuesOf(await xid(() => 31))).toEqual([]);
  });

  test.each([
    ["DCGM_FI_DEV_ROW_REMAP_FAILURE", () => 1, "gpu_row_remap_failure", "critical"],
    [
      "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
      (ago: number) => (ago <= 3 ? 2 : 1),
      "gpu_remapped_rows",
      "warning",
    ],
    ["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", (ago: number) => (ago <= 3 ? 1 : 0), "gpu_ecc_errors", "critical"],
    // NVML: 0x40 is the hardware's thermal slowdown.
    ["DCGM_FI_DEV_CLOCKS_EVENT_REASONS", () => 0x40, "gpu_throttled", "warning"],
    ["DCGM_FI_DEV_THERMAL_VIOLATION", (ago: number) => 1000 - ago, "gpu_throttled", "warning"],
    ["DCGM_FI_DEV_GPU_TEMP", () => 85, "gpu_temperature_celsius", "warning"],
  ])("%s", async (name, value, metric, severity) => {
    const id = await cluster([{ name, kind: "gauge", points: over(25, dcgm(0), value) }]);
    expect(await issuesOf(id)).toMatchObject([{ metric, severity, node: "a", object: uuid(0) }]);
  });

  test.each([
    // Old errors, and the normal state of a GPU at its power limit (0x4) or without work (0x1).
    ["DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", 3],
    ["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", 7],
    ["DCGM_FI_DEV_CLOCKS_EVENT_REASONS", 0x5],
    ["DCGM_FI_DEV_THERMAL_VIOLATION", 1000],
    ["DCGM_FI_DEV_ROW_REMAP_FAILURE", 0],
  ])("no issue: %s is %d all the time", async (name, value) => {
    const id = await cluster([{ name, kind: "gauge", points: over(25, dcgm(0), () => value) }]);
    expect(await issuesOf(id)).toEqual([]);
  });

  test.each([
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "DCGM_FI_DEV_THERMAL_VIOLATION",
  ])("no issue: %s grew before the window", async (name) => {
    // 17 minutes ago: one lookback before the window is read too.
    const points = over(25, dcgm(0), (ago: number) => (ago <= 17 ? 2 : 1));
    expect(await issuesOf(await cluster([{ name, kind: "gauge", points }]))).toEqual([]);
  });

  test("hot is where the GPU itself slows down", async () => {
    const id = await cluster(
      metrics([
        ["DCGM_FI_DEV_GPU_TEMP", dcgm(0), 88],
        ["DCGM_FI_DEV_SLOWDOWN_TEMP", dcgm(0), 87],
      ]),
    );
    expect(await issuesOf(id)).toMatchObject([{ severity: "critical", value: 88, threshold: 87 }]);
  });

  test("a value that is older than five minutes is none", async () => {
    const id = await cluster([
      gauge("DCGM_FI_DEV_GPU_UTIL", [now(dcgm(0), 10)]),
      gauge("DCGM_FI_DEV_GPU_TEMP", [point(dcgm(0), AS_OF_MS - 6 * MINUTE_MS, 95)]),
    ]);
    expect(await gpusOf(id)).toMatchObject([
      { temperature_celsius: null, utilization_percent: 10, age_seconds: 1 },
    ]);
    expect(await issuesOf(id)).toEqual([]);
  });
});
