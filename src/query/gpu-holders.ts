import type { GpuExporter } from "./gpu-exporters.ts";
import { firstLabel, gpuExporterOf } from "./gpu-metrics.ts";

/** A container that holds a GPU; `container` is "" where the exporter does not say it. */
export interface GpuHolder {
  namespace: string;
  pod: string;
  container: string;
}

type Labels = Readonly<Record<string, string>>;

/** The labels that a scrape adds: the series of `up` has just these. */
export interface ScrapeTargets {
  /** Of the target that a series came from; undefined: `up` does not have it. */
  of(labels: Labels): Labels | undefined;
}

/** The targets of the series of `up`. Two targets with one job and instance differ in nothing that matters here. */
export function toScrapeTargets(up: readonly Labels[]): ScrapeTargets {
  const key = (labels: Labels): string => `${labels["job"] ?? ""}\n${labels["instance"] ?? ""}`;
  const byTarget = new Map(up.map((labels) => [key(labels), labels]));
  return { of: (labels) => byTarget.get(key(labels)) };
}

/**
 * The Pod whose series of a GPU metric this is; undefined: the series is about the device. `exported_pod` is the exporter's own label, which Prometheus renamed because its target has a
 * label `pod` (`honor_labels: false`), and `pod_name` that of old exporters. A plain `pod` may be either: it is the exporter's own Pod where the target has the same, where the
 * container is the exporter's, and where there is no container (exporters name both or none; a scrape often adds only the Pod).
 */
export function toGpuHolder(metric: string, labels: Labels, targets: ScrapeTargets): GpuHolder | undefined {
  const exporter = gpuExporterOf(metric);
  if (exporter === undefined) return undefined;
  const named = namedHolder(exporter, labels);
  const plain = plainHolder(exporter, labels);
  if (plain !== undefined) return targets.of(labels)?.["pod"] === plain.pod ? undefined : plain;
  if (named.pod === "") return undefined;
  const container = labels["container"] ?? "";
  // Each label by itself: the target may have a Pod and no container.
  return {
    namespace: named.namespace || (labels["namespace"] ?? ""),
    pod: named.pod,
    container: named.container || (isContainerOf(exporter, container) ? "" : container),
  };
}

/** Without the targets of `up`: the Pod that a plain `pod` names, where it may be the one that uses the GPU. */
export function plainHolder(exporter: GpuExporter, labels: Labels): GpuHolder | undefined {
  const named = namedHolder(exporter, labels);
  const plain = {
    namespace: named.namespace || (labels["namespace"] ?? ""),
    pod: labels["pod"] ?? "",
    container: named.container || (labels["container"] ?? ""),
  };
  const isOther = named.pod !== "" || exporter.labels.holder !== undefined || plain.pod === "";
  return isOther || plain.container === "" || isContainerOf(exporter, plain.container) ? undefined : plain;
}

/** What the exporter's own labels say; "" where it says nothing. */
function namedHolder({ labels: { holder } }: GpuExporter, labels: Labels): GpuHolder {
  return holder === undefined
    ? {
        namespace: firstLabel(labels, ["exported_namespace", "pod_namespace"]),
        pod: firstLabel(labels, ["exported_pod", "pod_name"]),
        container: firstLabel(labels, ["exported_container", "container_name"]),
      }
    : {
        namespace: labels[holder.namespace] ?? "",
        pod: labels[holder.pod] ?? "",
        container: labels[holder.container] ?? "",
      };
}

function isContainerOf(exporter: GpuExporter, container: string): boolean {
  return exporter.containers.some((name) => container.includes(name));
}
