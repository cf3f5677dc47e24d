import { readProgress } from "../e2e/bridge-process.ts";
import { compareEverything, type Comparison } from "../e2e/comparison.ts";
import { DEFAULT_QUERIES } from "#prometheus/catalogue.ts";
import { lacksOf, readProof, type ProofFacts } from "../e2e/proof.ts";
import { openSource } from "../e2e/source.ts";
import type { SoakBridge } from "./bridge.ts";
import { runFaults, sleep } from "./faults.ts";
import { createStrike } from "./parts.ts";
import { planFaults } from "./plan.ts";
import { judgeUse } from "./resources.ts";
import type { SoakSettings } from "./settings.ts";
import { CLUSTER, startSoakSystem, type SoakSystem } from "./system.ts";
import { failuresOf } from "./verdict.ts";
import { toLine, watchBridge, type Watch } from "./watch.ts";

type Say = (line: string) => void;

const MINUTE_MS = 60_000;
const FIRST_SAMPLES_MS_MAX = 3 * MINUTE_MS;
const CATCH_UP_MS_MAX = 5 * MINUTE_MS;
const PROOF_MS_MAX = 5 * MINUTE_MS;
/** PROOF_STRETCH. */
const STRETCH_MS = MINUTE_MS;

/**
 * Starts the system, strikes faults, heals all, waits until everything is collected, compares. Returns what failed, by name; throws when it can't go on or
 * is interrupted. Leaves no process and no container behind.
 */
export async function runSoak(settings: SoakSettings, say: Say, signal: AbortSignal): Promise<string[]> {
  await using cleanup = new AsyncDisposableStack();
  const system = await startSoakSystem(settings, cleanup);
  const { bridge } = system;
  say("everything runs; waiting for the first samples");
  await until(FIRST_SAMPLES_MS_MAX, signal, async () => {
    const round = await bridge.collect();
    return round.points > 0 ? undefined : `no samples: ${JSON.stringify(round.clusters[0]?.error)}`;
  });

  const beganMs = Date.now();
  const { struck, failures } = await strikeAll(system, settings, say, signal);
  const healedMs = Date.now();
  say("everything is healed; waiting until all is collected and proved");
  await until(CATCH_UP_MS_MAX, signal, async () => {
    await bridge.collect();
    const [cluster] = (await bridge.status()).clusters;
    const isCaughtUp = cluster?.state === "healthy" && Date.parse(cluster.watermark ?? "") >= healedMs;
    return isCaughtUp ? undefined : `not caught up: ${JSON.stringify(cluster)}`;
  });
  const proof = await proveAll(bridge, { fromMs: beganMs, toMs: healedMs, stretchMs: STRETCH_MS }, signal);
  say(`${proof.proved} stretches of ${proof.expected} are proved; ${proof.late} samples were late`);
  const { gaps = [] } = (await bridge.status()).clusters[0] ?? {};
  const exitCode = await bridge.end();
  const comparison = await compareAll(system);
  say(`compared with Prometheus: ${JSON.stringify(comparison)}`);
  return [...failures, ...bridge.failures, ...failuresOf({ struck, gaps, proof, comparison, exitCode })];
}

/** Strikes the planned faults while rounds go on. */
async function strikeAll(
  system: SoakSystem,
  { seed, minutes }: SoakSettings,
  say: Say,
  signal: AbortSignal,
): Promise<{ struck: ReadonlyMap<string, number>; failures: string[] }> {
  const durationMs = minutes * MINUTE_MS;
  const watch: Watch = { rounds: new Map(), points: 0, uses: [] };
  const struck = new Map<string, number>();
  const over = new AbortController();
  const watching = watchBridge(
    system.bridge,
    { watch, struck, minutes, say },
    AbortSignal.any([signal, over.signal]),
  );
  const failures = await runFaults(planFaults(seed, durationMs), createStrike(system), struck, signal);
  over.abort();
  await watching;
  signal.throwIfAborted();
  say(`minute ${minutes}: ${toLine(watch, struck)}`);
  say(`faults: ${[...struck].map(([name, count]) => `${name} ${count}`).join(", ")}`);
  const use = judgeUse(watch.uses);
  for (const fact of use.facts) say(fact);
  return { struck, failures: [...failures, ...use.failures] };
}

/** Makes rounds until all is proved or the time for it is over. */
async function proveAll(
  bridge: SoakBridge,
  time: { fromMs: number; toMs: number; stretchMs: number },
  signal: AbortSignal,
): Promise<ProofFacts> {
  const read = (): Promise<ProofFacts> =>
    readProof(bridge, { id: CLUSTER, selectors: DEFAULT_QUERIES.length }, time);
  const end = performance.now() + PROOF_MS_MAX;
  for (;;) {
    await bridge.collect();
    const proof = await read();
    if (lacksOf(proof).length === 0 || performance.now() > end) return proof;
    await sleep(1000, signal);
    signal.throwIfAborted();
  }
}

async function compareAll(system: SoakSystem): Promise<Comparison> {
  const source = await openSource(system.kubeconfig, await system.prometheusUrl());
  try {
    const progress = await readProgress(system.dataDirectory, CLUSTER);
    return await compareEverything({ database: system.stack.database, source, clusterId: CLUSTER }, progress);
  } finally {
    await source.close();
  }
}

/** `look` says what is still missing, or undefined. */
async function until(
  limitMs: number,
  signal: AbortSignal,
  look: () => Promise<string | undefined>,
): Promise<void> {
  const end = performance.now() + limitMs;
  for (;;) {
    const missing = await look().catch((error: unknown) => String(error));
    signal.throwIfAborted();
    if (missing === undefined) return;
    if (performance.now() > end) throw new Error(`after ${limitMs / MINUTE_MS} minutes still: ${missing}`);
    await sleep(1000, signal);
  }
}
