import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { GenericContainer, Wait } from "testcontainers";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createClickHouse } from "#storage/clickhouse.ts";
import type { Database } from "#storage/database.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { freePort } from "../e2e/stack.ts";
import { runToEnd, startBridge, type BridgeProcess } from "../e2e/bridge-process.ts";
import { startPrometheus } from "../e2e/prometheus.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { fetchAnswer, toOutcome } from "../promql/real-prometheus.ts";
import { differenceBetween } from "../promql/outcome.ts";
import type { QueryCase } from "../promql/query-case.ts";
import { costOf } from "./bridge-process.ts";
import { originOf, untilInBlocks } from "./filled-prometheus.ts";
import { createPromqlWorld, SCRAPE_MS, storeWorld, writeWorld } from "./promql-world.ts";

// The panels of kubernetes-mixin's dashboard of a cluster, asked of the query role over ClickHouse and of a real Prometheus 3.15 that holds the same samples, in turns, both by
// HTTP. Every answer is compared with the other's. The figures of docs/decisions/0035-promql.md.
//   DASHBOARDS_DIR: has expressions.json, the expressions of public dashboards. Without it nothing is measured.
//   CLICKHOUSE_URL (CLICKHOUSE_USER, CLICKHOUSE_PASSWORD): a server for a database of the benchmark's own; default: a container.
//   BENCH_ENGINE=1: the embedded engine in a process of its own instead, by HTTP.
//   BENCH_QUICK=1: 2 clusters instead of 20 (BENCH_CLUSTERS), few runs. BENCH_PANELS: only the panels whose names this regular expression matches.
// NODE_OPTIONS=--cpu-prof goes to the query role.

const QUICK = process.env["BENCH_QUICK"] === "1";
const CLUSTERS = Number(process.env["BENCH_CLUSTERS"] ?? (QUICK ? 2 : 20));
const WITH_ENGINE = process.env["BENCH_ENGINE"] === "1";
const PANELS = new RegExp(process.env["BENCH_PANELS"] ?? "");
const RUNS = Number(process.env["BENCH_RUNS"] ?? (QUICK ? 3 : 40));
const CASE_MS_MAX = 2500;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const TOLERANCE = 1e-12;
const GOALS = { ratio: 3, rssMb: 512 };
/** A query may hold a third of the samples that there are. */
const SAMPLES_MAX = CLUSTERS * 500_000;
const DATABASE = "promql_bench";
const SET = "kube-prometheus, 33 dashboards";
const DASHBOARD = "Kubernetes / Compute Resources / Cluster / ";

interface Panel {
  panel: string;
  expr: string;
  kind: "range" | "instant";
}

/** Each expression once. */
function readPanels(folder: string): Panel[] {
  const sets = JSON.parse(readFileSync(join(folder, "expressions.json"), "utf8")) as Record<
    string,
    { expressions: Panel[] }
  >;
  const own = sets[SET]!.expressions.filter(({ panel }) => panel.startsWith(DASHBOARD));
  const distinct = new Map(own.map((each) => [`${each.kind} ${each.expr}`, each]));
  if (distinct.size === 0) throw new Error(`no panel of ${DASHBOARD} in expressions.json`);
  return [...distinct.values()].map((each) => ({ ...each, panel: each.panel.slice(DASHBOARD.length) }));
}

interface Case {
  name: string;
  query: QueryCase;
}

type Clusters = { text: string; cluster: string };
const ONE: Clusters = { text: "1 cluster", cluster: 'cluster="bench-1"' };
const ALL: Clusters = { text: "all clusters", cluster: 'cluster=~".+"' };

function fillIn(expr: string, cluster: string, interval: string): string {
  return expr.replaceAll('cluster="$cluster"', cluster).replaceAll("$__rate_interval", interval);
}

/** As Grafana asks for a range: at most about 700 points, and $__rate_interval four scrapes at least. */
const RANGES = [
  { text: "1 h", lengthMs: HOUR_MS, stepMs: SCRAPE_MS, interval: "120s" },
  { text: "24 h", lengthMs: DAY_MS, stepMs: 120_000, interval: "150s" },
];

function toCases(panels: readonly Panel[], endMs: number): Record<string, Case[]> {
  const ranges = panels.filter(({ kind }) => kind === "range");
  const over = ({ text, lengthMs, stepMs, interval }: (typeof RANGES)[number], { cluster }: Clusters) =>
    ranges.map(({ panel, expr }) => ({
      name: `${panel}, ${text}`,
      query: {
        query: fillIn(expr, cluster, interval),
        times: { startMs: endMs - lengthMs, endMs, stepMs },
      },
    }));
  const hours = { text: "24 h at 1 h", lengthMs: DAY_MS - HOUR_MS, stepMs: HOUR_MS, interval: "1h" };
  const instant = panels
    .filter(({ kind }) => kind === "instant")
    .map(({ panel, expr }, i) => ({
      name: `${panel} (${i + 1}), now`,
      query: { query: fillIn(expr, ONE.cluster, "120s"), times: { startMs: endMs, endMs } },
    }));
  return {
    "1 cluster": [...RANGES.flatMap((range) => over(range, ONE)), ...instant],
    "all clusters": over(RANGES[1]!, ALL),
    "whole hours, 1 cluster": over(hours, ONE),
    "whole hours, all clusters": over(hours, ALL),
  };
}

/** `first`: of the run that is not counted; lists of series are remembered after it. */
interface Latency {
  first: number;
  p50: number;
  p99: number;
}

function toLatency([first = Number.NaN, ...others]: readonly number[]): Latency {
  const sorted = others.toSorted((a, b) => a - b);
  const at = (q: number): number => sorted[Math.ceil(q * sorted.length) - 1] ?? Number.NaN;
  return { first, p50: at(0.5), p99: at(0.99) };
}

/** Both in turns, so that both find the machine alike. Throws where their answers differ. */
async function measure({ name, query }: Case, ours: string, real: string) {
  const took: Record<string, number[]> = { [ours]: [], [real]: [] };
  const began = performance.now();
  let series = 0;
  // The first run warms up.
  for (let run = -1; run < RUNS && (run < 2 || performance.now() - began < CASE_MS_MAX); run++) {
    const texts: string[] = [];
    for (const origin of [ours, real]) {
      const start = performance.now();
      texts.push(await fetchAnswer(origin, query));
      took[origin]!.push(performance.now() - start);
    }
    const [own, other] = texts.map(toOutcome) as [ReturnType<typeof toOutcome>, ReturnType<typeof toOutcome>];
    const difference = differenceBetween(other, own, { tolerance: TOLERANCE });
    if (difference !== undefined) throw new Error(`${name}: ${difference}`);
    if ("error" in own) throw new Error(`${name}: ${own.error}`);
    series = "series" in own ? own.series.length : 1;
    if (series === 0) throw new Error(`${name}: an empty answer`);
  }
  return { series, own: toLatency(took[ours]!), other: toLatency(took[real]!), runs: took[ours]!.length - 1 };
}

async function printCases(title: string, cases: readonly Case[], ours: string, real: string): Promise<void> {
  const ms = (value: number): string => value.toFixed(1).padStart(8);
  const ratios: number[] = [];
  const firsts: number[] = [];
  console.log(
    `\n${title.padEnd(52)} series   first     p50     p99 |  Prom. first     p50     p99 |  ratio first  p50  p99  runs`,
  );
  for (const each of cases) {
    if (!PANELS.test(each.name)) continue;
    const { series, own, other, runs } = await measure(each, ours, real);
    const [first, p50, p99] = [own.first / other.first, own.p50 / other.p50, own.p99 / other.p99];
    ratios.push(p50);
    firsts.push(first);
    const values = [own, other].map((each) => ms(each.first) + ms(each.p50) + ms(each.p99)).join(" |     ");
    console.log(
      `  ${each.name.padEnd(50)} ${String(series).padStart(6)}${values} |   ${first.toFixed(1).padStart(9)}${p50.toFixed(1).padStart(5)}${p99.toFixed(1).padStart(5)} ${String(runs).padStart(5)}`,
    );
  }
  const median = (all: readonly number[]): string =>
    (all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN).toFixed(1);
  const within = ratios.filter((ratio) => ratio <= GOALS.ratio).length;
  console.log(
    `  ${within} of ${ratios.length} within ${GOALS.ratio} x Prometheus by p50; median ${median(ratios)}, worst ${Math.max(...ratios).toFixed(1)}, first runs ${median(firsts)}; load ${loadavg()[0]!.toFixed(1)}`,
  );
}

/** A query that may not hold what it asks for. */
async function printHeavy(role: BridgeProcess, ours: string, endMs: number): Promise<void> {
  const heavy: QueryCase = {
    query: '{__name__=~".+"}',
    times: { startMs: endMs - DAY_MS + HOUR_MS, endMs, stepMs: SCRAPE_MS },
  };
  const start = performance.now();
  const answer = JSON.parse(await fetchAnswer(ours, heavy)) as { status: string; error?: string };
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (answer.status !== "error") throw new Error("the heavy query was not refused");
  console.log(
    `\nEvery sample of a day, at most ${SAMPLES_MAX} allowed: "${answer.error}" after ${seconds} s`,
  );
  console.log(`  RSS of the query role at most ${costOf(role.pid).peakMb.toFixed(0)} MB`);
}

/** As the query role does it ten minutes after the last INSERT. */
async function rollUp(database: Database): Promise<void> {
  const { hours, durationMs } = await refreshRollups(database, {
    databaseName: DATABASE,
    settleMs: 0,
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  console.log(`${hours} hours rolled up in ${(durationMs / 1000).toFixed(0)} s`);
}

async function startEngine() {
  const folder = mkdtempSync(join(tmpdir(), "promql-bench-"));
  const child = spawn(process.execPath, [join(import.meta.dirname, "engine-server.ts"), folder, DATABASE], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
  const stop = async (): Promise<void> => {
    child.stdin.end();
    await once(child, "exit");
    rmSync(folder, { recursive: true, force: true });
  };
  const credentials = { CLICKHOUSE_USER: "default", CLICKHOUSE_PASSWORD: "" };
  return { environment: { CLICKHOUSE_URL: line.trim(), ...credentials }, stop };
}

async function startServer() {
  if (WITH_ENGINE) return await startEngine();
  const { CLICKHOUSE_URL, CLICKHOUSE_USER = "default", CLICKHOUSE_PASSWORD = "" } = process.env;
  if (CLICKHOUSE_URL !== undefined) {
    return { environment: { CLICKHOUSE_URL, CLICKHOUSE_USER, CLICKHOUSE_PASSWORD }, stop: async () => {} };
  }
  const credentials = { CLICKHOUSE_USER: "bud", CLICKHOUSE_PASSWORD: "bench-password" };
  const container = await new GenericContainer("clickhouse/clickhouse-server:26.9")
    .withEnvironment(credentials)
    .withExposedPorts(8123)
    .withWaitStrategy(Wait.forHttp("/ping", 8123))
    .start();
  const url = `http://${container.getHost()}:${container.getMappedPort(8123)}`;
  return {
    environment: { CLICKHOUSE_URL: url, ...credentials },
    stop: async () => void (await container.stop()),
  };
}

async function main(folder: string): Promise<void> {
  const panels = readPanels(folder);
  const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
  const world = createPromqlWorld(
    panels.map(({ expr }) => fillIn(expr, ONE.cluster, "120s")),
    { clusters: CLUSTERS, endMs, lengthMs: DAY_MS },
  );
  const since = (startMs: number): string => `${((performance.now() - startMs) / 1000).toFixed(0)} s`;
  await using started = new AsyncDisposableStack();
  const server = await startServer();
  started.defer(() => server.stop());
  const environment = { ...server.environment, CLICKHOUSE_DATABASE: DATABASE };
  const database = createClickHouse({
    url: environment.CLICKHOUSE_URL,
    user: environment.CLICKHOUSE_USER,
    password: createSecret(environment.CLICKHOUSE_PASSWORD),
    timeoutMs: 300_000,
    logger: createSilentLogger(),
  });
  started.defer(() => database.close());
  if (!WITH_ENGINE) await runToEnd({ ROLE: "migrate", ...environment });
  started.defer(() => database.command(`DROP DATABASE ${DATABASE}`));
  let start = performance.now();
  await storeWorld(database, DATABASE, world);
  console.log(
    `PromQL: ${CLUSTERS} clusters x ${world.series.length / CLUSTERS} series x 1 day at 30 s; stored in ClickHouse in ${since(start)}`,
  );
  await rollUp(database);
  start = performance.now();
  const prometheus = await startPrometheus();
  started.defer(() => prometheus.stop());
  await writeWorld(prometheus, world);
  if (!QUICK) await untilInBlocks(prometheus, endMs);
  console.log(`Written to Prometheus ${await prometheus.version()} in ${since(start)}`);
  const port = await freePort();
  const { NODE_OPTIONS = "" } = process.env;
  const role = await startBridge(
    {
      ROLE: "query",
      PROMQL_SAMPLES_MAX: String(SAMPLES_MAX),
      ROLLUP_INTERVAL: "10",
      NODE_OPTIONS,
      ...environment,
    },
    port,
  );
  started.defer(async () => void (await role.kill("SIGTERM")));
  const ours = `http://127.0.0.1:${port}`;
  for (const [title, cases] of Object.entries(toCases(panels, endMs)))
    await printCases(title, cases, ours, originOf(prometheus));
  const { peakMb } = costOf(role.pid);
  console.log(`\nRSS of the query role at most ${peakMb.toFixed(0)} MB (goal ${GOALS.rssMb})`);
  await printHeavy(role, ours, endMs);
}

const folder = process.env["DASHBOARDS_DIR"];
if (folder === undefined)
  console.log("PromQL: skipped; it needs the expressions of dashboards: DASHBOARDS_DIR");
else await main(folder);
