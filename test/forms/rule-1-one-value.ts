import type { FormTable } from "./form.ts";
import {
  container,
  disk,
  during,
  GIB,
  gpu,
  KSM,
  listed,
  MIB,
  node,
  nodeExporter,
  pod,
  scrapedAt,
  series,
  withLabels,
  without,
} from "./series.ts";

const web = (scrape: Readonly<Record<string, string>> = KSM) =>
  withLabels(
    scrape,
    pod("app", "web", { node: "a", restarts: 5, requests: { main: { cpu: 0.5, nvidia_com_gpu: 1 } } }),
  );
const dcgm = (labels: Readonly<Record<string, string>>, busy: number) =>
  gpu("GPU-1", labels, {
    DEV_GPU_UTIL: busy,
    DEV_FB_USED: 4096,
    DEV_FB_FREE: 12_288,
    DEV_POWER_USAGE: 200,
  });

/** Whatever several series measure counts once. */
export const ONE_VALUE: FormTable = {
  rule: "one thing, one value",
  switches: {
    "one source of a Pod's things": [
      [`JSON.stringify([metric, container, metric === PHASE ? "" : part])`, "JSON.stringify(Math.random())"],
    ],
    "one source of a node's things": [
      ['Map.groupBy(rows, ({ source }) => source.join("\\n"))', 'Map.groupBy(rows, () => "")'],
    ],
    "the newest of one name": [
      ["if (one.ended !== other.ended) return other.ended;", ""],
      ["one.member.newestMs > other.member.newestMs", "one.member.newestMs < other.member.newestMs"],
    ],
    "one row for a GPU": [
      ["({ part }) => part).values()]", "({ part, source }) => JSON.stringify([part, source])).values()]"],
    ],
    "one row for a node": [["({ node }) => node,\n  );", "({ row }) => JSON.stringify(row.labels),\n  );"]],
  },
  forms: [
    {
      name: "a second kube-state-metrics of another release, whose series have no uid",
      source: "https://github.com/kubecost/kubecost/issues/303",
      why: "kubecost's chart brings its own kube-state-metrics beside the operator's: the Pod asks once",
      needs: "one source of a Pod's things",
      series: [
        ...node("a", "10.0.0.1"),
        ...web(),
        ...without(
          "uid",
          web({
            job: "kubernetes-service-endpoints",
            instance: "10.5.2.102:8080",
            app: "prometheus",
            chart: "prometheus-8.15.0",
            component: "kube-state-metrics",
          }),
        ),
      ],
      summary: { node_count: 1, pod_count: 1, running_pod_count: 1 },
      pods: { "app/web": { cpu_request_cores: 0.5, gpu_request: 1, restarts_total: 5, restarts: 0 } },
    },
    {
      name: "a Pod that two shards of kube-state-metrics report while the shards are redistributed",
      source: "https://github.com/kubernetes/kube-state-metrics/issues/1166",
      why: "both shards watch the same Pod: its three restarts are three",
      needs: "one source of a Pod's things",
      series: [
        ...node("a", "10.0.0.1"),
        ...[0, 1, 2].flatMap((shard) =>
          withLabels(
            { instance: `10.200.152.3${shard}:8080`, pod_app: `kube-state-metrics-${shard}` },
            shard === 2 ? [] : pod("app", "web", { node: "a", restarts: (ago) => (ago < 8 ? 4 : 1) }),
          ),
        ),
      ],
      pods: { "app/web": { restarts_total: 4, restarts: 3 } },
      health: ["warning pod_restarts a app/web"],
    },
    {
      name: "a kube-state-metrics Pod that another replaces, and a restart between them",
      source: "https://github.com/prometheus-operator/prometheus-operator/pull/205",
      why: "the new exporter's counter goes on where the old one ended (3): 4 is one restart, and no start from 0",
      needs: "one source of a Pod's things",
      series: [
        ...node("a", "10.0.0.1"),
        ...during((ago) => ago > 7, pod("app", "web", { node: "a", restarts: 3 })),
        ...during(
          (ago) => ago < 7,
          withLabels({ instance: "10.244.0.77:8080" }, pod("app", "web", { node: "a", restarts: 4 })),
        ),
      ],
      pods: { "app/web": { restarts_total: 4, restarts: 1, cpu_request_cores: 0.5 } },
    },
    {
      name: "a StatefulSet's Pod that was created again under its name",
      source: "https://github.com/kubernetes/kube-state-metrics/issues/1259",
      why: "the old uid's series ended two minutes ago, within the lookback: only the new Pod exists",
      needs: "the newest of one name",
      series: [
        ...node("a", "10.0.0.1"),
        ...node("b", "10.0.0.2"),
        ...during((ago) => ago > 2, pod("db", "db-0", { node: "a", restarts: 7 })),
        ...during(
          (ago) => ago <= 2,
          withLabels({ uid: "uid-of-another" }, pod("db", "db-0", { node: "b", restarts: 0 })),
        ),
      ],
      summary: { pod_count: 1, running_pod_count: 1 },
      pods: {
        "db/db-0": {
          node: "b",
          cpu_request_cores: 0.5,
          memory_request_bytes: GIB,
          restarts_total: 0,
          restarts: 0,
        },
      },
      nodes: { a: { pod_count: 0 }, b: { pod_count: 1 } },
    },
    {
      name: "a kubelet that is scraped at two of its three ports",
      source: "https://github.com/prometheus-community/helm-charts/issues/3175",
      why: "one Service has 10250, 10255 and 4194: both series are the same cgroup",
      needs: "one source of a Pod's things",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...withLabels({ endpoint: "https-metrics" }, container("app", "web", "main")),
        ...scrapedAt(
          20,
          withLabels(
            { endpoint: "http-metrics", instance: "10.0.0.1:10255" },
            container("app", "web", "main"),
          ),
        ),
      ],
      pods: { "app/web": { cpu_usage_cores: 0.25, memory_working_set_bytes: 200 * MIB } },
    },
    {
      name: "a container whose runtime nests its cgroup in itself twice",
      source: "https://github.com/kubernetes/kubernetes/issues/129253",
      why: "the inner cgroups are in the outermost one already, which has everything",
      needs: "one source of a Pod's things",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...[
          { depth: 1, cores: 0.5, bytes: 1402 * MIB },
          { depth: 2, cores: 0.4, bytes: 1300 * MIB },
          { depth: 3, cores: 0.3, bytes: 1200 * MIB },
        ].flatMap(({ depth, cores, bytes }) =>
          container("app", "web", "main", {
            cores,
            bytes,
            more: { id: "/kubepods.slice/kubepods-burstable.slice/cri-containerd-104d.scope".repeat(depth) },
          }),
        ),
      ],
      pods: { "app/web": { cpu_usage_cores: 0.5, memory_working_set_bytes: 1402 * MIB } },
    },
    {
      name: "minikube with the Docker driver: each container with and without the outer Docker's cgroup",
      source: "https://github.com/kubernetes/minikube/issues/14915",
      why: "both ids are the same cgroup, seen from the host and from inside",
      needs: "one source of a Pod's things",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...container("app", "web", "main"),
        ...container("app", "web", "main", {
          more: { id: "/docker/85b8af02515c/kubepods/burstable/pod-of-web/main" },
        }),
      ],
      pods: { "app/web": { cpu_usage_cores: 0.25, memory_working_set_bytes: 200 * MIB } },
    },
    {
      name: "two replicas of Prometheus behind a querier that does not deduplicate",
      source: "https://github.com/kubernetes-sigs/kubernetes-mixin/issues/680",
      why: "all series exist once for each prometheus_replica, scraped at other seconds",
      needs: "one source of a Pod's things",
      series: ["prometheus-k8s-0", "prometheus-k8s-1"].flatMap((replica, i) =>
        scrapedAt(
          1 + 13 * i,
          withLabels({ prometheus: "monitoring/k8s", prometheus_replica: replica }, [
            ...node("a", "10.0.0.1"),
            ...web(),
            ...container("app", "web", "main"),
            ...dcgm({}, 50),
          ]),
        ),
      ),
      summary: {
        node_count: 1,
        total_cpu_cores: 2,
        total_memory_gb: 16,
        used_memory_gb: 4,
        total_disk_gb: 100,
        pod_count: 1,
        running_pod_count: 1,
        gpu_count: 1,
        used_gpu_memory_gb: 4,
        gpu_power_watts: 200,
      },
      pods: {
        "app/web": {
          cpu_request_cores: 0.5,
          cpu_usage_cores: 0.25,
          memory_working_set_bytes: 200 * MIB,
          gpu_request: 1,
        },
      },
      nodes: { a: { cpu_cores: 2, pod_count: 1 } },
    },
    {
      name: "two node_exporters of which one calls the root file system rootfs as well",
      source: "https://github.com/prometheus/node_exporter/issues/2403",
      why: "rootfs is the disk again, and the second exporter has the same disk under another mount point",
      needs: "one source of a node's things",
      series: [
        ...listed("a", "10.0.0.1"),
        ...listed("b", "10.0.0.2"),
        ...nodeExporter({ job: "node-exporter", instance: "10.0.0.2:9100" }, "b", { busy: 0.6 }),
        ...nodeExporter({ job: "node-exporter", instance: "10.0.0.1:9100" }, "a"),
        ...nodeExporter({ job: "host", instance: "10.0.0.1:9101" }, "a", {
          disks: [
            ...disk({ job: "host", instance: "10.0.0.1:9101" }, { device: "rootfs", fstype: "rootfs" }),
            ...disk({ job: "host", instance: "10.0.0.1:9101" }, { mountpoint: "/host/root" }),
          ],
        }),
      ],
      summary: {
        total_cpu_cores: 4,
        avg_cpu_usage_percent: 40,
        total_memory_gb: 32,
        total_disk_gb: 200,
        used_disk_gb: 60,
      },
      nodes: { a: { cpu_cores: 2, cpu_usage_percent: 20, disk_total_bytes: 100 * GIB }, b: {} },
    },
    {
      name: "two dcgm-exporters of which one does not know Kubernetes",
      source: "https://github.com/NVIDIA/gpu-monitoring-tools/issues/174",
      why: "the GPU is one, and the Pod that the other exporter names holds it",
      needs: "one row for a GPU",
      series: [
        ...node("a", "10.0.0.1"),
        ...dcgm({ namespace: "ml", pod: "train", container: "main" }, 80),
        ...scrapedAt(20, dcgm({ job: "gpu-metrics", instance: "10.244.1.8:9400" }, 80)),
      ],
      summary: { gpu_count: 1, total_gpu_memory_gb: 16, used_gpu_memory_gb: 4, gpu_power_watts: 200 },
      gpus: {
        "GPU-1": {
          utilization_percent: 80,
          pods: [{ namespace: "ml", pod: "train", container: "main" }],
        },
      },
    },
    {
      name: "a node whose kubelet was upgraded a minute ago",
      source:
        "https://github.com/kubernetes/kube-state-metrics/blob/main/docs/metrics/cluster/node-metrics.md",
      why: "kube_node_info has the kubelet's version as a label: the series with the old version is still within the lookback",
      needs: "one row for a node",
      series: [
        ...nodeExporter({ job: "node-exporter", instance: "10.0.0.1:9100" }, "a"),
        ...during(
          (ago) => ago > 1,
          listed("a", "10.0.0.1", { kubelet_version: "v1.33.4", kernel_version: "6.1.141" }),
        ),
        ...during(
          (ago) => ago <= 1,
          listed("a", "10.0.0.1", { kubelet_version: "v1.34.1", kernel_version: "6.12.5" }),
        ),
        series("kube_node_info", { ...KSM, node: "b", internal_ip: "10.0.0.2" }, 1),
      ],
      summary: { node_count: 2 },
    },
  ],
};
