import { createServer } from "node:net";
import type { Cluster } from "#clusters/cluster.ts";
import { createPrivateFolder } from "#lib/private-folder.ts";
import { createSecret } from "#lib/secret.ts";
import { startSimulator, type SimulatedCluster, type Simulator } from "./simulator.ts";
import { createLogger } from "#telemetry/logger.ts";
import { clusterDefaults, createApp } from "#app/app.ts";
import { loadConfig, type Config, type Environment } from "#config.ts";
import { showRounds } from "#commands/round-table.ts";

const INTERVAL_SECONDS = 15;
/** The first round reads 15 minutes at once, and a busy machine needs longer for it than the short interval. No second round starts meanwhile. */
const DEADLINE_MS = 120_000;
const FOOTER = `On your own cluster:  npm start -- --kubeconfig ~/.kube/config --context NAME

A round every ${INTERVAL_SECONDS} s; Ctrl-C ends.`;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

/**
 * `npm run demo`: simulated clusters and the whole program in one process, collecting until `ended` resolves. Everything is kept in a temporary
 * folder that is removed with the process. Of the environment only PORT and LOG_LEVEL count.
 */
export async function runDemo(ended: Promise<unknown>, environment: Environment): Promise<void> {
  const directory = createPrivateFolder("budcluster-demo-");
  const finished = new AbortController();
  void ended.then(() => finished.abort());
  say(
    "Starting three simulated clusters (each a Kubernetes API server over TLS, with a Prometheus behind its port-forward) ...",
  );
  let simulator: Simulator | undefined;
  try {
    simulator = await startSimulator({
      seed: "demo",
      clusters: [
        { nodes: 4, pods: 40 },
        { nodes: 2, pods: 12 },
        { nodes: 3, pods: 20, gpus: 0 },
      ],
    });
    const config = await demoConfig(directory, environment);
    const logger = createLogger({ level: config.LOG_LEVEL });
    const clusters = simulator.clusters.map((each) => toCluster(each, config));
    const app = createApp(config, logger, { clusters });
    say("Starting the bridge, the OTLP receiver and the embedded ClickHouse ...");
    try {
      // A start that is interrupted is given up.
      const running = await Promise.race([app.start(), ended.then(() => undefined)]);
      if (running) await showRounds(running, { signal: finished.signal, footer: FOOTER, say });
    } finally {
      say("\nEnding ...");
      await app.stop();
    }
  } finally {
    await simulator?.stop();
  }
}

/** The configuration of the demo. */
export async function demoConfig(directory: string, environment: Environment): Promise<Config> {
  const { PORT = "", LOG_LEVEL = "" } = environment;
  const config = loadConfig({
    DATA_DIR: directory,
    COLLECTION_INTERVAL: String(INTERVAL_SECONDS),
    LOG_LEVEL: LOG_LEVEL || "error",
    PORT: PORT || String((await isFree(9081)) ? 9081 : 0),
    // The simulated API servers listen there.
    API_SERVER_CIDRS: "127.0.0.1",
  });
  return { ...config, CLUSTER_DEADLINE: DEADLINE_MS };
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
  return {
    id,
    name,
    platform,
    enabled: true,
    credentials,
    source: "command-line",
    labels: {},
    ...clusterDefaults(config),
  };
}
