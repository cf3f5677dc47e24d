import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Cluster } from "#clusters/cluster.ts";
import { createFileRegistry } from "#clusters/registry.ts";
import type { ClusterStatus, CollectionStatus } from "#collect/status.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { startSimulator, type SimulatedCluster } from "#simulator/simulator.ts";
import { createLogger } from "#telemetry/logger.ts";
import { clusterDefaults, createApp, type RunningApp } from "./app.ts";
import { loadConfig, type Config, type Environment } from "./config.ts";

const POLL_MS = 200;
const INTERVAL_SECONDS = 15;
/** Of the query that is printed: what the first round collected. */
const SHOWN_SECONDS = 900;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

/**
 * `npm run demo`: simulated clusters and the whole program in one process, collecting until `ended` resolves. Everything is kept in a temporary
 * folder that is removed at the end. Of the environment only PORT and LOG_LEVEL count.
 */
export async function runDemo(ended: Promise<unknown>, environment: Environment): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "budcluster-demo-"));
  const finished = new AbortController();
  void ended.then(() => finished.abort());
  say(
    "Starting three simulated clusters (each a Kubernetes API server over TLS, with a Prometheus behind its port-forward) ...",
  );
  const simulator = await startSimulator({
    seed: "demo",
    clusters: [
      { nodes: 4, pods: 40 },
      { nodes: 2, pods: 12 },
      { nodes: 3, pods: 20, gpus: 0 },
    ],
  });
  try {
    const config = await demoConfig(directory, environment);
    const logger = createLogger({ level: config.LOG_LEVEL });
    const registry = createFileRegistry(simulator.clusters.map((each) => toCluster(each, config)));
    const app = createApp(config, logger, { registry });
    say("Starting the bridge, the OTLP receiver and the embedded ClickHouse ...");
    try {
      const running = await app.start();
      await showRounds(running, finished.signal);
    } finally {
      say("\nEnding ...");
      await app.stop();
    }
  } finally {
    await simulator.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function demoConfig(directory: string, environment: Environment): Promise<Config> {
  const { PORT = "", LOG_LEVEL = "" } = environment;
  return loadConfig({
    DATA_DIR: directory,
    COLLECTION_INTERVAL: String(INTERVAL_SECONDS),
    LOG_LEVEL: LOG_LEVEL || "error",
    PORT: PORT || String((await isFree(9081)) ? 9081 : 0),
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function toCluster(simulated: SimulatedCluster, config: Config): Cluster {
  const { id, name, platform, kubeconfig } = simulated;
  const credentials = { kind: "inline" as const, kubeconfig: createSecret(kubeconfig) };
  return { id, name, platform, enabled: true, credentials, ...clusterDefaults(config) };
}

async function showRounds({ url, collection }: RunningApp, signal: AbortSignal): Promise<void> {
  if (!collection) return;
  say("Collecting the last 15 minutes of every cluster ...");
  let shown: string | undefined;
  while (!signal.aborted) {
    const status = await collection.status();
    const round = status.last_round;
    if (round && round.id !== shown) {
      if (shown === undefined) say(`\n${toTable(status)}\n${nextSteps(url, status)}`);
      else say(toLine(status));
      shown = round.id;
    }
    await systemClock.sleep(POLL_MS, signal).catch(() => {});
  }
}

function toTable(status: CollectionStatus): string {
  const results = new Map(status.last_round?.clusters.map((result) => [result.cluster_id, result]));
  const rows = status.clusters.map((cluster) => [
    cluster.cluster_id,
    cluster.cluster_name,
    cluster.state,
    String(cluster.series),
    String(cluster.points),
    cluster.lag_seconds === null ? "-" : `${Math.round(cluster.lag_seconds)} s`,
    groupsOf(cluster),
    `${(results.get(cluster.cluster_id)?.duration_seconds ?? 0).toFixed(1)} s`,
    cluster.last_error ? `${cluster.last_error.code}: ${cluster.last_error.message}` : "",
  ]);
  const heads = ["CLUSTER", "NAME", "STATE", "SERIES", "POINTS", "LAG", "GROUPS", "TOOK", ""];
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]!.length)));
  return [heads, ...rows]
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function groupsOf(cluster: ClusterStatus): string {
  const present = Object.entries(cluster.groups).filter(([, state]) => state === "present");
  return present.map(([group]) => group).join(",") || "-";
}

function toLine(status: CollectionStatus): string {
  const round = status.last_round!;
  const seconds = (round.duration_seconds ?? 0).toFixed(1);
  return `round: ${round.successful} of ${round.total} clusters successful, ${round.points} points in ${seconds} s`;
}

function nextSteps(url: string, status: CollectionStatus): string {
  const cluster = status.clusters[0];
  const id = cluster?.cluster_id ?? "";
  const end = Math.floor((cluster?.watermark ? Date.parse(cluster.watermark) : systemClock.now()) / 1000);
  const body = JSON.stringify({
    cluster_id: id,
    metric_name: "node_load1",
    start_time: end - SHOWN_SECONDS,
    end_time: end,
    aggregation: "avg",
  });
  return `
Stored in ClickHouse's engine inside this process. What to do next (in another terminal):

  curl -s -X POST '${url}/cluster-metrics/query' -H 'content-type: application/json' \\
    -d '${body}'
                                                                   15 minutes of a metric, and the PromQL that it equals
  curl -s '${url}/cluster-metrics/${id}/summary'                      the cluster in numbers
  curl -s '${url}/cluster-metrics/${id}/latest?metric=node_load1'     the newest sample of each series
  curl -s '${url}/metrics/status'                                    every cluster's state, watermark, lag and last error
  curl -s -X POST '${url}/metrics/collect-all?wait=true'             a round now, and its result
  ${url}/docs                                                        the whole API, in a browser

On your own cluster:  npm start -- --kubeconfig ~/.kube/config --context NAME

A round every ${INTERVAL_SECONDS} s; Ctrl-C ends.
`;
}
