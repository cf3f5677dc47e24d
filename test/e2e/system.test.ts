import { createHash, randomBytes } from "node:crypto";
import { chmod, copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { getContainerRuntimeClient, type StartedTestContainer } from "testcontainers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ClusterProgress } from "#collect/progress.ts";
import type { CollectionStatus, RoundResult } from "#collect/status.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createDaprStore } from "#state/dapr-store.ts";
import { compareEverything, SCRAPED_METRICS } from "./comparison.ts";
import { daprContainer, redisContainer, withValue } from "./dapr-sidecar.ts";
import { inspectImage, pathsIn, productionImage, startImage, untilOk, type ImageContainer } from "./image.ts";
import { openSource, type Source } from "./source.ts";
import { clickhouseEnvironment, freePort, startStack, type Stack } from "./stack.ts";

// The whole system as it is deployed: a Prometheus behind a real Kubernetes API server (E2E_KUBECONFIG) -> the production image as bridge, called by
// the cron binding of Dapr's sidecar, its state in Redis through the sidecar -> the Collector with the chart's configuration -> ClickHouse -> the
// production image as query. The Collector is restarted, ClickHouse frozen and the sidecar killed in the middle of it.

const CLUSTER = "e2e-system";
const EVERY_FIVE_SECONDS = '"*/5 * * * * *"';
const LAG_SECONDS = 60;
const COMPARED_SECONDS = 110;
const TOKEN = "an-e2e-token";
const APP_API_TOKEN = randomBytes(16).toString("hex");
const DAPR_API_TOKEN = randomBytes(16).toString("hex");
const kubeconfig = process.env["E2E_KUBECONFIG"];
const hasEveryMetric = process.env["E2E_CLUSTER_DIR"] !== undefined;

let image: string;
let directory: string;
let stack: Stack;
let source: Source;
let redis: StartedTestContainer;
let sidecar: StartedTestContainer;
let bridge: ImageContainer;
let query: ImageContainer;
let ports: { bridge: number; query: number; dapr: number };
const startedAt = Date.now();

async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) found.add(await freePort());
  return [...found];
}

beforeAll(async () => {
  if (!kubeconfig) {
    throw new Error(
      "E2E_KUBECONFIG must name the kubeconfig of a cluster with a Prometheus: see README.md, Tests",
    );
  }
  directory = await mkdtemp(join(tmpdir(), "budcluster-system-"));
  const [bridgePort = 0, queryPort = 0, daprPort = 0, grpc = 0, internalGrpc = 0] = await freePorts(5);
  ports = { bridge: bridgePort, query: queryPort, dapr: daprPort };
  [image, stack, source, redis] = await Promise.all([
    productionImage(),
    startStack(),
    openSource(kubeconfig),
    redisContainer().start(),
  ]);
  const files = await writeFiles();

  const migrate = await startImage(image, { ROLE: "migrate", ...clickhouseEnvironment(stack) });
  const code = await migrate.ended();
  if (code !== 0) throw new Error(`migrate ended with ${code}: ${await migrate.log()}`);
  await migrate.remove();

  bridge = await startImage(
    image,
    {
      ROLE: "bridge",
      PORT: String(ports.bridge),
      CLUSTERS_FILE: "/etc/budcluster/clusters.yaml",
      API_TOKENS_FILE: "/etc/budcluster/tokens.yaml",
      APP_API_TOKEN,
      DAPR_API_TOKEN,
      DAPR_STATE_STORE: "statestore",
      DAPR_HTTP_PORT: String(ports.dapr),
      // The cluster's API server may be on this machine.
      ALLOW_PRIVATE_API_SERVERS: "true",
      OTEL_COLLECTOR_ENDPOINT: stack.collectorUrl,
      COLLECTION_LAG: String(LAG_SECONDS),
      // The cron of this test fires more often. A cluster may take no longer than the interval, and the Collector needs 11 s to say that
      // ClickHouse is frozen.
      COLLECTION_INTERVAL: "30",
      INITIAL_LOOKBACK: "2m",
      METRICS_BATCH_SIZE: "1000",
      EXPORT_TIMEOUT: "20",
      EXPORT_RETRY_MAX_ELAPSED: "3",
      OWN_METRICS_INTERVAL: "0",
    },
    files,
  );
  // The sidecar comes after the program and waits for it, and the program for the sidecar.
  const [cron, statestore] = await Promise.all([
    readFile("dapr/components/metrics-collection-cron.yaml", "utf8"),
    readFile("dapr/components/statestore.yaml", "utf8"),
  ]);
  const components = {
    "cron.yaml": withValue(cron, '"0 */5 * * * *"', EVERY_FIVE_SECONDS),
    "statestore.yaml": withValue(statestore, "localhost:6379", `127.0.0.1:${redis.getMappedPort(6379)}`),
  };
  sidecar = await daprContainer(components, [
    "--app-port",
    String(ports.bridge),
    "--dapr-http-port",
    String(ports.dapr),
    "--dapr-grpc-port",
    String(grpc),
    "--dapr-internal-grpc-port",
    String(internalGrpc),
    "--enable-metrics=false",
  ])
    .withNetworkMode("host")
    .withEnvironment({ APP_API_TOKEN, DAPR_API_TOKEN })
    .start();
  await untilOk(`http://127.0.0.1:${ports.bridge}/readyz`, bridge);
  query = await startImage(
    image,
    {
      ROLE: "query",
      PORT: String(ports.query),
      API_TOKENS_FILE: "/etc/budcluster/tokens.yaml",
      ...clickhouseEnvironment(stack),
    },
    files,
  );
  await untilOk(`http://127.0.0.1:${ports.query}/readyz`, query);
});

afterAll(async () => {
  await Promise.all([bridge?.remove(), query?.remove(), sidecar?.stop(), redis?.stop(), source?.close()]);
  await stack?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

/** The files that the containers mount, readable for their user; by target. */
async function writeFiles(): Promise<Record<string, string>> {
  await chmod(directory, 0o755);
  const path = (name: string): string => join(directory, name);
  await copyFile(kubeconfig ?? "", path("kubeconfig"));
  const cluster = {
    id: CLUSTER,
    name: "end to end",
    platform: "test",
    kubeconfig: "/etc/budcluster/kubeconfig",
  };
  await writeFile(path("clusters.yaml"), JSON.stringify({ clusters: [cluster] }));
  const sha256 = createHash("sha256").update(TOKEN).digest("hex");
  await writeFile(
    path("tokens.yaml"),
    JSON.stringify([{ name: "e2e", sha256, scopes: ["read", "collect", "admin"] }]),
  );
  const names = ["kubeconfig", "clusters.yaml", "tokens.yaml"];
  await Promise.all(names.map((name) => chmod(path(name), 0o644)));
  return Object.fromEntries(names.map((name) => [`/etc/budcluster/${name}`, path(name)]));
}

async function call(port: number, method: string, path: string): Promise<{ status: number; body: unknown }> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  return { status: answer.status, body: await answer.json() };
}

const status = async (): Promise<CollectionStatus> =>
  (await call(ports.bridge, "GET", "/metrics/status")).body as CollectionStatus;
const errorCode = async (): Promise<string | undefined> =>
  (await status()).last_round?.clusters[0]?.error?.code;
/** Outcome and error of the last round that the cron binding started. */
const outcome = async (): Promise<string | undefined> => (await status()).last_round?.clusters[0]?.outcome;
const within = (seconds: number) => ({ timeout: seconds * 1000, interval: 500 });

async function readProgress(): Promise<ClusterProgress> {
  const store = await createDaprStore(
    { clock: systemClock },
    { storeName: "statestore", port: ports.dapr, apiToken: createSecret(DAPR_API_TOKEN) },
  );
  try {
    return (await store.get<ClusterProgress>(`progress:${CLUSTER}`))!.value;
  } finally {
    await store.close();
  }
}

describe("the deployed system", () => {
  it("collects when the cron binding fires", async () => {
    // A Prometheus that has just started has nothing yet that is older than the lag.
    await expect.poll(async () => (await status()).last_round?.points, within(120)).toBeGreaterThan(0);
    await expect.poll(outcome, within(30)).toBe("successful");
    const { last_round: round, clusters } = await status();
    expect(round).toMatchObject({ trigger: "dapr", total: 1 });
    expect(clusters[0]).toMatchObject({ cluster_id: CLUSTER, state: "healthy", last_error: null });
  });

  it("goes on after the Collector was away", async () => {
    await stack.stopCollector();
    await expect.poll(errorCode, within(60)).toBe("collector_unreachable");
    await stack.startCollector();
    await expect.poll(outcome, within(60)).toBe("successful");
  });

  it("goes on after ClickHouse was frozen", async () => {
    await stack.freezeClickHouse();
    // The Collector gives up before the bridge does, and says so.
    await expect.poll(errorCode, within(90)).toMatch(/^collector_/);
    await stack.thawClickHouse();
    await expect.poll(outcome, within(90)).toBe("successful");
  });

  it("names a sidecar that is gone and goes on when it is back", async () => {
    const { container } = await getContainerRuntimeClient();
    const handle = container.getById(sidecar.getId());
    await handle.kill();
    const ready = await call(ports.bridge, "GET", "/readyz");
    expect(ready.status).toBe(503);
    expect(JSON.stringify(ready.body)).toContain("Dapr's sidecar does not answer");
    const { body } = await call(ports.bridge, "POST", "/metrics/collect-all?wait=true");
    expect((body as { round: RoundResult }).round.clusters[0]?.error).toMatchObject({
      code: "state_unavailable",
    });
    const failed = (await status()).last_round?.id;
    await handle.start();
    await expect.poll(async () => (await status()).last_round?.id, within(60)).not.toBe(failed);
    await expect.poll(outcome, within(60)).toBe("successful");
  });

  it("has stored exactly what Prometheus knows: nothing missing, nothing twice", async () => {
    // Resets (every 60 s) and samples that arrived 45 s late must be inside of the time that is compared.
    await delay(Math.max(0, startedAt + (LAG_SECONDS + COMPARED_SECONDS) * 1000 - Date.now()));
    await expect.poll(outcome, within(60)).toBe("successful");
    const compared = await compareEverything(
      { database: stack.database, source, clusterId: CLUSTER },
      await readProgress(),
    );
    process.stderr.write(`Prometheus ${await source.version()}: ${JSON.stringify(compared)}\n`);
    expect(compared.total).toMatchObject({ missing: 0, extra: 0, twice: 0, different: 0 });
    expect(compared.total.samples).toBeGreaterThan(0);
    expect(compared.wrong).toEqual([]);
    expect((await status()).clusters[0]).toMatchObject({ gaps: [] });
    if (!hasEveryMetric) return;
    expect(compared.filled).toBeGreaterThanOrEqual(SCRAPED_METRICS);
    expect([compared.resets > 0, compared.late > 0]).toEqual([true, true]);
  });

  it("answers from what is stored", async () => {
    const summary = await call(ports.query, "GET", `/cluster-metrics/${CLUSTER}/summary`);
    expect(summary.status).toBe(200);
    expect((summary.body as { node_count: number }).node_count).toBeGreaterThan(0);
    expect((await call(ports.query, "GET", "/cluster-metrics/nobody/summary")).status).toBe(404);
  });

  it("is small and has an ordinary user", async () => {
    // The simulator with its embedded engine and certificates is for tests and the demo.
    const paths = ["/app/src/main.ts", "/app/simulator", "/app/test", "/app/node_modules/chdb"];
    expect(await pathsIn(image, paths)).toEqual(["/app/src/main.ts"]);
    const { user, megabytesOverBase } = await inspectImage(image);
    process.stderr.write(`${image}: ${Math.round(megabytesOverBase)} MB over its base\n`);
    expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(megabytesOverBase).toBeLessThan(200);
  });

  it("is healthy on a read-only root without a shell, and ends at SIGTERM", async () => {
    for (const [container, port] of [
      [bridge, ports.bridge],
      [query, ports.query],
    ] as const) {
      await expect.poll(() => container.health(), within(60)).toBe("healthy");
      const { code, ms } = await container.terminate();
      process.stderr.write(`ended with ${code} in ${Math.round(ms)} ms\n`);
      expect(code).toBe(0);
      expect(ms).toBeLessThan(10_000);
      await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow("fetch failed");
    }
    const log = (await bridge.log()) + (await query.log());
    for (const secret of [TOKEN, APP_API_TOKEN, DAPR_API_TOKEN]) expect(log).not.toContain(secret);
  });
});
