import { readFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import {
  GenericContainer,
  getContainerRuntimeClient,
  Network,
  Wait,
  type StartedTestContainer,
} from "testcontainers";
import { createSecret } from "#lib/secret.ts";
import { createClickHouse } from "#storage/clickhouse.ts";
import type { Database } from "#storage/database.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

/** The bridge's destination: the real Collector with the chart's configuration in front of ClickHouse, in containers. */
export interface Stack {
  clickhouseUrl: string;
  database: Database;
  collectorUrl: string;
  /** The Collector is gone: connections are refused. */
  stopCollector(): Promise<void>;
  startCollector(): Promise<void>;
  /** ClickHouse is frozen: it takes connections and answers nothing. */
  freezeClickHouse(): Promise<void>;
  thawClickHouse(): Promise<void>;
  /** The Collector's log since its first start. */
  collectorLog(): Promise<string>;
  /** Ids of the containers. Their ports stay when they are started again. */
  containers: { clickhouse: string; collector: string };
  stop(): Promise<void>;
}

const CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.9";
const COLLECTOR_IMAGE = "otel/opentelemetry-collector-contrib:0.161.0";
const PASSWORD = "e2e-password";

/** Starts both. Fails without a Docker engine, so that nobody mistakes tests that did not run for passed ones. */
export async function startStack(): Promise<Stack> {
  await using started = new AsyncDisposableStack();
  const network = started.use(await new Network().start());
  const clickhouse = await new GenericContainer(CLICKHOUSE_IMAGE)
    .withNetwork(network)
    .withNetworkAliases("clickhouse")
    .withEnvironment({ CLICKHOUSE_USER: "bud", CLICKHOUSE_PASSWORD: PASSWORD, CLICKHOUSE_DB: "metrics" })
    .withExposedPorts({ container: 8123, host: await freePort() })
    .withWaitStrategy(Wait.forHttp("/ping", 8123))
    .start();
  started.use(clickhouse);
  const port = await freePort();
  const collector = await new GenericContainer(COLLECTOR_IMAGE)
    .withNetwork(network)
    .withEnvironment({
      CLICKHOUSE_ENDPOINT: "http://clickhouse:8123?compress=none",
      CLICKHOUSE_USERNAME: "bud",
      CLICKHOUSE_PASSWORD: PASSWORD,
    })
    .withCopyContentToContainer([
      {
        content: await readFile("helm/files/otelcol/config.yaml", "utf8"),
        target: "/etc/otelcol-contrib/config.yaml",
      },
    ])
    .withExposedPorts({ container: 4318, host: port }, 13133)
    .withWaitStrategy(Wait.forHttp("/", 13133))
    .start();
  started.use(collector);
  const clickhouseUrl = `http://${clickhouse.getHost()}:${clickhouse.getMappedPort(8123)}`;
  const database = createClickHouse({
    url: clickhouseUrl,
    user: "bud",
    password: createSecret(PASSWORD),
    timeoutMs: 120_000,
    logger: createSilentLogger(),
  });
  started.defer(() => database.close());
  const switchable = await controlOf(collector, clickhouse);
  const all = started.move();
  return {
    clickhouseUrl,
    database,
    collectorUrl: `http://${collector.getHost()}:${port}`,
    ...switchable,
    containers: { clickhouse: clickhouse.getId(), collector: collector.getId() },
    stop: () => all.disposeAsync(),
  };
}

/** Environment of the program's ClickHouse roles. */
export function clickhouseEnvironment(stack: Stack): Record<string, string> {
  return { CLICKHOUSE_URL: stack.clickhouseUrl, CLICKHOUSE_USER: "bud", CLICKHOUSE_PASSWORD: PASSWORD };
}

/** Stops and starts the container without removing it, so that its port stays. */
async function controlOf(
  container: StartedTestContainer,
  clickhouse: StartedTestContainer,
): Promise<
  Pick<Stack, "stopCollector" | "startCollector" | "collectorLog" | "freezeClickHouse" | "thawClickHouse">
> {
  const client = await getContainerRuntimeClient();
  const handle = client.container.getById(container.getId());
  const storage = client.container.getById(clickhouse.getId());
  return {
    freezeClickHouse: async () => void (await storage.pause()),
    thawClickHouse: async () => void (await storage.unpause()),
    stopCollector: async () => void (await handle.stop({ t: 0 })),
    startCollector: async () => void (await handle.start()),
    collectorLog: async () => String(await handle.logs({ stdout: true, stderr: true, follow: false })),
  };
}

/** A port of this machine that nothing uses now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
