import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getContainerRuntimeClient } from "testcontainers";
import { DEFAULT_QUERIES } from "#prometheus/catalogue.ts";
import { startSimulator } from "#simulator/simulator.ts";
import type { WrittenPrometheus } from "../e2e/prometheus.ts";
import { measureRound, startCollector, type RoundCost } from "./bridge-process.ts";
import { DAY_MS, fillPrometheus, metricOf } from "./filled-prometheus.ts";
import { TRANSPORTS, type TransportCost, type TransportName, type TransportTask } from "./transport-cost.ts";

// The same samples of a real Prometheus by the query API (plain and gzip) and by remote read (SAMPLES and chunks): bytes, CPU of both sides, memory. Then a whole
// bridge at a cluster of 10,000 series. The figures of docs/decisions/0032-remote-read.md. Needs Docker and the image of Prometheus. Other programs on the machine lengthen
// times, so the transports take turns, and CPU time is what counts: the least of the runs.

const QUICK = process.env["BENCH_QUICK"] === "1";
const RUNS = QUICK ? 1 : 2;
const HOUR_MS = 3_600_000;
const LENGTH_MS = QUICK ? 3 * HOUR_MS : DAY_MS;
const SAMPLES_MIN = QUICK ? 20_000 : 200_000;
const SCRAPES = [5, 15, 30];
const ROUND_MS = 5 * 60_000;
/** Fifteen minutes for the border between the forms. */
const WINDOWS_MS = [ROUND_MS, 15 * 60_000, HOUR_MS, LENGTH_MS];
/** Counters, whole and fractional gauges, and constants; the container_* ones have time stamps of their own. */
const METRICS = [
  "container_cpu_usage_seconds_total",
  "container_memory_working_set_bytes",
  "node_cpu_seconds_total",
  "DCGM_FI_DEV_GPU_UTIL",
  "DCGM_FI_DEV_POWER_USAGE",
  "kube_pod_info",
  "kube_pod_status_phase",
];
const SHAPE = { nodes: 2, pods: 20, gpus: 8, cpus: 2 };
const CLUSTER_SHAPE = { nodes: 20, pods: QUICK ? 50 : 330, gpus: 4, cpus: 8, scrapeIntervalMs: 30_000 };
const GOALS = { bytes: 1 / 4, cpu: 2 / 3, backfillSeconds: 180 };

/** Undefined: the form can't hold the answer. */
async function costOf(task: TransportTask): Promise<TransportCost | undefined> {
  const file = join(import.meta.dirname, "transport-cost.ts");
  const child = spawn(process.execPath, [file, JSON.stringify(task)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`reading by ${task.transport} failed`);
  return (JSON.parse(text) as TransportCost | null) ?? undefined;
}

function leastOf(costs: readonly TransportCost[]): TransportCost | undefined {
  const least = (name: keyof TransportCost): number => Math.min(...costs.map((cost) => cost[name]));
  if (costs.length === 0) return undefined;
  return {
    samples: costs[0]!.samples,
    wireBytes: least("wireBytes"),
    sourceSeconds: least("sourceSeconds"),
    bridgeSeconds: least("bridgeSeconds"),
    peakMb: least("peakMb"),
  };
}

async function compareTransports(prometheus: WrittenPrometheus, endMs: number): Promise<void> {
  console.log(
    "Per sample: bytes received, microseconds of CPU of Prometheus and of the bridge; peak RSS of the reader",
  );
  console.log("window scrape transport    samples   B/sample  source us  bridge us  peak MB");
  for (const scrape of SCRAPES) {
    for (const windowMs of WINDOWS_MS) {
      const found = new Map<TransportName, TransportCost[]>(TRANSPORTS.map((name) => [name, []]));
      for (let run = 0; run < RUNS; run++) {
        for (const transport of TRANSPORTS) {
          const cost = await costOf({
            transport,
            address: prometheus.address,
            metrics: METRICS,
            scrape: `${scrape}s`,
            window: { fromMs: endMs - windowMs, toMs: endMs },
            samplesMin: SAMPLES_MIN,
          });
          if (cost) found.get(transport)!.push(cost);
        }
      }
      for (const [transport, costs] of found) {
        const head = `${windowName(windowMs).padStart(6)} ${`${scrape} s`.padStart(6)} ${transport.padEnd(9)}`;
        console.log(`${head} ${lineOf(leastOf(costs))}`);
      }
    }
  }
}

function windowName(ms: number): string {
  return ms < HOUR_MS ? `${ms / 60_000} min` : `${ms / HOUR_MS} h`;
}

function lineOf(cost: TransportCost | undefined): string {
  if (!cost) return "  an answer is larger than this form is read";
  const { samples, wireBytes, sourceSeconds, bridgeSeconds, peakMb } = cost;
  const micros = (seconds: number): string => ((seconds / samples) * 1e6).toFixed(2).padStart(10);
  const bytes = (wireBytes / samples).toFixed(2).padStart(10);
  return `${samples.toFixed(0).padStart(10)} ${bytes} ${micros(sourceSeconds)} ${micros(bridgeSeconds)} ${peakMb.toFixed(0).padStart(8)}`;
}

/**
 * A port that leads to the address, and counts the bytes that come back. Answers are not compressed, as over a fast link: on a busy machine, the bridge
 * would take this one for a slow one.
 */
async function startCounter({ host, port }: WrittenPrometheus["address"]) {
  let bytes = 0;
  const server = createServer((client) => {
    const source = connect(port, host);
    source.on("data", (chunk: Buffer) => (bytes += chunk.length));
    client.on("data", (chunk: Buffer) => {
      const asked = chunk.toString("latin1").replaceAll(/accept-encoding: gzip/gi, "accept-encoding: none");
      source.write(Buffer.from(asked, "latin1"));
    });
    client.on("close", () => source.destroy());
    source.pipe(client);
    client.on("error", () => source.destroy());
    source.on("error", () => client.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, port: (server.address() as AddressInfo).port, bytes: () => bytes };
}

interface Collection {
  remoteRead: "auto" | "off";
  lookbackMs: number;
  windowMsMax: number;
  compression?: "none";
}

type BridgeCost = Pick<RoundCost, "points" | "cpuSeconds" | "duration_seconds" | "peakMb" | "series"> & {
  wireBytes: number;
  sourceSeconds: number;
};

/** Collects through TLS and a port-forward, as in a cluster. */
async function collect(prometheus: WrittenPrometheus, collection: Collection): Promise<BridgeCost> {
  const folder = mkdtempSync(join(tmpdir(), "bench-transports-"));
  const collector = await startCollector();
  const counter = await startCounter(prometheus.address);
  const realPrometheus = { host: "127.0.0.1", port: counter.port };
  const simulator = await startSimulator({ clusters: 1, realPrometheus });
  try {
    const clustersFile = join(folder, "clusters.yaml");
    writeFileSync(clustersFile, simulator.clustersFile());
    const source = await metricOf(prometheus, "process_cpu_seconds_total");
    const cost = await measureRound(join(folder, "data"), {
      CLUSTERS_FILE: clustersFile,
      ALLOW_PRIVATE_API_SERVERS: "true",
      OTEL_COLLECTOR_ENDPOINT: collector.url,
      INITIAL_LOOKBACK: String(collection.lookbackMs / 1000),
      MAX_QUERY_WINDOW: `${collection.windowMsMax / 60_000}m`,
      REMOTE_READ: collection.remoteRead,
      PROOF_STRETCH: "0",
      OTLP_COMPRESSION: collection.compression ?? "gzip",
    });
    const sourceSeconds = (await metricOf(prometheus, "process_cpu_seconds_total")) - source;
    return { ...cost, wireBytes: counter.bytes(), sourceSeconds };
  } finally {
    await simulator.stop();
    counter.server.close();
    collector.server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const isMet = (met: boolean): string => (met ? "met" : "MISSED");

/**
 * Rounds of five minutes in a bridge that has run for a while: what a collection of several windows of that length costs more than one of fewer. The
 * first windows pay for the start and for compiling.
 */
async function compareRounds(prometheus: WrittenPrometheus, compression?: "none"): Promise<void> {
  const sizes = QUICK ? ([0.5, 1] as const) : ([1, 3] as const);
  const costs = { off: [] as BridgeCost[], auto: [] as BridgeCost[] };
  const of = async (remoteRead: "off" | "auto", hours: number): Promise<BridgeCost> => {
    const given = compression ? { compression } : {};
    const collection = { remoteRead, lookbackMs: hours * HOUR_MS, windowMsMax: ROUND_MS, ...given };
    return await collect(prometheus, collection);
  };
  for (let run = 0; run < RUNS; run++)
    for (const mode of ["off", "auto"] as const)
      costs[mode].push(moreOf(await of(mode, sizes[0]), await of(mode, sizes[1])));
  const title = `rounds of 5 min at 30 s${compression ? ", OTLP not compressed" : ""}`;
  const [off, auto] = (["off", "auto"] as const).map((mode) => {
    const perSample = (name: "wireBytes" | "cpuSeconds" | "sourceSeconds"): number =>
      Math.min(...costs[mode].map((cost) => cost[name] / cost.points));
    const cost = { bytes: perSample("wireBytes"), cpu: perSample("cpuSeconds") };
    const { points, peakMb } = costs[mode][0]!;
    console.log(
      `${title}, ${mode === "off" ? "query API" : "remote read"}: ${points} samples; for each ${cost.bytes.toFixed(2)} B, ${(cost.cpu * 1e6).toFixed(2)} us of the bridge's CPU, ${(perSample("sourceSeconds") * 1e6).toFixed(2)} us of Prometheus'; peak ${peakMb.toFixed(0)} MB`,
    );
    return cost;
  });
  const bytes = auto!.bytes / off!.bytes;
  const cpu = auto!.cpu / off!.cpu;
  console.log(
    `${title}: ${bytes.toFixed(2)} of the query API's bytes (goal ${GOALS.bytes.toFixed(2)}: ${isMet(bytes <= GOALS.bytes)}), ${cpu.toFixed(2)} of its CPU (goal ${GOALS.cpu.toFixed(2)}: ${isMet(cpu <= GOALS.cpu)})`,
  );
}

function moreOf(less: BridgeCost, more: BridgeCost): BridgeCost {
  return {
    ...more,
    points: more.points - less.points,
    cpuSeconds: more.cpuSeconds - less.cpuSeconds,
    wireBytes: more.wireBytes - less.wireBytes,
    sourceSeconds: more.sourceSeconds - less.sourceSeconds,
  };
}

async function compareBridges(): Promise<void> {
  const labels = {};
  const metrics = ["up", ...DEFAULT_QUERIES.map(({ name }) => name)];
  const prometheus = await fillPrometheus([{ shape: CLUSTER_SHAPE, labels, metrics }], Date.now(), LENGTH_MS);
  try {
    const backfill = { lookbackMs: LENGTH_MS, windowMsMax: HOUR_MS };
    for (const remoteRead of ["off", "auto"] as const) {
      const {
        points,
        series,
        duration_seconds: seconds,
        ...cost
      } = await collect(prometheus, { ...backfill, remoteRead });
      const goal =
        remoteRead === "auto"
          ? ` (goal ${GOALS.backfillSeconds} s: ${isMet(seconds < GOALS.backfillSeconds)})`
          : "";
      console.log(
        `back-fill of ${windowName(LENGTH_MS)} at 30 s, ${remoteRead === "off" ? "query API" : "remote read"}: ${Math.round(series / (LENGTH_MS / HOUR_MS))} series, ${points} samples in ${seconds.toFixed(0)} s${goal}; ${(cost.wireBytes / points).toFixed(2)} B a sample, CPU ${cost.cpuSeconds.toFixed(0)} s of the bridge and ${cost.sourceSeconds.toFixed(0)} s of Prometheus, peak ${cost.peakMb.toFixed(0)} MB`,
      );
    }
    await compareRounds(prometheus);
    await compareRounds(prometheus, "none");
  } finally {
    await prometheus.stop();
  }
}

async function main(): Promise<void> {
  try {
    await getContainerRuntimeClient();
  } catch (error) {
    console.log(`Transports: skipped, there is no Docker for a real Prometheus (${String(error)})`);
    return;
  }
  const endMs = Date.now();
  const fillings = SCRAPES.map((seconds) => ({
    shape: { ...SHAPE, scrapeIntervalMs: seconds * 1000 },
    labels: { scrape: `${seconds}s` },
    metrics: METRICS,
  }));
  const prometheus = await fillPrometheus(fillings, endMs, LENGTH_MS);
  try {
    await compareTransports(prometheus, endMs);
  } finally {
    await prometheus.stop();
  }
  await compareBridges();
}

await main();
