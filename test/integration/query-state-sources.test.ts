import { describe, expect, test } from "vitest";
import { useEngine } from "../helpers/engine.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import {
  AS_OF_MS,
  createStateCases,
  gauge,
  MINUTE_MS,
  node,
  now,
  toMetrics,
} from "../helpers/state-cases.ts";
import { point } from "../helpers/stored-world.ts";

/** One thing that several series measure counts once, and a node is one row. */
const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);

type Labels = Record<string, string>;
/** The same metrics with other labels; undefined: the series is left out. */
const relabel = (
  metrics: readonly TestMetric[],
  to: (labels: Labels, metric: string) => Labels | undefined,
) =>
  metrics.map((metric) => ({
    ...metric,
    points: metric.points.flatMap((each) => {
      const labels = to({ ...each.labels }, metric.name);
      return labels === undefined ? [] : [{ ...each, labels }];
    }),
  }));
const without = ({ "k8s.node.name": name, ...labels }: Labels): Labels =>
  name === undefined ? labels : { ...labels };
const isKube = (metric: string): boolean => metric.startsWith("kube_");

/** Two nodes, 90 % and 10 % busy, with CPU, memory, a disk, load and two Pods, as kube-state-metrics and node_exporter show them. */
const PODS = [
  gauge("kube_pod_info", [
    now({ namespace: "app", pod: "web", node: "a", uid: "1", instance: "ksm:8080" }, 1),
    now({ namespace: "app", pod: "job", node: "b", uid: "2", instance: "ksm:8080" }, 1),
  ]),
  gauge(
    "kube_pod_status_phase",
    [
      ["web", "Running", 1],
      ["web", "Pending", 0],
      ["job", "Running", 0],
      ["job", "Pending", 1],
    ].map(([pod, phase, value]) =>
      now({ namespace: "app", pod: String(pod), phase: String(phase), instance: "ksm:8080" }, Number(value)),
    ),
  ),
];
const PLAIN = [
  ...relabel(toMetrics([node("a", { cpu: 90, memory: 60 }), node("b", { cpu: 10 })]), without),
  ...PODS,
];
/** node_exporter's `instance` is a:9100 and b:9100, by which its node is found. */
const only = (node: "node_" | "kube_") => (labels: Labels, metric: string) =>
  metric.startsWith(node) ? labels : undefined;

/** What users see of the nodes, without times. */
async function answers(metrics: readonly TestMetric[]) {
  const id = await cluster(metrics);
  const [summary, nodes, health] = await Promise.all([
    state().summary({ clusterId: id }),
    state().nodes({ clusterId: id }),
    state().health({ clusterId: id }),
  ]);
  return { ...summary, cluster_id: "", nodes: nodes.nodes, issues: health.issues };
}

const extra = (labels: Labels) => (own: Labels) => ({ ...own, ...labels });
const ksm = (to: (own: Labels) => Labels) => relabel(relabel(PLAIN, only("kube_")), (labels) => to(labels));
const nodeExporter = (to: (own: Labels) => Labels) =>
  relabel(relabel(PLAIN, only("node_")), (labels) => to(labels));

/** honor_labels: false of a job that adds the target's namespace, pod, container and node. */
const TARGET = {
  namespace: "monitoring",
  pod: "ksm-0",
  container: "ksm",
  node: "b",
  instance: "10.244.0.9:8080",
};
const renamed = (own: Labels): Labels => ({
  ...Object.fromEntries(
    Object.entries(own)
      .filter(([name]) => name !== "instance")
      .map(([name, value]) => [name in TARGET ? `exported_${name}` : name, value]),
  ),
  ...TARGET,
});

describe("a second copy changes nothing", () => {
  test.each([
    // kube-state-metrics#147: two replicas of kube-state-metrics.
    ["of kube-state-metrics, another instance", ksm(extra({ instance: "10.244.0.2:8080" }))],
    // helm-charts#2983: the distribution's node_exporter beside kube-prometheus-stack's, on another port.
    [
      "of node_exporter, another job and port",
      nodeExporter((own) => ({ ...own, job: "kps", instance: own["instance"]!.replace("9100", "9796") })),
    ],
    // An HA pair of Prometheus whose replica label nobody took away.
    [
      "of everything, by a second Prometheus",
      relabel(PLAIN, extra({ prometheus_replica: "prometheus-k8s-1" })),
    ],
    // kube-state-metrics#1927, bitnami/charts#7690.
    ["of kube-state-metrics, with exported_ labels", ksm(renamed)],
    // Prometheus operator: two ServiceMonitors select one Service.
    [
      "of everything, by a second ServiceMonitor",
      relabel(PLAIN, extra({ job: "again", endpoint: "http", service: "s" })),
    ],
    // node_exporter scraped by its Pod's name as well (role: pod beside role: node).
    [
      "of node_exporter, by the label node",
      nodeExporter((own) => ({
        node: own["instance"]!.split(":")[0]!,
        instance: "10.9.9.9:9100",
        ...(own["device"] ? { device: own["device"], fstype: own["fstype"]! } : {}),
        ...(own["cpu"] ? { cpu: own["cpu"], mode: own["mode"]! } : {}),
      })),
    ],
    // Federation without honor_labels keeps the exporter's instance as exported_instance.
    [
      "of everything, by a federating Prometheus",
      relabel(PLAIN, ({ instance, ...own }) => ({
        ...own,
        exported_instance: instance!,
        instance: "prometheus:9090",
        job: "federate",
      })),
    ],
  ])("%s", async (_, copy) => {
    const [alone, doubled] = await Promise.all([answers(PLAIN), answers([...PLAIN, ...copy])]);
    expect(alone).toMatchObject({
      node_count: 2,
      total_cpu_cores: 2,
      pod_count: 2,
      running_pod_count: 1,
      nodes: [
        { node: "a", memory_usage_percent: 60, pod_count: 1 },
        { node: "b", memory_usage_percent: 10, pod_count: 1 },
      ],
    });
    expect(alone.nodes.map((each) => Math.round(each.cpu_usage_percent ?? 0))).toEqual([90, 10]);
    expect(doubled).toEqual({ ...alone, completeness: doubled.completeness });
  });

  test("a copy that ended counts where the other has nothing yet: a replaced exporter goes on seamlessly", async () => {
    const at = (instance: string, minutes: number, value: number) =>
      point({ instance, node: "a" }, AS_OF_MS - minutes * MINUTE_MS, value);
    const id = await cluster([
      gauge("node_load1", [
        // The old Pod until 30 minutes ago, the new one since 25.
        ...Array.from({ length: 30 }, (_, i) => at("10.244.0.1:9100", 59 - i, 2)),
        ...Array.from({ length: 26 }, (_, i) => at("10.244.0.2:9100", 25 - i, 4)),
      ]),
    ]);
    const [load] = [await state().summary({ clusterId: id })];
    // Steps of a minute: 35 with the old one (its last value counts for five minutes, which ends with the new one's first), 25 with the new one.
    expect(load.avg_load_1).toBeCloseTo((35 * 2 + 25 * 4) / 60, 1);
    expect((await state().nodes({ clusterId: id })).nodes).toMatchObject([{ node: "a", load_1: 4 }]);
  });
});

describe("a node is one row whatever its exporters call it", () => {
  const one = async (metrics: readonly TestMetric[]) =>
    (await state().nodes({ clusterId: await cluster(metrics) })).nodes.map((each) => ({
      node: each.node,
      cores: each.cpu_cores,
      ready: each.ready,
    }));
  const BOTH = [
    { node: "a", cores: 1, ready: true },
    { node: "b", cores: 1, ready: true },
  ];
  const podIp = { a: "10.244.0.5", b: "10.244.1.5" } as Labels;
  const exporterPods = (labels: (name: string) => Labels) =>
    gauge(
      "kube_pod_info",
      ["a", "b"].map((name) =>
        now({ namespace: "mon", pod: `ne-${name}`, node: name, instance: "ksm", ...labels(name) }, 1),
      ),
    );
  const atPod = (more: (name: string) => Labels) =>
    relabel(PLAIN, (labels, metric) => {
      const name = labels["instance"]!.split(":")[0]!;
      return isKube(metric) ? labels : { ...labels, instance: `${podIp[name]}:9100`, ...more(name) };
    });

  test.each([
    // home-operations#13490: node_exporter without hostNetwork; the target has the Pod's name.
    [
      "the exporter's Pod",
      [...atPod((name) => ({ namespace: "mon", pod: `ne-${name}` })), exporterPods(() => ({}))],
    ],
    // A static job that knows the Pod's address only.
    [
      "the exporter's Pod by its address",
      [...atPod(() => ({})), exporterPods((name) => ({ pod_ip: podIp[name]! }))],
    ],
    // EKS and kubeadm: nodes are listed without the domain that the exporter's instance has.
    [
      "a host name with its domain",
      relabel(PLAIN, (labels, metric) =>
        isKube(metric) ? labels : { ...labels, instance: labels["instance"]!.replace(":", ".eu.example:") },
      ),
    ],
  ])("%s", async (_, metrics) => {
    expect(await one(metrics)).toEqual(BOTH);
  });

  test("kube-state-metrics' own node is not the node of what it measures (kube-state-metrics#1927)", async () => {
    expect(await one([...nodeExporter((own) => own), ...ksm(renamed)])).toEqual(BOTH);
  });
});
