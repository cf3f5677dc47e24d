import { beforeAll, describe, expect, test } from "vitest";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery, type SeriesRequest } from "#query/series/series.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { point, storeMetrics, storeNodes } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
const NODE = "k8s.node.name";

/** Samples of a gauge every minute of (fromMs, toMs], all of one value. */
const samples = (
  labels: Record<string, string>,
  fromMs: number,
  toMs: number,
  value: number,
  everyMs = MINUTE_MS,
) =>
  Array.from({ length: Math.floor((toMs - fromMs) / everyMs) }, (_, i) =>
    point(labels, fromMs + (i + 1) * everyMs, value),
  );

const store = (
  cluster: string,
  name: string,
  points: ReturnType<typeof samples>,
  sentBy: "now" | "before" = "now",
): Promise<void> => storeMetrics(engine.database, cluster, [{ name, kind: "gauge", points }], sentBy);

const nodes = (
  cluster: string,
  byAddress: Record<string, string>,
  fromMs: number,
  toMs: number,
): Promise<void> =>
  storeNodes(engine.database, cluster, new Map(Object.entries(byAddress)), { fromMs, toMs });

const clock = createManualClock(NOW_MS);

/** The average of each group over a range, as {labels, value}. */
async function ask(request: Partial<SeriesRequest> & { clusterId: string; metric: string }) {
  const query = createSeriesQuery({ database: engine.database, clock }, QUERY_DEFAULTS);
  const { startMs = NOW_MS - HOUR_MS, endMs = NOW_MS } = request;
  const answer = await query({ stepMs: endMs - startMs, aggregation: "sum", ...request, startMs, endMs });
  return answer.series.map(({ labels, points }) => ({ labels, value: points.at(-1)?.value }));
}

describe("group_by and filters with k8s.node.name", () => {
  beforeAll(async () => {
    const from = NOW_MS - HOUR_MS;
    const of = (labels: Record<string, string>, value: number) => samples(labels, from, NOW_MS, value);
    await nodes("c", { "10.0.0.1": "a", "10.0.0.2": "b", "fd00::3": "c" }, from, NOW_MS);
    await store("c", "node_load1", [
      ...of({ instance: "10.0.0.1:9100" }, 1),
      ...of({ instance: "10.0.0.2:9100", job: "x" }, 2),
      ...of({ instance: "10.0.0.2:9100", job: "y" }, 4),
      ...of({ instance: "[fd00::3]:9100" }, 8),
      ...of({ instance: "a" }, 16),
      ...of({ instance: "10.9.9.9:9100" }, 32),
    ]);
    await store("c", "container_memory", [
      ...of({ node: "a", instance: "10.0.0.2:10250", pod: "p" }, 1),
      ...of({ node: "not-a-node", instance: "10.0.0.2:10250", pod: "q" }, 2),
    ]);
    await store("c", "DCGM_FI_DEV_GPU_UTIL", [
      ...of({ UUID: "1", Hostname: "a", instance: "10.244.0.7:9400" }, 1),
      ...of({ UUID: "2", hostname: "b", instance: "10.244.0.8:9400" }, 2),
      ...of({ UUID: "3", Hostname: "dcgm-exporter-x", instance: "10.0.0.2:9400" }, 4),
      ...of({ UUID: "4", Hostname: "dcgm-exporter-y", instance: "10.244.0.9:9400" }, 8),
    ]);
    await store("c", "own", [
      ...of({ [NODE]: "theirs", instance: "10.0.0.1:9100" }, 1),
      ...of({ [NODE]: "b", instance: "10.0.0.1:9100" }, 2),
      ...of({ hostname: "a" }, 4),
    ]);
    // A source's metric with the bridge's name is not the bridge's.
    await store("c", "budcluster_node_info", [
      ...of({ address: "10.9.9.9", node: "forged", job: "x" }, 1),
      ...of({ address: "10.9.9.9" }, 1),
    ]);
  });

  test.each([
    ["node_load1", { "": 32, a: 17, b: 6, c: 8 }],
    ["container_memory", { "": 2, a: 1 }],
    ["DCGM_FI_DEV_GPU_UTIL", { "": 8, a: 1, b: 6 }],
    ["own", { "": 4, b: 2, theirs: 1 }],
  ])("%s", async (metric, expected) => {
    const groups = await ask({ clusterId: "c", metric, groupBy: [NODE] });
    expect(Object.fromEntries(groups.map(({ labels, value }) => [labels[NODE] ?? "", value]))).toEqual(
      expected,
    );
  });

  test.each([
    [{ label: NODE, op: "=", value: "b" }, 6],
    [{ label: NODE, op: "!=", value: "b" }, 57],
    [{ label: NODE, op: "=~", value: "a|c" }, 25],
    [{ label: NODE, op: "!~", value: ".+" }, 32],
  ] as const)("%j", async (filter, value) => {
    const groups = await ask({ clusterId: "c", metric: "node_load1", filters: [filter] });
    expect(groups).toEqual([{ labels: {}, value }]);
  });

  test("beside other labels, and every series by itself", async () => {
    const filters = [{ label: NODE, op: "=" as const, value: "b" }];
    expect(await ask({ clusterId: "c", metric: "node_load1", filters, groupBy: [NODE, "job"] })).toEqual([
      { labels: { job: "x", [NODE]: "b" }, value: 2 },
      { labels: { job: "y", [NODE]: "b" }, value: 4 },
    ]);
    const each = await ask({ clusterId: "c", metric: "node_load1", filters, groupBy: ["*"] });
    expect(each.map(({ labels }) => labels["job"])).toEqual(["x", "y"]);
  });

  test("who does not ask for it gets the source's labels alone", async () => {
    const each = await ask({ clusterId: "c", metric: "node_load1", groupBy: ["*"] });
    expect(each).toHaveLength(6);
    expect(each.filter(({ labels }) => NODE in labels)).toEqual([]);
  });

  test("the labels of a metric have it", async () => {
    const lookup = createMetricLookup({ database: engine.database, clock }, QUERY_DEFAULTS);
    const { labels, series } = await lookup.labels({ clusterId: "c", metric: "node_load1" });
    expect(series).toBe(6);
    expect(labels.find(({ label }) => label === NODE)).toEqual({
      label: NODE,
      series: 5,
      values_total: 3,
      values: ["a", "b", "c"],
    });
  });

  test("a metric of no node is refused by name", async () => {
    await store("lonely", "m", samples({ a: "b" }, NOW_MS - HOUR_MS, NOW_MS, 1));
    const error = await bridgeErrorOf(ask({ clusterId: "lonely", metric: "m", groupBy: [NODE] }));
    expect([error.code, error.message]).toEqual([
      "request_invalid",
      `group_by.0: no series of the metric has a label "${NODE}"`,
    ]);
  });
});

describe("a range across the upgrade of the bridge", () => {
  const labels = { instance: "10.0.0.1:9100" };
  const halfMs = NOW_MS - 30 * MINUTE_MS;

  beforeAll(async () => {
    await store("up", "m", samples({ ...labels, [NODE]: "a" }, NOW_MS - HOUR_MS, halfMs, 1), "before");
    await store("up", "m", samples(labels, halfMs, NOW_MS, 3));
    await nodes("up", { "10.0.0.1": "a" }, halfMs, NOW_MS);
  });

  test.each([
    [[NODE], { [NODE]: "a" }],
    [["*"], labels],
    [[], {}],
  ])("is one series: group_by %j", async (groupBy, expected) => {
    expect(await ask({ clusterId: "up", metric: "m", groupBy })).toEqual([{ labels: expected, value: 2 }]);
  });

  test("before it, the stored name counts, and its filter matches", async () => {
    const filters = [{ label: NODE, op: "=" as const, value: "a" }];
    const range = { startMs: NOW_MS - HOUR_MS, endMs: halfMs };
    expect(await ask({ clusterId: "up", metric: "m", filters, ...range })).toEqual([
      { labels: {}, value: 1 },
    ]);
  });

  test("series that differ by a label k8s.node.name of their own are two", async () => {
    const own = (name: string) => ({ job: "app", [NODE]: name });
    await store("up", "requests", samples(own("a"), NOW_MS - HOUR_MS, NOW_MS, 10));
    await store("up", "requests", samples(own("b"), NOW_MS - HOUR_MS, NOW_MS, 1));
    expect(await ask({ clusterId: "up", metric: "requests" })).toEqual([{ labels: {}, value: 11 }]);
    expect(await ask({ clusterId: "up", metric: "requests", groupBy: ["*"] })).toHaveLength(2);
  });
});

describe("an address that another node has later", () => {
  const at = (hours: number): number => NOW_MS - hours * HOUR_MS;

  beforeAll(async () => {
    await nodes("reuse", { "10.0.0.1": "old" }, at(10), at(6));
    await nodes("reuse", { "10.0.0.1": "new" }, at(5), at(0));
    await store("reuse", "m", [
      ...samples({ instance: "10.0.0.1:9100", pod: "x" }, at(9), at(7), 1),
      ...samples({ instance: "10.0.0.1:9100", pod: "y" }, at(4), at(0), 2),
    ]);
  });

  const namesIn = async (from: number, to: number): Promise<unknown[]> =>
    (
      await ask({
        clusterId: "reuse",
        metric: "m",
        groupBy: [NODE, "pod"],
        startMs: at(from),
        endMs: at(to),
        stepMs: HOUR_MS,
      })
    ).map(({ labels }) => [labels[NODE], labels["pod"]]);

  test("each series has the node of its own time, in ranges of the past as well", async () => {
    expect(await namesIn(10, 0)).toEqual([
      ["new", "y"],
      ["old", "x"],
    ]);
    expect(await namesIn(9, 7)).toEqual([["old", "x"]]);
  });

  test("samples that were back-filled have the node of the collection that read them", async () => {
    await nodes("late", { "10.0.0.1": "a" }, at(1), at(0));
    await store("late", "m", samples({ instance: "10.0.0.1:9100" }, at(20), at(18), 1));
    const range = { startMs: at(20), endMs: at(18) };
    expect(await ask({ clusterId: "late", metric: "m", groupBy: [NODE], ...range })).toEqual([
      { labels: { [NODE]: "a" }, value: 1 },
    ]);
  });
});

test("ranges of weeks take old lists of nodes from the hours", async () => {
  const day = (days: number): number => NOW_MS - days * DAY_MS;
  await nodes("weeks", { "10.0.0.1": "old" }, day(9.5), day(9));
  await nodes("weeks", { "10.0.0.1": "new" }, day(0.5), day(0));
  await store("weeks", "m", [
    ...samples({ instance: "10.0.0.1:9100", pod: "x" }, day(9.5), day(9.1), 1, HOUR_MS),
    ...samples({ instance: "10.0.0.1:9100", pod: "y" }, day(0.4), day(0), 2, HOUR_MS),
  ]);
  await refreshRollups(engine.database, {
    databaseName: "metrics",
    settleMs: -1000,
    clock: { ...createManualClock(), sleep: () => Promise.resolve() },
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  const query = createSeriesQuery({ database: engine.database, clock }, QUERY_DEFAULTS);
  const answer = await query({
    clusterId: "weeks",
    metric: "m",
    aggregation: "sum",
    groupBy: [NODE, "pod"],
    startMs: day(10),
    endMs: NOW_MS,
  });
  expect(answer.storage).toBe("hours");
  expect(answer.series.map(({ labels }) => labels)).toEqual([
    { [NODE]: "new", pod: "y" },
    { [NODE]: "old", pod: "x" },
  ]);
});

describe("the resolver of all answers finds the node of", () => {
  const of = (labels: Record<string, string>, value: number) =>
    samples(labels, NOW_MS - HOUR_MS, NOW_MS, value);
  const names = async (metric: string): Promise<Record<string, unknown>> => {
    const groups = await ask({ clusterId: "kinds", metric, groupBy: [NODE] });
    return Object.fromEntries(groups.map(({ labels, value }) => [labels[NODE] ?? "", value]));
  };
  const ksm = { instance: "10.0.0.9:8080", job: "kube-state-metrics", namespace: "mon", pod: "ksm-0" };

  beforeAll(async () => {
    await nodes(
      "kinds",
      { "10.0.0.1": "a", "10.0.0.2": "b.example", "10.0.0.9": "c" },
      NOW_MS - HOUR_MS,
      NOW_MS,
    );
    const pod = (name: string, node: string, ip: string) =>
      of({ ...ksm, exported_namespace: "mon", exported_pod: name, exported_node: node, pod_ip: ip }, 1);
    await store("kinds", "kube_pod_info", [
      ...pod("dcgm-a", "a", "10.244.0.7"),
      ...pod("ne-b", "b.example", "10.244.1.5"),
      ...pod("app-1", "a", "10.244.0.8"),
    ]);
  });

  test.each([
    {
      // The kubelet scrapes are of its node: kubernetes-mixin groups container series by their node.
      what: "container series: cAdvisor's instance, its label node or exported_node, its Pod",
      metric: "container_memory_working_set_bytes",
      series: [
        of({ instance: "10.0.0.1:10250", namespace: "x", pod: "p", container: "c" }, 1),
        of({ instance: "10.0.0.9:10250", node: "b", namespace: "x", pod: "q", container: "c" }, 2),
        of({ instance: "proxy:443", namespace: "mon", pod: "app-1", container: "c" }, 4),
        of({ instance: "prometheus:9090", node: "b", exported_node: "c", namespace: "x", pod: "r" }, 8),
      ],
      expected: { a: 5, "b.example": 2, c: 8 },
    },
    {
      // dcgm-exporter#129: without NODE_NAME, Hostname is the exporter's Pod. dcgm-exporter#655: `hostname` in newer versions.
      what: "GPU series: Hostname that is a Pod, hostname, the exporter's own Pod beside the Pod that holds the GPU",
      metric: "DCGM_FI_DEV_GPU_UTIL",
      series: [
        of({ UUID: "1", Hostname: "dcgm-a", instance: "10.244.3.3:9400" }, 1),
        of({ UUID: "2", hostname: "b", instance: "10.244.3.4:9400" }, 2),
        of(
          {
            UUID: "3",
            instance: "10.244.9.9:9400",
            namespace: "mon",
            pod: "dcgm-a",
            exported_namespace: "team",
            exported_pod: "train-0",
          },
          4,
        ),
      ],
      expected: { a: 5, "b.example": 2 },
    },
    {
      // ROCm/device-metrics-exporter: the label `hostname`.
      what: "GPU series of another vendor",
      metric: "gpu_gfx_activity",
      series: [of({ gpu_id: "0", hostname: "a", instance: "10.244.3.3:5000" }, 1)],
      expected: { a: 1 },
    },
    {
      // home-operations#13490: node_exporter without hostNetwork is scraped at its Pod's address.
      what: "node_exporter at a Pod's address, by its Pod, and behind a federating Prometheus",
      metric: "node_load1",
      series: [
        of({ instance: "10.244.1.5:9100", job: "ne" }, 1),
        of({ instance: "10.244.9.9:9100", namespace: "mon", pod: "dcgm-a" }, 2),
        of({ instance: "prometheus:9090", exported_instance: "10.0.0.9:9100" }, 4),
        of({ instance: "10.0.0.9:9100", node: "rack-7" }, 8),
      ],
      expected: { "b.example": 1, a: 2, c: 12 },
    },
    {
      // honor_labels is false: `node` is the node of kube-state-metrics, and exported_node the one that it is about.
      what: "kube-state-metrics: the node that a series is about",
      metric: "kube_node_status_condition",
      series: [
        of({ ...ksm, node: "c", exported_node: "a", condition: "Ready", status: "true" }, 1),
        of({ ...ksm, node: "b.example", condition: "Ready", status: "true" }, 2),
      ],
      expected: { a: 1, "b.example": 2 },
    },
    {
      what: "an application: by its Pod",
      metric: "http_requests_in_flight",
      series: [
        of({ instance: "10.244.7.7:80", namespace: "mon", pod: "app-1" }, 1),
        of({ instance: "10.244.0.8:80" }, 2),
        of({ instance: "elsewhere:80" }, 4),
      ],
      expected: { a: 3, "": 4 },
    },
  ])("$what", async ({ metric, series, expected }) => {
    await store("kinds", metric, series.flat());
    expect(await names(metric)).toEqual(expected);
  });

  test("a host that no list of addresses has, by what uname calls it", async () => {
    await store("kinds", "node_uname_info", of({ instance: "metal-7:9100", nodename: "b" }, 1));
    await store("kinds", "node_load15", of({ instance: "metal-7:9100" }, 1));
    expect(await names("node_load15")).toEqual({ "b.example": 1 });
  });

  test("no series of kube-state-metrics by the exporter's own node, which is another one", async () => {
    await store("kinds", "kube_deployment_status_replicas", of({ ...ksm, node: "c", deployment: "d" }, 1));
    const error = await bridgeErrorOf(names("kube_deployment_status_replicas"));
    expect(error.message).toBe(`group_by.0: no series of the metric has a label "${NODE}"`);
    const lookup = createMetricLookup({ database: engine.database, clock }, QUERY_DEFAULTS);
    const { labels } = await lookup.labels({ clusterId: "kinds", metric: "kube_deployment_status_replicas" });
    expect(labels.map(({ label }) => label)).not.toContain(NODE);
  });

  test("series whose labels another label's error names", async () => {
    await store("kinds", "node_load5", of({ instance: "10.244.1.5:9100" }, 1));
    const error = await bridgeErrorOf(ask({ clusterId: "kinds", metric: "node_load5", groupBy: ["nope"] }));
    expect(error.hint).toBe(`Use one of: instance, ${NODE}.`);
  });
});

test("thousands of series, whose ids no single parameter of a URL holds, have their nodes", async () => {
  const count = 4000;
  const atMs = NOW_MS - MINUTE_MS;
  await nodes("many", { "10.0.0.1": "a", "10.0.0.2": "b" }, NOW_MS - HOUR_MS, NOW_MS);
  await store(
    "many",
    "container_memory_usage_bytes",
    Array.from({ length: count }, (_, i) =>
      point({ instance: `10.0.0.${(i % 2) + 1}:10250`, namespace: "x", pod: `p-${i}` }, atMs, 1),
    ),
  );
  const request = { clusterId: "many", metric: "container_memory_usage_bytes", groupBy: [NODE] };
  expect(await ask(request)).toEqual([
    { labels: { [NODE]: "a" }, value: count / 2 },
    { labels: { [NODE]: "b" }, value: count / 2 },
  ]);
  const filters = [{ label: NODE, op: "=" as const, value: "b" }];
  expect(await ask({ ...request, filters })).toEqual([{ labels: { [NODE]: "b" }, value: count / 2 }]);
});
