import { afterEach, beforeEach, expect, it } from "vitest";
import type { Fault } from "#simulator/fault-kinds.ts";
import type { Flood } from "#simulator/flood.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { startWatchedBridge } from "../helpers/watched-bridge.ts";

const MIB = 1 << 20;
/** The chart's limit of the bridge's memory. */
const RSS_BYTES_MAX = 1024 * MIB;
const HELD_MS_MAX = 100;
const CLUSTERS = 10;
const HOSTILE = "sim-1";
const folder = createTemporaryFolder();

let simulator: Simulator;
let collector: OtlpCollector;

beforeEach(async () => {
  simulator = await startSimulator({ clusters: CLUSTERS, shape: { nodes: 1, pods: 2, cpus: 1, gpus: 0 } });
  collector = await startOtlpCollector();
});

afterEach(async () => {
  await collector.stop();
  await simulator.stop();
});

function api(resource: string, flood: Flood): Fault {
  return { layer: "api", kind: "flood", resource, flood };
}

function prometheus(path: string, flood: Flood): Fault {
  return { layer: "prometheus", kind: "flood", path, flood };
}

/** The samples of one metric, not the small questions beside them. */
function samples(flood: Flood): Fault {
  return { layer: "prometheus", kind: "flood", query: "node_load15[", flood };
}

/** Some of these samples are in the window of a round that begins now: it ends 90 s ago. */
function recentSamples(): string {
  const now = Math.floor(Date.now() / 1000);
  return [-93, -92, -91, -90].map((seconds) => `[${now + seconds},"1"]`).join(",");
}
const MATRIX = '{"status":"success","data":{"resultType":"matrix","result":[';

/** The answers of one cluster, round by round. */
const WORST: readonly (readonly [name: string, fault: Fault | (() => Fault)])[] = [
  [
    "millions of empty EndpointSlices",
    api("endpointslices", { open: '{"items":[', piece: "{},", close: "]}", bytes: 31 * MIB }),
  ],
  [
    "endless endpoints of one slice",
    api("endpointslices", {
      open: '{"items":[{"endpoints":[',
      piece: '{"targetRef":{"kind":"Pod","name":"p#"}},',
      bytes: 31 * MIB,
    }),
  ],
  ["deep brackets of a Service", api("services", { open: '{"spec":', piece: "[", bytes: 16 * MIB })],
  [
    "6 MiB of a Service's ports",
    api("services", {
      open: '{"spec":{"selector":{"a":"b"},"ports":[',
      piece: `{"name":"p#${"x".repeat(500)}","port":1},`,
      close: "]}}",
      bytes: 6 * MIB,
    }),
  ],
  [
    "millions of nodes",
    api("nodes", { open: '{"items":[', piece: '{"metadata":{"name":"n#"}},', close: "]}", bytes: 31 * MIB }),
  ],
  [
    "60 MiB of metadata",
    prometheus("/api/v1/metadata", {
      open: '{"status":"success","data":{',
      piece: '"metric_#":[{"type":"counter","help":"h","unit":""}],',
      bytes: 60 * MIB,
    }),
  ],
  [
    "brackets as metadata",
    prometheus("/api/v1/metadata", { open: '{"status":"success","data":', piece: '{"a":', bytes: 16 * MIB }),
  ],
  [
    "metadata behind chunk extensions",
    prometheus("/api/v1/metadata", {
      open: '{"status":"success","data":{',
      piece: " ",
      bytes: 16 * MIB,
      extensionBytes: 16_000,
    }),
  ],
  [
    "samples behind chunk extensions",
    samples({ open: MATRIX, piece: " ", bytes: 16 * MIB, extensionBytes: 16_000 }),
  ],
  ["brackets as series", samples({ open: MATRIX, piece: "[", bytes: 16 * MIB })],
  ["one label of 50 MB", samples({ open: `${MATRIX}{"metric":{"a":"`, piece: "x", bytes: 50 * MIB })],
  [
    "a million series without samples",
    samples({ open: MATRIX, piece: '{"metric":{"a":"#"},"values":[]},', close: "]}}", bytes: 32 * MIB }),
  ],
  [
    "a series a byte at a time",
    samples({ open: `${MATRIX}{"metric":{"a":"`, piece: "x", bytes: 64 << 10, extensionBytes: 0 }),
  ],
  [
    "a million names of metrics",
    () =>
      samples({
        open: MATRIX,
        piece: `{"metric":{"__name__":"name_of_a_metric_#"},"values":[${recentSamples()}]},`,
        close: "]}}",
        bytes: 64 * MIB,
      }),
  ],
];

it("the worst answers of one cluster of ten: the others are collected, the loop turns, memory stays within the chart's limit", async () => {
  // The flood is one of the query API.
  const child = startWatchedBridge(folder, { simulator, collector }, { REMOTE_READ: "off" });
  await child.url;
  // Compiles what it needs.
  expect(await child.collect()).toMatchObject({ total: CLUSTERS, successful: CLUSTERS });
  const others: unknown[] = [];
  const figures: string[] = [];
  for (const [name, fault] of WORST) {
    child.watch();
    await simulator.faults.set(HOSTILE, typeof fault === "function" ? fault() : fault);
    const { clusters } = await child.collect();
    others.push(
      ...clusters.filter(({ cluster_id, outcome }) => cluster_id !== HOSTILE && outcome !== "successful"),
    );
    const { heldMs, rssBytes } = child.watched();
    figures.push(`${name}: loop held ${Math.round(heldMs)} ms, ${Math.round(rssBytes / MIB)} MiB`);
    expect.soft(heldMs, name).toBeLessThan(HELD_MS_MAX);
    expect.soft(rssBytes, name).toBeLessThan(RSS_BYTES_MAX);
  }
  const hostile = (await child.status()).clusters.find(({ cluster_id }) => cluster_id === HOSTILE);
  expect(hostile?.last_error?.code).toBe("prometheus_too_many_metrics");
  process.stdout.write(`${figures.join("\n")}\n`);
  expect(others).toEqual([]);
  expect(JSON.stringify(hostile).length).toBeLessThan(64 << 10);
  await simulator.faults.clear(HOSTILE);
  expect(await child.collect()).toMatchObject({ total: CLUSTERS, successful: CLUSTERS });
  expect(child.stderr()).toBe("");
}, 180_000);
