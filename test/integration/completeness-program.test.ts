import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { createApp, type App } from "#app/app.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { loadConfig } from "../../src/config.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { METRICS, SMALL } from "../helpers/test-bridge.ts";

// The whole program as all-in-one: what the bridge knows of a simulated cluster, and what its query role answers from ClickHouse.

const TIMEOUT_MS = 300_000;
const MINUTE = 60_000;

interface Stretch {
  query: string;
  to: string;
  state: string;
  source: number | null;
  read: number;
  acknowledged: number;
}
interface Answer {
  totals: { source: number; acknowledged: number; stretches: Record<string, number> };
  hours: unknown[];
  stretches: Stretch[];
  last_error: { code: string; hint: string } | null;
  sources: unknown[];
}

let simulator: Simulator;
let app: App;
let url: string;
beforeAll(async () => {
  simulator = await startSimulator({ clusters: 1, shape: SMALL });
  const folder = createTemporaryFolder();
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const queries = [
    ...METRICS.map((name) => ({ name, group: "test" })),
    { name: "series_up", promql: "sum(up)", group: "test" },
  ];
  const config = loadConfig({
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: write("clusters.yaml", simulator.clustersFile()),
    QUERIES_FILE: write("queries.yaml", stringify({ extends: "none", queries })),
    API_SERVER_CIDRS: "127.0.0.1",
    OWN_METRICS_INTERVAL: "0",
    INITIAL_LOOKBACK: "30m",
    PROOF_STRETCH: "1m",
    PROOF_DELAY: "0",
  });
  app = createApp(config, createSilentLogger(), { work: "local" });
  ({ url } = await app.start());
}, TIMEOUT_MS);
afterAll(async () => {
  await app.stop();
  await simulator.stop();
});

async function collect(): Promise<void> {
  const round = await fetch(`${url}/metrics/collect-all?wait=true`, { method: "POST" });
  expect(round.status).toBe(200);
  await round.text();
}

async function get(path: string): Promise<Answer> {
  const answer = await fetch(`${url}${path}`);
  const text = await answer.text();
  expect([answer.status, answer.status === 200 ? "" : text]).toEqual([200, ""]);
  return JSON.parse(text) as Answer;
}

test(
  "the bridge and the query role give the same stretches, numbers and hours, and prove most of them",
  async () => {
    const startedMs = Date.now();
    await collect();
    await collect();
    // Stretches that ended before the first collection, and reach back behind its look-back.
    const range = `from=${startedMs / 1000 - 2400}&to=${Math.floor(startedMs / MINUTE) * 60 - 240}`;
    const bridge = await get(`/metrics/completeness?cluster=sim-1&${range}`);
    const query = await get(`/cluster-metrics/sim-1/completeness?${range}`);
    const sorted = ({ stretches }: Answer): Stretch[] =>
      stretches.toSorted((a, b) => (`${a.to} ${a.query}` < `${b.to} ${b.query}` ? -1 : 1));
    expect(sorted(query)).toEqual(sorted(bridge));
    expect({ totals: query.totals, hours: query.hours }).toEqual({
      totals: bridge.totals,
      hours: bridge.hours,
    });
    expect(bridge.stretches.length).toBeGreaterThan(20 * (METRICS.length + 1));
    const proved = bridge.stretches.filter(({ state }) => state === "proved");
    expect(proved.length).toBeGreaterThan(20 * METRICS.length);
    for (const { source, read, acknowledged } of proved) expect([source, read]).toEqual([read, acknowledged]);
    expect(bridge.totals.acknowledged).toBeGreaterThan(0);
    expect(bridge.totals.stretches["not_comparable"]).toBeGreaterThan(20);
    expect(query).toMatchObject({ last_error: null, sources: [{ transport: "tunnel_query" }] });
  },
  TIMEOUT_MS,
);

test(
  "the query role has the last error of a cluster, with its remedy, until it is over",
  async () => {
    await simulator.faults.set("sim-1", { layer: "api", kind: "status", status: 401 });
    await collect();
    expect((await get("/cluster-metrics/sim-1/completeness")).last_error).toMatchObject({
      code: "cluster_unauthorized",
      hint: expect.stringMatching(/./),
    });
    await simulator.faults.clear("sim-1");
    await collect();
    expect((await get("/cluster-metrics/sim-1/completeness")).last_error).toBeNull();
  },
  TIMEOUT_MS,
);
