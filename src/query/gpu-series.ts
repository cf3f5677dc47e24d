import { GPU_EXPORTERS } from "./gpu-exporters.ts";
import { firstLabel, gpuExporterOf } from "./gpu-metrics.ts";
import { NODE_NAME } from "./node-addresses.ts";

/** What a series of a GPU metric measures, and who measured it. */
export interface GpuSeries {
  /** Identifies the GPU; its place where the exporter does not name it. */
  device: string;
  /** "" for the whole GPU, or one without parts. */
  part: string;
  /** The other labels, as "name=value", sorted: two of them measure the same device twice. */
  source: readonly string[];
}

type Labels = Readonly<Record<string, string>>;

/** The labels by which series carry a Pod, in every form. */
const HOLDER_LABELS = ["namespace", "pod", "container"].flatMap((name) => [name, `exported_${name}`]);
const OLD_HOLDER_LABELS = ["pod_name", "pod_namespace", "container_name"];
/** dcgm-exporter copies labels of the Pod with this prefix (`--kubernetes-enable-pod-labels`). */
export const POD_LABEL_PREFIX = "label_";

/** Labels that are never part of the source. NODE_NAME: rows that an older version of the bridge sent may have it or not, in one series. */
export const NOT_SOURCE: readonly string[] = [
  ...new Set([
    ...GPU_EXPORTERS.flatMap(({ labels: each }) => [
      ...each.device,
      ...each.part,
      ...(each.whole ?? []).flatMap(Object.keys),
      ...each.profile,
      ...each.index,
      ...each.model,
      ...each.nodes,
      ...Object.values(each.holder ?? {}),
      ...each.detail,
    ]),
    ...HOLDER_LABELS,
    ...OLD_HOLDER_LABELS,
    NODE_NAME,
  ]),
];
const notSource = new Set(NOT_SOURCE);

/** undefined: the metric is not about GPUs. `gpuColumnsSql` says the same in SQL, which takes ten times as long to plan as to run. */
export function gpuSeriesOf(metric: string, labels: Labels): GpuSeries | undefined {
  const names = gpuExporterOf(metric)?.labels;
  if (names === undefined) return undefined;
  const isWhole = (names.whole ?? []).some((whole) =>
    Object.entries(whole).every(([name, value]) => labels[name] === value),
  );
  return {
    device:
      firstLabel(labels, names.device) || `${labels["instance"] ?? ""}/${firstLabel(labels, names.index)}`,
    part: isWhole ? "" : firstLabel(labels, names.part),
    source: Object.entries(labels)
      .filter(([name]) => !notSource.has(name) && !name.startsWith(POD_LABEL_PREFIX))
      .map(([name, value]) => `${name}=${value}`)
      .sort(),
  };
}
