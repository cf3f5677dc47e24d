import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import type { QueryAdmission } from "#query/admission.ts";
import type { ReadClusterCompleteness } from "#query/cluster-completeness.ts";
import type { Promql } from "#query/promql/promql.ts";
import type { ClusterState } from "#query/state/cluster-state.ts";
import { createAnswerQuery } from "./answer-query.ts";
import type { RouteModule } from "./app-types.ts";
import {
  latestRoutes,
  metricQueryRoutes,
  type LatestSamples,
  type MetricQueries,
} from "./routes/cluster-metrics.ts";
import { clusterStateRoutes } from "./routes/cluster-state.ts";
import { clusterCompletenessRoutes } from "./routes/completeness.ts";
import { gpuUsageRoutes } from "./routes/gpu-usage.ts";
import { prometheusReadRoute } from "./routes/prometheus-read.ts";
import { prometheusSeriesRoutes } from "./routes/prometheus-series.ts";
import { prometheusStatusRoutes } from "./routes/prometheus-status.ts";
import { prometheusQueryRoutes } from "./routes/prometheus.ts";

/** What answers from ClickHouse. The routes of each exist only when it is given; with `admission`. */
export interface QueryRouteDeps {
  latest?: LatestSamples;
  clusterState?: ClusterState;
  clusterCompleteness?: ReadClusterCompleteness;
  metricQueries?: MetricQueries;
  promql?: Promql;
  /** Limits the queries of all callers together. */
  admission?: QueryAdmission;
}

export function queryRoutesOf(
  deps: QueryRouteDeps & { clock: Clock },
  service: { name: string; version: string },
  stopping: AbortSignal,
): RouteModule[] {
  const { admission, latest, metricQueries, clusterState, clusterCompleteness, promql, clock } = deps;
  if (!latest && !metricQueries && !clusterState && !clusterCompleteness && !promql) return [];
  assert(admission !== undefined, "queries have an admission");
  const answer = createAnswerQuery(admission, stopping);
  return [
    ...(latest ? [latestRoutes(latest, answer)] : []),
    ...(metricQueries ? [metricQueryRoutes(metricQueries, answer)] : []),
    ...(clusterState ? [clusterStateRoutes(clusterState, answer), gpuUsageRoutes(clusterState, answer)] : []),
    ...(clusterCompleteness ? [clusterCompletenessRoutes(clusterCompleteness, answer)] : []),
    ...(promql
      ? [
          prometheusQueryRoutes(promql, answer, clock),
          prometheusSeriesRoutes(promql, answer, clock),
          prometheusReadRoute(promql, answer, clock),
          prometheusStatusRoutes(promql.settings, service, clock),
        ]
      : []),
  ];
}
