import { GPU_EXPORTERS, type GpuExporter } from "./gpu-exporters.ts";
import { NOT_SOURCE, POD_LABEL_PREFIX } from "./gpu-series.ts";

const quoted = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(", ");

function firstLabelSql(labels: string, names: readonly string[]): string {
  const cases = names.map((name) => `${labels}['${name}'] != '', ${labels}['${name}'], `);
  return cases.length === 0 ? "''" : `toString(multiIf(${cases.join("")}''))`;
}

/** A multiIf over the exporters. */
function ofExporter(metric: string, value: (exporter: GpuExporter) => string, otherwise: string): string {
  const cases = GPU_EXPORTERS.map((exporter) => {
    const names = Object.values(exporter.metrics).flatMap((all) => all.map(({ name }) => name));
    const isOwn = exporter.prefixes.map((prefix) => `startsWith(${metric}, '${prefix}')`);
    return `${isOwn.length > 0 ? isOwn.join(" OR ") : `${metric} IN (${quoted(names)})`}, ${value(exporter)}`;
  });
  return `multiIf(${cases.join(",\n      ")},\n      ${otherwise})`;
}

/**
 * SQL of the columns that say what a series of a GPU metric measures, from the expressions of its metric and labels. Compute them once for a series, not for each
 * sample.
 * - `device`: identifies the GPU; its place where the exporter does not name it.
 * - `part`: "" for the whole GPU, or one without parts.
 * - `source`: the other labels, as "name=value", sorted: two of them measure the same device twice.
 * - `is_held`: 1 where the series is that of a Pod that uses the GPU.
 */
export function gpuColumnsSql(metric: string, labels: string): string {
  const device = ofExporter(metric, (exporter) => firstLabelSql(labels, exporter.labels.device), "''");
  const place = ofExporter(metric, (exporter) => firstLabelSql(labels, exporter.labels.index), "''");
  const part = ofExporter(metric, (exporter) => partSql(labels, exporter), "''");
  const isSource = `name NOT IN (${quoted(NOT_SOURCE)}) AND NOT startsWith(name, '${POD_LABEL_PREFIX}')`;
  return `if(${device} != '', ${device}, concat(toString(${labels}['instance']), '/', ${place})) AS device,
    ${part} AS part,
    arraySort(arrayFilter(text -> text != '', arrayMap((name, value) -> if(${isSource}, concat(name, '=', value), ''),
      mapKeys(${labels}), mapValues(${labels})))) AS source,
    ${ofExporter(metric, (exporter) => heldSql(labels, exporter), "0")} AS is_held`;
}

function partSql(labels: string, { labels: { part, whole = [] } }: GpuExporter): string {
  const isWhole = whole.map((each) =>
    Object.entries(each)
      .map(([name, value]) => `${labels}['${name}'] = '${value}'`)
      .join(" AND "),
  );
  const named = firstLabelSql(labels, part);
  return isWhole.length === 0 ? named : `if(${isWhole.join(" OR ")}, '', ${named})`;
}

/** As `toGpuHolder` (gpu-holders.ts), but without the targets of `up`. */
function heldSql(labels: string, { labels: { holder }, containers }: GpuExporter): string {
  if (holder !== undefined) return `${labels}['${holder.pod}'] != ''`;
  const container = firstLabelSql(labels, ["exported_container", "container_name", "container"]);
  const isExporter = `multiSearchAny(${container}, [${quoted(containers)}])`;
  return `${labels}['exported_pod'] != '' OR ${labels}['pod_name'] != ''
      OR ${labels}['pod'] != '' AND ${container} != '' AND NOT ${isExporter}`;
}

/** SQL of "namespace/pod" of the Pod whose series it is (`is_held` of `gpuColumnsSql`). */
export function gpuHolderSql(metric: string, labels: string): string {
  return ofExporter(
    metric,
    ({ labels: { holder } }) => {
      const namespaces =
        holder === undefined ? ["exported_namespace", "pod_namespace", "namespace"] : [holder.namespace];
      const pods = holder === undefined ? ["exported_pod", "pod_name", "pod"] : [holder.pod];
      return `concat(${firstLabelSql(labels, namespaces)}, '/', ${firstLabelSql(labels, pods)})`;
    },
    "''",
  );
}

/** SQL of the place of a metric's exporter in the table of exporters: the first counts before the others. */
export function gpuPlaceSql(metric: string): string {
  return ofExporter(
    metric,
    (exporter) => String(GPU_EXPORTERS.indexOf(exporter)),
    String(GPU_EXPORTERS.length),
  );
}
