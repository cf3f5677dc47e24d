import { createHash } from "node:crypto";
import { once } from "node:events";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RoundResult } from "#collect/status.ts";
import { startSimulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { GrafanaClient, type TimeRange } from "../helpers/grafana-client.ts";
import type { Dashboard } from "../helpers/grafana.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL } from "../helpers/test-bridge.ts";

// This program's dashboards, asked as Grafana asks, over two simulated clusters.

const READ = "read-token-0123456789";
const ONE = "one-cluster-token-0123456789";
const COLLECT = "collect-token-0123456789";
const FOLDER = join(import.meta.dirname, "..", "..", "helm", "files", "dashboards");
const DASHBOARDS = globSync("*.json", { cwd: FOLDER }).map(
  (file) => JSON.parse(readFileSync(join(FOLDER, file), "utf8")) as Dashboard,
);

/** Nothing is wrong there, or the simulator does not have it. */
const MAY_BE_EMPTY = [
  "Clusters, query 7",
  "Deployments: unavailable replicas",
  "Errors of the last collections",
  "First credentials end in",
  "Last XID error",
  "Longest gaps",
  "Node conditions that are not as they should be",
  "Read-only filesystems",
  "Container restarts per hour",
  "Restarts per hour",
  "Stretches that are not proved",
];

/** Of the panels' ranges at most. */
const STEP_MS = 15_000;

let url: string;
let range: TimeRange;
const started = new AsyncDisposableStack();

beforeAll(async () => {
  const folder = createTemporaryFolder();
  const simulator = await startSimulator({ clusters: 2, shape: { ...SMALL, gpus: 2 } });
  started.defer(() => simulator.stop());
  writeFileSync(join(folder, "clusters.yaml"), simulator.clustersFile());
  const tokens = [
    { name: "grafana", token: READ, scopes: ["read"] },
    { name: "one", token: ONE, scopes: ["read"], clusters: ["sim-2"] },
    { name: "operator", token: COLLECT, scopes: ["collect"] },
  ].map(({ token, ...rest }) => ({ ...rest, sha256: createHash("sha256").update(token).digest("hex") }));
  writeFileSync(join(folder, "tokens.yaml"), JSON.stringify(tokens), { mode: 0o600 });
  const environment = {
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: join(folder, "clusters.yaml"),
    API_TOKENS_FILE: join(folder, "tokens.yaml"),
    ALLOW_PRIVATE_API_SERVERS: "true",
    // Grafana would look at a time at which all samples are there; what the bridge says of itself is from now.
    COLLECTION_LAG: "5",
    OWN_METRICS_INTERVAL: "0",
    METRICS_COLLECTION_TIMEOUT: "60",
    EXPORT_TIMEOUT: "60",
    QUERY_TIMEOUT: "60",
  };
  const child = startBridgeChild(environment, [], { atEnd: (kill) => started.defer(kill) });
  url = await child.url;
  const headers = { authorization: `Bearer ${COLLECT}` };
  // Two, or what the bridge counts has no rate.
  for (let round = 0; round < 2; round++) {
    const answer = await fetch(`${url}/metrics/collect-all?wait=true`, { method: "POST", headers });
    const { successful } = ((await answer.json()) as { round: RoundResult }).round;
    if (successful !== 2) throw new Error(`${successful} clusters were collected`);
  }
  // The end is the next step but one: both rounds lie before it, and samples are no older than the look-back.
  const toMs = (Math.floor(Date.now() / STEP_MS) + 2) * STEP_MS;
  range = { fromMs: toMs - 900_000, toMs };
}, 120_000);

afterAll(() => started.disposeAsync());

test("Save & test finds a Prometheus", async () => {
  const client = new GrafanaClient(url, READ);
  expect(await client.saveAndTest()).toEqual({
    sum: [4, "2"],
    version: expect.stringMatching(/^3\.\d+\.\d+/),
    isMimir: false,
  });
  await expect(new GrafanaClient(url, "wrong-token-0123456789").saveAndTest()).rejects.toThrow(/401/);
});

test.each(DASHBOARDS.map((dashboard) => ({ title: dashboard.title, dashboard })))(
  "$title has its variables, and each panel its data",
  async ({ dashboard }) => {
    const client = new GrafanaClient(url, READ);
    const { offered, chosen } = await client.variables(dashboard, range);
    expect(offered["cluster"]).toEqual(["frankfurt", "oregon"]);
    for (const [name, values] of Object.entries(offered))
      expect([name, values.length]).not.toEqual([name, 0]);
    const empty: string[] = [];
    for (const panel of dashboard.panels) {
      const results = await client.panel(panel, chosen, range);
      for (const [i, result] of results.entries())
        if (result.length === 0) empty.push(i === 0 ? panel.title : `${panel.title}, query ${i + 1}`);
    }
    expect(empty.filter((title) => !MAY_BE_EMPTY.includes(title))).toEqual([]);
    const forms = new Set(client.requests.map((each) => each.replace(/label\/\w+/, "label/NAME")));
    for (const each of forms)
      expect(["GET label/NAME/values", "POST query", "POST query_range"]).toContain(each);
  },
);

test("a token for one cluster sees nothing of the other", async () => {
  const fleet = DASHBOARDS.find(({ uid }) => uid === "budcluster-fleet")!;
  const client = new GrafanaClient(url, ONE);
  const { panels } = fleet;
  expect((await client.variables(fleet, range)).offered).toEqual({ cluster: ["oregon"] });
  for (const panel of panels)
    for (const result of await client.panel(panel, {}, range))
      expect(JSON.stringify(result)).not.toMatch(/sim-1|frankfurt/);
});

test("the query editor's calls work by POST, and by GET behind a proxy that refuses POST", async () => {
  const proxy = createServer((incoming, outgoing) => {
    if (incoming.method === "POST") {
      outgoing.writeHead(405).end();
      return;
    }
    const { headers, url: path = "/" } = incoming;
    request(`${url}${path}`, { headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(outgoing);
    }).end();
  }).listen(0, "127.0.0.1");
  started.defer(async () => void (await new Promise((done) => proxy.close(done))));
  await once(proxy, "listening");
  const behind = new GrafanaClient(`http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, READ);
  const direct = new GrafanaClient(url, READ);
  const form = {
    "match[]": 'up{cluster="oregon"}',
    start: String(range.fromMs / 1000),
    end: String(range.toMs / 1000),
  };
  for (const path of ["labels", "series"] as const) {
    const expected = await direct.resource(path, form);
    expect(expected.length).toBeGreaterThan(0);
    expect(await behind.resource(path, form)).toEqual(expected);
  }
  expect(direct.requests).toEqual(["POST labels", "POST series"]);
  expect(behind.requests).toEqual(["POST labels", "GET labels", "POST series", "GET series"]);
});

test("there is a dashboard for each file", () => {
  expect(DASHBOARDS.map(({ uid }) => uid)).toEqual(
    globSync("*.json", { cwd: FOLDER }).map((file) => basename(file, ".json")),
  );
});
