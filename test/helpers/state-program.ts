import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RoundResult } from "#collect/status.ts";
import { startSimulator, type SimulatedCluster } from "#simulator/simulator.ts";
import { PROMETHEUS } from "#simulator/clusters-file.ts";
import type { Answers } from "../forms/answers.ts";
import { startBridgeChild } from "./bridge-child.ts";
import { serveCases, type ServedCase } from "./served-cases.ts";

export interface ProgramCase extends ServedCase {
  /** The nodes of the Kubernetes API: name to internal address. */
  nodes?: Readonly<Record<string, string>>;
  /** More fields of the cluster's `prometheus`. */
  prometheus?: object;
}

/** The whole program, which collected each case once over a port-forward, as a cluster of its own. */
export interface StateProgram {
  round: RoundResult;
  answers: (clusterId: string) => Answers;
  /** Asks a route of the program: the status and the JSON. */
  ask: (path: string, body?: object) => Promise<{ status: number; body: unknown }>;
  stop: () => Promise<void>;
}

/** Longer than the window of the answers and the lookback before it. */
const LOOKBACK = "65m";

interface ProgramOptions {
  /** Queries beside those of the default catalogue. */
  queries?: readonly { name: string; group: string }[];
  /** Adds to the Kubernetes API before the program starts. */
  prepare?: (cluster: SimulatedCluster, sourcePort: number) => void;
}

export async function startStateProgram(
  folder: string,
  cases: Readonly<Record<string, ProgramCase>>,
  { queries = [], prepare }: ProgramOptions = {},
): Promise<StateProgram> {
  const source = await serveCases(cases);
  const simulator = await startSimulator({
    clusters: 1,
    shape: { nodes: 1, pods: 0 },
    realPrometheus: { host: "127.0.0.1", port: source.port },
  });
  const [cluster] = simulator.clusters;
  for (const [name, address] of Object.values(cases).flatMap(({ nodes = {} }) => Object.entries(nodes))) {
    cluster!.kube.nodes.push({
      name,
      addresses: [
        { type: "InternalIP", address },
        { type: "Hostname", address: name },
      ],
    });
  }
  prepare?.(cluster!, source.port);
  const { namespace, service, port } = PROMETHEUS;
  const clusters = Object.entries(cases).map(([id, { prometheus }]) => ({
    id,
    kubeconfig: cluster!.kubeconfig,
    prometheus: { namespace, service, port, path_prefix: `/${id}`, ...prometheus },
  }));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "clusters.yaml"), JSON.stringify({ clusters }));
  writeFileSync(join(folder, "queries.yaml"), JSON.stringify({ extends: "default", queries }));
  let end = (): Promise<void> => Promise.resolve();
  const child = startBridgeChild(
    {
      ROLE: "all-in-one",
      PORT: "0",
      SCHEDULER: "dapr",
      DATA_DIR: join(folder, "data"),
      CLUSTERS_FILE: join(folder, "clusters.yaml"),
      QUERIES_FILE: join(folder, "queries.yaml"),
      INITIAL_LOOKBACK: LOOKBACK,
      API_SERVER_CIDRS: "127.0.0.1",
      OWN_METRICS_INTERVAL: "0",
    },
    [],
    { atEnd: (kill) => (end = kill) },
  );
  const ask = async (path: string, body?: object): Promise<{ status: number; body: unknown }> => {
    const init = body && {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    };
    const answer = await fetch(`${await child.url}${path}`, init);
    return { status: answer.status, body: await answer.json() };
  };
  const stop = async (): Promise<void> => {
    await end();
    await Promise.all([simulator.stop(), source.stop()]);
  };
  const round = await child.collect().catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { round, ask, stop, answers: (id) => answersOf(ask, id) };
}

function answersOf(ask: StateProgram["ask"], id: string): Answers {
  const get = async <Name extends keyof Answers>(
    name: Name,
    query = "",
  ): Promise<Awaited<ReturnType<Answers[Name]>>> => {
    const { status, body } = await ask(`/cluster-metrics/${id}/${name}${query}`);
    if (status !== 200) throw new Error(`${name} of ${id}: ${status} ${JSON.stringify(body)}`);
    return body as Awaited<ReturnType<Answers[Name]>>;
  };
  return {
    summary: () => get("summary"),
    nodes: () => get("nodes"),
    pods: () => get("pods", "?limit=1000"),
    gpus: () => get("gpus"),
    health: () => get("health"),
  };
}
