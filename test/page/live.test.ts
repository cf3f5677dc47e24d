import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { expectNoProblems, openPage, startBrowser, type Watched } from "./browser.ts";
import { startProgram, TOKENS, writeTokens, type Program } from "./program.ts";

// Rounds and diagnoses while they happen, in the whole program with its workers. A request that the simulator never answers holds a cluster for
// METRICS_COLLECTION_TIMEOUT; then the same window is read again.

const HELD = { layer: "prometheus", kind: "hang", query: "node_load15", times: 1 } as const;
const EVENTS = "GET /metrics/events";

const folder = createTemporaryFolder();
let browser: Browser;
let program: Program;
let round: Promise<void> | undefined;
beforeAll(async () => {
  browser = await startBrowser();
  program = await startProgram(join(folder, "live"), {
    simulator: {
      clusters: [
        { nodes: 2, pods: 6, hotGpu: 0 },
        { nodes: 1, pods: 2, gpus: 0 },
        { nodes: 1, pods: 2 },
      ],
    },
    environment: { API_TOKENS_FILE: writeTokens(folder), METRICS_COLLECTION_TIMEOUT: "15" },
  });
});
afterAll(async () => {
  await program?.stop();
  await browser?.close();
});
afterEach(async () => {
  await program.simulator.faults.clear();
  await round;
  round = undefined;
});

/** Begins a round that sim-1 holds and in which sim-2 fails. */
async function beginRound(): Promise<void> {
  await program.simulator.faults.set("sim-1", HELD);
  await program.simulator.faults.set("sim-2", { layer: "api", kind: "refuse" });
  round = program.collect();
}

async function open(hash = "", options: Parameters<typeof openPage>[2] = {}): Promise<Watched> {
  const watched = await openPage(browser, `${program.url}/${hash}`, options);
  await watched.page.getByLabel("Token").fill(TOKENS.admin);
  await watched.page.getByRole("button", { name: "Sign in" }).click();
  return watched;
}

const running = (page: Page) => page.locator(".running");
const row = (page: Page, id: string) => page.locator(`tr[data-cluster="${id}"]`);

async function screenshot(page: Page, name: string, fullPage = true): Promise<void> {
  const directory = process.env["PAGE_LOOK"];
  if (directory === undefined) return;
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`), fullPage });
}

/** Waits until the held round shows what it can. */
async function waitForProgress(page: Page): Promise<void> {
  await running(page).filter({ hasText: "2 of 3 clusters done, 1 failed, 1 being collected" }).waitFor();
  await row(page, "sim-1")
    .filter({ hasText: /[1-9]\d* of \d+ queries/ })
    .waitFor();
}

describe("a round in progress", () => {
  it("shows its clusters as they finish, a failed one with its remedy, and its end, without a reload", async () => {
    const watched = await open();
    const { page, requests } = watched;
    await row(page, "sim-1").waitFor();
    expect(await running(page).count()).toBe(0);
    const status = page.locator(".round [role=status]");
    await beginRound();
    await waitForProgress(page);
    expect(await status.innerText()).toBe("A round is in progress");
    expect(await page.getByRole("progressbar", { name: "Clusters done" }).getAttribute("value")).toBe("2");
    const failed = await row(page, "sim-2").innerText();
    expect(failed).toMatch(/not collected/);
    expect(failed).toMatch(/cluster_unreachable/);
    const { error } = await lastResult("sim-2");
    expect(failed).toContain(error.message);
    expect(failed).toContain(error.hint);
    const good = await row(page, "sim-3").innerText();
    expect(good).toMatch(/this round: [1-9][\d ]* samples/);
    expect(good).not.toContain("not collected yet");
    await screenshot(page, "live-fleet");
    await expectNoProblems(watched);
    const polls = requests.filter((request) => request === "GET /metrics/status").length;
    await page.getByText("Last round: 2 of 3 clusters successful, 1 failed").first().waitFor();
    expect(await status.innerText()).toMatch(/^Last round: 2 of 3 clusters successful, 1 failed; \d/);
    await running(page).waitFor({ state: "detached" });
    // Its end is what the status is asked for, besides the usual times.
    await expect
      .poll(() => requests.filter((request) => request === "GET /metrics/status").length)
      .toBeGreaterThan(polls);
    expect(requests.filter((request) => request === EVENTS)).toHaveLength(1);
    await expectNoProblems(watched);
  });

  it("shows the queries and windows of a cluster that is being collected, dark and narrow too", async () => {
    await beginRound();
    const watched = await open("#/clusters/sim-1/collection", {
      colorScheme: "dark",
      viewport: { width: 380, height: 800 },
    });
    const { page } = watched;
    const part = page.getByRole("region", { name: "Collection in progress" });
    await part.filter({ hasText: /\d+ of \d+ queries/ }).waitFor();
    await part
      .getByRole("region", { name: "Windows that are being read" })
      .getByText("node_load15")
      .waitFor();
    expect(await part.innerText()).toMatch(/[1-9]\d* windows stored/);
    expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBeLessThanOrEqual(0);
    await screenshot(page, "live-collection", false);
    await expectNoProblems(watched);
    await part.waitFor({ state: "detached" });
    await page.getByText(/^(successful|partial), [1-9][\d ]* samples in/).waitFor();
  });

  it("is followed again when its stream breaks", async () => {
    const watched = await openPage(browser, `${program.url}/`);
    const { page, requests } = watched;
    // The first answer ends at once.
    const body = 'event: state\ndata: {"rounds":[],"clusters":[]}\n\n';
    await page.route(
      "**/metrics/events",
      (route) => route.fulfill({ contentType: "text/event-stream", body }),
      {
        times: 1,
      },
    );
    await page.getByLabel("Token").fill(TOKENS.read);
    await page.getByRole("button", { name: "Sign in" }).click();
    await beginRound();
    await waitForProgress(page);
    expect(requests.filter((request) => request === EVENTS)).toHaveLength(2);
    await expectNoProblems(watched);
  });

  it("is shown by the status where the stream is refused", async () => {
    await beginRound();
    const watched = await openPage(browser, `${program.url}/`);
    const { page, requests } = watched;
    await page.route("**/metrics/events", (route) => route.fulfill({ status: 404, json: {} }));
    await page.getByLabel("Token").fill(TOKENS.read);
    await page.getByRole("button", { name: "Sign in" }).click();
    await running(page)
      .filter({ hasText: /[012] of 3 clusters done/ })
      .waitFor();
    await row(page, "sim-1").filter({ hasText: "being collected" }).waitFor();
    expect(requests.filter((request) => request === EVENTS)).toHaveLength(1);
    await expectNoProblems(watched);
  });

  it("is not followed while nobody sees the page, nor where nothing is collected", async () => {
    const watched = await open();
    const { page, requests } = watched;
    const streams = (): number => requests.filter((request) => request === EVENTS).length;
    await expect.poll(streams).toBe(1);
    const show = (state: string): Promise<unknown> =>
      page.evaluate(
        `Object.defineProperty(document, "visibilityState", { value: ${JSON.stringify(state)}, configurable: true }); document.dispatchEvent(new Event("visibilitychange")); 0`,
      );
    const ended = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/metrics/events"));
    await show("hidden");
    await ended;
    await show("visible");
    await expect.poll(streams).toBe(2);
    const query = await openPage(browser, `${program.url}/`, { collects: false });
    await query.page.getByLabel("Token").fill(TOKENS.read);
    await query.page.getByRole("button", { name: "Sign in" }).click();
    await query.page.locator("tr[data-cluster]").first().waitFor();
    expect(query.requests).not.toContain(EVENTS);
    await expectNoProblems(watched);
  });
});

async function lastResult(id: string): Promise<{ error: { message: string; hint: string } }> {
  const answer = await fetch(`${program.url}/metrics/status`, {
    headers: { authorization: `Bearer ${TOKENS.read}` },
  });
  const { current_round: current } = (await answer.json()) as {
    current_round: { clusters: { cluster_id: string; error: { message: string; hint: string } }[] };
  };
  return current.clusters.find((each) => each.cluster_id === id)!;
}

it("a diagnosis shows each step as it comes, by the keyboard, and the remedy of a failed one", async () => {
  await program.simulator.faults.set("sim-3", { layer: "api", kind: "hang", resource: "services" });
  const watched = await open("#/clusters/sim-3/collection");
  const { page } = watched;
  await page.getByRole("button", { name: "Diagnose" }).focus();
  await page.keyboard.press("Enter");
  const steps = page.locator(".steps li");
  const held = steps.filter({ has: page.locator("strong", { hasText: "Prometheus' Service is there" }) });
  await held.filter({ hasText: "running" }).waitFor();
  await steps.filter({ hasText: "passed The API server knows the user" }).waitFor();
  expect(await steps.filter({ hasText: "to do" }).count()).toBeGreaterThan(3);
  expect(await page.getByRole("progressbar", { name: "Steps done" }).count()).toBe(1);
  await screenshot(page, "live-diagnose");
  await expectNoProblems(watched);
  await page.getByText(/1 step failed, \d+ steps in/).waitFor();
  expect(await held.innerText()).toMatch(/^✖ failed/);
  expect(await held.locator(".remedy").innerText()).not.toBe("");
  expect(await steps.filter({ hasText: "skipped" }).first().innerText()).toContain("it needs");
  expect(await steps.filter({ hasText: /to do|running/ }).count()).toBe(0);
  await expectNoProblems(watched);
});
