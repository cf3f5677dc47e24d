import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { expect, onTestFinished } from "vitest";

/** PAGE_BROWSER: a Chromium of the machine, a path or a name in PATH; default `chromium`. Without one the tests fail. */
function findBrowser(): string {
  const name = process.env["PAGE_BROWSER"] || "chromium";
  const found = [name, ...(process.env["PATH"] ?? "").split(":").map((folder) => join(folder, name))].find(
    (path) => isAbsolute(path) && existsSync(path),
  );
  if (found === undefined)
    throw new Error(`there is no ${name}: install Chromium or set PAGE_BROWSER to its path`);
  return found;
}

/** Source of a regular expression for a time as the page prints it: one of another day has its date, "30 Nov" or "Nov 30". */
export const TIME = String.raw`(?:(?:\d{1,2} [A-Z][a-z]{2}|[A-Z][a-z]{2} \d{1,2}),? )?\d\d:\d\d`;

export function startBrowser(): Promise<Browser> {
  const executablePath = findBrowser();
  // A container's root has no namespaces for the browser's own sandbox; it opens nothing but the program under test.
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

export interface Watched {
  page: Page;
  /** What went wrong so far: messages of the console, exceptions, requests to other hosts, violations of the policy. */
  problems(): Promise<string[]>;
  /** Requests so far, as `GET /path`. */
  requests: string[];
  /** The most requests that were under way at once, of those whose path begins so. */
  parallelMax(start: string): number;
}

/** Runs in each document before everything else. */
const WATCH = `window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective + " " + event.blockedURI));`;

/** A refused request is no defect of the page: the browser logs each. */
const REFUSED = /^Failed to load resource: the server responded with a status of [45]\d\d/;

/** As the role query would say it in the document: it has no collection. Everything else is the program's own answer. */
async function withoutCollection(page: Page, url: string): Promise<void> {
  await page.route(new URL("/", url).href, async (route) => {
    const response = await route.fetch();
    const text = await response.text();
    await route.fulfill({
      response,
      body: text.replace("&quot;collection&quot;:true", "&quot;collection&quot;:false"),
    });
  });
}

interface OpenOptions extends BrowserContextOptions {
  collects?: false;
  /** Runs before the document is asked for. */
  prepare?: (page: Page) => Promise<void>;
}

/** Opens a page of the program, and watches everything that it does. */
export async function openPage(
  browser: Browser,
  url: string,
  { collects, prepare, ...options }: OpenOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({
    viewport: { width: 1400, height: 900 },
    locale: "en-GB",
    ...options,
  });
  // A page that stays open goes on reading.
  onTestFinished(() => context.close());
  const page = await context.newPage();
  await page.addInitScript(WATCH);
  const seen: string[] = [];
  const requests: string[] = [];
  const underWay = new Map<object, string>();
  const most = new Map<string, number>();
  const starts = ["/cluster-metrics"];
  page.on("console", (message) => {
    if (message.type() === "error" && !REFUSED.test(message.text())) seen.push(`console: ${message.text()}`);
    if (message.type() === "warning") seen.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => seen.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    const { origin, pathname } = new URL(request.url());
    if (origin !== new URL(url).origin && origin !== "null") seen.push(`a request to ${origin}`);
    requests.push(`${request.method()} ${pathname}`);
    underWay.set(request, pathname);
    for (const start of starts) {
      const amount = [...underWay.values()].filter((path) => path.startsWith(start)).length;
      most.set(start, Math.max(most.get(start) ?? 0, amount));
    }
  });
  for (const event of ["requestfinished", "requestfailed"] as const) {
    page.on(event as "requestfinished", (request) => void underWay.delete(request));
  }
  if (collects === false) await withoutCollection(page, url);
  await prepare?.(page);
  await page.goto(url);
  return {
    page,
    requests,
    parallelMax: (start) => most.get(start) ?? 0,
    problems: async () => {
      const violations = await page.evaluate<string[]>("window.violations");
      return [...seen, ...violations.map((violation) => `policy: ${violation}`)];
    },
  };
}

/** Expects that nothing went wrong and that axe finds nothing, in the state that the page is in. */
export async function expectNoProblems(watched: Watched): Promise<void> {
  // Its default runs parts in a blank page of its own, which the policy of this one forbids.
  const { violations } = await new AxeBuilder({ page: watched.page }).setLegacyMode(true).analyze();
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`,
  );
  expect(found).toEqual([]);
  expect(await watched.problems()).toEqual([]);
}
