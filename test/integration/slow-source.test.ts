import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import {
  startSourcePrometheus,
  type SourcePrometheus,
  type SourceSeries,
  type StandIn,
} from "../helpers/source-prometheus.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The whole program and a Prometheus that compresses when it is asked to, behind a port-forward over a slow link and beside it over a fast one.

/** Far below the border of 4 MiB/s, whatever else this machine does. */
const SLOW_LINK = { bytesPerSecond: 500_000, roundTripMs: 10 };
const SERIES = 700;

interface Seen {
  cluster: string;
  query: string;
  encoding: string | undefined;
  bytes: number;
}

const folder = createTemporaryFolder();
let seen: Seen[] = [];
let prometheus: SourcePrometheus;
let simulator: Simulator;
let collector: OtlpCollector;
let child: BridgeChild;
let end = (): Promise<void> => Promise.resolve();

const compressing =
  (cluster: string): StandIn =>
  ({ request, response, form, data }) => {
    if (data === undefined) return false;
    const encoding = request.headers["accept-encoding"];
    const json = Buffer.from(JSON.stringify({ status: "success", data }));
    const body = encoding === "gzip" ? gzipSync(json) : json;
    seen.push({ cluster, query: form.get("query") ?? "", encoding, bytes: body.length });
    const headers = encoding === "gzip" ? { "content-encoding": "gzip" } : {};
    response.writeHead(200, { ...headers, "content-length": body.length }).end(body);
    return true;
  };

const series = (name: string): SourceSeries[] =>
  Array.from({ length: SERIES }, (_, i) => ({
    name,
    labels: { instance: `node-${i}`, job: "node-exporter" },
    valueAt: (timeMs) => i + (timeMs % 1_000_000) / 1000,
  }));

function start(): BridgeChild {
  const environment = {
    ROLE: "bridge",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(folder, "data"),
    CLUSTERS_FILE: join(folder, "clusters.yaml"),
    QUERIES_FILE: join(folder, "queries.yaml"),
    OTEL_COLLECTOR_ENDPOINT: collector.url,
    ALLOW_PRIVATE_API_SERVERS: "true",
    OWN_METRICS_INTERVAL: "0",
    QUERY_CONCURRENCY: "1",
  };
  return startBridgeChild(environment, [], { atEnd: (kill) => (end = kill) });
}

beforeAll(async () => {
  collector = await startOtlpCollector();
  const names = ["node_load1", "node_load5", "node_load15"];
  prometheus = await startSourcePrometheus(
    names.flatMap(series),
    {},
    { slow: compressing("slow"), fast: compressing("fast") },
  );
  simulator = await startSimulator({
    clusters: 1,
    shape: { nodes: 1, pods: 0 },
    realPrometheus: { host: "127.0.0.1", port: prometheus.port },
  });
  await simulator.faults.set("sim-1", { layer: "tunnel", kind: "slow", ...SLOW_LINK });
  const clusters = [
    { id: "slow", kubeconfig: simulator.cluster("sim-1").kubeconfig, prometheus: { path_prefix: "/slow" } },
    { id: "fast", prometheus: { url: `http://127.0.0.1:${prometheus.port}/fast` } },
  ];
  writeFileSync(join(folder, "clusters.yaml"), JSON.stringify({ clusters }));
  const queries = names.map((name) => ({ name, group: "test" }));
  writeFileSync(join(folder, "queries.yaml"), JSON.stringify({ extends: "none", queries }));
  child = start();
}, 60_000);

afterAll(async () => {
  await end();
  await simulator?.stop();
  await prometheus?.stop();
  await collector?.stop();
});

const large = (cluster: string): Seen[] =>
  seen.filter((each) => each.cluster === cluster && each.query.includes("node_load") && each.bytes > 20_000);

test("over a slow link, answers are asked for compressed as soon as that is known: a tenth of the bytes", async () => {
  const round = await child.collect();
  expect(round).toMatchObject({ successful: 2 });
  const [first, ...rest] = large("slow");
  expect(first).toMatchObject({ encoding: undefined });
  expect(rest.length).toBeGreaterThanOrEqual(2);
  for (const each of rest) {
    expect(each.encoding).toBe("gzip");
    expect(each.bytes).toBeLessThan(first!.bytes / 5);
  }
  expect(new Set(seen.filter(({ cluster }) => cluster === "fast").map(({ encoding }) => encoding))).toEqual(
    new Set([undefined]),
  );
  // Of both clusters, 15 minutes of INITIAL_LOOKBACK: a sample every 30 s.
  expect(round.points).toBeGreaterThanOrEqual(2 * 3 * SERIES * 29);
}, 240_000);

test("the speed of the link is remembered: after a restart, the first answer is compressed", async () => {
  await end();
  seen = [];
  child = start();
  await child.collect();
  const asked = (cluster: string): Set<string | undefined> =>
    new Set(
      seen.filter((each) => each.cluster === cluster && each.query !== "").map(({ encoding }) => encoding),
    );
  expect(asked("slow")).toEqual(new Set(["gzip"]));
  expect(asked("fast")).toEqual(new Set([undefined]));
}, 240_000);
