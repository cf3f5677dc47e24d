import type { FormTable } from "./form.ts";
import {
  disk,
  GIB,
  gpu,
  KSM,
  listed,
  node,
  nodeExporter,
  pod,
  renamed,
  series,
  withLabels,
} from "./series.ts";

const busy = { cpu_cores: 2, cpu_usage_percent: 20, load_1: 1, ready: true };
const VALUES = { DEV_GPU_UTIL: 60, DEV_FB_USED: 1024, DEV_FB_FREE: 15_360 };
const podInfo = (namespace: string, name: string, on: string, pod_ip: string) =>
  series("kube_pod_info", { ...KSM, namespace, pod: name, node: on, pod_ip }, 1);

/** A node is one row, whatever its exporters call it. */
export const WHICH_NODE: FormTable = {
  rule: "which node",
  switches: {
    "with and without domain": [
      ["if (found !== undefined || isAddress(text)) return found;", "return found;"],
    ],
    "in any case": [
      ["exact.get(text.toLowerCase())", "exact.get(text)"],
      ["name.toLowerCase().split", "name.split"],
    ],
    "the host of instance": [["nodeOf(host, newestMs) ??", "undefined ??"]],
    "a Pod's address": [["placeOf(places.ips.get(host))", "undefined"]],
    "names of a target's node": [['["node", "kubernetes_node", "node_name", "nodename"]', '["node"]']],
    "the Pod that a name names": [
      [
        "first([...names, uname], (name) => placeOf(places.pods.get(name), pods[0]?.namespace)) ??",
        "undefined ??",
      ],
    ],
  },
  forms: [
    {
      name: "a GPU operator's target with the label kubernetes_node, and the exporter's Pod as Hostname",
      source: "https://github.com/NVIDIA/gpu-operator/issues/242",
      why: "the scrape names the node that Kubernetes lists; nothing else of the series does",
      needs: "names of a target's node",
      series: [
        ...node("gpu-a", "10.0.0.1"),
        ...gpu("GPU-1", { Hostname: "nvidia-dcgm-exporter-vrgxs", kubernetes_node: "gpu-a" }, VALUES),
      ],
      gpus: { "GPU-1": { node: "gpu-a" } },
      health: [],
    },
    {
      name: "node_exporter of the old Prometheus chart, with the label kubernetes_node",
      source: "https://github.com/helm/charts/pull/9321",
      why: "the target's node is in kubernetes_node; instance is the address of a Pod that nobody lists",
      needs: "names of a target's node",
      series: [
        ...listed("worker-a", "10.0.0.1"),
        ...nodeExporter(
          { job: "kubernetes-service-endpoints", instance: "10.244.3.9:9100", kubernetes_node: "worker-a" },
          "vm-4711",
        ),
      ],
      nodes: { "worker-a": busy },
      health: [],
    },
    {
      name: "instance is the host's name, and the node's name has a domain",
      source: "https://github.com/prometheus-operator/prometheus-operator/issues/2467",
      why: "a usual relabeling gives instance a name instead of an address",
      needs: "the host of instance",
      series: [
        ...listed("worker-a.example.com", "10.0.0.1"),
        ...nodeExporter({ job: "node-exporter", instance: "worker-a" }, "vm-4711"),
      ],
      nodes: { "worker-a.example.com": busy },
      health: [],
    },
    {
      name: "the host's name has a domain and the node's has not",
      source: "https://github.com/dotdc/grafana-dashboards-kubernetes/pull/137",
      why: "node-01.example.com is node-01: node_exporter runs in a Pod of its own address",
      needs: "with and without domain",
      series: [
        ...listed("node-01", "10.0.0.1"),
        ...nodeExporter({ job: "node-exporter", instance: "10.244.3.9:9100" }, "node-01.example.com"),
      ],
      nodes: { "node-01": busy },
      health: [],
    },
    {
      name: "the node's name has a domain and the host's has not",
      source: "https://github.com/cloudnativelabs/kube-router/issues/17",
      why: "kubelets on AWS register with the private DNS name; the host is called ip-172-20-51-2",
      needs: "with and without domain",
      series: [
        ...listed("ip-172-20-51-2.us-west-2.compute.internal", "172.20.51.2"),
        ...nodeExporter({ job: "node-exporter", instance: "100.96.1.4:9100" }, "ip-172-20-51-2"),
      ],
      nodes: { "ip-172-20-51-2.us-west-2.compute.internal": busy },
      health: [],
    },
    {
      name: "the host's name has capital letters",
      source: "https://github.com/elastic/kibana/issues/128267",
      why: "kubelet makes the host's name lower case for the node's",
      needs: "in any case",
      series: [
        ...listed("worker-a", "10.0.0.1"),
        ...nodeExporter({ job: "node-exporter", instance: "10.244.3.9:9100" }, "Worker-A"),
      ],
      nodes: { "worker-a": busy },
      health: [],
    },
    {
      name: "node_exporter at a Pod's address, and the target says nothing else",
      source: "https://github.com/carlosedp/cluster-monitoring/issues/43",
      why: "kube_pod_info has the Pod of that address, and its node",
      needs: "a Pod's address",
      series: ["a", "b"].flatMap((name, i) => [
        ...listed(name, `10.0.0.${i + 1}`),
        podInfo("monitoring", `node-exporter-${i}`, name, `10.42.${i}.26`),
        // Its collector uname is off.
        ...nodeExporter({ job: "node-exporter", instance: `10.42.${i}.26:9100` }, "").filter(
          ({ metric }) => metric !== "node_uname_info",
        ),
      ]),
      nodes: { a: { ...busy, pod_count: 1 }, b: { ...busy, pod_count: 1 } },
      health: [],
    },
    {
      name: "nodes with IPv6 addresses",
      source: "https://github.com/prometheus/node_exporter/issues/1528",
      why: "instance has the address in brackets; kube_node_info has it without",
      needs: "the host of instance",
      series: ["a", "b"].flatMap((name, i) => [
        ...listed(name, `fd00:10::${i + 1}`),
        ...nodeExporter({ job: "node-exporter", instance: `[fd00:10::${i + 1}]:9100` }, `host-${i}`),
      ]),
      nodes: { a: busy, b: busy },
      summary: { node_count: 2, total_cpu_cores: 4 },
    },
    {
      name: "a node_exporter by address and another, for other disks, by the label node",
      source: "https://github.com/prometheus/node_exporter/issues/1528",
      why: "both are the same machine: one row, two CPUs, both disks",
      needs: "the host of instance",
      series: [
        ...listed("a", "10.0.0.1"),
        ...nodeExporter({ job: "node", instance: "192.168.7.1:9100" }, "host-1"),
        ...nodeExporter({ job: "kps", instance: "10.244.0.3:9796", node: "a" }, "kps-node-exporter-x2", {
          disks: disk({ job: "kps", instance: "10.244.0.3:9796", node: "a" }, { device: "/dev/sdb" }),
        }),
      ],
      addresses: { "192.168.7.1": "a" },
      nodes: { a: { ...busy, disk_total_bytes: 200 * GIB } },
      summary: { node_count: 1, total_cpu_cores: 2, total_disk_gb: 200 },
    },
    {
      name: "dcgm-exporter with honor_labels: Hostname is its Pod, pod is the holder",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/188",
      why: "kube_pod_info has the Pod that Hostname names; the holder runs there too, but is not what says so",
      needs: "the Pod that a name names",
      series: [
        ...node("gpu-1", "10.0.0.1"),
        ...node("gpu-2", "10.0.0.2"),
        ...pod("monitoring", "dcgm-exporter-6ldbb", { node: "gpu-2" }),
        ...gpu(
          "GPU-1",
          {
            instance: "10.244.2.7:9400",
            Hostname: "dcgm-exporter-6ldbb",
            namespace: "ml",
            pod: "train",
            container: "c",
          },
          VALUES,
        ),
      ],
      gpus: { "GPU-1": { node: "gpu-2", pods: [{ namespace: "ml", pod: "train", container: "c" }] } },
    },
    {
      name: "a newer dcgm-exporter: hostname with a domain",
      source: "https://github.com/NVIDIA/dcgm-exporter/pull/655",
      why: "the label is written small, and the node's name has no domain",
      needs: "with and without domain",
      series: [
        ...node("gpu-1", "10.0.0.1"),
        ...renamed("Hostname", "hostname", gpu("GPU-1", { Hostname: "gpu-1.example.com" }, VALUES)),
      ],
      gpus: { "GPU-1": { node: "gpu-1" } },
    },
    {
      name: "GPUs at the address of a node, with the Pod's name as Hostname",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/129",
      why: "hostNetwork: the address map of the collection has the node of instance",
      needs: "the host of instance",
      series: [
        ...node("gpu-1", "10.0.0.1"),
        ...withLabels(
          { instance: "192.168.7.1:9400" },
          gpu("GPU-1", { Hostname: "nvidia-dcgm-exporter-1" }, VALUES),
        ),
      ],
      addresses: { "10.0.0.1": "gpu-1", "192.168.7.1": "gpu-1" },
      gpus: { "GPU-1": { node: "gpu-1" } },
    },
  ],
};
