import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Cluster } from "#clusters/cluster.ts";
import { loadClustersFile } from "#clusters/clusters-file.ts";
import { openCredentials } from "#clusters/open-credentials.ts";
import { systemClock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { DEFAULT_QUERIES, toQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient } from "#prometheus/client.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import { startSimulator } from "#simulator/simulator.ts";
import type { Simulator } from "#simulator/simulator.ts";
import { openTunnel } from "#tunnel/dispatcher.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { startOtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

const NOW_MS = 1_700_000_000_000;
const folder = createTemporaryFolder();
let simulator: Simulator | undefined;

afterEach(async () => simulator?.stop());

async function load(path: string): Promise<Cluster[]> {
  const prometheus = { namespace: "x", service: "y", port: 1, scheme: "http" as const, pathPrefix: "" };
  return loadClustersFile(path, { prometheus, validateCerts: true });
}

/** Every sample as one text: labels, time, value bit for bit. */
function textsOf(
  labels: readonly (readonly [string, string])[],
  times: ArrayLike<number>,
  values: ArrayLike<number>,
  count: number,
): string[] {
  const head = JSON.stringify(labels.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return Array.from({ length: count }, (_, i) => {
    const bits = Buffer.alloc(8);
    bits.writeDoubleBE(values[i] ?? 0);
    return `${head} ${times[i]} ${bits.toString("hex")}`;
  });
}

function scannedTexts(series: ScannedSeries): string[] {
  const text = (from = 0, to = 0): string => Buffer.from(series.bytes.subarray(from, to)).toString("utf8");
  const labels: [string, string][] = [["__name__", text(series.nameStart, series.nameEnd)]];
  for (let i = 0; i < series.labelCount; i++) {
    const [a, b, c, d] = series.labels.subarray(4 * i, 4 * i + 4);
    labels.push([text(a, b), text(c, d)]);
  }
  return textsOf(labels, series.timestamps, series.values, series.sampleCount);
}

test("what the bridge reads through the port-forward is the truth, sample by sample", async () => {
  simulator = await startSimulator({ clock: createManualClock(NOW_MS), clusters: 2 });
  const path = join(folder, "clusters.yaml");
  writeFileSync(path, simulator.clustersFile());
  const [cluster] = await load(path);
  if (!cluster) throw new Error("no cluster was read");
  const { kubeConfig } = await openCredentials(cluster, undefined);
  const { signal } = new AbortController();
  const tunnel = await openTunnel(
    { kubeConfig, clock: systemClock, logger: createSilentLogger() },
    { clusterId: cluster.id, target: cluster.prometheus, lanes: 2, timeoutMs: 10_000 },
    signal,
  );
  const client = createPrometheusClient(
    { dispatcher: tunnel.dispatcher, clock: systemClock, turns: createTurns() },
    { origin: tunnel.origin, pathPrefix: "", timeoutMs: 10_000 },
  );
  const window = { fromMs: NOW_MS - 600_000, toMs: NOW_MS - 90_000 };
  const { world } = simulator.cluster(cluster.id);
  for (const query of toQueries(DEFAULT_QUERIES)) {
    const read: string[] = [];
    const sink = { series: (series: ScannedSeries) => void read.push(...scannedTexts(series)) };
    await client.read(query, window, { sink, pause: () => undefined }, signal);
    const expected = world
      .expected({ ...window, metric: query.promql })
      .flatMap(({ labels, timestamps, values }) => textsOf(labels, timestamps, values, values.length));
    expect(read.toSorted()).toEqual(expected.toSorted());
    // The simulated GPUs are NVIDIA's, without HAMi.
    expect(read.length > 0).toBe(!["gpu_amd", "gpu_hami"].includes(query.group));
  }
  expect(await client.now(signal)).toBe(NOW_MS);
  expect([...tunnel.nodeNames.values()]).toContain("sim-1-node-0");
  await tunnel.close();
  expect(simulator.faults.traffic("sim-2")).toMatchObject({ api: 0, tunnel: 0, prometheus: 0 });
});

test("npm run simulator writes its files, says what to do next and ends with Ctrl-C", async () => {
  const directory = join(folder, "run");
  const child = spawn(process.execPath, ["simulator/main.ts"], {
    env: { ...process.env, SIM_CLUSTERS: "2", SIM_DIR: directory },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  for await (const part of child.stdout as AsyncIterable<Buffer>) {
    said += part.toString("utf8");
    if (said.includes("Ctrl-C")) break;
  }
  expect(readdirSync(directory)).toEqual(["clusters.yaml", "sim-1.kubeconfig", "sim-2.kubeconfig"]);
  expect((await load(join(directory, "clusters.yaml"))).map(({ id }) => id)).toEqual(["sim-1", "sim-2"]);
  const url = /curl '([^']+)'/.exec(said)?.[1] ?? "";
  expect((await fetch(url)).status).toBe(200);
  const [, variables = ""] = /Collect from all of them: +(.*) npm start/.exec(said) ?? [];
  const given = Object.fromEntries(variables.split(" ").map((each) => each.split("="))) as Record<
    string,
    string
  >;
  const collector = await startOtlpCollector();
  const bridge = startBridgeChild({
    ...given,
    ROLE: "bridge",
    PORT: "0",
    DATA_DIR: join(folder, "data"),
    OTEL_COLLECTOR_ENDPOINT: collector.url,
  });
  expect(await bridge.collect()).toMatchObject({ total: 2, failed: 0 });
  bridge.signal("SIGTERM");
  await bridge.ended;
  await collector.stop();
  const exited = once(child, "exit");
  child.kill("SIGINT");
  expect(await exited).toEqual([0, null]);
});

test("a wrong number in the environment ends with exit code 78", async () => {
  const child = spawn(process.execPath, ["simulator/main.ts"], {
    env: { ...process.env, SIM_CLUSTERS: "many" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (part: Buffer) => (said += part.toString("utf8")));
  expect(await once(child, "close")).toEqual([78, null]);
  expect(said).toContain('SIM_CLUSTERS="many": a whole number from 1 to 300 is allowed');
});
