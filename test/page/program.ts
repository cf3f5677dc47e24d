import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { clusterDefaults, createApp } from "#app/app.ts";
import type { Cluster } from "#clusters/cluster.ts";
import { createSecret } from "#lib/secret.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createLogger } from "#telemetry/logger.ts";
import { loadConfig, type Config, type Environment } from "#config.ts";
import {
  startSimulator,
  type SimulatedCluster,
  type Simulator,
  type SimulatorSettings,
} from "#simulator/simulator.ts";

export interface Program {
  url: string;
  simulator: Simulator;
  /** Collects from all clusters once. */
  collect(): Promise<void>;
  /** With `startHoursAgo`: lets the program and the simulated clusters come to the real time. */
  toPresent(): void;
  stop(): Promise<void>;
}

export interface ProgramSettings {
  simulator: SimulatorSettings;
  /** Default: one for each simulated cluster, through its API server. */
  clusters?: (simulated: readonly SimulatedCluster[], config: Config) => Cluster[];
  environment?: Environment;
  /** The program and the simulated clusters start in the past, so that hours of data are there soon. */
  startHoursAgo?: number;
}

/** All-in-one, as `npm run demo` starts it: the whole program over simulated clusters. Rounds are started by `collect` only. */
export async function startProgram(directory: string, settings: ProgramSettings): Promise<Program> {
  let behindMs = (settings.startHoursAgo ?? 0) * 3_600_000;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() - behindMs };
  const simulator = await startSimulator({ seed: "page", clock, ...settings.simulator });
  const config = loadConfig({
    DATA_DIR: join(directory, "data"),
    PORT: "0",
    API_SERVER_CIDRS: "127.0.0.1",
    SCHEDULER: "dapr",
    COLLECTION_INTERVAL: "300",
    ...settings.environment,
  });
  const logger = createLogger({ level: "error" });
  const clusters = (settings.clusters ?? viaApiServers)(simulator.clusters, config);
  // Workers have the real clock.
  const past = behindMs > 0 ? ({ clock, work: "local" } as const) : {};
  const app = createApp(config, logger, { clusters, ...past });
  const { url, collection } = await app.start();
  return {
    url,
    simulator,
    collect: async () => void (await (await collection?.start("request"))?.done),
    toPresent: () => void (behindMs = 0),
    stop: async () => {
      await app.stop();
      await simulator.stop();
    },
  };
}

/** Each through its API server. */
export function viaApiServers(simulated: readonly SimulatedCluster[], config: Config): Cluster[] {
  return simulated.map(({ id, name, platform, kubeconfig }) => ({
    id,
    name,
    platform,
    enabled: true,
    credentials: { kind: "inline" as const, kubeconfig: createSecret(kubeconfig) },
    source: "command-line" as const,
    labels: {},
    ...clusterDefaults(config),
  }));
}

export const TOKENS = {
  read: "read-token-of-the-page-test",
  some: "token-for-one-cluster-only",
  collect: "collect-token-of-the-page-test",
  admin: "admin-token-of-the-page-test",
} as const;

/** An API_TOKENS_FILE with them; `some` sees sim-1 only. */
export function writeTokens(directory: string): string {
  const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
  const entries = Object.entries(TOKENS).map(([name, token]) => ({
    name,
    sha256: sha256(token),
    scopes: [name === "some" ? "read" : name],
    ...(name === "some" ? { clusters: ["sim-1"] } : {}),
  }));
  const path = join(directory, "tokens.yaml");
  writeFileSync(path, JSON.stringify(entries));
  return path;
}
