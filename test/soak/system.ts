import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { runToEnd } from "../e2e/bridge-process.ts";
import { clickhouseEnvironment, freePort, startStack, type Stack } from "../e2e/stack.ts";
import { startSoakBridge } from "./bridge.ts";
import { openContainer } from "./container.ts";
import type { Parts } from "./parts.ts";
import type { SoakSettings } from "./settings.ts";
import { startWire } from "./wire.ts";

/** The cluster's id. */
export const CLUSTER = "soak";

export interface SoakSystem extends Parts {
  stack: Stack;
  dataDirectory: string;
  /** The cluster's kubeconfig by way of the wire. */
  kubeconfig: string;
  /** Where the cluster's Prometheus is now. */
  prometheusUrl(): Promise<string | undefined>;
}

/** Everything but the cluster is started here, and ends with `cleanup`. */
export async function startSoakSystem(
  settings: SoakSettings,
  cleanup: AsyncDisposableStack,
): Promise<SoakSystem> {
  const { kubeconfig: original, prometheusUrl } = settings;
  const [apiServer, kubelet, prometheus] = await Promise.all(
    [settings.containers.apiServer, settings.containers.kubelet, settings.containers.prometheus].map(
      openContainer,
    ),
  );
  const prometheusAddress =
    prometheusUrl === undefined ? undefined : prometheus!.published(Number(new URL(prometheusUrl).port));
  const stack = await startStack();
  cleanup.defer(() => stack.stop());
  const directory = cleanup.adopt(await mkdtemp(join(tmpdir(), "budcluster-soak-")), (path) =>
    rm(path, { recursive: true, force: true }),
  );
  const configuration = parse(await readFile(original, "utf8")) as Kubeconfig;
  const server = serverOf(configuration);
  const wires = {
    apiServer: await startWire(apiServer!.published(Number(server.port))),
    collector: await startWire(() => Promise.resolve(addressOf(stack.collectorUrl))),
  };
  for (const wire of Object.values(wires)) cleanup.defer(() => wire.close());
  const kubeconfig = join(directory, "kubeconfig");
  server.port = String(wires.apiServer.port);
  for (const { cluster } of configuration.clusters) cluster.server = server.origin;
  await writeFile(kubeconfig, stringify(configuration), { mode: 0o600 });
  const clustersFile = join(directory, "clusters.yaml");
  await writeFile(
    clustersFile,
    stringify({ clusters: [{ id: CLUSTER, name: CLUSTER, platform: "test", kubeconfig }] }),
  );
  await runToEnd({ ROLE: "migrate", ...clickhouseEnvironment(stack) });
  const dataDirectory = join(directory, "data");
  const environment = {
    ROLE: "bridge",
    CLUSTERS_FILE: clustersFile,
    DATA_DIR: dataDirectory,
    OTEL_COLLECTOR_ENDPOINT: `http://127.0.0.1:${wires.collector.port}`,
    // cAdvisor's samples of the test cluster arrive 45 s late, and after a pause of Prometheus a few seconds later.
    COLLECTION_LAG: "60",
    // A cluster may take no longer than the interval, and the Collector needs 11 s to say that ClickHouse is away.
    COLLECTION_INTERVAL: "30",
    INITIAL_LOOKBACK: "2m",
    METRICS_BATCH_SIZE: "1000",
    PROOF_STRETCH: "1m",
    PROOF_DELAY: "30s",
    ALLOW_PRIVATE_API_SERVERS: "true",
    EXPORT_TIMEOUT: "20",
    EXPORT_RETRY_MAX_ELAPSED: "3",
    OWN_METRICS_INTERVAL: "0",
  };
  const bridge = cleanup.adopt(await startSoakBridge(environment, await freePort()), (each) =>
    each.destroy(),
  );
  const [collector, clickhouse] = await Promise.all(
    [stack.containers.collector, stack.containers.clickhouse].map(openContainer),
  );
  return {
    stack,
    dataDirectory,
    kubeconfig,
    bridge,
    wires,
    containers: {
      Collector: collector!,
      ClickHouse: clickhouse!,
      "API server": apiServer!,
      kubelet: kubelet!,
      Prometheus: prometheus!,
    },
    prometheusUrl: async () => {
      const address = await prometheusAddress?.();
      return address && `http://${address.host}:${address.port}`;
    },
  };
}

interface Kubeconfig {
  clusters: { cluster: { server: string } }[];
}

function serverOf({ clusters }: Kubeconfig): URL {
  const server = new URL(clusters[0]?.cluster.server ?? "");
  if (clusters.length === 1 && ["127.0.0.1", "localhost"].includes(server.hostname)) return server;
  throw new Error(
    "E2E_KUBECONFIG: must have one cluster, whose API server's container is published at 127.0.0.1",
  );
}

function addressOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}
