import { namespaceOf, type ClusterLayout, type SimulatedPod } from "./layout.ts";
import { metric } from "./metric.ts";
import type { SeriesPart } from "./metric.ts";
import { fraction, mix, uuidOf } from "./noise.ts";
import { ODD_TEXTS } from "./oddities.ts";
import type { Label, MetricType, SimulatedMetric } from "./series.ts";
import { constant } from "./values.ts";

const GIB = 1024 ** 3;
const PHASES = ["Pending", "Succeeded", "Failed", "Unknown", "Running"];

type PodParts = (pod: SimulatedPod) => Iterable<Pick<SeriesPart, "labels" | "value">>;

/** The families of kube-state-metrics; `namespace`, `pod` and `node` name the objects. */
export function kubeMetrics(layout: ClusterLayout): SimulatedMetric[] {
  return [...nodeObjects(layout), ...namespaceObjects(layout), ...podObjects(layout)];
}

function nodeObjects(layout: ClusterLayout): SimulatedMetric[] {
  const target = layout.kubeState;
  const resources = (reserved: number): SeriesPart[] =>
    layout.nodes.flatMap((node) => {
      const amounts: [resource: string, unit: string, amount: number][] = [
        ["cpu", "core", layout.shape.cpus - reserved * 0.07],
        ["memory", "byte", 64 * GIB - 123_456_512 - reserved * GIB],
        ["pods", "integer", 110],
        ["ephemeral_storage", "byte", 502_468_108_288 - reserved * 10 * GIB],
      ];
      if (layout.shape.gpus > 0) amounts.push(["nvidia_com_gpu", "integer", layout.shape.gpus]);
      return amounts.map(([resource, unit, amount]) => ({
        target,
        labels: [
          ["node", node.name],
          ["resource", resource],
          ["unit", unit],
        ],
        value: () => constant(amount),
      }));
    });
  const conditions: [condition: string, status: string][] = [
    ["Ready", "true"],
    ["DiskPressure", "false"],
    ["MemoryPressure", "false"],
    ["PIDPressure", "false"],
  ];
  return [
    metric("kube_node_info", "gauge", "Information about a cluster node.", () =>
      layout.nodes.map((node) => ({
        target,
        labels: [
          ["container_runtime_version", "containerd://1.7.13"],
          ["internal_ip", node.address],
          ["kernel_version", "6.1.0-18-amd64"],
          ["kubelet_version", "v1.31.4"],
          ["node", node.name],
          ["os_image", "Debian GNU/Linux 12 (bookworm)"],
          ["provider_id", `sim:///${layout.shape.id}/${node.name}`],
          ["system_uuid", uuidOf(node.hash)],
        ],
        value: () => constant(1),
      })),
    ),
    metric("kube_node_status_condition", "gauge", "The condition of a cluster node.", function* () {
      for (const node of layout.nodes) {
        for (const [condition, usual] of conditions) {
          for (const status of ["true", "false", "unknown"]) {
            yield {
              target,
              labels: [
                ["condition", condition],
                ["node", node.name],
                ["status", status],
              ],
              value: () => constant(status === usual ? 1 : 0),
            };
          }
        }
      }
    }),
    metric("kube_node_status_capacity", "gauge", "The total amount of resources available for a node.", () =>
      resources(0),
    ),
    metric(
      "kube_node_status_allocatable",
      "gauge",
      "The amount of resources allocatable for pods (after reserving some for system daemons).",
      () => resources(1),
    ),
  ];
}

/** The namespaces of the workloads, and a Deployment for each workload's place. */
function namespaceObjects(layout: ClusterLayout): SimulatedMetric[] {
  const target = layout.kubeState;
  const slots = Array.from({ length: layout.shape.pods }, (_, slot) => slot);
  const namespaces = [...new Set(["bud-system", ...slots.map(namespaceOf)])];
  const ofDeployments = (field: string, help: string, value: number): SimulatedMetric =>
    metric(`kube_deployment_status_replicas${field}`, "gauge", help, () =>
      slots.map((slot) => ({
        target,
        labels: [
          ["deployment", `trainer-${slot}`],
          ["namespace", namespaceOf(slot)],
        ],
        value: () => constant(value),
      })),
    );
  return [
    metric("kube_namespace_status_phase", "gauge", "kubernetes namespace status phase.", () =>
      namespaces.flatMap((namespace) =>
        ["Active", "Terminating"].map((phase) => ({
          target,
          labels: [
            ["namespace", namespace],
            ["phase", phase],
          ] as Label[],
          value: () => constant(phase === "Active" ? 1 : 0),
        })),
      ),
    ),
    ofDeployments("", "The number of replicas per deployment.", 1),
    ofDeployments("_available", "The number of available replicas per deployment.", 1),
    ofDeployments("_unavailable", "The number of unavailable replicas per deployment.", 0),
  ];
}

function podObjects(layout: ClusterLayout): SimulatedMetric[] {
  const ofPods = (name: string, type: MetricType, help: string, parts: PodParts): SimulatedMetric =>
    metric(name, type, help, function* (span) {
      for (const pod of layout.pods(span)) {
        for (const part of parts(pod)) {
          yield { target: layout.kubeState, bornMs: pod.startMs, goneMs: pod.endMs, ...part };
        }
      }
      if (name === "kube_pod_info" && layout.shape.oddities) yield* oddPods(layout);
    });
  const resources = (factor: number): PodParts =>
    function* (pod) {
      const amounts: [resource: string, unit: string, amount: number][] = [
        ["cpu", "core", (0.25 + (pod.slot % 4)) * factor],
        ["memory", "byte", (1 + (pod.slot % 8)) * GIB * factor],
      ];
      if (pod.gpu !== undefined) amounts.push(["nvidia_com_gpu", "integer", 1]);
      for (const [resource, unit, amount] of amounts) {
        yield {
          labels: [...ofContainer(pod), ["node", pod.node.name], ["resource", resource], ["unit", unit]],
          value: () => constant(amount),
        };
      }
    };
  return [
    ofPods("kube_pod_info", "gauge", "Information about pod.", (pod) => [
      { labels: podInfo(pod, `trainer-${pod.slot}`), value: () => constant(1) },
    ]),
    ofPods("kube_pod_status_phase", "gauge", "The pods current phase.", function* (pod) {
      const pendingMs = 2_000 + fraction(pod.hash) * 20_000;
      for (const phase of PHASES) {
        yield {
          labels: [...ofPod(pod), ["phase", phase], ["uid", pod.uid]],
          value: () => (timeMs) =>
            phase === (timeMs < pod.startMs + pendingMs ? "Pending" : "Running") ? 1 : 0,
        };
      }
    }),
    ofPods(
      "kube_pod_container_resource_requests",
      "gauge",
      "The number of requested request resource by a container.",
      resources(1),
    ),
    ofPods(
      "kube_pod_container_resource_limits",
      "gauge",
      "The number of requested limit resource by a container.",
      resources(2),
    ),
    ofPods(
      "kube_pod_container_status_restarts_total",
      "counter",
      "The number of container restarts per container.",
      (pod) => [
        {
          labels: [...ofContainer(pod), ["uid", pod.uid]],
          value: () => (timeMs) => Math.max(0, Math.floor((timeMs - pod.startMs) / pod.restartEveryMs)),
        },
      ],
    ),
  ];
}

function ofPod(pod: SimulatedPod): Label[] {
  return [
    ["namespace", pod.namespace],
    ["pod", pod.name],
  ];
}

function ofContainer(pod: SimulatedPod): Label[] {
  return [...ofPod(pod), ["container", pod.container]];
}

function podInfo(pod: SimulatedPod, creator: string): Label[] {
  return [
    ...ofPod(pod),
    ["created_by_kind", "ReplicaSet"],
    ["created_by_name", creator],
    ["host_ip", pod.node.address],
    ["host_network", "false"],
    ["node", pod.node.name],
    ["pod_ip", pod.address],
    ["uid", pod.uid],
  ];
}

/** One pod for every odd text, in `created_by_name`. */
function* oddPods(layout: ClusterLayout): Iterable<SeriesPart> {
  for (const [i, text] of ODD_TEXTS.entries()) {
    yield {
      target: layout.kubeState,
      labels: [
        ["created_by_kind", "Job"],
        ["created_by_name", text],
        ["namespace", "oddities"],
        ["pod", `odd-${i}`],
        ["uid", uuidOf(mix(layout.hash, i))],
      ],
      value: () => constant(1),
    };
  }
}
