import type { Database } from "#storage/database.ts";

export type Sample = readonly [ms: number, value: number];

export interface StoredMetric {
  clusterId: string;
  metric: string;
  kind: "gauge" | "counter";
  unit?: string;
  series: readonly { labels: Record<string, string>; samples: readonly Sample[] }[];
}

const ROWS_PER_INSERT = 20_000;

function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function toSqlDouble(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return Object.is(value, -0) ? "-0." : String(value);
}

function toSqlMap(labels: Record<string, string>): string {
  return `{${Object.entries(labels)
    .map(([name, value]) => `${quote(name)}:${quote(value)}`)
    .join(",")}}`;
}

/** Inserts a metric's samples into the Collector's table of its kind. */
export async function storeMetric(database: Database, metric: StoredMetric): Promise<void> {
  const gauge = metric.kind === "gauge";
  const columns = `ResourceAttributes, MetricName, MetricUnit, Attributes, TimeUnix, Value${gauge ? "" : ", IsMonotonic, AggregationTemporality"}`;
  const head = `${toSqlMap({ cluster_id: metric.clusterId })},${quote(metric.metric)},${quote(metric.unit ?? "")}`;
  const rows = metric.series.flatMap(({ labels, samples }) => {
    const map = toSqlMap(labels);
    return samples.map(([ms, value]) => {
      const time = new Date(ms).toISOString().replace("T", " ").replace("Z", "");
      return `(${head},${map},'${time}',${toSqlDouble(value)}${gauge ? "" : ",true,2"})`;
    });
  });
  for (let from = 0; from < rows.length; from += ROWS_PER_INSERT) {
    await database.command(
      `INSERT INTO metrics.otel_metrics_${gauge ? "gauge" : "sum"} (${columns}) VALUES ${rows.slice(from, from + ROWS_PER_INSERT).join(",")}`,
    );
  }
}
