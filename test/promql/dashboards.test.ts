import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startBridge, type BridgeProcess } from "../e2e/bridge-process.ts";
import { startExporter } from "../e2e/exporter.ts";
import { startPrometheus } from "../e2e/prometheus.ts";
import { freePort } from "../e2e/stack.ts";
import { CLUSTER, readDashboards } from "./dashboard-expressions.ts";
import { expose, worldOf } from "./dashboard-world.ts";
import { ask, differenceOf, isEmpty, type Answer } from "./prometheus-answers.ts";

// A real Prometheus scrapes an exporter of everything that the public dashboards of DASHBOARDS_DIR ask for. Pods and nodes go and come back; counters begin
// again. The program collects it with CATALOGUE=dashboards, and answers every expression and variable as that Prometheus does.

const CLUSTER_ID = "edge-1";
const LAG_SECONDS = 5;
/** An expression of public dashboards that today's catalogue has all metrics of. */
const FILLED_MIN = 148;
const STEP_SECONDS = 7;
const ASKED_AT_ONCE = 2;
const SHOWN_MAX = 20;
const COLLECTIONS_MAX = 30;

const folder = process.env["DASHBOARDS_DIR"];
if (!folder) throw new Error("DASHBOARDS_DIR is not set: the folder with expressions.json");
const { expressions, variables } = readDashboards(folder);
const world = worldOf([
  ...expressions.map(({ expr }) => expr),
  ...variables.map(({ selector, label }) => `count by (${label}) (${selector})`),
]);

const started = new AsyncDisposableStack();
let bridge: BridgeProcess;
let source: string;
let ours: string;
/** Seconds since the epoch: the first scrape, a time at which a part was gone, and the end of what is collected. */
const times = { begin: 0, gone: 0, end: 0 };

/** A bridge that was killed may still hold the cluster. */
async function collect(): Promise<void> {
  for (let i = 0; i < COLLECTIONS_MAX; i++) {
    if ((await bridge.collect()).successful === 1) return;
    await delay(2000);
  }
  throw new Error(bridge.output());
}

beforeAll(async () => {
  const gone = new Set<number>();
  const startedMs = Date.now();
  const exporter = await startExporter(() => expose(world, (Date.now() - startedMs) / 1000, gone));
  started.defer(() => exporter.stop());
  const prometheus = await startPrometheus({ jobs: { dashboards: exporter.port } });
  started.defer(() => prometheus.stop());
  source = `http://${prometheus.address.host}:${prometheus.address.port}`;
  times.begin = Math.floor(Date.now() / 1000);
  const directory = await mkdtemp(join(tmpdir(), "budcluster-dashboards-"));
  started.defer(() => rm(directory, { recursive: true, force: true }));
  const clusters = [{ id: CLUSTER_ID, name: CLUSTER, trusted: true, prometheus: { url: source } }];
  await writeFile(join(directory, "clusters.yaml"), JSON.stringify({ clusters }));
  const port = await freePort();
  ours = `http://127.0.0.1:${port}`;
  const environment = {
    ROLE: "all-in-one",
    CATALOGUE: "dashboards",
    CLUSTERS_FILE: join(directory, "clusters.yaml"),
    DATA_DIR: join(directory, "data"),
    AUTH_ENABLED: "false",
    // Nobody but the test begins a round.
    SCHEDULER: "dapr",
    COLLECTION_INTERVAL: "1d",
    COLLECTION_LAG: String(LAG_SECONDS),
    INITIAL_LOOKBACK: "10m",
  };
  bridge = await startBridge(environment, port);
  started.defer(async () => void (await bridge.kill("SIGKILL")));
  await delay(15_000);
  gone.add(2);
  await delay(12_000);
  times.gone = Math.floor(Date.now() / 1000);
  await collect();
  gone.delete(2);
  await delay(15_000);
  gone.add(0).add(1);
  await delay(8000);
  await bridge.kill("SIGKILL");
  bridge = await startBridge(environment, port);
  gone.clear();
  await delay(12_000);
  times.end = Math.floor(Date.now() / 1000);
  await delay((LAG_SECONDS + 1) * 1000);
  await collect();
}, 300_000);

afterAll(() => started.disposeAsync());

/** Does so with each item, a few at once. */
async function forEach<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const left = items.values();
  await Promise.all(
    Array.from({ length: ASKED_AT_ONCE }, async () => {
      for (const item of left) await work(item);
    }),
  );
}

/** An error names series with all of their labels. */
function withoutId(answer: Answer): Answer {
  const id = `cluster_id="${CLUSTER_ID}", `;
  return answer.error === undefined ? answer : { ...answer, error: answer.error.replaceAll(id, "") };
}

/** The same question to both. */
async function askBoth(path: string, form: Record<string, string>): Promise<[Answer, Answer]> {
  return await Promise.all([ask(source, path, form), ask(ours, path, form)]);
}

test("the collection has no gaps", async () => {
  const { clusters } = await bridge.status();
  expect(clusters[0]).toMatchObject({ last_error: null, gaps: [] });
});

test(
  "every expression is answered as its Prometheus answers it, at a time and over a range",
  { timeout: 580_000 },
  async () => {
    const { begin, gone, end } = times;
    const range = { start: String(begin - STEP_SECONDS), end: String(end), step: String(STEP_SECONDS) };
    const distinct = [...new Set(expressions.map(({ expr }) => expr))];
    const filled = new Set<string>();
    const refused = new Set<string>();
    const different: string[] = [];
    await forEach([...distinct.entries()], async ([i, expr]) => {
      // Each at one of the times, by turns.
      const instant = { time: String(i % 2 === 0 ? gone : end) };
      for (const [path, form] of [["query", instant] as const, ["query_range", range] as const]) {
        const [expected, actual] = await askBoth(path, { query: expr, ...form });
        const difference = differenceOf(expected, withoutId(actual));
        if (difference !== undefined) different.push(`${path} ${expr}: ${difference}`);
        if (expected.status === "error") refused.add(expr);
        else if (!isEmpty(actual)) filled.add(expr);
      }
    });
    const filledAll = expressions.filter(({ expr }) => filled.has(expr)).length;
    process.stderr.write(
      `${expressions.length} expressions, ${distinct.length} different ones: ${filledAll} have an answer that is not empty, ` +
        `${refused.size} are refused by Prometheus as well, ${different.length} answers differ\n`,
    );
    expect(different.slice(0, SHOWN_MAX)).toEqual([]);
    expect(filledAll).toBeGreaterThanOrEqual(FILLED_MIN);
  },
);

test("every variable has the values that it has there", async () => {
  const different: string[] = [];
  let filled = 0;
  await forEach(variables, async ({ label, selector }) => {
    const form = { "match[]": selector, start: String(times.begin), end: String(times.end) };
    const [expected, actual] = await askBoth(`label/${label}/values`, form);
    const difference = differenceOf(expected, withoutId(actual));
    if (difference !== undefined) different.push(`${label} of ${selector}: ${difference}`);
    if (!isEmpty(actual)) filled++;
  });
  process.stderr.write(`${variables.length} variables: ${filled} have values, ${different.length} differ\n`);
  expect(different.slice(0, SHOWN_MAX)).toEqual([]);
  expect(filled).toBe(variables.length);
});
