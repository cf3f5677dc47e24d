import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Cluster } from "#clusters/cluster.ts";
import { createCollectCluster } from "#collect/collect-cluster.ts";
import { emptyResult } from "#collect/round-result.ts";
import { watermarkOf } from "#collect/progress.ts";
import { BridgeError } from "#errors/error.ts";
import type { FromWorker, ToWorker } from "#workers/messages.ts";
import { Pool } from "#workers/pool.ts";
import { serve } from "#workers/serve.ts";
import { WORKER_LIMITS, type SpawnWorker } from "#workers/worker.ts";
import { checkClaims, checkValues } from "../../helpers/claims.ts";
import { createCollection, endOf, MINUTE, testCluster, type Collection } from "../../helpers/collection.ts";
import { createCrashingProcess } from "../../helpers/crash-injection.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";
import { createVirtualTime, type VirtualTime } from "../../helpers/virtual-time.ts";

/** How one worker ends: at which of its calls to Prometheus, the Collector or the store, before or after the call takes effect. */
const endArbitrary = fc.record({
  kind: fc.constantFrom("killed", "frozen"),
  at: fc.integer({ min: 1, max: 30 }),
  isDone: fc.boolean(),
});
type End = typeof endArbitrary extends fc.Arbitrary<infer T> ? T : never;

const OTHERS = ["two", "three"].map((id) => testCluster(id));
const QUARANTINE_MS = MINUTE;

/** Workers in this process, over JSON as the real channel has it. The first of them end as `ends` says, the others do not. */
function createFakeSpawn(collection: Collection, time: VirtualTime, ends: End[]): SpawnWorker {
  return (on) => {
    const end = ends.shift();
    let state: "running" | "frozen" | "dead" = "running";
    let receive: (message: ToWorker) => void = () => {};
    const post = (deliver: () => void): void => void setImmediate(() => state === "running" && deliver());
    const exit = (how: string): void => {
      if (state === "dead") return;
      state = "dead";
      setImmediate(() => on.exit(how));
    };
    const send = (message: FromWorker): void => {
      const text = JSON.stringify(message);
      post(() => on.message(JSON.parse(text) as FromWorker));
    };
    serve({ send, onMessage: (listener) => (receive = listener) }, (_settings, ports) => {
      const { deps, crashed } = createCrashingProcess(
        { ...collection.deps, store: ports.store },
        end?.at,
        end?.isDone ?? false,
      );
      void crashed.then(() => (end!.kind === "killed" ? exit("signal SIGKILL") : (state = "frozen")));
      const collectOne = createCollectCluster(deps, collection.settings);
      const collectOther = (cluster: Cluster) =>
        Promise.resolve(emptyResult(cluster, "successful", new BridgeError("internal", "none")));
      return {
        collect: (cluster, signals) =>
          cluster.id === "one" ? collectOne(cluster, signals) : collectOther(cluster),
        check: () => Promise.resolve(),
        diagnose: () => Promise.reject(new Error("not used")),
        findServices: () => Promise.reject(new Error("not used")),
        close: () => Promise.resolve(),
      };
    });
    const beat = (): void => {
      send({ type: "alive", rssBytes: 1 });
      if (state !== "dead") time.clock.after(1000, beat);
    };
    beat();
    return {
      pid: 1,
      send: (message) => {
        const text = JSON.stringify(message);
        post(() => receive(JSON.parse(text) as ToWorker));
      },
      kill: () => exit("signal SIGKILL"),
      rssBytes: () => 1,
    };
  };
}

function createPool(collection: Collection, time: VirtualTime, ends: End[]): Pool {
  return new Pool(
    {
      clock: time.clock,
      logger: createSilentLogger(),
      ports: {
        store: collection.store,
        metrics: {
          ...collection.deps.metrics,
          errorOccurred: () => {},
          exportFinished: () => {},
          tunnelOpened: () => {},
          tunnelClosed: () => {},
          tunnelFailed: () => {},
        },
      },
      spawn: createFakeSpawn(collection, time, ends),
      metrics: { workerEnded: () => {} },
    },
    {
      workers: 1,
      limits: { ...WORKER_LIMITS, memoryMax: 1000 },
      quarantine: { firstMs: QUARANTINE_MS, maxMs: QUARANTINE_MS },
      work: {},
    },
  );
}

test("wherever a worker is killed or freezes: nothing is lost, nothing is twice, no claim is false, the round ends, the others are collected", async () => {
  const kinds = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(endArbitrary, { maxLength: 6 }), async (ends) => {
      const collection = createCollection();
      const time = createVirtualTime(collection.clock.now());
      const pending = [...ends];
      const pool = createPool(collection, time, pending);
      const promised = new Map<string, number>();
      const signals = { epoch: 0, signal: new AbortController().signal, isStopping: () => false };
      // Each round uses up at least one of the ends; the last one has none.
      for (let round = 0; round <= ends.length; round++) {
        const clusters = [collection.cluster, ...OTHERS];
        const work = Promise.all(clusters.map((cluster) => pool.collect(cluster, signals)));
        const results = await time.run(work);
        expect(results.slice(1).map(({ outcome }) => outcome)).toEqual(["successful", "successful"]);
        kinds.add(results[0]!.error?.code ?? "none");
        checkClaims(collection, await collection.progress(), promised);
        collection.advance(MINUTE);
        time.clock.advance(QUARANTINE_MS);
      }
      expect(pending).toEqual([]);
      const { queries } = await collection.progress();
      expect(Object.values(queries).map(watermarkOf)).toEqual(
        Object.values(queries).map(() => endOf(collection) - MINUTE),
      );
      checkValues(collection);
      await time.run(pool.close());
    }),
    { numRuns: 150 },
  );
  expect(kinds).toContain("none");
  expect(kinds).toContain("cluster_quarantined");
}, 60_000);
