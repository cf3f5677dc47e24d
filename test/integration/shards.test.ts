import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { progressKeys } from "#collect/progress-store.ts";
import type { ClusterProgress } from "#collect/progress.ts";
import { createSqliteStore } from "#state/sqlite-store.ts";
import { shardOf, startSimulator, type SimulatedCluster, type Simulator } from "#simulator/simulator.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";
import { createJumpingClock, type JumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { apiEnvironment, createClustersApi } from "../helpers/clusters-api.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";

// Several Pods behind one Service: Prometheus operator's shards, of which each scrapes a part of the targets (prometheus-adapter#533), and
// replicas, of which each scrapes all.

const folder = createTemporaryFolder();
const ID = "sim-1";
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const NAME = "prometheus-bud-metrics-kube-prometheu-prometheus";
const operatorName = (shard: number, replica = 0): string =>
  shard === 0 ? `${NAME}-${replica}` : `${NAME}-shard-${shard}-${replica}`;
/** No test here is about time-outs, and the machine may be busy. */
const PATIENT = { METRICS_COLLECTION_TIMEOUT: "30", EXPORT_TIMEOUT: "30" };
/** Names that say nothing. */
const plainName = (shard: number): string => `prometheus-${shard}`;

interface System {
  clock: JumpingClock;
  simulator: Simulator;
  cluster: SimulatedCluster;
  collector: OtlpCollector;
  bridge: TestBridge;
}

interface Given {
  shards?: number;
  replicas?: number;
  podName?: (shard: number, replica: number) => string;
  /** prometheus.shards */
  setting?: string;
  environment?: Record<string, string>;
}

const withSetting =
  (setting: string | undefined) =>
  (text: string): string =>
    setting === undefined ? text : text.replace("port: 9090 }", `port: 9090, shards: ${setting} }`);

async function start({ setting, environment, ...given }: Given): Promise<System> {
  const clock = createJumpingClock();
  const simulator = await startSimulator({ clock, shape: SMALL, ...given });
  const collector = await startOtlpCollector();
  const bridge = await startTestBridge({
    simulator,
    collector,
    clock,
    clustersFile: withSetting(setting),
    environment: { ...PATIENT, ...environment },
  });
  onTestFinished(async () => {
    await bridge.stop();
    await collector.stop();
    await simulator.stop();
  });
  return { clock, simulator, cluster: simulator.cluster(ID), collector, bridge };
}

/** Every sample that all shards together have, once: in the windows that the given shards have committed, which must be the same. */
async function expectUnion({ bridge, collector, cluster }: System, shards: readonly number[]): Promise<void> {
  const records: ClusterProgress[] = [];
  for (const shard of shards) records.push(await bridge.progress(ID, shard));
  for (const record of records) {
    for (const [query, { from, committed, attempted }] of Object.entries(record.queries)) {
      expect([query, committed]).toEqual([query, [[from, attempted]]]);
      expect([query, committed]).toEqual([query, records[0]!.queries[query]!.committed]);
    }
  }
  const compared = compareWithExpected(collector, cluster.world, records[0]!);
  expect(compared).toEqual(noDifferences(compared.samples));
  expect(compared.samples).toBeGreaterThan(300);
}

it("reads each of Prometheus operator's shards, with a progress of its own", async () => {
  const system = await start({ shards: 2 });
  const { bridge, clock } = system;
  for (let round = 0; round < 3; round++) {
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    clock.jump(MINUTE_MS);
  }
  const status = await bridge.statusOf(ID);
  expect(status).toMatchObject({
    state: "healthy",
    gaps: [],
    warnings: [expect.stringContaining("clear text")],
    prometheus_pod: operatorName(0),
    prometheus_pods: {
      decision: "shards",
      reason: `the names of the Pods show shards of ${NAME}`,
      shards: [
        { shard: 0, name: NAME, pod: operatorName(0), failing: false, gone_since: null },
        { shard: 1, name: `${NAME}-shard-1`, pod: operatorName(1), failing: false, gone_since: null },
      ],
    },
  });
  expect(status.prometheus_pods!.shards.map(({ watermark }) => watermark)).toEqual([
    status.watermark,
    status.watermark,
  ]);
  await expectUnion(system, [0, 1]);
});

it("a shard without a ready Pod is a failing shard, named; the others are collected", async () => {
  const system = await start({ shards: 2 });
  const { bridge, clock, cluster } = system;
  // Before the first collection, so that nothing is known of it but the name of its Pod.
  cluster.kube.updatePod(operatorName(1), { ready: false });
  for (let round = 0; round < 2; round++) {
    const result = bridge.resultOf(await bridge.collect(), ID);
    expect(result).toMatchObject({
      outcome: "partial",
      error: {
        code: "prometheus_pod_not_ready",
        message: `shard 1 (${NAME}-shard-1): the Service has no ready Pod of it`,
        details: { shard: 1 },
      },
    });
    clock.jump(MINUTE_MS);
  }
  const held = await bridge.statusOf(ID);
  const [first, second] = held.prometheus_pods!.shards;
  expect(held.state).not.toBe("healthy");
  // Nothing of it was ever stored: the cluster is complete up to where its collection began.
  expect(second).toMatchObject({ failing: true, pod: null, watermark: null, gone_since: null });
  expect(held.watermark).toBe(held.gaps[0]!.from);
  expect(Date.parse(first!.watermark!) - Date.parse(held.watermark!)).toBeGreaterThanOrEqual(2 * MINUTE_MS);
  expect(held.gaps.map(({ state, reason }) => `${state}: ${reason}`)).toEqual(
    Array.from({ length: 5 }, () => "open: shard 1: not stored yet; the next round reads it"),
  );
  const sent = [...system.collector.acknowledged.values()].filter(
    ({ metric }) => metric === "budcluster_query_watermark_seconds",
  );
  expect(new Set(sent.map(({ value }) => value * 1000))).toEqual(new Set([Date.parse(held.watermark!)]));
  cluster.kube.updatePod(operatorName(1), { ready: true });
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect(await bridge.statusOf(ID)).toMatchObject({ state: "healthy", gaps: [] });
  await expectUnion(system, [0, 1]);
});

it("a shard whose Pod refuses connections fails by itself", async () => {
  const system = await start({ shards: 2 });
  const { bridge, clock, cluster } = system;
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  // Port-forwards to its Pod are refused.
  const pod = cluster.kube.pods.find(({ name }) => name === operatorName(0))!;
  const { listeners } = pod;
  Object.assign(pod, { listeners: new Map() });
  clock.jump(MINUTE_MS);
  expect(bridge.resultOf(await bridge.collect(), ID)).toMatchObject({
    outcome: "partial",
    error: { message: expect.stringContaining(`shard 0 (${NAME}):`) },
  });
  const { prometheus_pods: pods } = await bridge.statusOf(ID);
  expect(pods!.shards.map(({ failing }) => failing)).toEqual([true, false]);
  Object.assign(pod, { listeners });
  clock.jump(MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  await expectUnion(system, [0, 1]);
});

it("a shard whose Pods are gone fails until MAX_BACKFILL has passed", async () => {
  const system = await start({ shards: 3, environment: { MAX_BACKFILL: "1h" } });
  const { bridge, clock, cluster } = system;
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  clock.jump(MINUTE_MS);
  cluster.kube.deletePod(operatorName(2));
  const goneAt = new Date(clock.now()).toISOString();
  expect(bridge.resultOf(await bridge.collect(), ID)).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_pod_not_ready", details: { shard: 2, shard_name: `${NAME}-shard-2` } },
  });
  const { prometheus_pods: pods } = await bridge.statusOf(ID);
  expect(pods!.shards[2]).toMatchObject({ failing: true });
  expect(pods!.shards[2]!.gone_since! >= goneAt).toBe(true);
  clock.jump(HOUR_MS);
  await bridge.collect();
  clock.jump(MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const status = await bridge.statusOf(ID);
  expect(status).toMatchObject({ state: "healthy", prometheus_pods: { decision: "shards" } });
  expect(status.prometheus_pods!.shards.map(({ shard }) => shard)).toEqual([0, 1]);
});

it("another shard takes the number of the first one, with its progress, when the first one is gone for good", async () => {
  const { bridge, clock, cluster } = await start({
    shards: 3,
    podName: plainName,
    environment: { MAX_BACKFILL: "1h" },
  });
  for (let round = 0; round < 2; round++) {
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    clock.jump(MINUTE_MS);
  }
  const before = await bridge.progress(ID, 1);
  cluster.kube.deletePod(plainName(0));
  await bridge.restart();
  expect(bridge.resultOf(await bridge.collect(), ID)).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_pod_not_ready", details: { shard: 0, shard_name: plainName(0) } },
  });
  clock.jump(HOUR_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const { state, prometheus_pods: pods } = await bridge.statusOf(ID);
  expect(state).toBe("healthy");
  expect(pods!.shards.map(({ shard, pod }) => [shard, pod])).toEqual([
    [0, plainName(1)],
    [2, plainName(2)],
  ]);
  const after = await bridge.progress(ID);
  expect(after.pod).toEqual(before.pod);
  expect(after.queries["up"]!.samples_read).toBeGreaterThan(before.queries["up"]!.samples_read);
  await expect(bridge.progress(ID, 1)).rejects.toThrow("nothing is recorded");
});

it("replicas of a shard are one: another takes over at a window's end", async () => {
  const system = await start({ shards: 2, replicas: 2 });
  const { bridge, clock, cluster } = system;
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const [boundary] = [clock.now() - 90_000];
  cluster.kube.deletePod(operatorName(1, 0));
  clock.jump(MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const { prometheus_pods: pods } = await bridge.statusOf(ID);
  expect(pods!.shards.map(({ pod }) => pod)).toEqual([operatorName(0, 0), operatorName(1, 1)]);
  const record = await bridge.progress(ID, 1);
  expect(record.pod).toMatchObject({ name: operatorName(1, 1) });
  const before = compareWithExpected(system.collector, cluster.world, record, { between: [0, boundary] });
  expect(before).toEqual(noDifferences(before.samples));
});

it("Pods without a common target are shards when two collections see it", async () => {
  const system = await start({ shards: 2, podName: plainName });
  const { bridge, clock } = system;
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const first = await bridge.statusOf(ID);
  expect(first.prometheus_pods).toMatchObject({ decision: "replicas", shards: [] });
  expect(first.warnings.join()).toContain(
    "the Prometheus Pods prometheus-0, prometheus-1 have no target in common",
  );
  clock.jump(MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect(await bridge.statusOf(ID)).toMatchObject({
    state: "healthy",
    prometheus_pods: {
      decision: "shards",
      reason: "the Pods have no target in common, seen in two collections",
      shards: [{ pod: "prometheus-0" }, { pod: "prometheus-1" }],
    },
  });
  // What the second one had before it was known as a shard is stored as well.
  await expectUnion(system, [0, 1]);
});

it("replicas that look disjoint once stay replicas, and two of one set of targets are no doubt", async () => {
  const system = await start({ replicas: 2 });
  const { bridge, clock, cluster } = system;
  // One of them has just started, and has scraped nothing of what the other has.
  const sameFrom = clock.now();
  for (const replica of [0, 1])
    cluster.scrapes.set(
      operatorName(0, replica),
      (target, scrapedMs) => scrapedMs > sameFrom || shardOf(target, 2) === replica,
    );
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  for (let round = 0; round < 2; round++) {
    clock.jump(2 * MINUTE_MS);
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    const status = await bridge.statusOf(ID);
    expect(status.prometheus_pods).toMatchObject({
      decision: "replicas",
      reason: "the Pods scrape the same targets",
    });
    expect(status.warnings).toEqual([expect.stringContaining("clear text")]);
  }
  const record = await bridge.progress(ID);
  // Of the targets that only the other one scraped before, a sample with a time of its own may have been scraped then.
  const compared = compareWithExpected(system.collector, cluster.world, record, {
    between: [sameFrom, clock.now()],
  });
  expect(compared).toEqual(noDifferences(compared.samples));
  expect(compared.samples).toBeGreaterThan(100);
});

it("names of shards do not count when the Pods scrape the same targets", async () => {
  const system = await start({ shards: 2 });
  const { bridge, cluster } = system;
  cluster.scrapes.clear();
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const status = await bridge.statusOf(ID);
  expect(status.prometheus_pods).toMatchObject({ decision: "replicas", shards: [] });
  expect(status.warnings.join()).toMatch(
    /have names of shards, but scrape the same targets: they are read as/,
  );
});

it("prometheus.shards: a number makes shards at once, and is an error where the Pods can't be told apart", async () => {
  const told = await start({ shards: 2, podName: plainName, setting: "2" });
  expect(await told.bridge.collect()).toMatchObject({ successful: 1 });
  expect((await told.bridge.statusOf(ID)).prometheus_pods).toMatchObject({
    decision: "shards",
    reason: "prometheus.shards says so, and the Pods have no target in common",
  });
  await expectUnion(told, [0, 1]);

  const alike = await start({ replicas: 2, setting: "2" });
  expect(alike.bridge.resultOf(await alike.bridge.collect(), ID)).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_shards_mismatch", details: { expected: 2, found: 1 } },
  });

  const fewer = await start({ shards: 2, setting: "3" });
  expect(fewer.bridge.resultOf(await fewer.bridge.collect(), ID)).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_pod_not_ready", details: { shard: 2 } },
  });
});

it("the progress of the Pod that was read before passes to its own shard", async () => {
  const system = await start({ shards: 2, setting: "none" });
  const { bridge, clock, cluster } = system;
  cluster.kube.updatePod(operatorName(0), { ready: false });
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect(await bridge.statusOf(ID)).toMatchObject({
    prometheus_pod: operatorName(1),
    prometheus_pods: null,
  });
  const before = await bridge.progress(ID);
  cluster.kube.updatePod(operatorName(0), { ready: true });
  system.bridge.writeClustersFile(withSetting(undefined)(system.simulator.clustersFile()));
  await bridge.restart();
  clock.jump(MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect(await bridge.statusOf(ID)).toMatchObject({ state: "healthy", prometheus_pod: operatorName(0) });
  const after = await bridge.progress(ID, 1);
  expect(after.pod).toEqual(before.pod);
  // The first shard was not read before: it begins where the other one did.
  await expectUnion(system, [0, 1]);
});

it("a shard that is added begins where its data do, and nothing is lost or twice when the targets move", async () => {
  const system = await start({ shards: 3 });
  const { bridge, clock, cluster } = system;
  const added = cluster.kube.pods.find(({ name }) => name === operatorName(2))!;
  cluster.kube.deletePod(added.name);
  const movedAt = clock.now() + 30_000;
  for (const shard of [0, 1, 2])
    cluster.scrapes.set(
      operatorName(shard),
      (target, scrapedMs) => shardOf(target, scrapedMs < movedAt ? 2 : 3) === shard,
    );
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  clock.jump(3 * MINUTE_MS);
  cluster.kube.addPod(added);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  clock.jump(MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect(await bridge.statusOf(ID)).toMatchObject({ state: "healthy", gaps: [] });
  await expectUnion(system, [0, 1, 2]);
});

it("a query that combines series is refused for shards; one of each series by itself is collected from all", async () => {
  const queries = [
    { name: "up", promql: "up", group: "test" },
    { name: "up_max", promql: "max_over_time(up[5m])", group: "test", type: "gauge" },
    { name: "targets", promql: "sum(up)", group: "test", type: "gauge" },
  ];
  const path = join(folder, "queries.yaml");
  writeFileSync(path, JSON.stringify({ extends: "none", queries }));
  const { bridge, collector } = await start({ shards: 2, environment: { QUERIES_FILE: path } });
  expect(bridge.resultOf(await bridge.collect(), ID)).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_query_spans_shards", details: { query: "targets" } },
  });
  const instances = (metric: string): Set<string> =>
    new Set(
      [...collector.acknowledged.values()]
        .filter((point) => point.metric === metric)
        .map(({ labels }) => labels["instance"]!),
    );
  expect(instances("up_max").size).toBeGreaterThan(2);
  expect(instances("up_max")).toEqual(instances("up"));
  expect(instances("targets").size).toBe(0);
});

it("a cluster that is registered over the API leaves no record of any shard when it is deleted", async () => {
  const { bridge, cluster } = await start({ shards: 2, environment: apiEnvironment(folder) });
  const api = createClustersApi(() => bridge.url);
  const { kubeconfig, name, platform } = cluster;
  const created = await api.create({ id: ID, name, platform, kubeconfig, prometheus: { shards: 2 } });
  expect([created.status, created.cluster["prometheus"]]).toMatchObject([201, { shards: 2 }]);
  expect(
    (await api.create({ id: "bad", name, platform, kubeconfig, prometheus: { shards: 0 } })).text,
  ).toContain("must be auto, none or a whole number from 1 to 32");
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect((await bridge.statusOf(ID)).prometheus_pods!.shards).toHaveLength(2);
  const recorded = async (): Promise<string[]> => {
    const file = join(bridge.directory, "data", "state.sqlite");
    const store = createSqliteStore({ path: file, logger: createSilentLogger() });
    const keys: string[] = [];
    for (const key of progressKeys(ID)) if (await store.get(key)) keys.push(key);
    await store.close();
    return keys;
  };
  expect((await bridge.progress(ID, 1)).pod).toMatchObject({ name: operatorName(1) });
  expect(await recorded()).toEqual(
    expect.arrayContaining([`progress:${ID}`, `progress:${ID}:1`, `collected:${ID}:1`]),
  );
  await bridge.restart();
  expect((await api.remove(ID)).status).toBe(204);
  await expect(bridge.progress(ID)).rejects.toThrow("nothing is recorded");
  expect(await recorded()).toEqual([]);
});

it("a Pod that has just started is in doubt: it counts as a replica, with a warning", async () => {
  const { bridge, clock, cluster } = await start({ shards: 2, podName: plainName });
  const bornMs = clock.now() - MINUTE_MS;
  const scrapes = cluster.scrapes.get(plainName(1))!;
  cluster.scrapes.set(plainName(1), (target, scrapedMs) => scrapedMs >= bornMs && scrapes(target, scrapedMs));
  for (let round = 0; round < 2; round++) {
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    const { prometheus_pods: pods, warnings } = await bridge.statusOf(ID);
    expect(pods).toMatchObject({ decision: "replicas" });
    expect(warnings.join()).toContain(
      "it is not known which targets the Prometheus Pods prometheus-1 scrape",
    );
  }
});

it("a diagnosis names the shards that the names of the Pods show", async () => {
  const { bridge } = await start({ shards: 2 });
  const answer = await fetch(`${bridge.url}/clusters/${ID}/diagnose`, { method: "POST" });
  const { steps } = (await answer.json()) as { steps: Record<string, unknown>[] };
  expect(steps.find(({ step }) => step === "pods")).toMatchObject({
    message: `2 ready: ${operatorName(0)}, ${operatorName(1)}; by their names 2 shards of ${NAME}`,
    details: { ready: 2, shards: 2 },
  });
});
