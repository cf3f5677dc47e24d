import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { expectNoProblems, openPage, startBrowser, TIME, type Watched } from "./browser.ts";
import { startProgram, TOKENS, writeTokens, type Program } from "./program.ts";

interface Row {
  cluster: string;
  cells: string[];
}

const folder = createTemporaryFolder();
let browser: Browser;
let program: Program;
beforeAll(async () => {
  browser = await startBrowser();
  program = await startProgram(join(folder, "three"), {
    simulator: {
      clusters: [
        // Its health has an issue at any time of the day.
        { nodes: 4, pods: 40, hotGpu: 0 },
        { nodes: 2, pods: 12 },
        { nodes: 3, pods: 20, gpus: 0 },
      ],
    },
    environment: { API_TOKENS_FILE: writeTokens(folder) },
  });
  await program.collect();
  // sim-3 was collected once and is not reachable since.
  await program.simulator.faults.set("sim-3", { layer: "api", kind: "refuse" });
  await program.collect();
});
afterAll(async () => {
  await program?.stop();
  await browser?.close();
});

async function api<T>(path: string): Promise<T> {
  const answer = await fetch(program.url + path, { headers: { authorization: `Bearer ${TOKENS.read}` } });
  expect(`${path} ${answer.status}`).toBe(`${path} 200`);
  return (await answer.json()) as T;
}

async function signIn({ page }: Watched, token: string): Promise<void> {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** Opens the fleet and waits until the values of all rows are there. */
async function openFleet(options: Parameters<typeof openPage>[2] = {}, hash = ""): Promise<Watched> {
  const watched = await openPage(browser, `${program.url}/${hash}`, options);
  await signIn(watched, TOKENS.read);
  await watched.page.locator("tr[data-cluster]").first().waitFor();
  await watched.page.getByText("not loaded yet").first().waitFor({ state: "hidden" });
  return watched;
}

async function rowsOf({ page }: Watched): Promise<Row[]> {
  return await page.locator("tr[data-cluster]").evaluateAll((rows) =>
    rows.map((row) => {
      const { cells, dataset } = row as unknown as {
        cells: Iterable<{ innerText: string }>;
        dataset: { cluster: string };
      };
      return {
        cluster: dataset.cluster,
        cells: [...cells].map((cell) => cell.innerText.replaceAll(/\s+/g, " ").trim()),
      };
    }),
  );
}

describe("the fleet", () => {
  it("shows each cluster with the numbers of the API, the worst first, without a violation", async () => {
    const watched = await openFleet();
    const rows = await rowsOf(watched);
    const words = rows.map(
      ({ cells }) => /^\S+ (critical|partly collected|warning|healthy)/.exec(cells[0] ?? "")?.[1],
    );
    const severity = ["critical", "partly collected", "warning", "healthy"];
    expect(words).toEqual(words.toSorted((a, b) => severity.indexOf(a ?? "") - severity.indexOf(b ?? "")));
    // The collection of sim-3 fails now, but its data is recent.
    expect(words).toContain("partly collected");
    expect(rows.map(({ cluster }) => cluster).toSorted()).toEqual(["sim-1", "sim-2", "sim-3"]);
    for (const { cluster, cells } of rows) {
      const nodes = await api<{ nodes: { ready: boolean; cpu_cores: number; cpu_usage_percent: number }[] }>(
        `/cluster-metrics/${cluster}/nodes`,
      );
      const ready = nodes.nodes.filter((node) => node.ready).length;
      expect(cells[4]).toBe(`${ready} / ${nodes.nodes.length}`);
      const cores = nodes.nodes.reduce((sum, node) => sum + node.cpu_cores, 0);
      const used = nodes.nodes.reduce(
        (sum, node) => sum + (node.cpu_cores * node.cpu_usage_percent) / 100,
        0,
      );
      expect(cells[5]).toBe(`${((100 * used) / cores).toFixed(1)} %`);
    }
    const { uses } = await api<{ uses: Record<string, number> }>("/cluster-metrics/sim-1/gpus");
    const held = (uses["in_use"] ?? 0) + (uses["idle_held"] ?? 0) + (uses["allocated"] ?? 0);
    expect(held).toBeGreaterThan(0);
    expect(rows.find(({ cluster }) => cluster === "sim-1")?.cells[7]).toBe(
      `${held} / ${uses["idle_held"]} / ${uses["free"]}`,
    );
    // The simulator's shape has four nodes.
    expect(rows.find(({ cluster }) => cluster === "sim-1")?.cells[4]).toBe("4 / 4");
    // No GPU is a dash, not 0.
    expect(rows.find(({ cluster }) => cluster === "sim-3")?.cells[7]).toMatch(/^–/);
    await expectNoProblems(watched);
  });

  it("shows the last error of a cluster with its remedy, as the API has them", async () => {
    const watched = await openFleet();
    const status = await api<{
      clusters: { cluster_id: string; last_error: { message: string; hint: string } | null }[];
    }>("/metrics/status");
    const error = status.clusters.find((cluster) => cluster.cluster_id === "sim-3")?.last_error;
    const row = (await rowsOf(watched)).find(({ cluster }) => cluster === "sim-3");
    expect(error?.message).toBeTruthy();
    expect(row?.cells[0]).toContain(error?.message.replaceAll(/\s+/g, " "));
    expect(row?.cells[0]).toContain(error?.hint.replaceAll(/\s+/g, " "));
  });

  it("keeps search and filter in the address, so that a link shows the same", async () => {
    const watched = await openFleet();
    await watched.page.getByRole("searchbox").fill("frank");
    expect((await rowsOf(watched)).map(({ cluster }) => cluster)).toEqual(["sim-1"]);
    expect(watched.page.url()).toMatch(/#\/\?search=frank$/);
    const linked = await openFleet({}, "#/?search=frank");
    expect((await rowsOf(linked)).map(({ cluster }) => cluster)).toEqual(["sim-1"]);
  });

  it.each([
    ["dark", { colorScheme: "dark" as const }],
    ["narrow", { viewport: { width: 360, height: 700 } }],
  ])("has no violation and no sideways scrolling when it is %s", async (_name, options) => {
    const watched = await openFleet(options);
    expect(
      await watched.page.evaluate("document.documentElement.scrollWidth - innerWidth"),
    ).toBeLessThanOrEqual(0);
    await expectNoProblems(watched);
  });

  it("keeps the last answer with its age when the program does not answer", async () => {
    const watched = await openFleet();
    await watched.page.clock.install();
    await watched.page.reload();
    await watched.page.locator("tr[data-cluster]").first().waitFor();
    await watched.page.route("**/metrics/status", (route) => route.abort());
    await watched.page.clock.runFor(20_000);
    const alert = watched.page.getByRole("alert");
    await alert.waitFor();
    expect(await alert.innerText()).toContain("the program does not answer");
    expect(await watched.page.locator("main").innerText()).toMatch(/Shown is the last answer, \d+ s ago/);
    expect(await rowsOf(watched)).toHaveLength(3);
    // Twenty minutes later the same values are old, and look and read so.
    await watched.page.getByText("not loaded yet").first().waitFor({ state: "hidden" });
    expect(await watched.page.locator("tr[data-cluster] .old").count()).toBe(0);
    await watched.page.route("**/cluster-metrics/**", (route) => route.abort());
    await watched.page.clock.fastForward(20 * 60_000);
    await watched.page.locator("tr[data-cluster='sim-1'] .value.old").first().waitFor();
    const cells = (await rowsOf(watched)).find(({ cluster }) => cluster === "sim-1")?.cells;
    expect(cells?.[4]).toBe("4 / 4 (old)");
    expect(cells?.[8]).toMatch(/^2\d min ago \(old\)/);
  });
});

/** Opens a part of a cluster, signed in. */
async function openCluster(place: string, token: string = TOKENS.read, options = {}): Promise<Watched> {
  const watched = await openPage(browser, `${program.url}/#/clusters/${place}`, options);
  await signIn(watched, token);
  await watched.page.getByRole("navigation", { name: "Parts of the cluster" }).waitFor();
  return watched;
}

describe("a cluster", () => {
  it("shows its issues and recommendations as GET /health has them", async () => {
    const watched = await openCluster("sim-1");
    await watched.page.getByRole("heading", { name: "What to do" }).waitFor();
    const { issues, recommendations } = await api<{
      issues: { message: string }[];
      recommendations: string[];
    }>("/cluster-metrics/sim-1/health");
    const text = await watched.page.locator("main").innerText();
    expect(issues.length).toBeGreaterThan(0);
    for (const { message } of issues) expect(text).toContain(message);
    for (const each of recommendations) expect(text).toContain(each);
    await expectNoProblems(watched);
  });

  it.each([
    ["nodes", "sim-1-node-0", 4],
    ["gpus", "sim-1-node-0", 16],
  ])("has a table of its %s, a row for each", async (part, first, amount) => {
    const watched = await openCluster(`sim-1/${part}`);
    await watched.page.getByRole("cell", { name: first }).first().waitFor();
    expect(await watched.page.locator("tbody tr").count()).toBe(amount);
    const { completeness } = await api<{
      completeness: { complete: boolean; collected_since: string | null };
    }>(`/cluster-metrics/sim-1/${part}`);
    // The first collection is inside the window, so the window is not complete.
    expect(completeness).toMatchObject({ complete: false, collected_since: expect.any(String) as string });
    expect(await watched.page.locator("main").innerText()).toMatch(
      new RegExp(`values of \\d+ (s|min) ago; not complete: .*collected only since ${TIME}`),
    );
    await expectNoProblems(watched);
  });

  it("has a table of its Pods, which a namespace limits", async () => {
    const watched = await openCluster("sim-1/pods");
    const { pod_count: all } = await api<{ pod_count: number }>("/cluster-metrics/sim-1/pods");
    await watched.page.getByText(`of ${all} Pods`).waitFor();
    await watched.page.getByLabel("Namespace").fill("team-a");
    await watched.page.keyboard.press("Enter");
    const { pod_count: some } = await api<{ pod_count: number }>(
      "/cluster-metrics/sim-1/pods?namespace=team-a",
    );
    await watched.page.getByText(`${some} of ${some} Pods`).waitFor();
    expect(some).toBeLessThan(all);
    expect(await watched.page.locator("tbody tr td:first-child").allInnerTexts()).toEqual(
      Array(some).fill("team-a"),
    );
    await expectNoProblems(watched);
  });

  it.each(["light", "dark"] as const)(
    "draws charts whose tables have the points of the API (%s)",
    async (colorScheme) => {
      const watched = await openCluster("sim-1/charts", TOKENS.read, { colorScheme });
      const chart = watched.page.locator("figure", { hasText: "Load of a node, mean" });
      await chart.locator("canvas").waitFor();
      await watched.page.getByText("Loading").first().waitFor({ state: "hidden" });
      const end = Math.floor(Date.now() / 1000);
      const body = {
        cluster_id: "sim-1",
        metric_name: "node_load1",
        aggregation: "avg",
        start_time: end - 3600,
        end_time: end,
      };
      const answer = await fetch(`${program.url}/cluster-metrics/query`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${TOKENS.read}` },
        body: JSON.stringify(body),
      });
      const { series, as_of: asOf } = (await answer.json()) as {
        series: { points: { timestamp: string; value: number }[] }[];
        as_of: string;
      };
      const whole = series[0]?.points.filter(({ timestamp }) => timestamp <= asOf) ?? [];
      expect(whole.length).toBeGreaterThan(10);
      await chart.getByText("Table").click();
      const shown = (await chart.locator("tbody tr td:nth-child(2)").allInnerTexts()).filter(
        (text) => text !== "–",
      );
      expect(shown).toEqual(whole.map(({ value }) => String(Number(value.toPrecision(3)))).toReversed());
      // The canvas is drawn with the theme's colour, not black.
      const label = await chart.getByRole("img").getAttribute("aria-label");
      expect(label).toMatch(/^Load of a node, mean. load, 1 min: last [\d.]+, [\d.]+ to [\d.]+/);
      await expectNoProblems(watched);
    },
  );

  it("moves a chart's cursor with the arrow keys and says the value", async () => {
    const watched = await openCluster("sim-1/charts");
    const chart = watched.page.locator("figure", { hasText: "Load of a node, mean" });
    await chart.locator("canvas").waitFor();
    await chart.getByRole("img").focus();
    for (let i = 0; i < 6; i += 1) await watched.page.keyboard.press("ArrowLeft");
    await chart
      .getByText(new RegExp(`^${TIME}$`))
      .first()
      .waitFor();
    expect(await chart.locator("ul.lines").innerText()).toMatch(/load, 1 min\s+\d/);
  });

  it("says what is not measured instead of drawing 0", async () => {
    const watched = await openCluster("sim-3/charts");
    await watched.page.getByText("Not measured: no GPU with a utilisation is stored.").waitFor();
    const { page } = watched;
    await page.goto(`${program.url}/#/clusters/sim-3/gpus`);
    await page.getByText("No GPU is measured").waitFor();
    expect(await page.locator("table").count()).toBe(0);
  });

  it("shows its collection: the last error, and each query with the numbers of the API", async () => {
    const watched = await openCluster("sim-3/collection");
    await watched.page.getByRole("heading", { name: "Queries, the worst first" }).waitFor();
    const answer = await api<{ stretches: { query: string; acknowledged: number }[] }>(
      "/metrics/completeness?cluster=sim-3",
    );
    const load = answer.stretches.filter(({ query }) => query === "node_load1");
    const acknowledged = load.reduce((sum, stretch) => sum + stretch.acknowledged, 0);
    const row = watched.page.locator("tr", {
      has: watched.page.getByRole("cell", { name: "node_load1", exact: true }),
    });
    expect(acknowledged).toBeGreaterThan(0);
    expect((await row.locator("td").nth(5).innerText()).replaceAll(/\s/g, "")).toContain(
      String(acknowledged),
    );
    expect(await watched.page.locator("main").innerText()).toContain("the API server is not reachable");
    await expectNoProblems(watched);
  });

  it("is diagnosed step by step by an admin, and says to others what they lack", async () => {
    const watched = await openCluster("sim-3/collection");
    await watched.page.getByText("It needs a token with the scope admin. Yours (read) has: read.").waitFor();
    expect(await watched.page.getByRole("button", { name: "Diagnose" }).count()).toBe(0);
    const admin = await openCluster("sim-3/collection", TOKENS.admin);
    await admin.page.getByRole("button", { name: "Diagnose" }).click();
    await admin.page.locator("ol.steps li").first().waitFor();
    const steps = await admin.page.locator("ol.steps li").allInnerTexts();
    expect(steps.some((text) => text.startsWith("✔"))).toBe(true);
    expect(steps.some((text) => text.startsWith("✖ failed"))).toBe(true);
    await expectNoProblems(admin);
  });

  it.each(["", "/nodes", "/pods", "/charts", "/collection"])("fits a narrow screen%s", async (part) => {
    const watched = await openCluster(`sim-1${part}`, TOKENS.read, { viewport: { width: 360, height: 700 } });
    await watched.page.getByText("Loading").first().waitFor({ state: "hidden" });
    expect(
      await watched.page.evaluate("document.documentElement.scrollWidth - innerWidth"),
    ).toBeLessThanOrEqual(0);
    await expectNoProblems(watched);
  });

  it("that does not exist is said to be missing", async () => {
    const watched = await openCluster("sim-9");
    await watched.page.getByText("There is no cluster with the id sim-9.").waitFor();
    expect(await watched.page.getByRole("heading", { level: 1 }).innerText()).toBe("sim-9");
  });
});

describe("GPUs of all clusters", () => {
  it("have the hours of the API, by namespace or by node, and the XIDs with their action", async () => {
    const watched = await openPage(browser, `${program.url}/#/gpus`);
    await signIn(watched, TOKENS.read);
    const { page } = watched;
    await page.getByRole("heading", { name: "Who held them" }).waitFor();
    const { usage, clusters } = await api<{
      usage: { cluster_id: string; namespace: string; gpus: number }[];
      clusters: { total: { gpus: number; xids: { code: number; action: string }[] } }[];
    }>("/cluster-metrics/gpus/usage?by=namespace");
    const table = page.getByRole("region", { name: "GPU-hours by namespace" });
    expect(usage.length).toBeGreaterThan(2);
    const rows = await table
      .locator("tbody tr")
      .evaluateAll((all) =>
        all.map((row) =>
          (row as unknown as { innerText: string }).innerText.split("\t").slice(0, 3).join(" "),
        ),
      );
    expect(rows.toSorted()).toEqual(
      usage.map(({ cluster_id: id, namespace, gpus }) => `${id} ${namespace} ${gpus}`).toSorted(),
    );
    // Each cluster of the simulator has four GPUs a node, but the third has none.
    expect(clusters.reduce((sum, { total }) => sum + total.gpus, 0)).toBe(24);
    expect(await page.locator(".totals").innerText()).toMatch(/GPUs\s+24/);
    for (const { code, action } of clusters.flatMap(({ total }) => total.xids)) {
      expect(await page.locator("main").innerText()).toMatch(new RegExp(`${code}\\s.*\\s${action}\\s`));
    }
    await expectNoProblems(watched);
    await page.getByRole("button", { name: "by node" }).click();
    await page.getByRole("region", { name: "GPU-hours by node" }).waitFor();
    expect(page.url()).toContain("by=node");
  });

  it("can be saved as CSV", async () => {
    const watched = await openPage(browser, `${program.url}/#/gpus?by=node`);
    await signIn(watched, TOKENS.read);
    const [download] = await Promise.all([
      watched.page.waitForEvent("download"),
      watched.page.getByRole("button", { name: "Save as CSV" }).click(),
    ]);
    expect(download.suggestedFilename()).toBe("gpus-by-node-24h.csv");
    const lines = readFileSync(await download.path(), "utf8")
      .trimEnd()
      .split("\r\n");
    expect(lines[0]).toMatch(/^cluster_id,node,namespace,pod,gpus,gpu_hours,/);
    expect(lines.some((line) => line.startsWith("sim-1,sim-1-node-0,"))).toBe(true);
    expect(await watched.problems()).toEqual([]);
  });
});

describe("the role query", () => {
  it("lists the clusters and their completeness by what the bridge reported", async () => {
    const watched = await openFleet({ collects: false });
    const rows = await rowsOf(watched);
    expect(rows.map(({ cluster }) => cluster).toSorted()).toEqual(["sim-1", "sim-2", "sim-3"]);
    expect(rows.find(({ cluster }) => cluster === "sim-1")?.cells[4]).toBe("4 / 4");
    const { last_error: error } = await api<{ last_error: { cause: string; hint: string } }>(
      "/cluster-metrics/sim-3/completeness",
    );
    const state = rows.find(({ cluster }) => cluster === "sim-3")?.cells[0];
    expect(state).toContain(error.cause);
    expect(state).toContain(error.hint);
    expect(watched.requests.filter((request) => /\/(metrics\/|clusters)/.test(request))).toEqual([]);
    await expectNoProblems(watched);
    await watched.page.goto(`${program.url}/#/clusters/sim-1/collection`);
    await watched.page.getByRole("heading", { name: "Queries, the worst first" }).waitFor();
    expect(await watched.page.getByRole("button", { name: "Diagnose" }).count()).toBe(0);
  });
});

describe("exploring", () => {
  const LINK =
    "#/explore?clusters=sim-1,sim-2&metric=node_cpu_seconds_total&aggregation=rate&by=mode&filters=mode!=idle";

  it("charts what a link asks for, with the PromQL and the points of the API, each cluster beside the other", async () => {
    const watched = await openPage(browser, `${program.url}/${LINK}`);
    await signIn(watched, TOKENS.read);
    await watched.page.locator("canvas").nth(1).waitFor();
    for (const [place, cluster] of ["sim-1", "sim-2"].entries()) {
      const chart = watched.page.locator("figure").nth(place);
      const end = Math.floor(Date.now() / 1000);
      const answer = await fetch(`${program.url}/cluster-metrics/query`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${TOKENS.read}` },
        body: JSON.stringify({
          cluster_id: cluster,
          metric_name: "node_cpu_seconds_total",
          aggregation: "rate",
          group_by: ["mode"],
          filters: [{ label: "mode", op: "!=", value: "idle" }],
          start_time: end - 3600,
          end_time: end,
        }),
      });
      const {
        series,
        as_of: asOf,
        promql,
      } = (await answer.json()) as {
        series: { labels: { mode: string }; points: { timestamp: string; value: number }[] }[];
        as_of: string;
        promql: string;
      };
      expect(await watched.page.locator("main").innerText()).toContain(promql);
      await chart.getByText("Table").click();
      const heads = (await chart.locator("thead th").allInnerTexts()).slice(1, -1);
      expect(heads).toEqual(series.map(({ labels }) => `mode ${labels.mode}`));
      const last = series[0]?.points.filter(({ timestamp }) => timestamp <= asOf).at(-1)?.value ?? 0;
      const column = (await chart.locator("tbody tr td:nth-child(2)").allInnerTexts()).filter(
        (text) => text !== "–",
      );
      expect(column[0]).toBe(`${Number(last.toPrecision(3))} s/s`);
    }
    await watched.page.getByText("The same with curl").first().click();
    expect(await watched.page.locator("pre").first().innerText()).toContain(
      '"metric_name":"node_cpu_seconds_total"',
    );
    expect(await watched.page.locator("main").innerText()).not.toContain(TOKENS.read);
    await expectNoProblems(watched);
  });

  it("completes names of metrics, and keeps what is chosen in the address", async () => {
    const watched = await openPage(browser, `${program.url}/#/explore?clusters=sim-1`);
    await signIn(watched, TOKENS.read);
    await watched.page.locator('#metrics option[value="node_load1"]').waitFor({ state: "attached" });
    await watched.page.getByLabel("Metric").fill("node_load1");
    await watched.page.keyboard.press("Enter");
    await watched.page.locator("canvas").waitFor();
    expect(watched.page.url()).toContain("metric=node_load1");
  });

  it("says what the API says of a question that has no answer", async () => {
    const watched = await openPage(
      browser,
      `${program.url}/#/explore?clusters=sim-1&metric=node_load1&aggregation=rate`,
    );
    await signIn(watched, TOKENS.read);
    const alert = watched.page.getByRole("alert");
    await alert.waitFor();
    expect(await alert.innerText()).toContain("rate is for counters, and the metric is a gauge");
    expect(await alert.innerText()).toContain("Use one of: avg, min, max");
    await expectNoProblems(watched);
  });
});

describe("signing in", () => {
  it("works with the keyboard alone, and the token is in the tab's storage and in no URL", async () => {
    const watched = await openPage(browser, `${program.url}/`);
    const { page } = watched;
    await page.getByLabel("Token").waitFor();
    await expectNoProblems(watched);
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to the content");
    await page.getByLabel("Token").focus();
    await page.keyboard.type(TOKENS.read);
    await page.keyboard.press("Enter");
    await page.locator("tr[data-cluster]").first().waitFor();
    expect(
      await page.evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]"),
    ).toEqual([[TOKENS.read], [], ""]);
    expect(watched.requests.filter((request) => request.includes(TOKENS.read))).toEqual([]);
    expect(page.url()).toBe(`${program.url}/`);
  });

  it("says that a token is not known, and forgets it", async () => {
    const { page, ...watched } = await openPage(browser, `${program.url}/`);
    await signIn({ page, ...watched }, "a-token-that-nobody-knows");
    await page.getByRole("alert").waitFor();
    expect(await page.getByRole("alert").innerText()).toContain("the token is not known");
    expect(await page.evaluate("sessionStorage.length")).toBe(0);
  });

  it("names the scope that a token lacks", async () => {
    const { page, ...watched } = await openPage(browser, `${program.url}/`);
    await signIn({ page, ...watched }, TOKENS.collect);
    const alert = page.getByRole("alert").first();
    await alert.waitFor();
    expect(await alert.innerText()).toContain("This token lacks the scope read. It has: collect.");
  });

  it("shows a token for some clusters only these", async () => {
    const watched = await openPage(browser, `${program.url}/`);
    await signIn(watched, TOKENS.some);
    await watched.page.locator("tr[data-cluster]").first().waitFor();
    expect((await rowsOf(watched)).map(({ cluster }) => cluster)).toEqual(["sim-1"]);
  });
});

// `PAGE_SCREENSHOTS=docs/images npm run test:page` makes the pictures of the documentation.
describe("pictures", () => {
  it.each([
    ["fleet", "", "tr[data-cluster]"],
    ["charts", "clusters/sim-1/charts", "figure:nth-of-type(1) canvas"],
    ["gpus", "clusters/sim-1/gpus", "tbody tr"],
  ])("of %s are small", async (name, place, shown) => {
    const watched = await openPage(browser, `${program.url}/#/${place}`, {
      viewport: { width: 1200, height: 640 },
    });
    await signIn(watched, TOKENS.read);
    await watched.page.locator(shown).first().waitFor();
    await watched.page
      .getByText(/^Loading|not loaded yet/)
      .first()
      .waitFor({ state: "hidden" });
    const given = process.env["PAGE_SCREENSHOTS"];
    const target = given || folder;
    mkdirSync(target, { recursive: true });
    const picture = await watched.page.screenshot({ path: join(target, `page-${name}.png`) });
    expect(picture.length).toBeLessThan(200_000);
  });
});
