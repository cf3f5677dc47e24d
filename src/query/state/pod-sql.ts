import { GPU_RESOURCES } from "#query/gpu-metrics.ts";
import { samplesSource } from "#storage/samples-sql.ts";
import { podLabel, podOf } from "./sql.ts";

export const POD_SORTS = ["name", "cpu", "memory", "restarts"] as const;
export type PodSort = (typeof POD_SORTS)[number];

const INFO = "kube_pod_info";
const PHASE = "kube_pod_status_phase";
const RESTARTS = "kube_pod_container_status_restarts_total";
const REQUESTS = "kube_pod_container_resource_requests";
const LIMITS = "kube_pod_container_resource_limits";
const CPU = "container_cpu_usage_seconds_total";
const MEMORY = "container_memory_working_set_bytes";

export const POD_STATE_METRICS = [INFO, PHASE, RESTARTS, REQUESTS, LIMITS, CPU, MEMORY];
export const POD_RESTART_METRICS = [INFO, RESTARTS];

// Whole numbers, so that a key is the same on the next page whatever order a sum was made in: millionths of a core.
const SORT_KEYS: Record<PodSort, string> = {
  name: "0",
  cpu: "round(ifNull(cpu_usage_cores, 0) * 1e6)",
  memory: "ifNull(memory_working_set_bytes, 0)",
  restarts: "restarts",
};

/** Sums of samples near the largest double are infinite, which is no number of an answer; nobody counts that far. */
const RESTARTS_MAX = "1e15";

const SINCE = "newest > fromUnixTimestamp64Milli({since:Int64})";

/**
 * One row for each Pod with a sample in the lookback; `restarts` counts steps of the counter that end in the window, after a reset from 0.
 * cAdvisor's series of whole Pods and of pause containers are left out: they would count their containers again.
 */
function podRows(samples: string): string {
  const newest = (metric: string, more = "1"): string =>
    `sumOrNullIf(latest, metric_name = '${metric}' AND ${SINCE} AND ${more})`;
  return `SELECT namespace, pod,
      argMaxIf(node, newest, metric_name = '${INFO}') AS node,
      argMaxIf(phase, newest, metric_name = '${PHASE}' AND latest = 1 AND ${SINCE}) AS phase,
      ${newest(RESTARTS)} AS restarts_total,
      least(sumIf(steps, metric_name = '${RESTARTS}'), ${RESTARTS_MAX}) AS restarts,
      sum(rate) AS cpu_usage_cores,
      ${newest(MEMORY)} AS memory_working_set_bytes,
      ${newest(REQUESTS, "resource = 'cpu'")} AS cpu_request_cores,
      ${newest(LIMITS, "resource = 'cpu'")} AS cpu_limit_cores,
      ${newest(REQUESTS, "resource = 'memory'")} AS memory_request_bytes,
      ${newest(LIMITS, "resource = 'memory'")} AS memory_limit_bytes,
      ${newest(REQUESTS, `match(resource, '${GPU_RESOURCES}')`)} AS gpu_request
    FROM (
      SELECT metric_name, namespace, pod, container, phase, resource,
        max(last_time) AS newest, argMax(last_value, last_time) AS latest, argMax(series_node, last_time) AS node,
        sum(series_rate) AS rate, sum(series_steps) AS steps
      FROM (${seriesRows(samples)})
      GROUP BY metric_name, namespace, pod, container, phase, resource
    )
    GROUP BY namespace, pod
    HAVING max(newest) > fromUnixTimestamp64Milli({since:Int64})`;
}

function seriesRows(samples: string): string {
  const end = "fromUnixTimestamp64Milli({as_of:Int64})";
  return `SELECT metric_name, any(${podLabel("namespace")}) AS namespace, any(${podLabel("pod")}) AS pod,
      any(${podLabel("container")}) AS container, any(labels['phase']) AS phase, any(labels['resource']) AS resource,
      any(labels['node']) AS series_node, max(time) AS last_time, argMax(value, time) AS last_value,
      timeSeriesRateToGridIf(${end}, ${end}, 1, {rate_window:UInt32})(time, value, metric_name = '${CPU}')[1] AS series_rate,
      ${stepSum()} AS series_steps
    FROM (${samples})
    WHERE time > fromUnixTimestamp64Milli(if(metric_name = '${RESTARTS}', {restarts_from:Int64},
        if(metric_name = '${CPU}', {rate_from:Int64}, {since:Int64})))
      AND ({namespace:String} = '' OR ${podLabel("namespace")} = {namespace:String})
      AND (metric_name NOT IN ('${CPU}', '${MEMORY}') OR ${podLabel("container")} NOT IN ('', 'POD'))
    GROUP BY metric_name, series_id`;
}

/** The restarts of one series: differences of neighbours, of which the later is in the window. */
function stepSum(): string {
  const sorted = `arraySort(groupArrayIf((time, value), metric_name = '${RESTARTS}'))`;
  return `arraySum((before, after) -> if(after.1 <= fromUnixTimestamp64Milli({window_from:Int64}), 0,
        if(after.2 >= before.2, after.2 - before.2, after.2)),
        arrayPopBack(${sorted}), arrayPopFront(${sorted}))`;
}

/** Pods and their restarts, for the health of a cluster: a small part of `podRows`. */
function restartedSql(samples: string): string {
  const series = `SELECT metric_name, any(labels) AS series_labels, max(time) AS newest,
      arraySort(groupArrayIf((toUnixTimestamp64Milli(time), value), metric_name = '${RESTARTS}')) AS points
    FROM (${samples}) GROUP BY metric_name, series_id`;
  const steps = `SELECT metric_name, newest, series_labels['node'] AS series_node, ${podOf("series_labels")} AS pod_key,
      arraySum((before, after) -> if(after.1 <= {window_from:Int64}, 0, if(after.2 >= before.2, after.2 - before.2, after.2)),
        arrayPopBack(points), arrayPopFront(points)) AS steps
    FROM (${series})`;
  return `SELECT pod_key[1] AS namespace, pod_key[2] AS pod, argMaxIf(series_node, newest, metric_name = '${INFO}') AS node, least(sum(steps), ${RESTARTS_MAX}) AS restarts
    FROM (${steps}) GROUP BY pod_key
    HAVING restarts >= {least:Float64} AND max(newest) > fromUnixTimestamp64Milli({since:Int64})
    ORDER BY restarts DESC, namespace, pod LIMIT 100`;
}

/** The statements about Pods; their parameters are those of `createPods`. */
export function createPodSql(databaseName: string): { page(sort: PodSort): string; restarted: string } {
  const samples = samplesSource(
    databaseName,
    ["gauge", "sum"],
    "metric_name, series_id, labels, time, value",
    `cluster_id = {cluster:String} AND metric_name IN {names:Array(String)} AND isFinite(value)
      AND time > fromUnixTimestamp64Milli(least({restarts_from:Int64}, {rate_from:Int64}, {since:Int64}))
      AND time <= fromUnixTimestamp64Milli({as_of:Int64})`,
  );
  return {
    restarted: restartedSql(samples),
    page: (
      sort,
    ) => `SELECT namespace, pod, node, phase, restarts_total, restarts, cpu_usage_cores, memory_working_set_bytes,
        cpu_request_cores, cpu_limit_cores, memory_request_bytes, memory_limit_bytes, gpu_request, sort_key, total
      FROM (
        SELECT *, toUInt64(greatest(0, ${SORT_KEYS[sort]})) AS sort_key, count() OVER () AS total
        FROM (${podRows(samples)})
      )
      WHERE {after:UInt8} = 0 OR sort_key < {after_key:UInt64}
        OR (sort_key = {after_key:UInt64} AND (namespace, pod) > ({after_namespace:String}, {after_pod:String}))
      ORDER BY sort_key DESC, namespace, pod LIMIT {limit:UInt32}`,
  };
}
