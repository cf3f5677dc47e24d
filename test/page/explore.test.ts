import { execFile } from "node:child_process";
import { join } from "node:path";
import { isDeepStrictEqual, promisify } from "node:util";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { number } from "#page/format.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { expectNoProblems, openPage, startBrowser, type Watched } from "./browser.ts";
import { startProgram, TOKENS, writeTokens, type Program } from "./program.ts";

interface Answer {
  metric_name: string;
  window_seconds: number;
  promql: string;
  first_point: string;
  last_point: string;
  step_seconds: number;
  as_of: string;
  series: { labels: Record<string, string>; points: { timestamp: string; value: number }[] }[];
}
interface PrometheusSeries {
  metric: Record<string, string>;
  values: [time: number, text: string][];
}

const run = promisify(execFile);
const folder = createTemporaryFolder();
let browser: Browser;
let program: Program;
beforeAll(async () => {
  browser = await startBrowser();
  program = await startProgram(join(folder, "explore"), {
    simulator: {
      clusters: [
        { nodes: 3, pods: 12 },
        { nodes: 2, pods: 8 },
      ],
    },
    environment: { API_TOKENS_FILE: writeTokens(folder) },
  });
  await program.collect();
});
afterAll(async () => {
  await program?.stop();
  await browser?.close();
});

async function open(place: string, token: string, options: Parameters<typeof openPage>[2] = {}) {
  const watched = await openPage(browser, `${program.url}/${place}`, options);
  await watched.page.getByLabel("Token").fill(token);
  await watched.page.getByRole("button", { name: "Sign in" }).click();
  return watched;
}

describe("who is signed in", () => {
  it.each([
    [TOKENS.read, "Signed in as read (read)"],
    [TOKENS.admin, "Signed in as admin (admin)"],
    [TOKENS.some, "Signed in as some (read, 1 cluster)"],
  ])("is said with the scopes and clusters of the token %s, until the sign-out", async (token, text) => {
    const watched = await open("", token);
    const { page } = watched;
    await page.locator("header").getByText(text, { exact: true }).waitFor();
    await page.locator("tr[data-cluster]").first().waitFor();
    await expectNoProblems(watched);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").waitFor();
    expect(await page.locator("header").innerText()).not.toContain("Signed in");
    expect(await page.evaluate("sessionStorage.length")).toBe(0);
    // Nothing of the former reader is left in the document.
    expect(await page.locator("body").innerText()).not.toContain("sim-1");
  });

  it("decides what is offered: no view without the scope read, with the remedy", async () => {
    const watched = await open("#/clusters/sim-1/collection", TOKENS.collect);
    const { page } = watched;
    await page.getByRole("heading", { name: "Signed in as collect" }).waitFor();
    expect(await page.getByRole("alert").innerText()).toBe(
      "This token lacks the scope read. It has: collect. Every view needs it. Sign out, and sign in with a token that has it.",
    );
    expect(await page.getByRole("button", { name: "Diagnose" }).count()).toBe(0);
    await expectNoProblems(watched);
  });
});

describe("moving with the keyboard", () => {
  const focused = async ({ page }: Watched): Promise<string> =>
    String(await page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.innerText"));

  /** Tab (or backwards) until a link or button of this name has the focus, which must be seen; then Enter. */
  async function press(watched: Watched, name: string, key = "Tab"): Promise<void> {
    for (let i = 0; i < 60; i += 1) {
      await watched.page.keyboard.press(key);
      const text = (await focused(watched)).replace(/^\S+ /, "").trim();
      if (text !== name) continue;
      const outline = await watched.page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
      expect([name, outline]).toEqual([name, "solid"]);
      await watched.page.keyboard.press("Enter");
      return;
    }
    throw new Error(`Tab does not reach ${name}`);
  }

  it("keeps states and choices visible with forced colours, and moves nothing if that is wished", async () => {
    const watched = await open("#/clusters/sim-1/charts", TOKENS.read, {
      forcedColors: "active",
      reducedMotion: "reduce",
    });
    const { page } = watched;
    await page.locator("canvas").first().waitFor();
    const styleOf = async (selector: string, name: string): Promise<string> =>
      await page
        .locator(selector)
        .first()
        .evaluate((element, property) => {
          const style = globalThis as unknown as { getComputedStyle(of: unknown): Record<string, string> };
          return style.getComputedStyle(element)[property] ?? "";
        }, name);
    expect(await page.evaluate("matchMedia('(forced-colors: active)').matches")).toBe(true);
    expect(await styleOf('button[aria-pressed="true"]', "borderTopWidth")).toBe("3px");
    expect(await styleOf(".lines .mark", "forcedColorAdjust")).toBe("none");
    expect(await styleOf(".run", "forcedColorAdjust")).toBe("none");
    expect(await styleOf("button", "transitionDuration")).toBe("0s");
    await expectNoProblems(watched);
  });

  it("reaches every view, whose heading gets the focus and whose name is the document's title", async () => {
    const watched = await open("", TOKENS.admin);
    const { page } = watched;
    await page.locator("tr[data-cluster]").first().waitFor();
    expect(await focused(watched)).toBe("H1 Fleet");
    expect(await page.title()).toBe("Fleet - budcluster");
    const name = await page.locator('tr[data-cluster="sim-1"] a').innerText();
    await press(watched, name);
    const parts = ["Health", "Nodes", "Pods", "GPUs", "Charts", "Collection"];
    for (const part of parts) {
      if (part !== "Health") await press(watched, part);
      await expect.poll(() => page.title()).toBe(`sim-1: ${part} - budcluster`);
      await page.getByRole("heading", { name, level: 1 }).waitFor();
      expect(await focused(watched)).toBe(`H1 ${name}`);
      expect(await page.getByRole("status").first().innerText()).toBe(`sim-1: ${part}`);
      await page.getByText("Loading").first().waitFor({ state: "hidden" });
      await expectNoProblems(watched);
    }
    for (const view of ["GPUs", "Explore", "Fleet"]) {
      // Views are before the heading: backwards is the way there.
      await press(watched, view, "Shift+Tab");
      await expect.poll(() => page.title()).toBe(`${view} - budcluster`);
      expect(await focused(watched)).toBe(`H1 ${view}`);
      await page.getByText("Loading").first().waitFor({ state: "hidden" });
      await expectNoProblems(watched);
    }
    await press(watched, "Skip to the content", "Shift+Tab");
    expect(await page.evaluate("document.activeElement.id")).toBe("main");
    await page.keyboard.press("Shift+Tab");
    expect(await focused(watched)).toBe("BUTTON Sign out");
    await page.keyboard.press("Enter");
    await page.getByLabel("Token").waitFor();
    expect(await focused(watched)).toBe("H1 Sign in");
    expect(await page.title()).toBe("Sign in - budcluster");
  });
});

describe("exploring", () => {
  /** The numbers of a chart's table, without those that are missing. */
  /** The numbers of a chart, without the times and the completeness. */
  async function tableOf(watched: Watched, place = 0): Promise<string[][]> {
    const chart = watched.page.locator("figure").nth(place);
    await chart.getByText("Table").click();
    const rows = await chart.locator("tbody tr").evaluateAll((all) =>
      all.map((row) => {
        const { cells } = row as unknown as { cells: Iterable<{ innerText: string }> };
        return [...cells].map((cell) => cell.innerText).slice(1, -1);
      }),
    );
    return rows.filter((cells) => cells.some((text) => text !== "–")).toReversed();
  }

  it("asks by the keyboard alone, with names and values completed, and the address has the question", async () => {
    const watched = await open("#/explore", TOKENS.read);
    const { page } = watched;
    const { keyboard } = page;
    await page.locator('#clusters option[value="sim-2"]').waitFor({ state: "attached" });
    await page.getByLabel("Clusters", { exact: true }).focus();
    await keyboard.type("sim-1");
    await keyboard.press("Enter");
    await keyboard.type("sim-2");
    await keyboard.press("Enter");
    await page.locator('#metrics option[value="node_cpu_seconds_total"]').waitFor({ state: "attached" });
    await page.getByLabel("Metric").focus();
    await keyboard.type("node_cpu_seconds_total");
    await keyboard.press("Enter");
    // What it is: the aggregations of a counter, the unit, its series.
    await page.getByText(/^counter, unit s, \d+ series, newest sample/).waitFor();
    await page.getByLabel("Aggregation").selectOption("rate");
    await page.locator('#by option[value="mode"]').waitFor({ state: "attached" });
    await page.getByLabel("Group by").focus();
    await keyboard.type("mode");
    await keyboard.press("Enter");
    const fresh = page.getByRole("group", { name: "A new filter" });
    await fresh.getByLabel("Label").focus();
    await keyboard.type("mode");
    await page.locator('#values-new option[value="idle"]').waitFor({ state: "attached" });
    await fresh.getByLabel("Operator").selectOption("!=");
    await fresh.getByLabel("Value").focus();
    await keyboard.type("idle");
    await keyboard.press("Enter");
    await page.getByRole("group", { name: "Filter 1" }).waitFor();
    await page.locator("canvas").nth(1).waitFor();
    const query = new URLSearchParams(new URL(page.url()).hash.split("?")[1]);
    expect(Object.fromEntries(query)).toEqual({
      clusters: "sim-1,sim-2",
      metric: "node_cpu_seconds_total",
      aggregation: "rate",
      by: "mode",
      filters: "mode!=idle",
    });
    expect(await page.locator("main").innerText()).toContain(
      'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[120s]))',
    );
    await expectNoProblems(watched);
    // A value with a comma, and away with it again.
    await page.getByRole("group", { name: "Filter 1" }).getByLabel("Value").fill("idle, user");
    await keyboard.press("Enter");
    await page.getByText('{mode!="idle, user"}').first().waitFor();
    await page.reload();
    await page.getByText('{mode!="idle, user"}').first().waitFor();
    await page.getByRole("button", { name: "Remove mode!=idle, user" }).focus();
    await keyboard.press("Enter");
    await page.getByText("rate(node_cpu_seconds_total[120s])").first().waitFor();
    expect(page.url()).not.toContain("filters");
    expect(await page.evaluate("document.activeElement.getAttribute('aria-label')")).toBe("Label");
    await page.getByRole("button", { name: "Remove sim-2" }).press("Enter");
    await page.locator("canvas").nth(1).waitFor({ state: "hidden" });
    expect(await page.evaluate("document.activeElement.getAttribute('list')")).toBe("clusters");
  });

  it.each([
    "metric=node_load1&aggregation=max&by=instance",
    "metric=node_cpu_seconds_total&aggregation=rate&by=mode&filters=mode=~user|system,cpu!~9",
    "metric=node_memory_MemAvailable_bytes&aggregation=sum",
  ])("the shown curl and PromQL give the shown numbers: %s", async (asked) => {
    const watched = await open(`#/explore?clusters=sim-1&${asked}`, TOKENS.read);
    const { page } = watched;
    await page.locator("canvas").waitFor();
    await page.getByText("The same with curl").click();
    const command = await page.locator("pre").innerText();
    expect(await page.content()).not.toContain(TOKENS.read);
    const { stdout } = await run("sh", ["-c", command], { env: { ...process.env, TOKEN: TOKENS.read } });
    const answer = JSON.parse(stdout) as Answer;
    const whole = answer.series.map(({ labels, points }) => ({
      labels,
      points: points.filter(({ timestamp }) => timestamp <= answer.as_of),
    }));
    expect(whole[0]?.points.length).toBeGreaterThan(5);
    const shown = (await tableOf(watched)).map((cells) => cells.map((text) => text.split(" ")[0]));
    expect(shown.flatMap(([first]) => (first === "–" ? [] : [first]))).toEqual(
      whole[0]?.points.map(({ value }) => number(value).split(" ")[0]),
    );
    expect(shown[0]).toHaveLength(whole.length);
    // The cluster's own Prometheus has the same numbers for the shown PromQL.
    const promql = await page.locator("p code", { hasText: "[120s]" }).innerText();
    expect(promql).toBe(answer.promql);
    const parameters = new URLSearchParams({
      query: promql,
      start: answer.first_point,
      end: answer.last_point,
      step: String(answer.step_seconds),
    });
    const { prometheusUrl } = program.simulator.clusters[0]!;
    const answered = await fetch(new URL(`api/v1/query_range?${parameters.toString()}`, prometheusUrl));
    const { data } = (await answered.json()) as { data: { result: PrometheusSeries[] } };
    expect(data.result).toHaveLength(whole.length);
    // Prometheus has older samples than those that were collected first.
    const { metrics } = (await (
      await fetch(`${program.url}/cluster-metrics/sim-1/metrics`, {
        headers: { authorization: `Bearer ${TOKENS.read}` },
      })
    ).json()) as { metrics: { metric_name: string; first_sample: string }[] };
    const first = metrics.find(({ metric_name: name }) => name === answer.metric_name)!.first_sample;
    const start = Date.parse(first) + answer.window_seconds * 1000;
    let compared = 0;
    for (const { labels, points } of whole) {
      const same = data.result.find(({ metric }) => isDeepStrictEqual(metric, labels));
      const values = new Map(same?.values.map(([time, text]) => [time, Number(text)]));
      for (const { timestamp, value } of points.filter((point) => Date.parse(point.timestamp) > start)) {
        compared += 1;
        const expected = values.get(Date.parse(timestamp) / 1000) ?? Number.NaN;
        expect(Math.abs(value / expected - 1)).toBeLessThan(1e-9);
      }
    }
    expect(compared).toBeGreaterThan(3);
  });

  it("keeps a range of the past in the link, which has no secret and asks once", async () => {
    const watched = await open("#/explore?clusters=sim-1&metric=node_load1", TOKENS.read);
    const { page } = watched;
    await page.locator("canvas").waitFor();
    const until = new Date(Math.floor(Date.now() / 60_000) * 60_000 - 300_000);
    const local = new Date(until.getTime() - until.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
    await page.getByLabel("Until").fill(local);
    await page.getByLabel("Until").blur();
    await page.getByText("The same with curl").click();
    await page.getByText(`"end_time":${until.getTime() / 1000}`).waitFor();
    await watched.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.getByRole("button", { name: "Copy link" }).click();
    await page.getByText("copied").waitFor();
    const link = String(await page.evaluate("navigator.clipboard.readText()"));
    expect(link).toBe(page.url());
    expect(link).toContain(`until=${encodeURIComponent(until.toISOString())}`);
    expect(link).not.toContain(TOKENS.read);
    await expectNoProblems(watched);
  });

  it("shows the API's error with its field and remedy, and draws nothing", async () => {
    const watched = await open("#/explore?clusters=sim-1&metric=node_load1&filters=instance=~(", TOKENS.read);
    const alert = watched.page.getByRole("alert");
    await alert.waitFor();
    expect(await alert.innerText()).toMatch(/filters/);
    expect(await watched.page.locator("canvas").count()).toBe(0);
    await watched.page.getByRole("button", { name: "Remove instance=~(" }).click();
    await watched.page.locator("canvas").waitFor();
    await expectNoProblems(watched);
  });

  it("says how many clusters it leaves out", async () => {
    const seven = "sim-1,sim-2,a,b,c,d,e";
    const watched = await open(`#/explore?clusters=${seven}&metric=node_load1`, TOKENS.read);
    await watched.page.getByText("The first 6 of 7 clusters are shown").waitFor();
    expect(await watched.page.getByRole("heading", { level: 2 }).allInnerTexts()).toEqual(
      seven.split(",").slice(0, 6),
    );
  });
});
