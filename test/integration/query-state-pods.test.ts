import { describe, expect, test } from "vitest";
import { useEngine } from "../helpers/engine.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { AS_OF_MS, createStateCases, MINUTE_MS, node, toMetrics } from "../helpers/state-cases.ts";
import { limitDatabase } from "#query/limits.ts";
import { HELD_REQUEST_METRICS, toHeldRequests, type HeldRequests } from "#query/state/pod-held.ts";
import { createStateRowReader } from "#query/state/rows.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { point } from "../helpers/stored-world.ts";

// What is measured of a Pod counts once, whoever measures it. Each case is a public report of series that are there twice, or that are not what they seem.

const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);

type Labels = Record<string, string>;
interface Series {
  metric: string;
  labels: Labels;
  value: number | ((minutesAgo: number) => number);
  /** Minutes before the end: the oldest and the newest sample. */
  from?: number;
  until?: number;
  /** Minutes. */
  every?: number;
  /** Moves the samples into the past; minutes. */
  shift?: number;
}

const COUNTERS = /_total$/;

async function store(series: readonly Series[]): Promise<string> {
  const points = ({ labels, value, from = 21, until = 0, every = 0.5, shift = 0 }: Series) => {
    const made: TestMetric["points"] = [];
    for (let ago = from; ago >= until; ago -= every) {
      const at = ago + shift;
      const number = typeof value === "number" ? value : value(at);
      made.push(point(labels, AS_OF_MS - at * MINUTE_MS, number));
    }
    return made;
  };
  const metrics = [...Map.groupBy(series, ({ metric }) => metric)].map(([name, own]) => ({
    name,
    kind: COUNTERS.test(name) ? ("sum" as const) : ("gauge" as const),
    points: own.flatMap(points),
  }));
  return await cluster([...toMetrics([node("n", {})]), ...metrics]);
}

/** A counter that has grown by this many per second for a day. */
const growing =
  (perSecond: number) =>
  (minutesAgo: number): number =>
    perSecond * (86_400 - minutesAgo * 60);

const KSM = { job: "kube-state-metrics", instance: "10.0.0.9:8080" };
const KUBELET = { job: "kubelet", instance: "10.0.0.1:10250", metrics_path: "/metrics/cadvisor" };
const POD = { namespace: "app", pod: "web" };
const MAIN = { ...POD, container: "main" };
const MIB = 2 ** 20;

const info = (more: Labels = {}): Series => ({
  metric: "kube_pod_info",
  labels: { ...KSM, ...POD, node: "n", ...more },
  value: 1,
});
const request = (labels: Labels, value: number): Series => ({
  metric: "kube_pod_container_resource_requests",
  labels: { ...KSM, ...MAIN, node: "n", ...labels },
  value,
});
const restarts = (value: Series["value"], labels: Labels = {}): Series => ({
  metric: "kube_pod_container_status_restarts_total",
  labels: { ...KSM, ...MAIN, ...labels },
  value,
});
const cpu = (perSecond: number, labels: Labels = {}): Series => ({
  metric: "container_cpu_usage_seconds_total",
  labels: { ...KUBELET, ...MAIN, cpu: "total", id: "/kubepods/pod1/c1", ...labels },
  value: growing(perSecond),
});
const memory = (value: Series["value"], labels: Labels = {}): Series => ({
  metric: "container_memory_working_set_bytes",
  labels: { ...KUBELET, ...MAIN, id: "/kubepods/pod1/c1", ...labels },
  value,
});
const without = (series: Series, ...names: string[]): Series => ({
  ...series,
  labels: Object.fromEntries(Object.entries(series.labels).filter(([name]) => !names.includes(name))),
});

async function podsOf(series: readonly Series[], sort: "name" | "cpu" | "gpu" | "network" = "name") {
  const clusterId = await store(series);
  const { pods } = await state().pods({ clusterId, sort });
  return pods;
}

/** The only Pod of a cluster. */
async function podOf(series: readonly Series[]) {
  const pods = await podsOf(series);
  expect(pods.map(({ namespace, pod }) => [namespace, pod])).toEqual([["app", "web"]]);
  return pods[0]!;
}

const copies = (series: readonly Series[], ...targets: Labels[]): Series[] =>
  targets.flatMap((target, i) =>
    series.map((each) => ({ ...each, labels: { ...each.labels, ...target }, shift: i * 0.15 })),
  );

describe("one container by several series", () => {
  const own = [cpu(0.25), memory(200 * MIB)];
  const cases: [name: string, source: string, series: Series[]][] = [
    [
      "a kubelet that two Services select",
      "helm/charts#23131",
      copies(own, { service: "prometheus-kubelet" }, { service: "kps-kubelet" }),
    ],
    [
      "a kubelet by its address and by its name",
      "prometheus-operator#2302",
      copies(own, { instance: "10.0.0.1:10250" }, { instance: "n:10250" }),
    ],
    [
      "two Prometheus without deduplication",
      "thanos: --query.replica-label",
      copies(own, { prometheus_replica: "prometheus-k8s-0" }, { prometheus_replica: "prometheus-k8s-1" }),
    ],
    [
      "the cgroups of a node that is a container",
      "kubernetes/minikube#14915",
      copies(own, { id: "/docker/85b8/kubepods/pod1/c1" }, { id: "/kubepods/pod1/c1" }),
    ],
    [
      "cgroups within the container",
      "kubernetes#129253",
      [
        ...own,
        cpu(0.2, { id: "/kubepods/pod1/c1/kubepods/pod1/c1" }),
        memory(150 * MIB, { id: "/kubepods/pod1/c1/kubepods/pod1/c1" }),
        memory(90 * MIB, { id: "/kubepods/pod1/c1/kubepods/pod1/c1/inner", image: "", name: "" }),
      ],
    ],
    [
      "the cgroup of the whole Pod and of its pause container beside it",
      "google/cadvisor#2688",
      [
        ...own,
        without(cpu(0.26, { id: "/kubepods/pod1" }), "container"),
        without(memory(201 * MIB, { id: "/kubepods/pod1" }), "container"),
        cpu(0.01, { container: "POD", id: "/kubepods/pod1/pause" }),
        memory(MIB, { container: "POD", id: "/kubepods/pod1/pause" }),
      ],
    ],
    [
      "an old kubelet with old and new names",
      "kubernetes#69099",
      own.map((each) => ({
        ...each,
        labels: { ...each.labels, pod_name: "web", container_name: "main" },
      })),
    ],
    [
      "an old kubelet, beside labels of the scrape",
      "google/cadvisor#2548",
      own.map((each) => ({
        ...without(each, "pod", "container"),
        labels: {
          ...without(each, "pod", "container").labels,
          pod_name: "web",
          container_name: "main",
          kubernetes_namespace: "kube-system",
        },
      })),
    ],
    [
      "an old cAdvisor that counts each CPU, beside the kubelet",
      "google/cadvisor#592",
      [
        ...own,
        cpu(0.15, { job: "cadvisor", instance: "10.0.0.1:4194", cpu: "cpu00" }),
        cpu(0.1, { job: "cadvisor", instance: "10.0.0.1:4194", cpu: "cpu01" }),
      ],
    ],
    [
      "an old cAdvisor that counts each CPU, alone",
      "google/cadvisor#592",
      [cpu(0.15, { cpu: "cpu00" }), cpu(0.1, { cpu: "cpu01" }), memory(200 * MIB)],
    ],
    [
      "what is left behind of the container that ended",
      "kubernetes#47853, #134518",
      [
        ...own,
        { ...cpu(0, { id: "/kubepods/pod1/b0" }), value: 5000 },
        memory(0, { id: "/kubepods/pod1/b0" }),
      ],
    ],
    [
      "honor_labels: false, with Pod and namespace of the exporter",
      "kube-state-metrics#612",
      own.map((each) => ({
        ...each,
        labels: {
          ...without(each, "namespace", "pod", "container").labels,
          exported_namespace: "app",
          exported_pod: "web",
          exported_container: "main",
          namespace: "monitoring",
          pod: "cadvisor-x7",
          container: "cadvisor",
        },
      })),
    ],
  ];
  test.each(cases)("%s (%s)", async (_, _source, series) => {
    const pod = await podOf([info(), ...series]);
    expect(pod.cpu_usage_cores).toBeCloseTo(0.25, 9);
    expect(pod.memory_working_set_bytes).toBe(200 * MIB);
  });

  test("only the cgroup of the Pod, of cri-dockerd (kubernetes#111077): the outermost counts", async () => {
    const whole = { id: "/kubepods/burstable/pod49686167" };
    const pod = await podOf([
      info(),
      without(cpu(0.25, whole), "container"),
      without(memory(403_783_680, whole), "container"),
      without(cpu(0.2, { id: `${whole.id}/5ab1` }), "container"),
      without(memory(MIB, { id: `${whole.id}/5ab1` }), "container"),
      // Of the node: they belong to no Pod.
      without(cpu(2, { id: "/" }), "container", "pod", "namespace"),
      without(memory(8e9, { id: "/kubepods" }), "container", "pod", "namespace"),
    ]);
    expect(pod.cpu_usage_cores).toBeCloseTo(0.25, 9);
    expect(pod.memory_working_set_bytes).toBe(403_783_680);
  });
});

describe("a container that is replaced", () => {
  const first = { id: "/kubepods/pod1/zz-first", name: "zz-first" };
  const second = { id: "/kubepods/pod1/aa-second", name: "aa-second" };

  test("counts once in the lookback, with the newer value; its CPU time is that of both (kubernetes#47853)", async () => {
    for (const [before, after] of [
      [first, second],
      [second, first],
    ]) {
      const pod = await podOf([
        info(),
        { ...memory(500 * MIB, before), until: 1 },
        { ...memory(100 * MIB, after), from: 0.5 },
        { ...cpu(1, before), until: 5 },
        { ...cpu(2, after), from: 4.5, value: (ago) => 2 * (300 - ago * 60) },
      ]);
      expect(pod.memory_working_set_bytes).toBe(100 * MIB);
      // rate() of both series, added: 10 of 15 minutes at 1 core, 4.5 at 2, each extrapolated by half an interval at most.
      expect(pod.cpu_usage_cores).toBeCloseTo((1 * 10 + 2 * 5) / 15, 1);
    }
  });

  test("counts once when its kubelet is scraped twice as well", async () => {
    const series = [
      { ...memory(500 * MIB, first), until: 3 },
      { ...memory(100 * MIB, second), from: 2.5 },
    ];
    const targets = [{ service: "a" }, { service: "b" }];
    const twice = targets.flatMap((target, i) =>
      series.map((each) => ({ ...each, labels: { ...each.labels, ...target }, shift: i * 0.15 })),
    );
    expect(await podOf([info(), ...twice])).toMatchObject({ memory_working_set_bytes: 100 * MIB });
  });
});

describe("what kube-state-metrics says", () => {
  const restarted = (ago: number): number => 5 + Number(ago < 12) + Number(ago < 6);
  const [one, two] = [{ instance: "10.244.0.1:8080" }, { instance: "10.244.0.2:8080" }];
  const said = [
    info(),
    restarts(restarted),
    request({ resource: "cpu", unit: "core" }, 0.5),
    request({ resource: "nvidia_com_gpu", unit: "integer" }, 1),
  ];
  const right = { node: "n", restarts: 2, restarts_total: 7, cpu_request_cores: 0.5, gpu_request: 1 };

  const cases: [name: string, source: string, series: Series[]][] = [
    ["two replicas", "kube-state-metrics#147", copies(said, one, two)],
    [
      "two releases of the chart, by different jobs",
      "prometheus-community/helm-charts#4608",
      copies(said, { job: "kube-state-metrics" }, { job: "kps-kube-state-metrics", service: "kps" }),
    ],
    [
      "a Prometheus of its own and one that federates",
      "kube-state-metrics#1166",
      copies(said, {}, { prometheus: "monitoring/k8s" }),
    ],
    [
      "a replica that was replaced in the window",
      "kube-prometheus#2826",
      [
        ...said.map((each) => ({ ...each, labels: { ...each.labels, ...one }, until: 4 })),
        ...said.map((each) => ({ ...each, labels: { ...each.labels, ...two }, from: 3.5 })),
      ],
    ],
    [
      "a replica that was replaced, with both there for a while",
      "kube-prometheus#2826",
      [
        ...said.map((each) => ({ ...each, labels: { ...each.labels, ...one }, until: 7 })),
        ...said.map((each) => ({ ...each, labels: { ...each.labels, ...two }, from: 9 })),
      ],
    ],
    [
      "with and without the label node at once",
      "kube-state-metrics#1828",
      [...said, { ...without(request({ resource: "cpu", unit: "core" }, 0.5), "node"), from: 21, until: 1 }],
    ],
    [
      "namespace, pod and node renamed, container as it was",
      "kube-state-metrics#1927",
      said.map((each) => ({
        ...each,
        labels: {
          ...without(each, "namespace", "pod", "node").labels,
          exported_namespace: "app",
          exported_pod: "web",
          ...("node" in each.labels ? { exported_node: "n" } : {}),
          namespace: "monitoring",
          pod: "ksm-0",
          node: "other",
        },
      })),
    ],
    [
      "pod as it was, namespace renamed, one of two replicas so",
      "bitnami/charts#7690",
      [
        ...said,
        ...said.map((each) => ({
          ...each,
          labels: {
            ...without(each, "namespace").labels,
            exported_namespace: "app",
            namespace: "monitoring",
          },
        })),
      ],
    ],
  ];
  test.each(cases)("%s (%s)", async (_, _source, series) => {
    expect(await podOf(series)).toMatchObject(right);
    const clusterId = await store(series);
    const { issues, status } = await state().health({ clusterId });
    expect([status, issues]).toEqual(["healthy", []]);
  });

  test("a Pod that is there again under its name counts as it is now, its restarts as counted (kuberhealthy#80)", async () => {
    const pod = await podOf([
      { ...info({ uid: "u1", node: "old" }), until: 4 },
      { ...info({ uid: "u2", node: "new" }), from: 3.5 },
      { ...restarts(4, { uid: "u1" }), until: 4 },
      { ...restarts((ago) => Number(ago < 2), { uid: "u2" }), from: 3.5 },
    ]);
    expect(pod).toMatchObject({ node: "new", restarts_total: 1, restarts: 1 });
  });

  test("a Pod that waits for a node is not on that of kube-state-metrics (kube-state-metrics#1927)", async () => {
    const of = (pod: string, more: Labels = {}): Labels => ({
      ...KSM,
      exported_namespace: "app",
      exported_pod: pod,
      namespace: "monitoring",
      pod: "ksm-0",
      node: "node-of-ksm",
      ...more,
    });
    const pods = await podsOf([
      { metric: "kube_pod_info", labels: of("runs", { exported_node: "n", host_ip: "10.0.0.1" }), value: 1 },
      { metric: "kube_pod_status_phase", labels: of("runs", { phase: "Running" }), value: 1 },
      { metric: "kube_pod_info", labels: of("waits"), value: 1 },
      { metric: "kube_pod_status_phase", labels: of("waits", { phase: "Pending" }), value: 1 },
    ]);
    expect(pods.map(({ pod, node: on }) => [pod, on])).toEqual([
      ["runs", "n"],
      ["waits", null],
    ]);
  });

  test("requests of each container add up although only some labels are renamed (kube-state-metrics#1927)", async () => {
    const renamed = (container: string, resource: string, value: number): Series => ({
      metric: "kube_pod_container_resource_requests",
      labels: {
        ...KSM,
        exported_namespace: "app",
        exported_pod: "web",
        namespace: "monitoring",
        pod: "ksm-0",
        container,
        resource,
      },
      value,
    });
    const pod = await podOf([
      renamed("web", "cpu", 0.5),
      renamed("sidecar", "cpu", 0.25),
      renamed("web", "memory", 2 ** 30),
      renamed("sidecar", "memory", 2 ** 29),
    ]);
    expect(pod).toMatchObject({ cpu_request_cores: 0.75, memory_request_bytes: 1.5 * 2 ** 30 });
  });
});

describe("resources that are GPUs", () => {
  const cases: [resource: string, value: number, gpus: number | null, source: string][] = [
    ["nvidia_com_gpu", 2, 2, "NVIDIA/k8s-device-plugin"],
    ["nvidia_com_gpu_shared", 1, 1, "NVIDIA/k8s-device-plugin: renameByDefault"],
    ["nvidia_com_mig_1g_10gb", 3, 3, "NVIDIA/k8s-device-plugin: mig-strategy mixed"],
    ["nvidia_com_mig_1g_5gb_me", 1, 1, "NVIDIA MIG: profiles with media extensions"],
    ["nvidia_com_gpumem", 1000, null, "HAMi#332"],
    ["nvidia_com_gpucores", 20, null, "HAMi#332"],
    ["nvidia_com_gpumem_percentage", 50, null, "HAMi#1353"],
    ["amd_com_gpu", 4, 4, "ROCm/k8s-device-plugin"],
    ["gpu_intel_com_i915", 1, 1, "intel-device-plugins-for-kubernetes: gpu_plugin"],
    ["gpu_intel_com_xe", 1, 1, "intel-device-plugins-for-kubernetes: gpu_plugin"],
    ["gpu_intel_com_i915_monitoring", 1, null, "intel-device-plugins-for-kubernetes: gpu_plugin"],
    ["gpu_intel_com_millicores", 500, null, "intel-device-plugins-for-kubernetes: fractional resources"],
    ["habana_ai_gaudi", 8, 8, "habana.ai device plugin"],
    ["aliyun_com_gpu_mem", 16, null, "AliyunContainerService/gpushare-device-plugin"],
    ["volcano_sh_vgpu_number", 1, 1, "volcano-sh/devices"],
    ["volcano_sh_vgpu_memory", 3000, null, "volcano-sh/devices"],
    ["volcano_sh_vgpu_cores", 50, null, "volcano-sh/devices"],
    ["tencent_com_vcuda_core", 100, null, "tkestack/gpu-manager"],
    ["iluvatar_ai_MR_V100_vgpu", 1, 1, "HAMi: device-configmap.yaml"],
    ["iluvatar_ai_MR_V100_vMem", 64, null, "HAMi: device-configmap.yaml"],
    ["hygon_com_dcunum", 1, 1, "HAMi: values.yaml"],
    ["hygon_com_dcumem", 2000, null, "HAMi: values.yaml"],
    ["ephemeral_storage", 1e9, null, "Kubernetes"],
  ];
  test("count, shares of their memory and cores do not", async () => {
    const series = cases.map(([resource, value]) => request({ pod: resource, resource }, value));
    const pods = await podsOf(series);
    expect(pods.map(({ pod, gpu_request }) => [pod, gpu_request])).toEqual(
      cases.map(([resource, , gpus]) => [resource, gpus]).sort(([a], [b]) => (a! < b! ? -1 : 1)),
    );
  });
});

test("the GPUs that a Pod holds are those that their exporter says, with their mean utilization", async () => {
  const utilization = (uuid: string, value: number, more: Labels = {}): Series => ({
    metric: "DCGM_FI_DEV_GPU_UTIL",
    labels: { instance: "10.0.0.1:9400", Hostname: "n", UUID: uuid, gpu: uuid.slice(-1), ...more },
    value,
  });
  const pods = await podsOf([
    info(),
    info({ pod: "waiting" }),
    request({ resource: "nvidia_com_gpu" }, 2),
    request({ pod: "waiting", resource: "nvidia_com_gpu" }, 1),
    utilization("GPU-1", 90, MAIN),
    utilization("GPU-2", 30, MAIN),
    utilization("GPU-3", 10, { ...MAIN, pod: "other" }),
  ]);
  expect(pods.map((each) => [each.pod, each.gpu_count, each.gpu_utilization_percent])).toEqual([
    ["waiting", null, null],
    ["web", 2, 60],
  ]);
});

describe("requests that a node holds", () => {
  const [one, two] = [{ instance: "10.244.0.1:8080" }, { instance: "10.244.0.2:8080" }];
  const phase = (pod: string, is: string): Series[] =>
    ["Pending", "Running", "Succeeded", "Failed", "Unknown"].map((name) => ({
      metric: "kube_pod_status_phase",
      labels: { ...KSM, namespace: "app", pod, phase: name },
      value: Number(name === is),
    }));
  const pod = (name: string, is: string, more: Labels = {}): Series[] => [
    info({ pod: name, ...more }),
    ...phase(name, is),
    request({ pod: name, resource: "cpu", unit: "core", ...more }, 0.5),
    request({ pod: name, container: "sidecar", resource: "cpu", unit: "core", ...more }, 0.25),
    request({ pod: name, resource: "memory", unit: "byte", ...more }, 2 ** 30),
    request({ pod: name, resource: "nvidia_com_gpu", unit: "integer", ...more }, 1),
    request({ pod: name, resource: "nvidia_com_gpumem", unit: "integer", ...more }, 1000),
  ];
  const held = (pods: number): HeldRequests => ({
    pods,
    cpuCores: 0.75 * pods,
    memoryBytes: pods * 2 ** 30,
    gpus: pods,
  });
  const unscheduled = (series: Series): Series => without(series, "node");

  const cases: [name: string, source: string, series: Series[], n: ReturnType<typeof held> | undefined][] = [
    [
      "of Pods that run or are pulled",
      "kubernetes-mixin#154",
      [...pod("a", "Running"), ...pod("b", "Pending")],
      held(2),
    ],
    [
      "not of Pods that finished",
      "kube-state-metrics#440, #1051",
      [...pod("a", "Running"), ...pod("job", "Succeeded"), ...pod("evicted", "Failed")],
      held(1),
    ],
    [
      "not of Pods that no node has",
      "kube-state-metrics#1095",
      [...pod("a", "Running"), ...pod("b", "Pending").map(unscheduled)],
      held(1),
    ],
    [
      "once from two kube-state-metrics",
      "kube-state-metrics#147",
      copies(pod("a", "Running"), one, two),
      held(1),
    ],
    [
      "of a Pod that finished as only the newer of two kube-state-metrics knows",
      "kube-prometheus#2826",
      [
        ...pod("a", "Running"),
        ...pod("job", "Running").map((each) => ({ ...each, labels: { ...each.labels, ...one }, until: 3 })),
        ...pod("job", "Succeeded").map((each) => ({
          ...each,
          labels: { ...each.labels, ...two },
          from: 2.5,
        })),
      ],
      held(1),
    ],
    [
      "once with and without the label node",
      "kube-state-metrics#1828",
      [...pod("a", "Running"), ...pod("a", "Running").map((each) => ({ ...unscheduled(each), until: 1 }))],
      held(1),
    ],
    [
      "of the node where a Pod of the same name is now",
      "StatefulSet on a node that is gone",
      [
        ...pod("a", "Running", { node: "gone", uid: "u1" }).map((each) => ({ ...each, until: 3 })),
        ...pod("a", "Running", { uid: "u2" }).map((each) => ({ ...each, from: 2.5 })),
      ],
      held(1),
    ],
    [
      "of Pods whose phase nobody collects",
      "metric_relabel_configs that drop it",
      pod("a", "Running").filter(({ metric }) => metric !== "kube_pod_status_phase"),
      held(1),
    ],
    [
      "unknown without any request",
      "kube-state-metrics: --metric-denylist",
      [info()],
      { pods: 1, cpuCores: null, memoryBytes: null, gpus: null },
    ],
    ["of none", "all finished", pod("job", "Succeeded"), undefined],
  ];
  test.each(cases)("are %s (%s)", async (_, _source, series, right) => {
    const clusterId = await store(series);
    const database = limitDatabase(engine.database, QUERY_DEFAULTS.limits, [
      "allow_experimental_time_series_aggregate_functions = 1",
    ]);
    const lookbackMs = 5 * MINUTE_MS;
    const grid = { firstMs: AS_OF_MS, lastMs: AS_OF_MS, stepMs: 1000, lookbackMs, rateWindowMs: lookbackMs };
    const readRows = createStateRowReader(database, { databaseName: "metrics" });
    const byNode = toHeldRequests(await readRows(clusterId, grid, HELD_REQUEST_METRICS, undefined), AS_OF_MS);
    expect([...byNode]).toEqual(right === undefined ? [] : [["n", right]]);
    // What a Pod requested stays visible.
    const requested = series.some(({ metric }) => metric.endsWith("requests")) ? 0.75 : null;
    const { pods } = await state().pods({ clusterId });
    expect(pods.filter((each) => each.cpu_request_cores !== requested)).toEqual([]);
  });
});

describe("network", () => {
  const received = (perSecond: number, labels: Labels = {}): Series => ({
    metric: "container_network_receive_bytes_total",
    labels: { ...KUBELET, ...POD, id: "/kubepods/pod1/pause", interface: "eth0", ...labels },
    value: growing(perSecond),
  });
  const sent = (perSecond: number, labels: Labels = {}): Series => ({
    ...received(perSecond, labels),
    metric: "container_network_transmit_bytes_total",
  });
  const [one, two] = [{ service: "a" }, { service: "b" }];
  const cases: [name: string, source: string, series: Series[], bytes: (number | null)[]][] = [
    ["one interface", "kubernetes-mixin", [info(), received(1000), sent(200)], [1000, 200]],
    [
      "several interfaces, without loopback",
      "multus-cni",
      [info(), received(1000), received(50, { interface: "net1" }), received(9, { interface: "lo" })],
      [1050, null],
    ],
    [
      "pause container of dockershim",
      "kubernetes#39198",
      [info(), received(1000, { container: "POD" }), sent(200, { container: "POD" })],
      [1000, 200],
    ],
    [
      "cgroups of a node that is a container",
      "kubernetes/minikube#14915",
      [info(), received(1000), received(1000, { id: "/docker/85b8/kubepods/pod1/pause" })],
      [1000, null],
    ],
    [
      "a kubelet scraped twice",
      "helm/charts#23131",
      [info(), ...copies([received(1000), sent(200)], one, two)],
      [1000, 200],
    ],
    [
      "a Pod in its node's network",
      "google/cadvisor#2615",
      [info({ host_network: "true" }), received(1e6), received(1e6, { interface: "cali1" })],
      [null, null],
    ],
    [
      "a Pod in its node's network, before kube-state-metrics had host_network",
      "google/cadvisor#3393",
      [info({ host_ip: "10.0.0.1", pod_ip: "10.0.0.1" }), received(1e6)],
      [null, null],
    ],
    ["not measured", "kubernetes#102938", [info()], [null, null]],
  ];
  test.each(cases)("%s (%s)", async (_, _source, series, bytes) => {
    const pod = await podOf(series);
    const found = [pod.network_receive_bytes_per_second, pod.network_transmit_bytes_per_second];
    expect(found.map((value) => (value === null ? null : Math.round(value)))).toEqual(bytes);
  });

  test("and GPUs are sorts", async () => {
    const busy = { pod: "busy" };
    const gpus = { pod: "gpus", resource: "nvidia_com_gpu" };
    const series = [
      info(),
      info(busy),
      received(10),
      received(1000, { ...busy, id: "/kubepods/pod2/pause" }),
      request(gpus, 2),
    ];
    expect((await podsOf(series, "network")).map(({ pod }) => pod)).toEqual(["busy", "web", "gpus"]);
    expect((await podsOf(series, "gpu")).map(({ pod }) => pod)).toEqual(["gpus", "busy", "web"]);
  });
});

test("a Pod says how old its newest sample is; a value that is older than five minutes is none", async () => {
  const pod = await podOf([
    { ...info(), until: 2 },
    { ...memory(MIB), until: 6 },
  ]);
  expect(pod).toMatchObject({
    memory_working_set_bytes: null,
    last_sample: new Date(AS_OF_MS - 2 * MINUTE_MS).toISOString(),
  });
});
