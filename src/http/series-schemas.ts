import { z } from "zod";
import { AGGREGATIONS } from "#query/series/aggregations.ts";
import { FILTER_OPERATORS } from "#query/series/matchers.ts";
import type { LatestAnswer } from "#query/series/latest.ts";
import type { LabelsAnswer, MetricsAnswer } from "#query/series/lookup.ts";
import type { SeriesAnswer } from "#query/series/series.ts";
import { clusterId, fields, recordOf, timestamp } from "./schemas.ts";
import { completeness, exampleCompleteness } from "./state-head-schemas.ts";
import { stepInput, timeInput } from "./time-input.ts";

const METRIC_CHARS_MAX = 512;
const LABEL_CHARS_MAX = 1024;
const VALUE_CHARS_MAX = 4096;
const ENTRIES_MAX = 20;
const SERIES_MAX = 100_000;

const rangeCompleteness = completeness.nullable().meta({
  description:
    "Completeness of the query that collects the metric, or of the whole cluster when that query is not known; up to the range's end or the collection's progress, whichever is earlier. null: the cluster's collection has no records",
});
const type = z.enum(["gauge", "counter", "sum"]);
export const metricName = z
  .string("is needed: the name of a metric")
  .min(1)
  .max(METRIC_CHARS_MAX)
  .meta({ description: "Prometheus' name of the metric", examples: ["node_cpu_seconds_total"] });
/** What JSON has no number for is text, as in Prometheus' API. */
const value = z.union([z.number(), z.enum(["NaN", "+Inf", "-Inf"])]);
const label = z.string().min(1).max(LABEL_CHARS_MAX);

export const queryBody = fields({
  cluster_id: clusterId,
  metric_name: metricName,
  start_time: timeInput,
  end_time: timeInput,
  aggregation: z.enum(AGGREGATIONS).meta({
    description:
      "For gauges: avg, min, max, last and the quantiles (p50 is the median) over each point's window, then averaged over the series (min and max: the smallest and the largest); sum adds the series' averages; count is the number of series. Over windows of up to five minutes, count and last leave out a series from its stale marker on. For counters: the same of each series' rate per second; rate and increase are summed.",
  }),
  step: stepInput.optional(),
  group_by: z.array(label).max(ENTRIES_MAX).optional().meta({
    description: 'Labels; ["*"] returns each series separately. If omitted, the whole cluster is one series',
  }),
  filters: z
    .array(
      fields({
        label,
        op: z.enum(FILTER_OPERATORS).default("="),
        value: z.string().max(VALUE_CHARS_MAX),
      }),
    )
    .max(ENTRIES_MAX)
    .optional()
    .meta({
      description:
        "All must match, as PromQL's matchers do: regular expressions are RE2 and match the whole value, an absent label is empty",
    }),
  limit: z.int().min(1).max(SERIES_MAX).optional().meta({
    description: "At most this many series, the first ones in label order. Default 100",
  }),
}).meta({
  id: "ClusterMetricsQuery",
  examples: [
    {
      cluster_id: "sim-1",
      metric_name: "node_cpu_seconds_total",
      start_time: "2025-06-01T11:00:00Z",
      end_time: "2025-06-01T12:00:00Z",
      aggregation: "rate",
      step: "5m",
      group_by: ["mode"],
      filters: [{ label: "mode", op: "!=", value: "idle" }],
    },
  ],
});

export const queryAnswer = z
  .object({
    cluster_id: z.string(),
    metric_name: z.string(),
    aggregation: z.enum(AGGREGATIONS),
    type,
    unit: z.string().meta({ description: 'Unit of the values; "" when it is not known' }),
    start_time: timestamp,
    end_time: timestamp,
    step_seconds: z.int(),
    window_seconds: z.int().meta({ description: "Each point looks back this far" }),
    promql: z.string().meta({
      description:
        "PromQL with the same result: query_range from first_point to last_point with step_seconds",
    }),
    first_point: timestamp,
    last_point: timestamp,
    as_of: timestamp.nullable().meta({ description: "Time of the newest sample that was read" }),
    completeness: rangeCompleteness,
    storage: z.enum(["raw", "hours"]).meta({
      description:
        "The source of the answer: samples, or hourly roll-ups (steps of whole hours over more than a week or very many samples, except for quantiles). Roll-ups give the same points; values differ only by rounding",
    }),
    series_total: z
      .int()
      .meta({ description: "Number of all matching series; `series` has at most `limit`" }),
    series: z.array(
      z.object({
        labels: recordOf(z.string()),
        points: z.array(z.object({ timestamp, value })),
      }),
    ),
  })
  .meta({
    id: "ClusterMetricsAnswer",
    examples: [
      {
        cluster_id: "edge-1",
        metric_name: "node_cpu_seconds_total",
        aggregation: "rate",
        type: "counter",
        unit: "s/s",
        start_time: "2025-06-01T11:00:00.000Z",
        end_time: "2025-06-01T12:00:00.000Z",
        step_seconds: 300,
        window_seconds: 300,
        promql: 'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[300s]))',
        first_point: "2025-06-01T11:05:00.000Z",
        last_point: "2025-06-01T12:00:00.000Z",
        as_of: "2025-06-01T11:59:46.213Z",
        completeness: { ...exampleCompleteness, queries: 1 },
        storage: "raw",
        series_total: 1,
        series: [
          { labels: { mode: "user" }, points: [{ timestamp: "2025-06-01T11:05:00.000Z", value: 1.42 }] },
        ],
      },
    ],
  }) satisfies z.ZodType<SeriesAnswer>;

export const metricsAnswer = z
  .object({
    cluster_id: z.string(),
    start_time: timestamp,
    end_time: timestamp,
    as_of: timestamp.nullable().meta({ description: "Time of the newest sample of any metric in the range" }),
    completeness: rangeCompleteness,
    metrics: z.array(
      z.object({
        metric_name: z.string(),
        type,
        unit: z.string(),
        series: z.int(),
        first_sample: timestamp,
        last_sample: timestamp,
      }),
    ),
  })
  .meta({
    id: "StoredMetrics",
    examples: [
      {
        cluster_id: "edge-1",
        start_time: "2025-05-31T12:00:00.000Z",
        end_time: "2025-06-01T12:00:00.000Z",
        as_of: "2025-06-01T11:58:30.000Z",
        completeness: exampleCompleteness,
        metrics: [
          {
            metric_name: "node_load1",
            type: "gauge",
            unit: "",
            series: 3,
            first_sample: "2025-05-31T12:00:13.000Z",
            last_sample: "2025-06-01T11:58:30.000Z",
          },
        ],
      },
    ],
  }) satisfies z.ZodType<MetricsAnswer>;

export const labelsAnswer = z
  .object({
    cluster_id: z.string(),
    metric_name: z.string(),
    start_time: timestamp,
    end_time: timestamp,
    completeness: rangeCompleteness,
    series: z.int(),
    labels: z.array(
      z.object({
        label: z.string(),
        series: z.int().meta({ description: "Number of series with the label" }),
        values_total: z.int(),
        values: z.array(z.string()).meta({ description: "The first 100 values in sort order" }),
      }),
    ),
  })
  .meta({
    id: "StoredLabels",
    examples: [
      {
        cluster_id: "edge-1",
        metric_name: "node_cpu_seconds_total",
        start_time: "2025-05-31T12:00:00.000Z",
        end_time: "2025-06-01T12:00:00.000Z",
        completeness: { ...exampleCompleteness, queries: 1 },
        series: 16,
        labels: [{ label: "mode", series: 16, values_total: 2, values: ["idle", "user"] }],
      },
    ],
  }) satisfies z.ZodType<LabelsAnswer>;

export const latestAnswer = z
  .object({
    cluster_id: z.string(),
    metric: z.string(),
    as_of: timestamp,
    unit: z.string(),
    type,
    series_total: z.int().meta({ description: "How many there are; series has no more than the limit" }),
    series: z.array(
      z.object({
        labels: recordOf(z.string()),
        timestamp,
        value,
        ended: timestamp.optional().meta({
          description:
            "Time of the series' stale marker, if it is newer than the sample: Prometheus has the series no more. Absent: it goes on, or nothing is known of its end",
        }),
      }),
    ),
  })
  .meta({
    id: "LatestSamples",
    examples: [
      {
        cluster_id: "edge-1",
        metric: "node_load1",
        as_of: "2025-06-01T11:58:30.000Z",
        unit: "",
        type: "gauge",
        series_total: 1,
        series: [
          { labels: { instance: "10.0.0.7:9100" }, timestamp: "2025-06-01T11:58:30.000Z", value: 0.42 },
        ],
      },
    ],
  }) satisfies z.ZodType<LatestAnswer>;
