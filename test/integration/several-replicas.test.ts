import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createApp, type App } from "#app/app.ts";
import type { CollectionStatus, RoundResult } from "#collect/status.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createLogger } from "#telemetry/logger.ts";
import { loadConfig } from "../../src/config.ts";
import { createJumpingClock, type JumpingClock } from "../helpers/jumping-clock.ts";
import { createMemoryStore, type MemoryStore } from "../helpers/memory-store.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { bridgeEnvironment, SMALL } from "../helpers/test-bridge.ts";

// Two programs over one state store, each with its own HTTP server: who collects what, and what each of them tells.

const CLUSTERS = 6;
const IDS = Array.from({ length: CLUSTERS }, (_, i) => `sim-${i + 1}`);

let clock: JumpingClock;
let simulator: Simulator;
let collector: OtlpCollector;
let store: MemoryStore;
let directory: string;
let apps: { app: App; url: string }[];

async function startReplica(name: string): Promise<void> {
  const environment = bridgeEnvironment(directory, { simulator, collector });
  const config = loadConfig({
    ...environment,
    DATA_DIR: join(directory, name),
    REPLICA_NAME: name,
    METRICS_COLLECTION_TIMEOUT: "30",
    EXPORT_TIMEOUT: "30",
  });
  // Scans come at a fifth of their time.
  const after: Clock["after"] = (ms, run) => systemClock.after(ms / 5, run);
  const overrides = {
    clock: { ...clock.impatient, after },
    random: () => 0.5,
    work: "local" as const,
    store,
  };
  const logger = createLogger({ level: "info", destination: { write: () => {} } });
  const app = createApp(config, logger, overrides);
  apps.push({ app, url: (await app.start()).url });
}

async function call<T>(of: number, method: string, path: string): Promise<T> {
  const answer = await fetch(`${apps[of]!.url}${path}`, { method });
  expect(answer.status).toBe(200);
  return (await answer.json()) as T;
}

const collect = async (of: number): Promise<RoundResult> =>
  (await call<{ round: RoundResult }>(of, "POST", "/metrics/collect-all?wait=true")).round;

const statusOf = (of: number): Promise<CollectionStatus> => call(of, "GET", "/metrics/status");

/** Which replica owns how many clusters. */
function sharesOf({ clusters }: CollectionStatus): Record<string, number> {
  const shares: Record<string, number> = {};
  for (const { owner } of clusters) shares[owner ?? "none"] = (shares[owner ?? "none"] ?? 0) + 1;
  return shares;
}

beforeEach(async () => {
  clock = createJumpingClock();
  simulator = await startSimulator({ clock, shape: SMALL, clusters: CLUSTERS });
  collector = await startOtlpCollector();
  store = createMemoryStore();
  directory = mkdtempSync(join(tmpdir(), "replicas-test-"));
  apps = [];
  await startReplica("a");
});

afterEach(async () => {
  for (const { app } of apps) await app.stop();
  await collector.stop();
  await simulator.stop();
  rmSync(directory, { recursive: true, force: true });
});

it("share the clusters, answer for all of them, and take over what the other leaves", async () => {
  expect(await collect(0)).toMatchObject({ total: CLUSTERS, successful: CLUSTERS });
  expect(sharesOf(await statusOf(0))).toEqual({ a: CLUSTERS });
  await startReplica("b");
  // The share of the new one is given back after a collection, when two scans have seen it.
  await expect
    .poll(
      async () => {
        clock.jump(60_000);
        const round = await collect(1);
        expect(round).toMatchObject({ total: CLUSTERS, failed: 0, partial: 0 });
        return sharesOf(await statusOf(1))["b"] ?? 0;
      },
      { timeout: 40_000, interval: 500 },
    )
    .toBeGreaterThan(0);
  clock.jump(60_000);
  const whole = await collect(0);
  expect(whole).toMatchObject({ total: CLUSTERS, successful: CLUSTERS });
  expect(whole.clusters.map(({ cluster_id }) => cluster_id).sort()).toEqual(IDS);
  const [ofA, ofB] = [await statusOf(0), await statusOf(1)];
  expect(sharesOf(ofA)).toEqual(sharesOf(ofB));
  expect(Object.keys(sharesOf(ofA)).sort()).toEqual(["a", "b"]);
  for (const { replicas, last_round: last } of [ofA, ofB]) {
    expect(replicas.flatMap(({ name, alive }) => (alive ? [name] : [])).sort()).toEqual(["a", "b"]);
    expect(last).toMatchObject({ id: whole.id, total: CLUSTERS, successful: CLUSTERS });
  }
  await apps[0]!.app.stop();
  await expect
    .poll(async () => sharesOf(await statusOf(1)), { timeout: 20_000, interval: 500 })
    .toEqual({ b: CLUSTERS });
  // What it took over it collects at once, so some of them may be busy.
  expect(await collect(1)).toMatchObject({ total: CLUSTERS, failed: 0, partial: 0 });
  const text = await (await fetch(`${apps[1]!.url}/metrics`)).text();
  for (const line of [
    "budcluster_replicas 1",
    `budcluster_owned_clusters ${CLUSTERS}`,
    "budcluster_unowned_clusters 0",
  ])
    expect(text).toContain(line);
  expect(text).toMatch(/budcluster_lease_changes_total\{kind="taken"\} \d/);
  expect(text).toMatch(/budcluster_state_requests_total\{operation="get_many",outcome="ok"\} \d/);
  expect(text).toMatch(/budcluster_member_record_age_seconds \d/);
}, 90_000);
