import { gzipSync } from "node:zlib";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Cluster } from "#clusters/cluster.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { expectNoProblems, openPage, startBrowser } from "./browser.ts";
import { startProgram, type Program } from "./program.ts";

const CLUSTERS = 200;
/** A machine with other work is slower than a reader's; the number itself is printed. */
const FIRST_CONTENT_MS_MAX = 5000;
const LIBRARIES_MAX = 36 * 1024;
const OWN_MAX = 60 * 1024;

const folder = createTemporaryFolder();
let browser: Browser;
let program: Program;
beforeAll(async () => {
  browser = await startBrowser();
  program = await startProgram(join(folder, "many"), {
    simulator: { clusters: [{ nodes: 1, pods: 1, gpus: 0 }] },
    // All read the same small Prometheus, without a tunnel.
    clusters: ([simulated]): Cluster[] =>
      Array.from({ length: CLUSTERS }, (_, i) => ({
        id: `edge-${i + 1}`,
        name: `Edge ${i + 1}`,
        platform: "k3s",
        enabled: true,
        credentials: { kind: "direct", origin: new URL(simulated!.prometheusUrl).origin },
        prometheus: {
          url: simulated!.prometheusUrl.replace(/\/$/, ""),
          namespace: "",
          service: "",
          port: 9090,
          scheme: "http",
          pathPrefix: "",
        },
        validateCerts: true,
        source: "command-line",
        labels: {},
      })),
    environment: { INITIAL_LOOKBACK: "1s", MAX_CONCURRENT_CLUSTERS: "10" },
  });
});
afterAll(async () => {
  await program?.stop();
  await browser?.close();
});

it("a fleet of 200 is there at once, and is read with few requests at a time, the rows in view first", async () => {
  const watched = await openPage(browser, `${program.url}/`);
  const { page } = watched;
  await page.locator("tr[data-cluster]").first().waitFor();
  const firstContent = Number(
    await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
  );
  const rowsMs = Number(await page.evaluate("performance.now()"));
  process.stdout.write(
    `first content after ${Math.round(firstContent)} ms, ${CLUSTERS} rows after ${Math.round(rowsMs)} ms\n`,
  );
  expect(firstContent).toBeLessThan(FIRST_CONTENT_MS_MAX);
  expect(await page.locator("tr[data-cluster]").count()).toBe(CLUSTERS);
  // Nothing was collected yet: every cluster waits, and says so.
  expect(await page.locator(".totals").innerText()).toMatch(/Clusters\s+200\s+200 with trouble/);
  expect(await page.locator("tr[data-cluster]").first().innerText()).toContain("it was not collected yet");
  await expectNoProblems(watched);
  expect(watched.parallelMax("/cluster-metrics")).toBeLessThanOrEqual(4);
  const asked = watched.requests.filter((request) => request.endsWith("/health"));
  const first = await page.locator("tr[data-cluster]").first().getAttribute("data-cluster");
  expect(asked[0]).toBe(`GET /cluster-metrics/${first}/health`);
});

it("the libraries have at most 36 KiB and the page's own files at most 60 KiB with gzip", async () => {
  const { page } = await openPage(browser, `${program.url}/`);
  const html = await page.content();
  const base = /\/page\/\w+\//.exec(html)?.[0] ?? "";
  const own = [...html.matchAll(/href="(\/page\/[^"]+)"/g)].map(([, url]) => url!);
  const libraries = [...own.filter((url) => url.includes("/lib/")), `${base}lib/uplot.js`];
  const size = async (url: string): Promise<number> =>
    gzipSync(Buffer.from(await (await fetch(program.url + url)).arrayBuffer()), { level: 9 }).length;
  const sum = async (urls: string[]): Promise<number> =>
    (await Promise.all(urls.map(size))).reduce((total, bytes) => total + bytes, 0);
  const sizes = {
    libraries: await sum(libraries),
    own: await sum(own.filter((url) => !url.includes("/lib/"))),
  };
  process.stdout.write(`with gzip: libraries ${sizes.libraries} bytes, own files ${sizes.own} bytes\n`);
  expect(libraries).toHaveLength(6);
  expect(sizes.libraries).toBeLessThanOrEqual(LIBRARIES_MAX);
  expect(sizes.own).toBeLessThanOrEqual(OWN_MAX);
});
