import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ClusterResult, ClusterStatus } from "#collect/status.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import { FAKE_STORE, startFakeDapr, type FakeDapr } from "../helpers/fake-dapr.ts";
import { ACCEPT, startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { bridgeEnvironment, METRICS } from "../helpers/test-bridge.ts";
import { compareWithExpected } from "../helpers/expected-samples.ts";
import type { Behaviour, Lift } from "./behaviour.ts";
import { HEAP_MIB, MEMORY_BYTES_MAX, PROBE_MS } from "./chart.ts";

export const HOSTILE = "sim-1";
const GOOD = ["sim-2", "sim-3"];
/** Processor time of the main thread between two turns of its event loop. */
const HELD_MS_MAX = 100;
/** What the status tells of one cluster, however much that cluster talks. */
const STATUS_BYTES_MAX = 64 << 10;
const PROBE_PAUSE_MS = 100;
/** Between the begins of two rounds: a shorter window may have nothing to read, and then nothing hostile is met. */
const WINDOW_MS_MIN = 1500;
const MIB = 1 << 20;
/** A sample each second, so that each round has some. */
const SHAPE = { nodes: 1, pods: 2, cpus: 1, gpus: 0, scrapeIntervalMs: 1000, jitterMs: 20, lateMs: 5000 };

/** The program in a process of its own with the chart's limits, between three clusters, a Collector and a state store. */
export interface Stage {
  simulator: Simulator;
  collector: OtlpCollector;
  /** Absent: the state is in DATA_DIR. */
  dapr: FakeDapr | undefined;
  /** A secret that the Collector is sent. */
  child(): BridgeChild;
  /** Everything that was found wrong; nothing when the behaviour is harmless and told as it should be. */
  judge(behaviour: Behaviour): Promise<string[]>;
  /** As `judge`, by a program of its own with the behaviour's limit switched off. */
  judgeLifted(behaviour: Behaviour): Promise<string[]>;
  /** "name: figures" of every behaviour that was judged. */
  figures: string[];
  stop(): Promise<void>;
}

interface StageSettings {
  environment?: Record<string, string>;
  withDapr?: true;
}

interface Program {
  child: BridgeChild;
  watched: string;
  kill(): Promise<void>;
}

export async function startStage({ environment = {}, withDapr }: StageSettings = {}): Promise<Stage> {
  const simulator = await startSimulator({ clusters: 3, shape: SHAPE });
  const collector = await startOtlpCollector();
  const dapr = withDapr && (await startFakeDapr());
  const folder = mkdtempSync(join(tmpdir(), "hostile-"));

  let roundBegan = 0;
  const startProgram = async (lift?: Lift): Promise<Program> => {
    const directory = mkdtempSync(join(folder, "run-"));
    const watched = join(directory, "watched.json");
    const lifted = lift && "env" in lift ? lift.env : {};
    const sources = lift && "source" in lift ? lift.source : [];
    const options = [
      `--max-old-space-size=${HEAP_MIB}`,
      `--import=${resolve("test/helpers/watch-loop.ts")}`,
      ...(sources.length > 0 ? [`--import=${resolve("test/hostile/lift.ts")}`] : []),
      ...("NODE_OPTIONS" in lifted ? [lifted["NODE_OPTIONS"]] : []),
    ];
    let kill = async (): Promise<void> => {};
    dapr?.records.clear();
    const child = startBridgeChild(
      {
        ...bridgeEnvironment(directory, { simulator, collector }),
        INITIAL_LOOKBACK: "30s",
        METRICS_COLLECTION_TIMEOUT: "5",
        EXPORT_TIMEOUT: "5",
        CLUSTER_DEADLINE: "20",
        LOG_LEVEL: "info",
        ...(dapr ? { DAPR_STATE_STORE: FAKE_STORE, DAPR_HTTP_PORT: String(dapr.port) } : {}),
        ...environment,
        ...lifted,
        NODE_OPTIONS: options.join(" "),
        WATCHED_FILE: watched,
        LIFTED_LIMITS: JSON.stringify(sources),
      },
      [],
      { atEnd: (end) => void (kill = end) },
    );
    await child.url;
    // Compiles what it needs, and begins the time that is compared.
    const { clusters } = await child.collect();
    for (const { cluster_id: id, error } of clusters)
      if (error) throw new Error(`${id} can't be collected: ${error.message}`);
    roundBegan = Date.now();
    return { child, watched, kill };
  };

  const calm = async (): Promise<void> => {
    await simulator.faults.clear();
    collector.onRequest = () => ACCEPT;
    if (dapr) {
      dapr.intercept = () => false;
      dapr.afterSave = () => false;
    }
  };

  let program = await startProgram();
  const begin = watermarks(await program.child.status());

  const judgeBy = async (
    { child, watched }: Program,
    behaviour: Behaviour,
    since: ReadonlyMap<string, number>,
  ): Promise<string[]> => {
    await delay(Math.max(0, roundBegan + WINDOW_MS_MIN - Date.now()));
    roundBegan = Date.now();
    process.kill(child.pid, "SIGUSR2");
    const notSet = await (async () => behaviour.set(stage))().then(
      () => [],
      (error: unknown) => [String(error)],
    );
    const probes = startProbes(await child.url);
    const before = child.stdout().length;
    const ended = child.ended.then((code) => `the process ended with ${code}: ${child.stderr()}`);
    const round = await Promise.race([child.collect(), ended]).catch((error: unknown) => String(error));
    const failedProbes = await probes.stop();
    await calm();
    if (typeof round === "string") return [round];
    const { clusters } = await child.status();
    const status = clusters.find(({ cluster_id: id }) => id === HOSTILE)!;
    const result = round.clusters.find(({ cluster_id: id }) => id === HOSTILE)!;
    const { heldMs, rssBytes } = await read(watched);
    const seconds = round.duration_seconds?.toFixed(1);
    const figures = `${seconds} s, loop held ${Math.round(heldMs)} ms, ${Math.round(rssBytes / MIB)} MiB`;
    stage.figures.push(`${behaviour.name}: ${figures}: ${result.error?.code}: ${result.error?.message}`);
    const told = child.stdout().slice(before) + JSON.stringify(status);
    return [
      ...notSet,
      ...failedProbes,
      ...(heldMs < HELD_MS_MAX ? [] : [`the main loop was held for ${heldMs} ms`]),
      ...(rssBytes < MEMORY_BYTES_MAX ? [] : [`the process had ${rssBytes} bytes`]),
      ...(child.stderr() === "" ? [] : [`standard error has ${child.stderr().slice(0, 1000)}`]),
      ...toldWrong(behaviour, result, status),
      ...(behaviour.secret && told.includes(behaviour.secret(stage)) ? ["it tells a secret"] : []),
      ...round.clusters.flatMap((each) => (GOOD.includes(each.cluster_id) ? incomplete(each) : [])),
      ...lost({ simulator, collector }, since, watermarks({ clusters })),
    ];
  };

  const stage: Stage = {
    simulator,
    collector,
    dapr: dapr || undefined,
    child: () => program.child,
    figures: [],
    judge: (behaviour) => judgeBy(program, behaviour, begin),
    judgeLifted: async (behaviour) => {
      await program.kill();
      program = await startProgram(behaviour.lift);
      return await judgeBy(program, behaviour, watermarks(await program.child.status()));
    },
    stop: async () => {
      await program.kill();
      await dapr?.close();
      await collector.stop();
      await simulator.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return stage;
}

/** Asks for health and readiness as the chart's probes do, but all the time. */
function startProbes(url: string): { stop(): Promise<string[]> } {
  const failures: string[] = [];
  const over = new AbortController();
  const ask = async (path: string): Promise<void> => {
    while (!over.signal.aborted) {
      try {
        const { status } = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(PROBE_MS) });
        if (status !== 200) failures.push(`${path} answered ${status}`);
      } catch (error) {
        failures.push(`${path}: ${String(error)}`);
      }
      await delay(PROBE_PAUSE_MS);
    }
  };
  const asking = Promise.all([ask("/healthz"), ask("/readyz")]);
  return {
    stop: async () => {
      over.abort();
      await asking;
      return failures.slice(0, 3);
    },
  };
}

/** The figures that were written after this call: the program writes them each tenth of a second. */
async function read(watched: string): Promise<{ heldMs: number; rssBytes: number }> {
  const { mtimeMs } = statSync(watched);
  while (statSync(watched).mtimeMs === mtimeMs) await delay(10);
  return JSON.parse(readFileSync(watched, "utf8")) as { heldMs: number; rssBytes: number };
}

function watermarks({ clusters }: { clusters: readonly ClusterStatus[] }): Map<string, number> {
  return new Map(clusters.map(({ cluster_id: id, watermark }) => [id, Date.parse(watermark ?? "")]));
}

function incomplete({ cluster_id: id, outcome, error }: ClusterResult): string[] {
  return outcome === "successful" ? [] : [`the good cluster ${id} was ${outcome}: ${error?.message}`];
}

/** Compares what the Collector acknowledged of the good clusters since the first round with what they had. */
function lost(
  { simulator, collector }: Pick<Stage, "simulator" | "collector">,
  since: ReadonlyMap<string, number>,
  until: ReadonlyMap<string, number>,
): string[] {
  return GOOD.flatMap((id) => {
    const between = [since.get(id)!, until.get(id)!] as const;
    const query = { committed: [[...between]] };
    const progress = { queries: Object.fromEntries(METRICS.map((name) => [name, query])) };
    const { samples, ...wrong } = compareWithExpected(
      collector,
      simulator.cluster(id).world,
      progress as never,
      {
        between,
      },
    );
    const differences = Object.entries(wrong).filter(([, list]) => list.length > 0);
    return [
      ...differences.map(([what, list]) => `the good cluster ${id} has ${what} samples: ${list[0]}`),
      ...(samples > 0 ? [] : [`the good cluster ${id} had no sample since the first round`]),
    ];
  });
}

function toldWrong(behaviour: Behaviour, result: ClusterResult, status: ClusterStatus): string[] {
  const { code, outcome = code === undefined ? "successful" : "failed", says, warns } = behaviour;
  const { error } = result;
  const is = `${result.outcome} ${error?.code ?? "without an error"}: ${error?.message ?? ""}`;
  const problems: string[] = [];
  if (result.outcome !== outcome || error?.code !== code) problems.push(`it is ${is}`);
  if (says && !says.test(error?.message ?? "")) problems.push(`its error does not tell ${says}: ${is}`);
  if (warns && !status.warnings.some((text) => warns.test(text)))
    problems.push(`no warning tells ${warns}: ${status.warnings.join("; ").slice(0, 2000)}`);
  const bytes = JSON.stringify(status).length;
  if (bytes > STATUS_BYTES_MAX) problems.push(`its status has ${bytes} bytes`);
  return problems;
}
