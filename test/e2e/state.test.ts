import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createClusterState, type ClusterState } from "#query/state/cluster-state.ts";
import type { SummaryAnswer } from "#query/state/summary.ts";
import { migrate } from "#storage/migrate.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { keyOfLabels } from "../helpers/promql-reference.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { deliver, type ClusterMetric } from "./delivery.ts";
import { startPrometheus, type WrittenPrometheus } from "./prometheus.ts";
import { readScraped, repeat } from "./scraped.ts";
import { startStack, type Stack } from "./stack.ts";
import { withCopies, withSituations } from "./state-samples.ts";
import {
  ageMs,
  CORES,
  FULLEST_DISK,
  GPU_COUNTS,
  GPU_FORMULAS,
  HEALTH_RULES,
  KUBE_NODE_FORMULAS,
  NODE_FORMULAS,
  now,
  OLD_XID,
  POD_AGE_MS,
  POD_FORMULAS,
  sumByPod,
  SUMMARY_OF_GPUS,
  SUMMARY_OF_NODES,
  UTILIZATION,
} from "./state-formulas.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

// The state of a cluster beside PromQL formulas in a real Prometheus with the same samples: those that the cluster of E2E_KUBECONFIG scraped
// in the last minutes, repeated to 80 minutes, with Pods that appear and vanish and seven minutes without any scrape, and sparser to three days.

const MINUTE_MS = 60_000;
/** Two clusters: what every exporter was asked for, and with a second target for each exporter beside it. Prometheus has the first's samples. */
const CLUSTERS = ["once", "twice"];
/** No whole second, as a watermark of Prometheus' time() is. */
const AS_OF_MS = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 60 * MINUTE_MS + 123;
const START_MS = AS_OF_MS - 80 * MINUTE_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAYS_START_MS = AS_OF_MS - 75 * HOUR_MS;
const SUMMARY_OVER_DAYS = /^node_|_(GPU_UTIL|GR_ENGINE_ACTIVE|FB_USED|FB_FREE|POWER_USAGE)$/;
const METRICS = [
  "kube_node_info",
  "kube_node_status_condition",
  "kube_node_status_allocatable",
  "node_cpu_seconds_total",
  "node_memory_MemTotal_bytes",
  "node_memory_MemAvailable_bytes",
  "node_load1",
  "node_load5",
  "node_load15",
  "node_filesystem_size_bytes",
  "node_filesystem_avail_bytes",
  "node_filesystem_readonly",
  "node_network_receive_bytes_total",
  "node_network_transmit_bytes_total",
  "kube_pod_info",
  "kube_pod_status_phase",
  "kube_pod_container_status_restarts_total",
  "kube_pod_container_resource_requests",
  "kube_pod_container_resource_limits",
  "container_cpu_usage_seconds_total",
  "container_memory_working_set_bytes",
  "container_network_receive_bytes_total",
  "container_network_transmit_bytes_total",
  "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
  "DCGM_FI_DEV_GPU_UTIL",
  "DCGM_FI_DEV_FB_USED",
  "DCGM_FI_DEV_FB_FREE",
  "DCGM_FI_DEV_MEM_COPY_UTIL",
  "DCGM_FI_DEV_GPU_TEMP",
  "DCGM_FI_DEV_POWER_USAGE",
  "DCGM_FI_DEV_SM_CLOCK",
  "DCGM_FI_DEV_XID_ERRORS",
];

let stack: Stack;
let prometheus: WrittenPrometheus;
let state: ClusterState;
let nodeNames: ReadonlyMap<string, string>;
let hasGpus: boolean;

beforeAll(async () => {
  const started = await Promise.all([startStack(), startPrometheus(), readScraped(METRICS)]);
  [stack, prometheus] = started;
  const scraped = started[2];
  nodeNames = scraped.nodeNames;
  hasGpus = scraped.metrics.some(({ metric }) => metric === "DCGM_FI_DEV_GPU_UTIL");
  await migrate(stack.database, {
    parameters: { database: "metrics", retentionDays: 90 },
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  const info = scraped.metrics.find(({ metric }) => metric === "kube_pod_info")!;
  const [, appearing, vanishing, finished] = info.series.map(({ labels }) => labels["pod"]);
  const minutes = repeat(scraped, {
    startMs: START_MS,
    endMs: AS_OF_MS,
    everyMs: 15_000,
    isThere: (_index, ms, { pod }) => {
      const ago = (AS_OF_MS - ms) / MINUTE_MS;
      if ((pod === appearing && ago > 30) || (pod === vanishing && ago < 20)) return false;
      return ago < 40 || ago > 47;
    },
  });
  const days = repeat(scraped, {
    startMs: DAYS_START_MS,
    endMs: START_MS,
    everyMs: 10 * MINUTE_MS,
    isThere: (index, ms) => Math.floor((ms - DAYS_START_MS) / (3 * HOUR_MS) + index) % 7 !== 0,
  });
  const metrics = minutes
    .map((each) =>
      joinSeries(
        days.find(({ metric }) => metric === each.metric),
        each,
      ),
    )
    .map((each) => withSituations(each, { atMs: AS_OF_MS, finished }));
  const written = metrics.flatMap(({ metric, series }) =>
    series.map(({ labels, samples }) => ({ labels: { ...labels, __name__: metric }, samples })),
  );
  await Promise.all([
    prometheus.write(written),
    deliver(stack.collectorUrl, { id: "once" }, [...metrics, ...reports(), nodeInfo()]),
  ]);
  const copies = withCopies(metrics, { fromMs: START_MS, atMs: AS_OF_MS });
  await deliver(stack.collectorUrl, { id: "twice" }, [...copies, ...reports(), nodeInfo()]);
  await refreshRollups(stack.database, {
    databaseName: "metrics",
    settleMs: -1000,
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  state = createClusterState(
    { database: stack.database, clock: createManualClock(AS_OF_MS + 2 * MINUTE_MS) },
    QUERY_DEFAULTS,
  );
}, 600_000);

afterAll(async () => {
  await prometheus?.stop();
  await stack?.stop();
});

/** The samples of the days, where the summary over days reads them, before those of the minutes. */
function joinSeries(days: ClusterMetric | undefined, minutes: ClusterMetric): ClusterMetric {
  if (days === undefined || !SUMMARY_OVER_DAYS.test(minutes.metric)) return minutes;
  const before = new Map(days.series.map(({ labels, samples }) => [keyOfLabels(labels), samples]));
  return {
    ...minutes,
    series: minutes.series.map(({ labels, samples }) => ({
      labels,
      samples: [...(before.get(keyOfLabels(labels)) ?? []), ...samples],
    })),
  };
}

/** The bridge's reports of its collections: everything is stored up to AS_OF_MS. */
function reports(): ClusterMetric[] {
  const times = [AS_OF_MS - 70 * MINUTE_MS, AS_OF_MS - 16 * MINUTE_MS, AS_OF_MS + MINUTE_MS];
  const each = (name: string, kind: "gauge" | "counter", value: (ms: number) => number): ClusterMetric => ({
    metric: `budcluster_${name}`,
    kind,
    series: METRICS.map((query) => ({
      labels: { query, group: "any" },
      samples: times.map((ms) => [ms, value(ms)]),
    })),
  });
  return [
    {
      metric: "budcluster_cluster_up",
      kind: "gauge",
      series: [{ labels: {}, samples: times.map((ms) => [ms, 1]) }],
    },
    each("query_watermark_seconds", "gauge", (ms) => Math.min(ms, AS_OF_MS) / 1000),
    each("query_open_gaps", "gauge", () => 0),
    each("query_lost_gaps", "gauge", () => 0),
    each("query_samples_read_total", "counter", (ms) => ms - START_MS),
    each("query_samples_sent_total", "counter", (ms) => ms - START_MS),
  ];
}

/** The bridge's reports of the nodes: their addresses, every 5 minutes. */
function nodeInfo(): ClusterMetric {
  const times = Array.from({ length: 20 }, (_, i) => AS_OF_MS + MINUTE_MS - i * 5 * MINUTE_MS).reverse();
  return {
    metric: "budcluster_node_info",
    kind: "gauge",
    series: [...nodeNames].map(([address, node]) => ({
      labels: { node, address },
      samples: times.map((ms) => [ms, 1]),
    })),
  };
}

/** Values of an expression at AS_OF_MS, by the values of some labels. */
async function vector(promql: string, ...by: string[]): Promise<Map<string, number>> {
  const points = await prometheus.queryRange(promql, AS_OF_MS, AS_OF_MS, 1000);
  return new Map(
    [...points].map(([key, values]) => {
      const labels = Object.fromEntries(JSON.parse(key) as [string, string][]);
      return [by.map((name) => labels[name] ?? "").join("|"), values.get(AS_OF_MS)!];
    }),
  );
}

/** Names of the values that differ by more than 1e-9 relative. */
function differs(what: string, actual: number | null, expected: number | null | undefined): string[] {
  const wanted = expected ?? null;
  const close =
    actual === wanted ||
    (actual !== null && wanted !== null && Math.abs(actual - wanted) <= 1e-9 * Math.max(1, Math.abs(wanted)));
  return close ? [] : [`${what}: expected ${wanted}, was ${actual}`];
}

/** From a sample's time to AS_OF_MS. */
function agoMs(time: string | null): number | null {
  return time === null ? null : AS_OF_MS - Date.parse(time);
}

/** Differences between the summary and the formulas, over steps with their window. */
async function wrongNumbers(
  answer: SummaryAnswer,
  steps: { firstMs: number; lastMs: number; stepMs: number; window: string },
): Promise<string[]> {
  const formulas = { ...SUMMARY_OF_NODES, ...(hasGpus ? SUMMARY_OF_GPUS : {}) };
  const found: string[] = [];
  for (const [field, [over, promql]] of Object.entries(formulas)) {
    const points =
      over === "as of now"
        ? await prometheus.queryRange(promql, AS_OF_MS, AS_OF_MS, MINUTE_MS)
        : await prometheus.queryRange(
            promql.replaceAll("[5m]", `[${steps.window}]`),
            steps.firstMs,
            steps.lastMs,
            steps.stepMs,
          );
    // Steps at which nothing is known are not there, in both.
    const values = [...points.values()].flatMap((series) => [...series.values()]);
    if (values.length === 0) found.push(`${field}: Prometheus has nothing`);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const expected = over === "largest of the steps" ? Math.max(...values) : mean;
    found.push(...differs(field, answer[field as keyof typeof formulas & keyof SummaryAnswer], expected));
  }
  return found;
}

test("what the second cluster stores twice is stored twice", async () => {
  const rows = await stack.database.query<{ cluster: string; series: string }>(
    `SELECT cluster_id AS cluster, toString(uniqExact(series_id)) AS series FROM metrics.samples
    WHERE cluster_id IN {clusters:Array(String)} AND metric_name IN {names:Array(String)} GROUP BY cluster`,
    { clusters: CLUSTERS, names: METRICS },
  );
  const series = new Map(rows.map((row) => [row.cluster, Number(row.series)]));
  // All have a copy but those that had ended when the copies began.
  expect(series.get("once")).toBeGreaterThan(METRICS.length);
  expect(series.get("twice")! / series.get("once")!).toBeGreaterThan(1.9);
});

test.each(CLUSTERS)("summary: every number (exporters %s)", async (clusterId) => {
  const answer = await state.summary({ clusterId });
  expect(answer).toMatchObject({
    as_of: new Date(AS_OF_MS).toISOString(),
    window: { step_seconds: 60, lookback_seconds: 300 },
    completeness: { complete: true },
  });
  const numbers = Object.entries(answer).filter(([, value]) => value === null || typeof value === "number");
  expect(numbers.map(([field]) => field).sort()).toEqual(
    Object.keys({ ...SUMMARY_OF_NODES, ...SUMMARY_OF_GPUS }).sort(),
  );
  const ages = [await vector(`min(${ageMs("node_load1")})`), await vector(`min(${ageMs("kube_node_info")})`)];
  expect([agoMs(answer.node_last_sample), agoMs(answer.kubernetes_last_sample)]).toEqual(
    ages.map((age) => age.get("")),
  );
  const steps = { firstMs: AS_OF_MS - 59 * MINUTE_MS, lastMs: AS_OF_MS, stepMs: MINUTE_MS, window: "5m" };
  expect(await wrongNumbers(answer, steps)).toEqual([]);
});

test.each(CLUSTERS)(
  "summary: every number of three days, from the hours of the roll-ups (exporters %s)",
  async (clusterId) => {
    const from = AS_OF_MS - 72 * HOUR_MS;
    const answer = await state.summary({ clusterId, fromMs: from });
    expect(answer).toMatchObject({ storage: "hours", window: { step_seconds: 3600 } });
    const lastMs = Math.floor(AS_OF_MS / HOUR_MS) * HOUR_MS;
    const firstMs = (Math.floor(from / HOUR_MS) + 1) * HOUR_MS;
    expect(await wrongNumbers(answer, { firstMs, lastMs, stepMs: HOUR_MS, window: "1h" })).toEqual([]);
  },
);

function nodeOf(instance: string): string | undefined {
  return nodeNames.get(instance.replace(/:\d+$/, ""));
}

/** Values by node name instead of node_exporter's instance. */
async function byNode(promql: string): Promise<Map<string | undefined, number>> {
  const values = await vector(promql, "instance");
  return new Map([...values].map(([instance, value]) => [nodeOf(instance), value]));
}

test.each(CLUSTERS)("nodes (exporters %s)", async (clusterId) => {
  const { nodes } = await state.nodes({ clusterId });
  const known = await vector(`count by (node) (${now("kube_node_info")})`, "node");
  expect(nodes.map(({ node }) => node)).toEqual([...known.keys()].sort());
  const found: string[] = [];
  for (const [field, promql] of Object.entries(NODE_FORMULAS)) {
    const expected = await byNode(promql);
    expect(nodes.some(({ node }) => expected.has(node))).toBe(true);
    for (const node of nodes) {
      const actual = node[field as keyof typeof NODE_FORMULAS];
      found.push(...differs(`${field} of ${node.node}`, actual, expected.get(node.node)));
    }
  }
  for (const [field, promql] of Object.entries(KUBE_NODE_FORMULAS)) {
    const expected = await vector(promql, "node");
    expect(expected.size).toBeGreaterThan(0);
    for (const node of nodes) {
      const actual = node[field as keyof typeof KUBE_NODE_FORMULAS];
      found.push(...differs(`${field} of ${node.node}`, actual, expected.get(node.node)));
    }
  }
  const fullest = await byNode(FULLEST_DISK);
  const measured = await byNode(ageMs("node_load1"));
  const listed = await vector(ageMs("kube_node_info"), "node");
  for (const { node, fullest_disk, last_sample, state_last_sample } of nodes) {
    found.push(...differs(`fullest_disk of ${node}`, fullest_disk?.usage_percent ?? null, fullest.get(node)));
    found.push(...differs(`last_sample of ${node}`, agoMs(last_sample), measured.get(node)));
    found.push(...differs(`state_last_sample of ${node}`, agoMs(state_last_sample), listed.get(node)));
  }
  const ready = await vector(now("kube_node_status_condition", '{condition="Ready",status="true"}'), "node");
  const pods = await vector(`count by (node) (${now("kube_pod_info")})`, "node");
  for (const { node, ready: isReady, pod_count } of nodes) {
    found.push(...differs(`ready of ${node}`, Number(isReady), ready.get(node)));
    found.push(...differs(`pod_count of ${node}`, pod_count ?? 0, pods.get(node) ?? 0));
  }
  expect(found).toEqual([]);
});

test.each(CLUSTERS)("pods (exporters %s)", async (clusterId) => {
  const { pods, next_cursor } = await state.pods({ clusterId, sort: "cpu", limit: 1000 });
  expect(next_cursor).toBeNull();
  const by = ["namespace", "pod"] as const;
  const keyOf = ({ namespace, pod }: (typeof pods)[number]): string => `${namespace}|${pod}`;
  const info = await vector(sumByPod(now("kube_pod_info")), ...by);
  expect(pods.map(keyOf).sort()).toEqual([...info.keys()].sort());
  const found: string[] = [];
  for (const [field, promql] of Object.entries(POD_FORMULAS)) {
    const expected = await vector(promql, ...by);
    for (const pod of pods) {
      const wanted = expected.get(keyOf(pod)) ?? (field === "restarts" ? 0 : null);
      const actual = pod[field as keyof typeof POD_FORMULAS];
      found.push(...differs(`${field} of ${keyOf(pod)}`, actual, wanted));
    }
  }
  const nodes = await vector(now("kube_pod_info"), ...by, "node");
  expect(pods.map((pod) => `${keyOf(pod)}|${pod.node}`).sort()).toEqual([...nodes.keys()].sort());
  const ages = await vector(POD_AGE_MS, ...by);
  for (const pod of pods) {
    found.push(...differs(`last_sample of ${keyOf(pod)}`, agoMs(pod.last_sample), ages.get(keyOf(pod))));
  }
  expect(found).toEqual([]);
  const running = await vector(`${now("kube_pod_status_phase", '{phase="Running"}')} == 1`, ...by);
  const isRunning = pods.filter(({ phase }) => phase === "Running");
  expect(isRunning.map(keyOf).sort()).toEqual([...running.keys()].sort());
  const cpu = pods.map((pod) => pod.cpu_usage_cores ?? 0);
  expect(cpu).toEqual(cpu.toSorted((a, b) => b - a));
});

test.each(CLUSTERS)("gpus (exporters %s)", async (clusterId) => {
  const { gpus, gpu_count, uses, requested } = await state.gpus({ clusterId });
  const held = await vector(UTILIZATION, "UUID", "namespace", "pod");
  const holders = gpus.map(({ uuid, pods: [pod] }) => `${uuid}|${pod?.namespace ?? ""}|${pod?.pod ?? ""}`);
  expect(holders.sort()).toEqual([...held.keys()].sort());
  expect(gpus.length > 0).toBe(hasGpus);
  const found: string[] = [];
  for (const [field, promql] of Object.entries(GPU_FORMULAS)) {
    const expected = await vector(promql, "UUID");
    for (const gpu of gpus) {
      const actual = gpu[field as keyof typeof GPU_FORMULAS];
      found.push(...differs(`${field} of ${gpu.uuid}`, actual, expected.get(gpu.uuid)));
    }
  }
  const counts = { gpu_count, requested, ...uses };
  for (const [field, promql] of Object.entries(hasGpus ? GPU_COUNTS : {})) {
    const expected = (await vector(promql)).get("");
    expect(expected).toBeGreaterThan(0);
    found.push(...differs(field, counts[field as keyof typeof GPU_COUNTS], expected));
  }
  const ages = await vector(ageMs("DCGM_FI_DEV_GPU_TEMP"), "UUID");
  const old = new Set((await vector(OLD_XID, "UUID")).keys());
  for (const { uuid, last_sample, age_seconds, xid } of gpus) {
    found.push(...differs(`last_sample of ${uuid}`, agoMs(last_sample), ages.get(uuid)));
    found.push(...differs(`age_seconds of ${uuid}`, age_seconds * 1000, ages.get(uuid)));
    if (xid?.is_new === old.has(uuid)) found.push(`is_new of ${uuid}: ${xid.is_new}`);
  }
  expect(found).toEqual([]);
});

/** An issue in one line: how severe, which metric, about what, and how much. */
function issueLine(
  severity: string,
  metric: string,
  about: (string | null | undefined)[],
  value?: number,
): string {
  const parts = [
    severity,
    metric,
    ...about.filter((part) => typeof part === "string"),
    value?.toPrecision(9),
  ];
  return parts.filter((part) => part !== undefined).join(" ");
}

test.each(CLUSTERS)(
  "health: what is over a threshold, and nothing else (exporters %s)",
  async (clusterId) => {
    const answer = await state.health({ clusterId });
    const measured = new Set((await byNode(CORES)).keys());
    const expected: string[] = [];
    for (const { metric, promql, by, warning, critical, isFlag } of HEALTH_RULES) {
      for (const [key, value] of await vector(promql, ...by)) {
        if (value <= Math.min(warning, critical) || (metric === "node_metrics" && measured.has(key)))
          continue;
        const [first = "", ...more] = key.split("|");
        const about = by[0] === "namespace" ? [`${first}/${more[0]}`] : [first, ...more];
        if (by[0] === "instance") about[0] = nodeOf(first) ?? first;
        const severity = value > critical ? "critical" : "warning";
        expected.push(issueLine(severity, metric, about, isFlag ? undefined : value));
      }
    }
    const flags = new Set(HEALTH_RULES.filter(({ isFlag }) => isFlag).map(({ metric }) => metric));
    const actual = answer.issues.map(({ severity, metric, node, object, value }) => {
      const about = metric.startsWith("gpu_") || metric === "pod_restarts" ? [object] : [node, object];
      return issueLine(severity, metric, about, flags.has(metric) ? undefined : (value ?? undefined));
    });
    expect(actual.sort()).toEqual(expected.sort());
    const severest = ["critical", "warning"].find((severity) =>
      expected.some((issue) => issue.startsWith(severity)),
    );
    expect(answer.status).toBe(severest ?? "healthy");
  },
);
