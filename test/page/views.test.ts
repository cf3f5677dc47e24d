import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Download, Locator } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ClusterWorld } from "#simulator/world.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { expectNoProblems, openPage, startBrowser, TIME, type Watched } from "./browser.ts";
import { startProgram, type Program } from "./program.ts";
import { cpuPercent, gpuHours, gpusOf, memoryPercent, overTime, readyNodes } from "./truth.ts";

// Three hours: sim-1 and sim-3 were collected at the beginning and again now, two hours of them are lost; sim-2 was not reached again.

const MINUTE = 60_000;

const folder = createTemporaryFolder();
let browser: Browser;
let program: Program;
beforeAll(async () => {
  browser = await startBrowser();
  program = await startProgram(join(folder, "views"), {
    simulator: {
      clusters: [
        // The Pod of one idle GPU stays, that of the other is replaced before it can be called idle-held.
        { nodes: 2, pods: 12, hotGpu: 0, churnEveryMs: 10 * MINUTE },
        { nodes: 2, pods: 12 },
        { nodes: 1, pods: 4, gpus: 0 },
      ],
      shape: { cpus: 2 },
    },
    startHoursAgo: 3,
    environment: {
      INITIAL_LOOKBACK: "30m",
      MAX_BACKFILL: "1h",
      PROOF_STRETCH: "5m",
      PROOF_DELAY: "0",
    },
  });
  await program.collect();
  const { faults } = program.simulator;
  await faults.set("sim-2", { layer: "api", kind: "refuse" });
  const fault = { status: 422, errorType: "execution", message: "too many samples" };
  await faults.set("sim-1", { layer: "prometheus", kind: "error", query: "node_load1", ...fault });
  program.toPresent();
  await program.collect();
});
afterAll(async () => {
  await program?.stop();
  await browser?.close();
});

function worldOf(cluster: string): ClusterWorld {
  return program.simulator.cluster(cluster).world;
}

async function open(place: string, options: Parameters<typeof openPage>[2] = {}): Promise<Watched> {
  const watched = await openPage(browser, `${program.url}/#/${place}`, options);
  await watched.page.locator("h1").waitFor();
  return watched;
}

async function openFleet(options: Parameters<typeof openPage>[2] = {}): Promise<Watched> {
  const watched = await open("", options);
  await watched.page.locator("tr[data-cluster]").first().waitFor();
  await watched.page.getByText("not loaded yet").first().waitFor({ state: "hidden" });
  return watched;
}

/** The texts of a row's cells, and the times in it. */
async function cellsOf(row: Locator): Promise<string[]> {
  const texts = await row.locator(":scope > *").allInnerTexts();
  return texts.map((text) => text.replaceAll(/\s+/g, " ").trim());
}

async function timeIn(place: Locator): Promise<number> {
  return Date.parse((await place.locator("time").last().getAttribute("datetime")) ?? "");
}

async function linesOf(download: Download): Promise<string[][]> {
  const text = readFileSync(await download.path(), "utf8");
  return text
    .trimEnd()
    .split("\r\n")
    .map((line) => line.split(","));
}

describe("the truth of the simulator is what the page prints", () => {
  it.each(["sim-1", "sim-3"])("in the row of a cluster: nodes, CPU, memory, GPUs (%s)", async (cluster) => {
    const watched = await openFleet();
    const row = watched.page.locator(`tr[data-cluster="${cluster}"]`);
    const cells = await cellsOf(row);
    const world = worldOf(cluster);
    const atMs = await timeIn(row);
    const { ready, nodes } = readyNodes(world, atMs);
    expect(nodes).toBe(world.shape.nodes);
    expect(cells[4]).toBe(`${ready} / ${nodes}`);
    expect(cells[5]).toBe(`${cpuPercent(world, atMs).toFixed(1)} %`);
    expect(cells[6]).toBe(`${memoryPercent(world, atMs).toFixed(1)} %`);
    const gpus = world.shape.gpus === 0 ? [] : gpusOf(world, atMs);
    const held = gpus.filter(({ pod }) => pod !== undefined).length;
    const idle = gpus.filter(({ isIdleHeld }) => isIdleHeld).length;
    const text = `${held} / ${idle} / ${gpus.length - held}`;
    expect(cells[7]).toBe(gpus.length === 0 ? "– not measured" : text);
    expect(idle).toBe(cluster === "sim-1" ? 1 : 0);
    await expectNoProblems(watched);
  });

  it("in a chart's table: the available memory of each minute", async () => {
    const watched = await open("clusters/sim-1/charts");
    const chart = watched.page.locator(".charts > div", { hasText: "Memory of all nodes" });
    await chart.locator("canvas").waitFor();
    await chart.getByText("Table").click();
    const asOf = await timeIn(chart);
    const rows = await chart
      .locator("tbody tr")
      .evaluateAll((all) =>
        all.map((row) =>
          [...(row as unknown as { cells: Iterable<{ textContent: string }> }).cells].map(
            (cell) => cell.textContent,
          ),
        ),
      );
    const lastMs = Math.floor(asOf / MINUTE) * MINUTE;
    const request = { aggregation: "sum", counter: false, stepMs: MINUTE, windowMs: 2 * MINUTE };
    const truth = overTime(worldOf("sim-1"), "node_memory_MemAvailable_bytes", {
      ...request,
      firstMs: lastMs - 40 * MINUTE,
      lastMs,
    });
    const timeOf = (ms: number): string =>
      new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    for (let ms = lastMs; ms >= lastMs - 40 * MINUTE; ms -= MINUTE) {
      const row = rows.find(([time]) => time?.endsWith(timeOf(ms)));
      const gib = truth.get(ms)! / 2 ** 30;
      expect(row?.slice(0, 3)).toEqual([row?.[0], "128 GiB", `${Number(gib.toPrecision(3))} GiB`]);
    }
  });

  it("in the GPUs of the fleet: hours, who holds idle ones now, hot ones now", async () => {
    const watched = await openPage(browser, `${program.url}/#/gpus?range=1h`);
    const { page } = watched;
    const usage = await page.waitForResponse(/gpus\/usage/);
    const fromMs = Number(new URL(usage.url()).searchParams.get("from")) * 1000;
    const row = page
      .getByRole("region", { name: "Clusters with GPUs" })
      .locator("tr", { hasText: "frankfurt" });
    await row.waitFor();
    const cells = await cellsOf(row);
    const world = worldOf("sim-1");
    const hours = gpuHours(world, fromMs, await timeIn(row));
    const gpus = world.shape.nodes * world.shape.gpus;
    // A scrape at each end of the range may count or not.
    const tolerance = (gpus * 2 * world.shape.scrapeIntervalMs) / 3_600_000;
    const shown = cells.slice(2, 6).map((text) => Number.parseFloat(text));
    expect(cells[1]).toBe(String(gpus));
    expect(Math.abs(shown[0]! - hours.measured)).toBeLessThan(tolerance);
    expect(Math.abs(shown[1]! - hours.measured)).toBeLessThan(tolerance);
    expect(Math.abs(shown[2]! - hours.active)).toBeLessThan(tolerance);
    // Half of the hours below 1 % are of Pods that come and go.
    expect(Math.abs(shown[3]! - hours.idle / 2)).toBeLessThan(tolerance);
    expect(hours.active).toBeGreaterThan(hours.idle);

    const idle = page.getByRole("region", { name: "Idle GPUs and who holds them" }).locator("tbody tr");
    await idle.first().waitFor();
    const idleRow = idle.filter({ hasText: "frankfurt" });
    const now = gpusOf(world, await timeIn(idleRow));
    const [wanted] = now.filter(({ isIdleHeld }) => isIdleHeld);
    expect((await cellsOf(idleRow)).slice(0, 4)).toEqual([
      "frankfurt",
      wanted?.node,
      wanted?.gpu,
      `${wanted?.namespace}/${wanted?.pod}`,
    ]);
    const hot = page.getByRole("region", { name: "Hot, throttled or failing GPUs" }).locator("tbody tr");
    const texts = await hot.filter({ hasText: "frankfurt" }).allInnerTexts();
    for (const { gpu, node, celsius, pod } of now.filter((each) => each.gpu === "0")) {
      expect(celsius).toBeGreaterThan(85);
      const text = texts.find((each) => each.includes(node) && each.includes("°C"));
      expect(text).toContain(`GPU ${gpu} has ${celsius} °C, above`);
      expect(text).toContain(pod);
    }
    await expectNoProblems(watched);

    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Save the idle GPUs as CSV" }).click(),
    ]);
    const lines = await linesOf(download);
    const line = lines.find(([cluster]) => cluster === "sim-1");
    expect(lines[0]?.slice(-2)).toEqual(["namespace", "pod"]);
    expect(line?.slice(-2)).toEqual([wanted?.namespace, wanted?.pod]);
    expect(line).toContain(wanted?.uuid);
  });
});

describe("a chart with gaps", () => {
  it("says under the line and in the table why it has each of them", async () => {
    const watched = await open("clusters/sim-1/charts?range=6h");
    const chart = watched.page.locator(".charts > div", { hasText: "Memory of all nodes" });
    await chart.locator("canvas").waitFor();
    const list = await chart.getByRole("list", { name: "What is missing and why" }).innerText();
    expect(list).toMatch(new RegExp(`${TIME} to ${TIME}: lost: older than MAX_BACKFILL`));
    expect(list).toContain("nothing was collected");
    const widths = await chart
      .locator(".band .lost")
      .evaluateAll((runs) => runs.map((run) => (run as unknown as { offsetWidth: number }).offsetWidth));
    const [drawn] = await chart
      .locator(".u-over")
      .evaluateAll((all) => all.map((each) => (each as unknown as { offsetWidth: number }).offsetWidth));
    // Two of six hours.
    expect(widths.reduce((sum, width) => sum + width, 0) / drawn!).toBeCloseTo(2 / 6, 1);
    await chart.getByText("Table").click();
    const rows = await chart.locator("tbody tr").allInnerTexts();
    const lost = rows.filter((row) => row.includes("lost: older than MAX_BACKFILL"));
    expect(lost.length).toBeGreaterThan(90);
    expect(lost.filter((row) => /–\s+–/.test(row)).length).toBeGreaterThan(90);
    expect(rows.filter((row) => /GiB\s+[\d.]+ GiB\s+proved$/.test(row)).length).toBeGreaterThan(30);
    await expectNoProblems(watched);
  });

  it("tells what is still to be read from what is lost", async () => {
    const text = "open: a part of it is still to be read";
    const watched = await open("clusters/sim-1/charts?range=1h");
    const chart = watched.page.locator("figure", { hasText: "Load of a node, mean" });
    await chart.getByText(text).first().waitFor();
    expect(await chart.innerText()).toContain("No samples in this range.");
    const explored = await open("explore?clusters=sim-1&metric=node_load1&aggregation=avg&range=1h");
    await explored.page.locator("figure").getByText(text).first().waitFor();
    await expectNoProblems(explored);
  });

  it("draws the GPUs by the metric that the cluster's exporter has", async () => {
    const watched = await open("clusters/sim-1/charts?range=1h");
    const chart = watched.page.locator(".charts > div", { hasText: "GPU utilisation" });
    await chart.locator("canvas").waitFor();
    expect(await chart.innerText()).toContain("avg(avg_over_time(DCGM_FI_PROF_SM_ACTIVE[120s]))");
    const label = await chart.getByRole("img").getAttribute("aria-label");
    const [, mean] = /mean: last ([\d.]+) %/.exec(label ?? "") ?? [];
    const asOf = await timeIn(chart);
    const atMs = Math.floor(asOf / MINUTE) * MINUTE;
    const request = { aggregation: "avg", counter: false, stepMs: 1, windowMs: 2 * MINUTE };
    const truth = overTime(worldOf("sim-1"), "DCGM_FI_PROF_SM_ACTIVE", {
      ...request,
      firstMs: atMs,
      lastMs: atMs,
    });
    expect(mean).toBe((100 * truth.get(atMs)!).toFixed(1));
  });
});

describe("a cluster's tables and its collection", () => {
  it.each([
    ["nodes", 2],
    ["gpus", 8],
  ])("have the last hour of each row as a small line with its text (%s)", async (part, rows) => {
    const watched = await open(`clusters/sim-1/${part}`);
    await watched.page
      .locator("svg.spark")
      .nth(rows - 1)
      .waitFor();
    const labels = await watched.page
      .locator("svg.spark")
      .evaluateAll((all) => all.map((each) => each.getAttribute("aria-label")));
    expect(labels).toHaveLength(rows);
    for (const label of labels) expect(label).toMatch(/^Last hour: [\d.]+ % to [\d.]+ %$/);
    expect(watched.requests.filter((request) => request === "POST /cluster-metrics/query")).toHaveLength(1);
    await expectNoProblems(watched);
  });

  it("have the CPU of the Pods in view by one request", async () => {
    const watched = await open("clusters/sim-1/pods?namespace=team-a");
    await watched.page.locator("svg.spark").first().waitFor();
    expect(watched.requests.filter((request) => request === "POST /cluster-metrics/query")).toHaveLength(1);
    await expectNoProblems(watched);
  });

  it("lists gaps of many queries once, and asks for fewer hours where a day has too many stretches", async () => {
    const watched = await open("clusters/sim-1/collection");
    await watched.page.getByRole("heading", { name: "Queries, the worst first" }).waitFor();
    const text = await watched.page.locator("main").innerText();
    expect(text).toMatch(new RegExp(`lost\\s+\\d+ queries\\s+${TIME}\\s+${TIME}\\s+older than MAX_BACKFILL`));
    expect(text).toContain("What became of the samples, last 6 hours");
    expect(text).toContain("prometheus-bud-metrics-kube-prometheu-prometheus-0, through a port-forward");
    expect(text).toMatch(/Last round\s+partial, [\d ]+ samples in /);
    await expectNoProblems(watched);
  });

  it("say that a stale cluster's values are old, and never 0", async () => {
    const watched = await openFleet();
    const row = watched.page.locator('tr[data-cluster="sim-2"]');
    const cells = await cellsOf(row);
    expect(cells[4]).toBe("2 / 2 (old)");
    expect(cells[5]).toMatch(/^[\d.]+ % \(old\)$/);
    expect(cells[8]).toMatch(/^3(\.\d)? h ago \(old\)/);
    expect(await row.locator(".value.old").count()).toBeGreaterThan(2);
  });
});

describe("the layout", () => {
  it("shows all columns of the fleet at 1,200 px", async () => {
    const watched = await openFleet({ viewport: { width: 1200, height: 800 } });
    const hidden = await watched.page.locator(".scroll").evaluate((frame) => {
      const { scrollWidth, clientWidth } = frame as unknown as Record<string, number>;
      return scrollWidth! - clientWidth!;
    });
    expect(hidden).toBeLessThanOrEqual(0);
  });

  it.each(["gpus", "clusters/sim-1/charts?range=6h", "clusters/sim-1/gpus"])(
    "of %s fits a narrow and dark screen",
    async (place) => {
      const watched = await open(place, { colorScheme: "dark", viewport: { width: 380, height: 800 } });
      await watched.page.locator("svg.spark, canvas, tbody tr").first().waitFor();
      await watched.page
        .getByText(/^Loading/)
        .first()
        .waitFor({ state: "hidden" });
      const wider = await watched.page.evaluate("document.documentElement.scrollWidth - innerWidth");
      expect(wider).toBeLessThanOrEqual(0);
      await expectNoProblems(watched);
    },
  );
});
