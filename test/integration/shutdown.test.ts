import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ClusterProgress } from "#collect/progress.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import {
  ACCEPT,
  isOwn,
  startOtlpCollector,
  type Answer,
  type OtlpCollector,
  type ReceivedPoint,
} from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, readProgressRecord, SMALL } from "../helpers/test-bridge.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";

const ID = "sim-1";
const END_MS = 10_000;
const folder = createTemporaryFolder();

let simulator: Simulator;
let collector: OtlpCollector;
let environment: Record<string, string>;

beforeEach(async () => {
  simulator = await startSimulator({ shape: SMALL });
  collector = await startOtlpCollector();
  environment = {
    ...bridgeEnvironment(mkdtempSync(join(folder, "test-")), { simulator, collector }),
    METRICS_BATCH_SIZE: "40",
    METRICS_COLLECTION_TIMEOUT: "10",
    EXPORT_TIMEOUT: "30",
  };
});

afterEach(async () => {
  await collector.stop();
  await simulator.stop();
});

/** A Collector whose answers to samples wait for `release`; `waiting(n)` resolves when so many requests are held. */
function holdAnswers(): { waiting: (count: number) => Promise<void>; release: (count?: number) => void } {
  const held: (() => void)[] = [];
  let isOpen = false;
  let onHeld = (): void => {};
  collector.onRequest = async ({ points }): Promise<Answer> => {
    if (!isOpen && points.some((point) => !isOwn(point))) {
      await new Promise<void>((resolve) => {
        held.push(resolve);
        onHeld();
      });
    }
    return ACCEPT;
  };
  return {
    waiting: (count) =>
      new Promise((resolve) => {
        onHeld = () => void (held.length >= count && resolve());
        onHeld();
      }),
    release: (count) => {
      isOpen = count === undefined;
      for (const answer of held.splice(0, count ?? held.length)) answer();
    },
  };
}

const readProgress = (): Promise<ClusterProgress> => readProgressRecord(join(environment["DATA_DIR"]!), ID);

/** Starts the program anew on the same DATA_DIR and lets it collect; then everything must be there. */
async function restartAndCompare(): Promise<ReceivedPoint[]> {
  collector.onRequest = () => ACCEPT;
  const before = collector.requests.length;
  const child = startBridgeChild(environment);
  expect(await child.collect()).toMatchObject({ successful: 1, failed: 0, partial: 0 });
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
  const record = await readProgress();
  for (const { from, committed, attempted } of Object.values(record.queries)) {
    expect(committed).toEqual([[from, attempted]]);
  }
  const compared = compareWithExpected(collector, simulator.cluster(ID).world, record);
  expect(compared).toEqual(noDifferences(compared.samples));
  expect(compared.samples).toBeGreaterThan(300);
  expect(collector.conflicts).toEqual([]);
  return collector.requests.slice(before).flatMap(({ points }) => points);
}

function isCommitted({ queries }: ClusterProgress, { metric, timestampMs }: ReceivedPoint): boolean {
  const committed = queries[metric]?.committed ?? [];
  return committed.some(([from, to]) => timestampMs > from && timestampMs <= to);
}

describe("SIGTERM in the middle of a round", () => {
  it("lets a slow Collector answer, ends with 0, and sends nothing twice after the restart", async () => {
    const { release, waiting } = holdAnswers();
    const child = startBridgeChild(environment);
    const round = child.collect().catch((error: unknown) => String(error));
    await waiting(2);
    release(1);
    await waiting(2);
    const startedAt = performance.now();
    child.signal("SIGTERM");
    // It still waits for the answers.
    expect(await round).toMatch(/503.*shutting_down/);
    release();
    expect(await child.ended).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(END_MS);
    const record = await readProgress();
    const acknowledged = [...collector.acknowledged.values()].filter((point) => !isOwn(point));
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(acknowledged.filter((point) => !isCommitted(record, point))).toEqual([]);
    const again = await restartAndCompare();
    expect(again.filter((point) => isCommitted(record, point))).toEqual([]);
    expect(collector.repeats).toBe(0);
  });

  it("abandons a Collector that never answers, and ends with 0 all the same", async () => {
    const { waiting } = holdAnswers();
    const child = startBridgeChild(environment);
    void child.collect().catch(() => {});
    await waiting(2);
    const startedAt = performance.now();
    child.signal("SIGTERM");
    expect(await child.ended).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(END_MS);
    const record = await readProgress();
    expect(record.last?.error?.code).toBe("shutting_down");
    expect(Object.values(record.queries).flatMap(({ committed }) => committed)).toEqual([]);
    await restartAndCompare();
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s twice at once is one signal", async (signal) => {
    const { release, waiting } = holdAnswers();
    const child = startBridgeChild(environment);
    const round = child.collect().catch((error: unknown) => String(error));
    await waiting(2);
    child.signal(signal);
    expect(await round).toMatch(/503.*shutting_down/);
    child.signal(signal);
    // Whatever is acknowledged now still counts: the end is an orderly one.
    release();
    expect(await child.ended).toBe(0);
    const record = await readProgress();
    const acknowledged = [...collector.acknowledged.values()].filter((point) => !isOwn(point));
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(acknowledged.filter((point) => !isCommitted(record, point))).toEqual([]);
  });

  it("a repeat two seconds later ends it at once", async () => {
    const { waiting } = holdAnswers();
    const child = startBridgeChild(environment);
    void child.collect().catch(() => {});
    await waiting(1);
    child.signal("SIGTERM");
    const startedAt = performance.now();
    const impatience = setInterval(() => child.signal("SIGTERM"), 100);
    expect(await child.ended).toBe(130);
    clearInterval(impatience);
    expect(performance.now() - startedAt).toBeGreaterThan(1900);
  });
});

describe("kill -9 in the middle of rounds", () => {
  it("leaves the final set exact", async () => {
    for (const answers of [0, 1, 4]) {
      const { release, waiting } = holdAnswers();
      const child = startBridgeChild(environment);
      void child.collect().catch(() => {});
      for (let i = 0; i < answers; i++) {
        await waiting(1);
        release(1);
      }
      await waiting(1);
      child.signal("SIGKILL");
      expect(await child.ended).toBeNull();
      release();
    }
    const record = await readProgress();
    const again = await restartAndCompare();
    expect(again.filter((point) => isCommitted(record, point))).toEqual([]);
  });
});
