import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { systemClock } from "#lib/clock.ts";
import type { Clock } from "#lib/clock.ts";
import { createCertificates } from "./certificates.ts";
import { clustersFileText, kubeconfigText, PROMETHEUS } from "./clusters-file.ts";
import { createExposition } from "./exposition.ts";
import { createFaultBoard } from "./faults.ts";
import type { FaultBoard, Faults } from "./faults.ts";
import { startKubeApi } from "./kube-api.ts";
import { bridgeRights } from "./kube-rights.ts";
import { createKubeState } from "./kube-state.ts";
import type { KubeState, Listener } from "./kube-state.ts";
import { hashText, mix, uuidOf } from "./noise.ts";
import { createPrometheusApi } from "./prometheus-api.ts";
import type { PrometheusSettings } from "./prometheus-api.ts";
import type { Scrapes, ScrapeTarget } from "./series.ts";
import { createWorld } from "./world.ts";
import type { ClusterWorld, World, WorldSettings } from "./world.ts";

export interface SimulatorSettings extends WorldSettings {
  /** Default: the real one. Faults that wait, wait by this clock. */
  clock?: Clock;
  /** How each Prometheus answers. `replica` is given by its Pod, whose name takes the place of `$(POD_NAME)` in external labels. */
  prometheus?: Omit<PrometheusSettings, "replica" | "scrapes">;
  /** Prometheus Pods behind each Service, of each shard. Default 1. */
  replicas?: number;
  /** Prometheus behind each Service that share the targets among them, as Prometheus operator's shards. Default 1. */
  shards?: number;
  /** Name of a shard's replica. Default: as Prometheus operator names them. */
  podName?: (shard: number, replica: number) => string;
  /** The name that other machines reach the API servers by; without it they listen on loopback. */
  hostName?: string;
  /** A real Prometheus that the first cluster's port-forward leads to, in place of the simulated one. */
  realPrometheus?: { host: string; port: number };
}

export interface SimulatedCluster {
  id: string;
  name: string;
  platform: string;
  /** YAML text with the CA and the token inline. */
  kubeconfig: string;
  /** The token of the kubeconfig; its user "bridge" has the least rights that the bridge needs. */
  token: string;
  /** PEM. */
  ca: string;
  apiServerUrl: string;
  /** The first Prometheus without the way through Kubernetes, to compare answers with. */
  prometheusUrl: string;
  /** All series as text for a real Prometheus to scrape with honor_labels. */
  metricsUrl: string;
  /** The cluster's objects, to be changed while it runs. */
  kube: KubeState;
  /** The truth. */
  world: ClusterWorld;
  /** Which targets a Prometheus Pod scrapes when, by the Pod's name; to be changed while it runs. Pods that are not listed scrape all. */
  scrapes: Map<string, Scrapes>;
}

export interface Simulator {
  clusters: readonly SimulatedCluster[];
  world: World;
  faults: Faults;
  /** All clusters in the form of CLUSTERS_FILE. */
  clustersFile(): string;
  /** Throws when there is no such cluster. */
  cluster(id: string): SimulatedCluster;
  /** Closes every server and connection. */
  stop(): Promise<void>;
}

/**
 * Starts simulated clusters on free ports: for each an API server, and behind its port-forward a
 * Prometheus.
 */
export async function startSimulator(settings: SimulatorSettings = {}): Promise<Simulator> {
  const clock = settings.clock ?? systemClock;
  const world = createWorld({ clock }, settings);
  const faults = createFaultBoard();
  const started: Awaited<ReturnType<typeof startCluster>>[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(started.splice(0).map(async (each) => each.stop()));
  };
  try {
    for (const each of world.clusters) {
      started.push(await startCluster(each, clock, faults, settings, started.length === 0));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const clusters = started.map(({ cluster }) => cluster);
  return {
    clusters,
    world,
    faults,
    stop,
    clustersFile: () => clustersFileText(clusters),
    cluster: (id) => {
      const found = clusters.find((cluster) => cluster.id === id);
      if (!found) throw new Error(`the simulator has no cluster ${JSON.stringify(id)}`);
      return found;
    },
  };
}

async function startCluster(
  world: ClusterWorld,
  clock: Clock,
  board: FaultBoard,
  settings: SimulatorSettings,
  isFirst: boolean,
): Promise<{ cluster: SimulatedCluster; stop: () => Promise<void> }> {
  const { id, name, platform } = world.shape;
  const source = board.source(id);
  const state = createKubeState(id);
  const token = uuidOf(hashText(`token/${id}`, world.layout.hash)).replaceAll("-", "");
  const { shards = 1, replicas = 1, podName: nameOf = operatorPodName } = settings;
  const scrapes = new Map<string, Scrapes>();
  const servers = Array.from({ length: shards * replicas }, (_, i) => {
    const [shard, replica] = [Math.floor(i / replicas), i % replicas];
    const podName = nameOf(shard, replica);
    if (shards > 1) scrapes.set(podName, (target) => shardOf(target, shards) === shard);
    const restartPod = (): void => state.restartPod(podName);
    const deps = { world, clock, faults: source, restartPod };
    const server = createServer(
      createPrometheusApi(deps, {
        ...settings.prometheus,
        externalLabels: expandLabels(settings.prometheus?.externalLabels ?? {}, podName),
        replica,
        scrapes: (target, scrapedMs) => scrapes.get(podName)?.(target, scrapedMs) ?? true,
      }),
    );
    server.on("clientError", (_error, socket) => socket.destroy());
    const real = isFirst ? settings.realPrometheus : undefined;
    addPrometheusPod(state, podName, world, (stream) =>
      real ? connectStream(stream, real) : server.emit("connection", stream),
    );
    return server;
  });
  fillState(state, world, token);
  const hostName = settings.hostName === undefined ? {} : { hostName: settings.hostName };
  const certificates = await createCertificates(`${id}.example.com`, settings.hostName);
  const api = await startKubeApi({ state, faults: source, certificates, clock, ...hostName });
  board.onChange(id, async () => api.refresh());
  const exposition = createServer(createExposition(world, clock));
  const prometheusUrl = await listen(servers[0] ?? createServer());
  const metricsUrl = `${await listen(exposition)}/metrics`;
  const kubeconfig = kubeconfigText({ id, apiServerUrl: api.url, ca: certificates.ca, token });
  const cluster: SimulatedCluster = {
    id,
    name,
    platform,
    kubeconfig,
    token,
    ca: certificates.ca,
    apiServerUrl: api.url,
    prometheusUrl,
    metricsUrl,
    kube: state,
    world,
    scrapes,
  };
  return {
    cluster,
    stop: async () => {
      while (state.pods[0]) state.deletePod(state.pods[0].name);
      await Promise.all([api.stop(), ...servers.map(close), close(exposition)]);
    },
  };
}

/** As Prometheus operator fills in the name of the replica. */
function expandLabels(labels: Readonly<Record<string, string>>, podName: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(labels).map(([name, value]) => [name, value.replaceAll("$(POD_NAME)", podName)]),
  );
}

/** Shard 0 has the name of the Prometheus alone. */
function operatorPodName(shard: number, replica: number): string {
  const name = shard === 0 ? PROMETHEUS.service : `${PROMETHEUS.service}-shard-${shard}`;
  return `prometheus-${name}-${replica}`;
}

/** As the operator's hashmod of a target's address. */
export function shardOf(target: ScrapeTarget, shards: number): number {
  return mix(target.hash, shards) % shards;
}

function addPrometheusPod(state: KubeState, name: string, world: ClusterWorld, listener: Listener): void {
  state.addPod({
    namespace: PROMETHEUS.namespace,
    name,
    nodeName: world.layout.nodes[0]?.name ?? "",
    labels: { "app.kubernetes.io/name": "prometheus" },
    ports: [{ name: PROMETHEUS.portName, containerPort: PROMETHEUS.port }],
    listeners: new Map([[PROMETHEUS.port, listener]]),
  });
}

/** Carries a port-forward's bytes to a real server and back. */
function connectStream(stream: Duplex, { host, port }: { host: string; port: number }): void {
  const socket = connect(port, host);
  socket.on("error", () => stream.destroy());
  stream.on("close", () => socket.destroy());
  stream.pipe(socket).pipe(stream);
}

function fillState(state: KubeState, world: ClusterWorld, token: string): void {
  const { namespace, service, port, portName } = PROMETHEUS;
  state.namespaces.add(namespace);
  state.services.push({
    namespace,
    name: service,
    selector: { "app.kubernetes.io/name": "prometheus" },
    ports: [{ name: portName, port, targetPort: portName }],
  });
  for (const { name, address } of world.layout.nodes) {
    const addresses = [
      { type: "InternalIP", address },
      { type: "Hostname", address: name },
    ];
    state.nodes.push({ name, addresses });
  }
  state.setUser({ name: "bridge", token, rights: bridgeRights(namespace) });
}

async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  await closed;
}
