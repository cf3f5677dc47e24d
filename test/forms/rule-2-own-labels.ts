import type { FormTable } from "./form.ts";
import { container, gpu, KSM, MIB, node, overruled, pod, renamed, series, up, without } from "./series.ts";

/** The exporter's own Pod, as service discovery adds it to each of its series. */
const ksmPod = { namespace: "monitoring", pod: "ksm-7c9d-x2x", container: "kube-state-metrics" };
const dcgmPod = { namespace: "gpu-operator", pod: "dcgm-exporter-78z52", container: "exporter" };
const VALUES = { DEV_GPU_UTIL: 60, DEV_FB_USED: 1024, DEV_FB_FREE: 15_360 };
const asked = { cpu_request_cores: 0.5, phase: "Running", node: "a" };
const used = { cpu_usage_cores: 0.25, memory_working_set_bytes: 200 * MIB };

/** exported_X where it exists, else the old name, else X: each label by itself. */
export const OWN_LABELS: FormTable = {
  rule: "each label by itself",
  switches: {
    exported: [
      ["[`exported_${name}`, old]", "[old]"],
      ["['exported_${name}'] != ''", "['exported_${name}'] != '' AND 0"],
    ],
    old: [
      ["[`exported_${name}`, old]", "[`exported_${name}`]"],
      ["AND ${labels}['${old}'] != ''", "AND 0"],
      ['["exported_pod", "pod_name"]', '["exported_pod"]'],
    ],
    exporter: [
      ['targets.of(labels)?.["pod"] === plain.pod', "false"],
      ['plain.container === "" ||', ""],
      ['|| plain.pod === ""', ""],
    ],
  },
  forms: [
    {
      name: "a target with the namespace of kube-state-metrics, but without its Pod",
      source: "https://github.com/kubermatic/kubermatic/pull/847",
      why: "only the namespace is renamed: the Pod is the label pod as it was",
      needs: "exported",
      series: [
        ...node("a", "10.0.0.1"),
        ...overruled({ namespace: "monitoring" }, pod("app", "web", { node: "a" })),
      ],
      pods: { "app/web": asked },
      nodes: { a: { pod_count: 1 } },
    },
    {
      name: "a target with namespace, Pod and service of kube-state-metrics",
      source: "https://github.com/bitnami/charts/issues/7534",
      why: "exported_namespace and exported_pod are the workload; no Pod of kube-state-metrics is in the answer",
      needs: "exported",
      series: [
        ...node("a", "10.0.0.1"),
        ...["web-1", "web-2"].flatMap((name) =>
          overruled(
            { namespace: "monitoring", pod: "ksm-0", service: "ksm" },
            pod("app", name, { node: "a" }),
          ),
        ),
      ],
      summary: { pod_count: 2, running_pod_count: 2 },
      pods: { "app/web-1": asked, "app/web-2": asked },
    },
    {
      name: "a target with the container of kube-state-metrics as well: two containers of a Pod",
      source: "https://github.com/kubernetes/kube-state-metrics/issues/138",
      why: "exported_container tells the containers apart; the label container is the exporter's",
      needs: "exported",
      series: [
        ...node("a", "10.0.0.1"),
        ...overruled(
          ksmPod,
          pod("app", "web", {
            node: "a",
            restarts: 4,
            requests: { main: { cpu: 0.5 }, sidecar: { cpu: 0.25 } },
          }),
        ),
      ],
      pods: { "app/web": { cpu_request_cores: 0.75, restarts_total: 8 } },
    },
    {
      name: "a target with the node on which kube-state-metrics runs, and with its Pod",
      source: "https://github.com/prometheus-operator/prometheus-operator/issues/135",
      why: "the relabeling that gives node_exporter its node gives kube-state-metrics its own: exported_node is the workload's",
      needs: "exported",
      series: [
        ...node("a", "10.0.0.1"),
        ...overruled({ ...ksmPod, node: "infra" }, [
          ...node("b", "10.0.0.2").filter(({ metric }) => metric.startsWith("kube_")),
          ...pod("app", "web", { node: "b" }),
        ]),
      ],
      pods: { "app/web": { ...asked, node: "b" } },
      nodes: { a: { pod_count: 0, ready: true }, b: { pod_count: 1, ready: true } },
    },
    {
      name: "a kubelet before Kubernetes 1.16: pod_name and container_name",
      source: "https://github.com/prometheus-operator/prometheus-operator/issues/2302",
      why: "the kubelet named the workload so; the pause container and the Pod's cgroup are no containers",
      needs: "old",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...renamed(
          "pod",
          "pod_name",
          renamed("container", "container_name", [
            ...container("app", "web", "main"),
            ...container("app", "web", "POD", { cores: 0.01, bytes: MIB }),
            ...container("app", "web", "", { cores: 0.26, bytes: 201 * MIB }),
          ]),
        ),
      ],
      pods: { "app/web": used },
    },
    {
      name: "a kubelet of Kubernetes 1.15, which has both names",
      source: "https://github.com/kubernetes/kubernetes/issues/79702",
      why: "pod and pod_name say the same: one container",
      needs: "old",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...container("app", "web", "main", { more: { pod_name: "web", container_name: "main" } }),
        // The job of the API server's proxy gives all series of the kubelet a label pod of its own.
        ...overruled(
          { pod: "proxy-0" },
          without(
            "pod",
            container("app", "web", "side", { more: { pod_name: "web", container_name: "side" } }),
          ),
        ),
      ],
      pods: { "app/web": { cpu_usage_cores: 0.5, memory_working_set_bytes: 400 * MIB } },
    },
    {
      name: "cAdvisor as a DaemonSet, whose own Pod the target has",
      source: "https://github.com/m-lab/prometheus-support/pull/341",
      why: "exported_pod, exported_namespace and exported_container are the container",
      needs: "exported",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...overruled({ namespace: "monitoring", pod: "cadvisor-5k2lq", container: "cadvisor" }, [
          ...container("app", "web", "main"),
          ...container("app", "web", "side", { cores: 0.5, bytes: 100 * MIB }),
        ]),
      ],
      pods: { "app/web": { cpu_usage_cores: 0.75, memory_working_set_bytes: 300 * MIB } },
    },
    {
      name: "dcgm-exporter with the old names of the Pod's labels",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/272",
      why: "pod_namespace, pod_name and container_name are the holder; namespace, pod and container the exporter's Pod",
      needs: "old",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu(
          "GPU-1",
          { ...dcgmPod, pod_namespace: "ai-1", pod_name: "d85np-t6mdg", container_name: "grpc" },
          VALUES,
        ),
      ],
      gpus: { "GPU-1": { pods: [{ namespace: "ai-1", pod: "d85np-t6mdg", container: "grpc" }] } },
    },
    {
      name: "a free GPU, whose series have the exporter's own Pod, beside one that is held",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/340",
      why: "the target itself (up) has this Pod: it is the exporter's, whatever its container is called",
      needs: "exporter",
      series: [
        ...node("a", "10.0.0.1"),
        ...up({ job: "dcgm", instance: "10.244.1.7:9400", service: "dcgm-exporter", ...dcgmPod }),
        ...pod("gpu-operator", "dcgm-exporter-78z52", { node: "a" }),
        ...pod("default", "pod1", { node: "a" }),
        ...gpu(
          "GPU-1",
          {
            ...dcgmPod,
            service: "dcgm-exporter",
            exported_namespace: "default",
            exported_pod: "pod1",
            exported_container: "c",
          },
          VALUES,
        ),
        ...gpu("GPU-2", { ...dcgmPod, service: "dcgm-exporter", gpu: "1" }, { ...VALUES, DEV_GPU_UTIL: 0 }),
      ],
      gpus: {
        "GPU-1": { pods: [{ namespace: "default", pod: "pod1", container: "c" }] },
        "GPU-2": { pods: [] },
      },
    },
    {
      name: "a free GPU whose labels for the Pod are empty",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/188",
      why: "empty labels are no labels",
      needs: "exporter",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-1", { namespace: "", pod: "", container: "", exported_pod: "" }, VALUES),
        series("kube_pod_info", { ...KSM, namespace: "", pod: "", node: "a" }, 1),
      ],
      gpus: { "GPU-1": { pods: [] } },
    },
  ],
};
