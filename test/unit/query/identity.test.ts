import { describe, expect, test } from "vitest";
import {
  compareSources,
  hasOwnNode,
  identifiedMetrics,
  identityOf,
  isKubeStateMetric,
  ownLabelOf,
  ownLabelsOf,
  sourceOf,
} from "#query/state/identity.ts";

describe("the own label of a series", () => {
  test.each([
    // helm/charts#23131: nothing is renamed.
    ["as it is", { namespace: "app", pod: "web" }, "app"],
    // kube-state-metrics#1927: honor_labels is false, and the target has the label.
    ["renamed by Prometheus", { namespace: "monitoring", exported_namespace: "app" }, "app"],
    // cAdvisor before Kubernetes 1.16, and gpu-monitoring-tools' pod_gpu_metrics_exporter: pod_namespace, pod_name, container_name.
    ["under its old name", { namespace: "monitoring", pod_namespace: "app" }, "app"],
    [
      "renamed rather than old",
      { namespace: "monitoring", pod_namespace: "x", exported_namespace: "app" },
      "app",
    ],
    ["missing", { job: "kubelet" }, ""],
    [
      "empty, which Prometheus does not tell from missing",
      { namespace: "app", exported_namespace: "" },
      "app",
    ],
  ])("%s", (_, labels, expected) => {
    expect(ownLabelOf(labels, "namespace", "container_memory_working_set_bytes")).toBe(expected);
  });

  test("each by itself: bitnami/charts#7690 has exported_namespace and exported_pod, but container as it was", () => {
    const labels = {
      exported_namespace: "app",
      exported_pod: "web",
      namespace: "monitoring",
      pod: "ksm",
      container: "main",
    };
    const own = ["namespace", "pod", "container"].map((name) =>
      ownLabelOf(labels, name, "kube_pod_container_resource_requests"),
    );
    expect(own).toEqual(["app", "web", "main"]);
  });

  test("pod_name beside a metric of kube-state-metrics is a target label: it never called a label so", () => {
    expect(ownLabelOf({ pod: "web", pod_name: "ksm-0" }, "pod", "kube_pod_info")).toBe("web");
  });
});

describe("the source of a series", () => {
  test("is every label that neither makes nor describes the thing", () => {
    const labels = {
      namespace: "app",
      pod: "web",
      uid: "1",
      node: "a",
      host_ip: "10.0.0.1",
      job: "ksm",
      instance: "10.1.1.1:8080",
      prometheus: "monitoring/k8s",
      team: "infra",
    };
    expect(sourceOf(labels, "kube_pod_info")).toEqual([
      "instance=10.1.1.1:8080",
      "job=ksm",
      "prometheus=monitoring/k8s",
      "team=infra",
    ]);
  });

  test("has the plain label where the own one is renamed", () => {
    const labels = { exported_namespace: "app", namespace: "monitoring", pod: "web", phase: "Running" };
    expect(sourceOf(labels, "kube_pod_status_phase")).toEqual(["namespace=monitoring"]);
  });

  test("has `node`, except where kube-state-metrics writes it: elsewhere it is the exporter's node", () => {
    expect(sourceOf({ namespace: "app", pod: "web", node: "a" }, "kube_pod_status_phase")).toEqual([
      "node=a",
    ]);
    expect(sourceOf({ namespace: "app", pod: "web", node: "a" }, "kube_pod_info")).toEqual([]);
  });

  test("of a container has its cgroup: nested runtimes repeat a container's labels", () => {
    const labels = {
      namespace: "app",
      pod: "web",
      container: "main",
      id: "/kubepods/1",
      image: "i",
      name: "n",
    };
    expect(sourceOf(labels, "container_memory_working_set_bytes")).toEqual([
      "id=/kubepods/1",
      "image=i",
      "name=n",
    ]);
  });
});

describe("the order of sources", () => {
  const best = (...sources: { covered: number; source: string[] }[]) =>
    sources.sort(compareSources)[0]!.source;

  test("prefers fewer gaps, then fewer labels, then the smaller text", () => {
    expect(best({ covered: 2, source: ["a=1"] }, { covered: 3, source: ["a=2", "b=1"] })).toEqual([
      "a=2",
      "b=1",
    ]);
    expect(best({ covered: 3, source: ["a=1", "b=1"] }, { covered: 3, source: ["z=1"] })).toEqual(["z=1"]);
    expect(best({ covered: 3, source: ["instance=b"] }, { covered: 3, source: ["instance=a"] })).toEqual([
      "instance=a",
    ]);
  });
});

describe("the table", () => {
  test("names each label once", () => {
    for (const metric of identifiedMetrics()) {
      expect(new Set(ownLabelsOf(metric)).size).toBe(ownLabelsOf(metric).length);
    }
  });

  test("has no label of an exporter or of Prometheus", () => {
    const foreign = ["instance", "job", "endpoint", "service", "prometheus", "prometheus_replica"];
    for (const metric of identifiedMetrics()) {
      expect(ownLabelsOf(metric).filter((name) => foreign.includes(name))).toEqual([]);
    }
  });

  test("refuses a metric that it does not have", () => {
    expect(() => identityOf("http_requests_total")).toThrow(/http_requests_total has no identity/);
  });
});

describe("the label node of kube-state-metrics", () => {
  test("is a metric's own wherever the table says so, and nowhere else", () => {
    const known = identifiedMetrics().filter(isKubeStateMetric);
    expect(known.filter(hasOwnNode)).toEqual(known.filter((name) => ownLabelsOf(name).includes("node")));
  });

  test.each([
    // kube-state-metrics, docs/metrics: node-metrics.md, pod-metrics.md, volumeattachment-metrics.md.
    ["kube_node_spec_unschedulable", true],
    ["kube_pod_init_container_resource_limits", true],
    ["kube_volumeattachment_info", true],
    // Version 1: a metric for each resource.
    ["kube_pod_container_resource_requests_cpu_cores", true],
    ["kube_pod_status_ready", false],
    ["kube_daemonset_status_number_ready", false],
    ["kube_volumeattachment_status_attached", false],
  ])("%s: %s", (metric, expected) => {
    expect(hasOwnNode(metric)).toBe(expected);
  });
});
