import { gpuExporterOf } from "#query/gpu-metrics.ts";
import { gpuColumnsSql } from "#query/gpu-sql.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import { NODE_NAME } from "#query/node-addresses.ts";
import { nodeLabelsOf, type NodeQuestion } from "#query/node-resolver.ts";
import { refuseSize } from "#query/limits.ts";

/** A GPU that had samples in a range. */
interface UsedDevice {
  device: string;
  question: NodeQuestion;
}

interface Row {
  device: string;
  metric: string;
  labels: Readonly<Record<string, string>>;
  newest_ms: string;
}

const DEVICES_MAX = 20_000;

/** The GPUs of a cluster with samples on the days of a range, from the table of series: it has one row a day for each. */
export type DeviceReader = (
  clusterId: string,
  range: { fromMs: number; toMs: number; metrics: readonly string[] },
  signal: AbortSignal | undefined,
) => Promise<UsedDevice[]>;

export function createDeviceReader(
  database: LimitedDatabase,
  settings: { databaseName: string },
): DeviceReader {
  const series = `SELECT metric_name, series_id, argMax(labels, last_time) AS series_labels, max(last_time) AS newest
    FROM ${settings.databaseName}.series
    WHERE cluster_id = {cluster:String} AND metric_name IN {names:Array(String)} AND day BETWEEN toDate({first_day:String}) AND toDate({last_day:String})
    GROUP BY metric_name, series_id`;
  const known = `SELECT metric_name, series_labels, newest, ${gpuColumnsSql("metric_name", "series_labels")} FROM (${series})`;
  // Of a device's own series, before those of Pods: they have the node of the exporter.
  const sql = `SELECT device, argMax(metric_name, (1 - is_held, newest)) AS metric, argMax(series_labels, (1 - is_held, newest)) AS labels,
      toUnixTimestamp64Milli(max(newest)) AS newest_ms FROM (${known}) GROUP BY device ORDER BY device LIMIT ${DEVICES_MAX}`;
  const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
  return async (clusterId, { fromMs, toMs, metrics }, signal) => {
    const parameters = { cluster: clusterId, names: metrics, first_day: day(fromMs), last_day: day(toMs) };
    const rows = await database.query<Row>(sql, parameters, signal);
    if (rows.length >= DEVICES_MAX) {
      throw refuseSize("series", `the cluster has more than ${DEVICES_MAX} GPUs`, "Ask for a shorter range.");
    }
    return rows.map(({ device, metric, labels, newest_ms }) => ({
      device,
      question: toGpuNodeQuestion(metric, labels, Number(newest_ms)),
    }));
  };
}

/** As that of /gpus, without `up`: the exporter's Pod is the plain label where the exporter's own was renamed, or where the series is the device's. */
export function toGpuNodeQuestion(metric: string, labels: Row["labels"], newestMs: number): NodeQuestion {
  const nodes = gpuExporterOf(metric)?.labels.nodes ?? [];
  const names = [...nodes, NODE_NAME].map((name) => labels[name] ?? "");
  const pod = labels["pod"] ?? "";
  return {
    names: [...nodeLabelsOf(labels), ...names.filter((name) => name !== "")],
    instance: labels["instance"] ?? "",
    pods: pod === "" ? [] : [{ namespace: labels["namespace"] ?? "", pod }],
    newestMs,
  };
}
