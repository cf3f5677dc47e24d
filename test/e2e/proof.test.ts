import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { runToEnd, startBridge, type BridgeProcess } from "./bridge-process.ts";
import { compareCounts } from "./comparison.ts";
import { lacksOf, readProof } from "./proof.ts";
import { startPrometheus, type WrittenPrometheus } from "./prometheus.ts";
import { openSource, type Source } from "./source.ts";
import { clickhouseEnvironment, freePort, startStack, type Stack } from "./stack.ts";

// One bridge and two clusters: the simulator's API server and port-forward in front of a real Prometheus 2 and 3, which scrape themselves and take samples by
// remote write, also out of order. The Collector is away, both Prometheus and the bridge are killed; then each stretch of a minute must be proved, and samples
// that arrived ten minutes after their time must be stored and counted.

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HISTORY_MS = 14 * MINUTE_MS;
const STEP_MS = 15 * SECOND_MS;
const METRICS = ["up", "node_load1", "prometheus_http_requests_total"];
const EXPRESSION = "load_of_all";
const LATE_SAMPLES = 3;

interface Case {
  id: string;
  prometheus: WrittenPrometheus;
  simulator: Simulator;
  source: Source;
}

let directory: string;
let stack: Stack;
let cases: Case[];
let environment: Record<string, string>;
let port: number;
let bridge: BridgeProcess;
/** The history begins here, at a whole minute. */
const startMs = Math.ceil((Date.now() - HISTORY_MS) / MINUTE_MS) * MINUTE_MS;
let faultsOverMs: number;

async function startCase(version: string): Promise<Case> {
  const prometheus = await startPrometheus({ version, scrapesItself: true, outOfOrder: "30m" });
  const simulator = await startSimulator({
    clusters: 1,
    shape: { nodes: 1, pods: 0 },
    realPrometheus: prometheus.address,
  });
  const { host, port: number } = prometheus.address;
  return {
    id: `prometheus-${version}`,
    prometheus,
    simulator,
    source: await openSource("", `http://${host}:${number}`),
  };
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "budcluster-proof-"));
  [stack, cases, port] = await Promise.all([
    startStack(),
    Promise.all(["2.42.0", "3.15.0"].map(startCase)),
    freePort(),
  ]);
  const file = async (name: string, content: unknown): Promise<string> => {
    const path = join(directory, name);
    await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  };
  const clusters = await Promise.all(
    cases.map(async ({ id, simulator }) => ({
      id,
      name: id,
      platform: "test",
      kubeconfig: await file(`${id}.kubeconfig`, simulator.cluster("sim-1").kubeconfig),
    })),
  );
  await runToEnd({ ROLE: "migrate", ...clickhouseEnvironment(stack) });
  environment = {
    ROLE: "bridge",
    CLUSTERS_FILE: await file("clusters.yaml", { clusters }),
    QUERIES_FILE: await file("queries.yaml", {
      extends: "none",
      queries: [
        ...METRICS.map((name) => ({ name })),
        { name: EXPRESSION, promql: "sum(node_load1)", step: 60 },
      ],
    }),
    DATA_DIR: join(directory, "data"),
    OTEL_COLLECTOR_ENDPOINT: stack.collectorUrl,
    COLLECTION_LAG: "10",
    COLLECTION_INTERVAL: "30",
    INITIAL_LOOKBACK: "30m",
    PROOF_STRETCH: "1m",
    PROOF_DELAY: "30s",
    ALLOW_PRIVATE_API_SERVERS: "true",
    EXPORT_TIMEOUT: "20",
    EXPORT_RETRY_MAX_ELAPSED: "3",
    OWN_METRICS_INTERVAL: "0",
  };
  const times = Array.from({ length: HISTORY_MS / STEP_MS }, (_, i) => startMs + i * STEP_MS);
  for (const { prometheus } of cases) {
    const series = ["up", "node_load1"].map((name) => ({
      labels: { __name__: name, instance: "written" },
      samples: times.filter((ms) => ms < Date.now()).map((ms): [number, number] => [ms, 1]),
    }));
    await prometheus.write(series);
  }
  bridge = await startBridge(environment, port);
});

afterAll(async () => {
  await bridge?.kill("SIGKILL");
  for (const { source, simulator, prometheus } of cases ?? []) {
    await source.close();
    await simulator.stop();
    await prometheus.stop();
  }
  await stack?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

const soon = { timeout: 120_000, interval: 1000 };
const untilAllSucceed = async (): Promise<void> =>
  await expect.poll(async () => (await bridge.collect()).successful, soon).toBe(cases.length);
const proofOf = (id: string, fromMs: number, toMs: number) =>
  readProof(bridge, { id, selectors: METRICS.length }, { fromMs, toMs, stretchMs: MINUTE_MS });

/** The samples that arrive late lie in the minute from here on. */
let lateMs: number;
const lateSamples = (): [number, number][] =>
  Array.from({ length: LATE_SAMPLES }, (_, i) => [lateMs + i * STEP_MS + 7 * SECOND_MS, 7 + i]);

test("what has just been collected is proved", async () => {
  await untilAllSucceed();
  lateMs = Math.floor((Date.now() - 12 * MINUTE_MS) / MINUTE_MS) * MINUTE_MS;
  for (const { id } of cases) {
    await expect
      .poll(
        async () => (await bridge.collect(), lacksOf(await proofOf(id, lateMs, lateMs + MINUTE_MS))),
        soon,
      )
      .toEqual([]);
  }
});

test("samples arrive ten minutes late, out of order", async () => {
  for (const { prometheus } of cases)
    await prometheus.write([
      { labels: { __name__: "node_load1", instance: "written" }, samples: lateSamples() },
    ]);
  expect(Date.now() - lateSamples().at(-1)![0]).toBeGreaterThan(10 * MINUTE_MS);
});

test("the Collector is away, Prometheus and the bridge are killed", async () => {
  await stack.stopCollector();
  expect(await bridge.collect()).toMatchObject({ successful: 0 });
  await stack.startCollector();
  await untilAllSucceed();

  await Promise.all(cases.map(({ prometheus }) => prometheus.kill()));
  expect(await bridge.collect()).toMatchObject({ successful: 0 });
  await Promise.all(cases.map(({ prometheus }) => prometheus.restart()));
  await untilAllSucceed();

  await bridge.collectSoon();
  await bridge.kill("SIGKILL");
  bridge = await startBridge(environment, port);
  await untilAllSucceed();
  faultsOverMs = Date.now();
});

test("every stretch is proved, and the late samples are counted", { timeout: 600_000 }, async () => {
  for (const { id } of cases) {
    const facts = async () => {
      await bridge.collect();
      const proof = await proofOf(id, startMs, faultsOverMs);
      return { lacks: lacksOf(proof), late: proof.late };
    };
    await expect.poll(facts, { timeout: 500_000, interval: 1000 }).toEqual({ lacks: [], late: LATE_SAMPLES });
    const { gaps } = (await bridge.status()).clusters.find(({ cluster_id }) => cluster_id === id)!;
    expect(gaps).toEqual([]);
  }
});

test("an expression says that it has no proof", async () => {
  for (const { id } of cases) {
    const stretches = await bridge.stretches(id, startMs, faultsOverMs);
    const reasons = stretches
      .filter(({ query }) => query === EXPRESSION)
      .map(({ state, reason }) => `${state} ${reason}`);
    expect(new Set(reasons)).toEqual(new Set(["unproved expression"]));
  }
});

test("the late samples are stored", async () => {
  for (const { id } of cases) {
    const rows = await stack.database.query<{ ms: string; value: number }>(
      `SELECT toString(toUnixTimestamp64Milli(time)) AS ms, value FROM metrics.samples
      WHERE cluster_id = {cluster:String} AND metric_name = 'node_load1' AND value >= 7 ORDER BY time`,
      { cluster: id },
    );
    expect(rows.map(({ ms, value }) => [Number(ms), value])).toEqual(lateSamples());
  }
});

test("a sample that is deleted from the store is found by counting both sides", async () => {
  for (const { id, source } of cases) {
    const toMs = Math.floor(faultsOverMs / MINUTE_MS) * MINUTE_MS;
    const sides = { database: stack.database, source, clusterId: id };
    const compare = async () =>
      (
        await Promise.all(
          METRICS.map((metric) =>
            compareCounts(sides, metric, { fromMs: startMs, toMs, stretchMs: MINUTE_MS }),
          ),
        )
      ).flat();
    expect(await compare()).toEqual([]);
    await stack.database.command(
      `ALTER TABLE metrics.otel_metrics_gauge DELETE
      WHERE cluster_id = '${id}' AND MetricName = 'node_load1' AND toUnixTimestamp64Milli(TimeUnix) = ${lateSamples()[0]![0]}
      SETTINGS mutations_sync = 2`,
    );
    const stored = 60_000 / STEP_MS + LATE_SAMPLES - 1;
    expect(await compare()).toEqual([{ metric: "node_load1", fromMs: lateMs, source: stored + 1, stored }]);
  }
});
