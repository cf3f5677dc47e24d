import type { ClusterLayout, SimulatedPod } from "./layout.ts";
import { metric } from "./metric.ts";
import type { SeriesPart } from "./metric.ts";
import { fraction, mix } from "./noise.ts";
import type { Label, MetricType, SimulatedMetric } from "./series.ts";
import { counter, gauge, lastStart } from "./values.ts";

type PodPart = Pick<SeriesPart, "labels" | "value">;

/** The families of cAdvisor through the kubelet: samples with timestamps of their own, older than the scrape. */
export function containerMetrics(layout: ClusterLayout): SimulatedMetric[] {
  const ofPods = (
    name: string,
    type: MetricType,
    help: string,
    part: (pod: SimulatedPod) => PodPart,
  ): SimulatedMetric =>
    metric(name, type, help, function* (span) {
      for (const pod of layout.pods(span)) {
        yield {
          target: pod.node.kubelet,
          bornMs: pod.startMs,
          goneMs: pod.endMs,
          lateMs: Math.floor((0.2 + 0.8 * fraction(mix(pod.hash, 11))) * layout.shape.lateMs),
          ...part(pod),
        };
      }
    });
  const counting = (name: string, help: string, perSecond: number, container: boolean): SimulatedMetric =>
    ofPods(name, "counter", help, (pod) => ({
      labels: container ? inContainer(pod) : onInterface(pod),
      value: (hash) =>
        counter({
          hash,
          perSecond: perSecond * (0.1 + fraction(pod.hash)),
          startedAt: lastStart(pod.startMs, pod.restartEveryMs),
          whole: !container,
        }),
    }));
  const memory = (name: string, help: string, share: number): SimulatedMetric =>
    ofPods(name, "gauge", help, (pod) => ({
      labels: inContainer(pod),
      value: (hash) => {
        const base = share * (1 + (pod.slot % 8)) * 1024 ** 3;
        return gauge({ hash, base, swing: base / 4, whole: true });
      },
    }));
  return [
    counting("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", 1.5, true),
    memory(
      "container_memory_usage_bytes",
      "Current memory usage in bytes, including all memory regardless of when it was accessed",
      0.8,
    ),
    memory("container_memory_working_set_bytes", "Current working set in bytes.", 0.6),
    counting("container_network_receive_bytes_total", "Cumulative count of bytes received", 800_000, false),
    counting(
      "container_network_transmit_bytes_total",
      "Cumulative count of bytes transmitted",
      300_000,
      false,
    ),
  ];
}

function ofSandbox(pod: SimulatedPod): Label[] {
  return [
    [
      "id",
      `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${pod.uid.replaceAll("-", "_")}.slice`,
    ],
    ["namespace", pod.namespace],
    ["pod", pod.name],
  ];
}

function inContainer(pod: SimulatedPod): Label[] {
  return [
    ...ofSandbox(pod),
    ["container", pod.container],
    ["image", pod.image],
    ["name", mix(pod.hash, 5).toString(16)],
  ];
}

function onInterface(pod: SimulatedPod): Label[] {
  return [...ofSandbox(pod), ["interface", "eth0"]];
}
