import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createOtlpReceiver, type OtlpReceiver } from "#allinone/otlp-receiver.ts";
import { createApp, type App } from "#app/app.ts";
import { loadConfig, type Environment } from "#config.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createLogger } from "#telemetry/logger.ts";
import { startChdbServer, type ChdbServer } from "../helpers/chdb-server.ts";
import { useEngine } from "../helpers/engine.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { expectNoProblems, openPage, startBrowser, type Watched } from "./browser.ts";
import { viaApiServers } from "./program.ts";
import { cpuPercent, gpusOf, readyNodes } from "./truth.ts";

// The roles bridge and query as programs of their own, with an OTLP receiver and a ClickHouse between them.

const TOKEN = "token-of-the-receiver-of-this-test";
const folder = createTemporaryFolder();
const engine = useEngine({ migrated: true });
const apps: App[] = [];
let browser: Browser;
let simulator: Simulator;
let receiver: OtlpReceiver;
let clickhouse: ChdbServer;
let bridgeUrl: string;
let queryUrl: string;
beforeAll(async () => {
  browser = await startBrowser();
  simulator = await startSimulator({
    seed: "page",
    clusters: [
      { nodes: 2, pods: 8 },
      { nodes: 1, pods: 2, gpus: 0 },
    ],
    shape: { cpus: 2 },
  });
  const logger = createLogger({ level: "error" });
  const parts = { clock: systemClock, logger, database: engine.database, databaseName: "metrics" };
  receiver = createOtlpReceiver({ ...parts, token: createSecret(TOKEN) });
  const { url: collectorUrl } = await receiver.start("127.0.0.1", 0);
  clickhouse = await startChdbServer(engine.database);
  mkdirSync(join(folder, "bridge"), { recursive: true });
  const start = async (environment: Environment, clusters: boolean) => {
    const config = loadConfig({ PORT: "0", OWN_METRICS_INTERVAL: "0", ...environment });
    const app = createApp(
      config,
      logger,
      clusters ? { clusters: viaApiServers(simulator.clusters, config) } : {},
    );
    apps.push(app);
    return await app.start();
  };
  const bridge = await start(
    {
      ROLE: "bridge",
      DATA_DIR: join(folder, "bridge"),
      SCHEDULER: "dapr",
      API_SERVER_CIDRS: "127.0.0.1",
      OTEL_COLLECTOR_ENDPOINT: collectorUrl,
      OTLP_HEADERS: `authorization=Bearer ${TOKEN}`,
      // Longer than the window of the answers.
      INITIAL_LOOKBACK: "30m",
      PROOF_STRETCH: "5m",
      PROOF_DELAY: "0",
    },
    true,
  );
  bridgeUrl = bridge.url;
  const collect = async (): Promise<void> => void (await (await bridge.collection?.start("request"))?.done);
  await collect();
  await simulator.faults.set("sim-2", { layer: "api", kind: "status", status: 401 });
  await collect();
  const query = await start(
    { ROLE: "query", CLICKHOUSE_URL: clickhouse.url, PAGE_BRIDGE_URL: bridge.url },
    false,
  );
  queryUrl = query.url;
});
afterAll(async () => {
  for (const app of apps.toReversed()) await app.stop();
  await clickhouse?.stop();
  await receiver?.stop();
  await simulator?.stop();
  await browser?.close();
});

async function open(url: string, place = ""): Promise<Watched> {
  const watched = await openPage(browser, `${url}/#/${place}`);
  await watched.page.locator("h1").waitFor();
  return watched;
}

it("the role query has the values of the simulator, and the collection as the bridge reported it", async () => {
  const watched = await open(queryUrl);
  const { page } = watched;
  const row = page.locator('tr[data-cluster="sim-1"]');
  await row.locator(".bar").first().waitFor();
  await page.getByText("not loaded yet").first().waitFor({ state: "hidden" });
  const atMs = Date.parse((await row.locator("time").last().getAttribute("datetime")) ?? "");
  const { world } = simulator.cluster("sim-1");
  const cells = await row.locator("td").allInnerTexts();
  const { ready, nodes } = readyNodes(world, atMs);
  const held = gpusOf(world, atMs).filter(({ pod }) => pod !== undefined).length;
  expect(cells.slice(3, 5)).toEqual([`${ready} / ${nodes}`, `${cpuPercent(world, atMs).toFixed(1)} %`]);
  expect(cells[6]).toMatch(new RegExp(`^${held} / \\d / ${8 - held}$`));
  expect(cells[1]).toMatch(/\d+ stretches proved/);
  const failed = await page.locator('tr[data-cluster="sim-2"] td').first().innerText();
  expect(failed).toContain("not collected");
  expect(failed).toContain("cluster_unauthorized");
  expect(watched.requests.filter((request) => /GET \/(metrics\/|clusters)/.test(request))).toEqual([]);
  await expectNoProblems(watched);
});

it("the role query has charts with the reasons of gaps, and of the collection what was reported", async () => {
  const charts = await open(queryUrl, "clusters/sim-1/charts");
  const chart = charts.page.locator("figure", { hasText: "Memory of all nodes" });
  await chart.locator("canvas").waitFor();
  await chart.getByText("Table").click();
  expect(await chart.locator("tbody").innerText()).toMatch(/GiB\s+proved/);
  expect(await chart.getByRole("list", { name: "What is missing and why" }).innerText()).toContain(
    "nothing was collected",
  );
  await expectNoProblems(charts);

  const collection = await open(queryUrl, "clusters/sim-1/collection");
  await collection.page.getByRole("heading", { name: "Queries, the worst first" }).waitFor();
  expect(await collection.page.getByRole("button", { name: "Diagnose" }).count()).toBe(0);
  expect(await collection.page.locator("main").innerText()).toMatch(/node_load1\s.*\d proved/);
  expect(await collection.page.locator("main").innerText()).toMatch(
    /Reported by the bridge\s+\d+ (s|min) ago\s+Read from\s+prometheus-\S+-0 \(tunnel/,
  );
  await expectNoProblems(collection);
  await collection.page.goto(`${queryUrl}/#/clusters/sim-2/collection`);
  await collection.page.getByText("Last error:").waitFor();
  expect(await collection.page.locator("main").innerText()).toContain("cluster_unauthorized");
});

it("the role query has the GPUs of the fleet and Explore", async () => {
  const gpus = await open(queryUrl, "gpus");
  const row = gpus.page.getByRole("region", { name: "Clusters with GPUs" }).locator("tbody tr");
  await row.first().waitFor();
  // Only sim-1 has GPUs: four on each of two nodes.
  expect(await row.locator("td").nth(0).innerText()).toBe("frankfurt");
  expect(await row.locator("td").nth(1).innerText()).toBe("8");
  await expectNoProblems(gpus);

  const explore = await open(queryUrl, "explore?clusters=sim-1&metric=node_load5&aggregation=max");
  await explore.page.locator("canvas").waitFor();
  expect(await explore.page.locator("figure").getByRole("img").getAttribute("aria-label")).toMatch(
    /node_load5.*: last [\d.]+/,
  );
  await expectNoProblems(explore);
});

it("the role query links to the bridge's page, which has the states and the collection, and no values", async () => {
  const query = await open(queryUrl);
  const href = await query.page.getByRole("link", { name: "Bridge" }).getAttribute("href");
  expect(new URL(href ?? "").origin).toBe(new URL(bridgeUrl).origin);
  const bridge = await open(bridgeUrl);
  const rows = bridge.page.locator("tr[data-cluster]");
  await rows.first().waitFor();
  expect(await rows.allInnerTexts()).toHaveLength(2);
  expect(await bridge.page.getByRole("link", { name: "Explore" }).count()).toBe(0);
  expect(bridge.requests.filter((request) => request.includes("/cluster-metrics"))).toEqual([]);
  await bridge.page.goto(`${bridgeUrl}/#/clusters/sim-2`);
  await bridge.page.getByRole("heading", { name: "Queries, the worst first" }).waitFor();
  expect(await bridge.page.locator("main").innerText()).toContain("cluster_unauthorized");
  await expectNoProblems(bridge);
});
