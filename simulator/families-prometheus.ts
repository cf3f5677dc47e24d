import type { ClusterLayout } from "./layout.ts";
import { memberMetric, metric } from "./metric.ts";
import type { SeriesPart } from "./metric.ts";
import type { Label, MetricFamily, ScrapeTarget, SimulatedMetric } from "./series.ts";
import { constant, counter, gauge } from "./values.ts";

const BUCKETS = ["0.1", "0.2", "0.4", "1", "3", "8", "20", "60", "120", "+Inf"];
const HANDLERS = ["/api/v1/query", "/api/v1/query_range", "/metrics"];

/**
 * The metrics of Prometheus itself (a classic histogram and a summary among it) and what it makes of each
 * scrape.
 */
export function prometheusMetrics(layout: ClusterLayout): SimulatedMetric[] {
  const target = layout.prometheus;
  const startedAt = layout.nodes[0]?.bootedAt ?? (() => 0);
  return [
    ...histogram(target, startedAt),
    ...summary(target, startedAt),
    metric("prometheus_build_info", "gauge", "A metric with a constant '1' value labeled by version.", () => [
      { target, labels: [["version", "simulated"]], value: () => constant(1) },
    ]),
    metric(
      "prometheus_tsdb_lowest_timestamp_seconds",
      "gauge",
      "Lowest timestamp value stored in the database.",
      () => [{ target, labels: [], value: () => constant(Math.floor(layout.shape.oldestMs / 1000)) }],
    ),
    ...ofScrapes(layout),
  ];
}

/** Buckets are cumulative: each is a share of the same counter. */
function histogram(target: ScrapeTarget, startedAt: (timeMs: number) => number): SimulatedMetric[] {
  const name = "prometheus_http_request_duration_seconds";
  const family: MetricFamily = {
    name,
    type: "histogram",
    help: "Histogram of latencies for HTTP requests.",
    unit: "",
  };
  const share = (bucket: number): number => 1 - 0.5 ** (bucket + 1);
  const requests = (handler: string, factor: number, whole: boolean, labels: Label[]): SeriesPart => ({
    target,
    labels: [["handler", handler], ...labels],
    value: () => {
      const count = counter({ hash: handler.length, perSecond: 2.5, startedAt, whole });
      return (timeMs) => (whole ? Math.floor(count(timeMs) * factor) : count(timeMs) * factor);
    },
  });
  return [
    memberMetric(`${name}_bucket`, family, () =>
      HANDLERS.flatMap((handler) =>
        BUCKETS.map((le, bucket) => requests(handler, le === "+Inf" ? 1 : share(bucket), true, [["le", le]])),
      ),
    ),
    memberMetric(`${name}_sum`, family, () => HANDLERS.map((handler) => requests(handler, 0.137, false, []))),
    memberMetric(`${name}_count`, family, () => HANDLERS.map((handler) => requests(handler, 1, true, []))),
  ];
}

function summary(target: ScrapeTarget, startedAt: (timeMs: number) => number): SimulatedMetric[] {
  const name = "go_gc_duration_seconds";
  const help = "A summary of the wall-time pause (stop-the-world) duration in garbage collection cycles.";
  const family: MetricFamily = { name, type: "summary", help, unit: "" };
  const count = (perSecond: number, whole: boolean): SeriesPart[] => [
    { target, labels: [], value: (hash) => counter({ hash, perSecond, startedAt, whole }) },
  ];
  return [
    memberMetric(name, family, () =>
      ["0", "0.25", "0.5", "0.75", "1"].map((quantile) => ({
        target,
        labels: [["quantile", quantile]],
        value: (hash) => gauge({ hash, base: 1e-4 * (1 + Number(quantile)), swing: 2e-5 }),
      })),
    ),
    memberMetric(`${name}_sum`, family, () => count(0.00004, false)),
    memberMetric(`${name}_count`, family, () => count(0.2, true)),
  ];
}

/** Series that Prometheus adds to each scrape; they have no metadata. */
function ofScrapes(layout: ClusterLayout): SimulatedMetric[] {
  const targets = [
    ...layout.nodes.flatMap((node) => [
      node.nodeExporter,
      node.kubelet,
      ...(layout.shape.gpus > 0 ? [node.dcgm] : []),
    ]),
    layout.kubeState,
    layout.prometheus,
    layout.down,
  ];
  const isUp = (target: ScrapeTarget, timeMs: number): boolean =>
    target !== layout.down && target.isDown?.(timeMs) !== true;
  return [
    memberMetric("up", null, () =>
      targets.map((target) => ({
        target: alwaysUp(target),
        labels: [],
        value: () => (timeMs) => (isUp(target, timeMs) ? 1 : 0),
      })),
    ),
    memberMetric("scrape_duration_seconds", null, () =>
      targets.map((target) => ({
        target: alwaysUp(target),
        labels: [],
        value: (hash) => gauge({ hash, base: 0.05, swing: 0.03 }),
      })),
    ),
  ];
}

/** The same target for what Prometheus makes itself, which also comes from a scrape that fails. */
function alwaysUp({ hash, labels, intervalMs, jitterMs }: ScrapeTarget): ScrapeTarget {
  return { hash, labels, intervalMs, jitterMs };
}
