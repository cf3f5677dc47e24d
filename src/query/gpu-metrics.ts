import { blankNumberSql, isBlankNumber } from "./blank-number.ts";
import { GPU_EXPORTERS, type GpuExporter, type GpuMetric, type GpuQuantity } from "./gpu-exporters.ts";

/** A metric with its exporter and the quantity that it measures. */
interface KnownMetric {
  exporter: GpuExporter;
  quantity: GpuQuantity;
  metric: GpuMetric;
}

const KNOWN: readonly KnownMetric[] = GPU_EXPORTERS.flatMap((exporter) =>
  Object.entries(exporter.metrics).flatMap(([quantity, metrics]) =>
    metrics.map((metric) => ({ exporter, quantity: quantity as GpuQuantity, metric })),
  ),
);
const BY_NAME = new Map(KNOWN.map((known) => [known.metric.name, known]));

/** The metrics of quantities, of all exporters. */
export function gpuMetrics(...quantities: readonly GpuQuantity[]): string[] {
  return KNOWN.filter(({ quantity }) => quantities.includes(quantity)).map(({ metric }) => metric.name);
}

/** What GET /gpus and /health are made of. */
export const GPU_STATE_METRICS = KNOWN.map(({ metric }) => metric.name);

/** What the GPUs of a summary are made of. */
export const GPU_SUMMARY_METRICS = gpuMetrics(
  "utilization",
  "memoryUsed",
  "memoryFree",
  "memoryTotal",
  "power",
);

/**
 * The metrics that a collection lacks for an answer, besides all others of `metrics`: of the exporters that it collects anything of (of the first, if of none), the first metric of each quantity of which it
 * collects none.
 */
export function expectedMetrics(metrics: readonly string[], collects: (metric: string) => boolean): string[] {
  const wanted = new Set(metrics);
  const collected = GPU_EXPORTERS.filter((exporter) =>
    KNOWN.some((known) => known.exporter === exporter && collects(known.metric.name)),
  );
  const exporters = new Set(collected.length === 0 ? GPU_EXPORTERS.slice(0, 1) : collected);
  const alternatives = Map.groupBy(
    KNOWN.filter(({ exporter, metric }) => exporters.has(exporter) && wanted.has(metric.name)),
    ({ exporter, quantity }) => `${exporter.name}/${quantity}`,
  );
  const expected = [...alternatives.values()].flatMap((known) => {
    const names = known.filter(({ metric }) => metric.optional !== true).map(({ metric }) => metric.name);
    const found = known.map(({ metric }) => metric.name).filter(collects);
    return found.length > 0 ? found : names.slice(0, 1);
  });
  return [...metrics.filter((name) => !BY_NAME.has(name)), ...expected];
}

/** The exporter of a metric; undefined: the metric is not about GPUs. */
export function gpuExporterOf(metric: string): GpuExporter | undefined {
  return (
    BY_NAME.get(metric)?.exporter ??
    GPU_EXPORTERS.find(({ prefixes }) => prefixes.some((prefix) => metric.startsWith(prefix)))
  );
}

/** The quantity of a metric, and its place among the metrics of that quantity: the first with a value counts. */
export function gpuQuantityOf(metric: string): KnownMetric | undefined {
  return BY_NAME.get(metric);
}

/** The value of a sample in the unit of its quantity; undefined where the number is no value. */
export function gpuValueOf(metric: string, value: number): number | undefined {
  const known = BY_NAME.get(metric)?.metric;
  if (known === undefined || isBlankNumber(value) || value === known.blank) return undefined;
  return value * (known.factor ?? 1);
}

/** SQL that is true for a sample whose number is a value of its metric (`gpuValueOf`). */
export function gpuValueSql(metric: string, value: string): string {
  const blanks = Map.groupBy(
    KNOWN.filter(({ metric: { blank } }) => blank !== undefined),
    (known) => known.metric.blank,
  );
  const ofMetrics = [...blanks].map(
    ([blank, known]) =>
      `${value} = ${blank} AND ${metric} IN (${known.map(({ metric: { name } }) => `'${name}'`).join(", ")})`,
  );
  return `NOT (${[blankNumberSql(value), ...ofMetrics].join(" OR ")})`;
}

/** The first of the labels that a series has; "" for none. */
export function firstLabel(labels: Readonly<Record<string, string>>, names: readonly string[]): string {
  return names.map((name) => labels[name] ?? "").find((value) => value !== "") ?? "";
}
