import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CLUSTER_METRICS } from "#collect/own-samples.ts";
import { DEFAULT_QUERIES } from "#prometheus/catalogue.ts";
import { readProgress, runToEnd, startBridge, type BridgeProcess } from "./bridge-process.ts";
import { compareEverything, SCRAPED_METRICS } from "./comparison.ts";
import { lacksOf, readProof } from "./proof.ts";
import { openSource, type Source } from "./source.ts";
import { clickhouseEnvironment, freePort, startStack, type Stack } from "./stack.ts";

// The real parts: a Kubernetes API server (E2E_KUBECONFIG), its port-forward, a Prometheus behind it, the Collector, ClickHouse. Several rounds
// with an outage of the Collector and a kill -9 of the bridge in between; then every stored sample is compared with what the same
// Prometheus answers in one query over the whole time.

const CLUSTER = "e2e-1";
const LAG_SECONDS = 60;
const COMPARED_SECONDS = 110;
/** At least one whole minute. */
const PROVED_SECONDS = 120;
const kubeconfig = process.env["E2E_KUBECONFIG"];
/** The test cluster of the project's images has every metric of nodes and Pods, and an exporter of NVIDIA's GPUs; another may have no GPU. */
const hasEveryMetric = process.env["E2E_CLUSTER_DIR"] !== undefined;

let stack: Stack;
let source: Source;
let directory: string;
let environment: Record<string, string>;
let port: number;
let bridge: BridgeProcess | undefined;
const startedAt = Date.now();

beforeAll(async () => {
  if (!kubeconfig) {
    throw new Error(
      "E2E_KUBECONFIG must name the kubeconfig of a cluster with a Prometheus: see README.md, Tests",
    );
  }
  directory = await mkdtemp(join(tmpdir(), "budcluster-e2e-"));
  [stack, source, port] = await Promise.all([startStack(), openSource(kubeconfig), freePort()]);
  const clustersFile = join(directory, "clusters.yaml");
  await writeFile(
    clustersFile,
    JSON.stringify({ clusters: [{ id: CLUSTER, name: "end to end", platform: "test", kubeconfig }] }),
  );
  await runToEnd({ ROLE: "migrate", ...clickhouseEnvironment(stack) });
  environment = {
    ROLE: "bridge",
    CLUSTERS_FILE: clustersFile,
    DATA_DIR: join(directory, "data"),
    OTEL_COLLECTOR_ENDPOINT: stack.collectorUrl,
    COLLECTION_LAG: String(LAG_SECONDS),
    INITIAL_LOOKBACK: "2m",
    METRICS_BATCH_SIZE: "1000",
    PROOF_STRETCH: "1m",
    PROOF_DELAY: "30s",
    // The cluster's API server may be on this machine.
    ALLOW_PRIVATE_API_SERVERS: "true",
    EXPORT_TIMEOUT: "20",
    EXPORT_RETRY_MAX_ELAPSED: "3",
    OWN_METRICS_INTERVAL: "0",
  };
});

afterAll(async () => {
  await bridge?.kill("SIGKILL");
  await source?.close();
  await stack?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

describe("the bridge on real parts", () => {
  it("collects", { timeout: 180_000 }, async () => {
    bridge = await startBridge(environment, port);
    // A Prometheus that has just started has nothing yet that is older than the lag.
    const points = async (): Promise<number> => (await bridge!.collect()).points;
    await expect.poll(points, { timeout: 100_000, interval: 2000 }).toBeGreaterThan(0);
    const round = (await bridge.status()).last_round!;
    expect(round).toMatchObject({ total: 1, successful: 1, failed: 0 });
    const { clusters } = await bridge.status();
    expect(clusters[0]).toMatchObject({
      cluster_id: CLUSTER,
      state: "healthy",
      last_error: null,
      warnings: [expect.stringContaining("clear text")],
    });
    process.stderr.write(
      `Prometheus ${await source.version()}: ${round.points} points of ${round.clusters[0]?.series} series\n`,
    );
  });

  it("names a Collector that is gone, and goes on when it is back", { timeout: 180_000 }, async () => {
    await delay(10_000);
    await stack.stopCollector();
    const failed = await bridge!.collect();
    expect(failed).toMatchObject({ failed: 1, points: 0 });
    expect(failed.clusters[0]?.error).toMatchObject({ code: "collector_unreachable" });
    expect(failed.clusters[0]?.error?.hint).toContain("OTEL_COLLECTOR_ENDPOINT");
    await stack.startCollector();
    await expect
      .poll(async () => (await bridge!.collect()).successful, { timeout: 60_000, interval: 1000 })
      .toBe(1);
  });

  it("loses the Collector in the middle of a round", { timeout: 180_000 }, async () => {
    await delay(15_000);
    const round = bridge!.collect();
    await delay(400);
    await stack.stopCollector();
    await round;
    await stack.startCollector();
    await expect
      .poll(async () => (await bridge!.collect()).successful, { timeout: 60_000, interval: 1000 })
      .toBe(1);
  });

  it(
    "is killed in the middle of rounds and goes on from the last committed window",
    { timeout: 180_000 },
    async () => {
      for (const ms of [150, 400, 900]) {
        await delay(10_000);
        await bridge!.collectSoon();
        await delay(ms);
        await bridge!.kill("SIGKILL");
        bridge = await startBridge(environment, port);
      }
      await expect
        .poll(async () => (await bridge!.collect()).successful, { timeout: 60_000, interval: 1000 })
        .toBe(1);
    },
  );

  it("proves each minute of that time", { timeout: 300_000 }, async () => {
    const time = { fromMs: startedAt, toMs: startedAt + PROVED_SECONDS * 1000, stretchMs: 60_000 };
    const lacks = async (): Promise<string[]> => {
      await bridge!.collect();
      return lacksOf(await readProof(bridge!, { id: CLUSTER, selectors: DEFAULT_QUERIES.length }, time));
    };
    await expect.poll(lacks, { timeout: 240_000, interval: 2000 }).toEqual([]);
  });

  it("has stored exactly what Prometheus knows", { timeout: 300_000 }, async () => {
    // Resets (every 60 s) and samples that arrived 45 s late must be inside of the time that is compared.
    await delay(Math.max(0, startedAt + (LAG_SECONDS + COMPARED_SECONDS) * 1000 - Date.now()));
    expect(await bridge!.collect()).toMatchObject({ successful: 1 });
    const { clusters } = await bridge!.status();
    expect(clusters[0]).toMatchObject({ gaps: [] });
    expect(await bridge!.kill("SIGTERM")).toBe(0);
    const progress = await readProgress(join(directory, "data"), CLUSTER);
    const { total, filled, wrong, resets, late } = await compareEverything(
      { database: stack.database, source, clusterId: CLUSTER },
      progress,
    );
    process.stderr.write(`compared: ${JSON.stringify({ ...total, metrics: filled, resets, late })}\n`);
    expect(total).toMatchObject({ missing: 0, extra: 0, twice: 0, different: 0 });
    expect(total.samples).toBeGreaterThan(0);
    expect(wrong).toEqual([]);
    if (!hasEveryMetric) return;
    expect(filled).toBeGreaterThanOrEqual(SCRAPED_METRICS);
    expect({ hasResets: resets > 0, hasLateSamples: late > 0 }).toEqual({
      hasResets: true,
      hasLateSamples: true,
    });
  });

  it("has told the query role what it collected", async () => {
    const rows = await stack.database.query<{ metric_name: string; n: string }>(
      `SELECT metric_name, toString(count()) AS n FROM metrics.samples
      WHERE cluster_id = {cluster:String} AND startsWith(metric_name, 'budcluster_') GROUP BY metric_name ORDER BY metric_name`,
      { cluster: CLUSTER },
    );
    const names = rows.map((row) => row.metric_name);
    // Errors, gaps and expiring credentials are told only where there are any.
    expect(names).toEqual(
      expect.arrayContaining([
        "budcluster_cluster_source",
        "budcluster_cluster_up",
        "budcluster_node_info",
        "budcluster_query_lost_gaps",
        "budcluster_query_open_gaps",
        "budcluster_query_samples_read_total",
        "budcluster_query_samples_sent_total",
        "budcluster_query_watermark_seconds",
        "budcluster_stretch_length_seconds",
        "budcluster_stretch_samples",
        "budcluster_stretch_state",
      ]),
    );
    const documented = new Set(Object.values(CLUSTER_METRICS).map(({ name }) => name));
    expect(names.filter((name) => !documented.has(name))).toEqual([]);
  });

  it.runIf(hasEveryMetric)(
    "has sent the source's labels alone, and which node has their address",
    async () => {
      const rows = await stack.database.query<{ own: string; node: string }>(
        `SELECT DISTINCT load.labels['k8s.node.name'] AS own, info.labels['node'] AS node
      FROM metrics.samples AS load
      INNER JOIN metrics.samples AS info ON info.labels['address'] = splitByChar(':', load.labels['instance'])[1]
      WHERE load.cluster_id = {cluster:String} AND load.metric_name = 'node_load1'
        AND info.cluster_id = {cluster:String} AND info.metric_name = 'budcluster_node_info'`,
        { cluster: CLUSTER },
      );
      expect(rows).toEqual([{ own: "", node: "node-0" }]);
    },
  );

  it("marks each row with the version of its schema", async () => {
    const rows = await stack.database.query<{ version: string }>(
      `SELECT DISTINCT ScopeAttributes['budcluster.schema_version'] AS version FROM (
        SELECT ScopeAttributes, cluster_id FROM metrics.otel_metrics_gauge
        UNION ALL SELECT ScopeAttributes, cluster_id FROM metrics.otel_metrics_sum
      ) WHERE cluster_id = {cluster:String}`,
      { cluster: CLUSTER },
    );
    expect(rows).toEqual([{ version: "2" }]);
  });
});
