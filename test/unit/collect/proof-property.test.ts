import * as fc from "fast-check";
import { expect, test } from "vitest";
import { readProof } from "#collect/proof-store.ts";
import { stretchesOf, type Stretch } from "#collect/stretches.ts";
import { BridgeError } from "#errors/error.ts";
import { createCollection, LAG, MINUTE, SECOND, type Collection } from "../../helpers/collection.ts";
import { identityOf } from "../../helpers/fake-collector.ts";
import { samplesIn } from "../../helpers/fake-prometheus.ts";

const PROOF = { stretchMs: 10 * MINUTE, delayMs: 15 * MINUTE };
const QUIET_ROUNDS = 14;
/** Every stretch that ended so long before the last round was compared, and read again where that was needed. */
const DONE = 35 * MINUTE;

const EVENTS = [
  "round",
  "counts are not saved",
  "counts are lost",
  "the Collector is down",
  "every second read fails",
  "reading is aborted",
  "counting fails",
  "the source can't count",
  "a long pause",
] as const;
type Event = (typeof EVENTS)[number];

const scenario = fc.record({
  lateMs: fc.constantFrom(0, MINUTE, 4 * MINUTE, 14 * MINUTE),
  everyMs: fc.constantFrom(7 * SECOND, 15 * SECOND, 61 * SECOND),
  windowMsMax: fc.constantFrom(3 * MINUTE, 60 * MINUTE),
  events: fc.array(fc.constantFrom(...EVENTS), { minLength: 2, maxLength: 8 }),
});

const FAILED = new BridgeError("prometheus_query_failed", "no");

async function play(collection: Collection, event: Event): Promise<void> {
  const { prometheus, collector, store, deps } = collection;
  const abort = new AbortController();
  let reads = 0;
  collector.onSend = () => (event === "the Collector is down" ? "down" : "accept");
  prometheus.onCount = () => {
    if (event === "the source can't count") return FAILED;
    return event === "counting fails" ? new BridgeError("prometheus_timeout", "no") : undefined;
  };
  prometheus.onRead = () => {
    reads++;
    if (event === "reading is aborted" && reads === 2) abort.abort(new BridgeError("shutting_down", "end"));
    const fails = event === "every second read fails" && reads % 2 === 0;
    return fails ? { error: FAILED, afterSeries: 1 } : undefined;
  };
  const put: typeof store.put = async (key, value, etag) => {
    if (key.startsWith("proof:") && event === "counts are not saved")
      throw new BridgeError("state_unavailable", "no");
    return await store.put(key, value, etag);
  };
  deps.store = { ...store, put };
  if (event === "counts are lost") await store.delete("proof:one");
  collection.advance(event === "a long pause" ? 40 * MINUTE : 5 * MINUTE);
  await collection.run({ signal: abort.signal });
}

async function stretches(collection: Collection): Promise<Stretch[]> {
  const progress = (await collection.progress()).queries["a"]!;
  const proof = await readProof(collection.store, "one", PROOF.stretchMs);
  const [query] = collection.settings.queries;
  return stretchesOf(query!, progress, proof, { from: 0, to: collection.prometheus.nowMs });
}

/** Samples of a proved stretch that are not stored. */
function missingIn({ prometheus, collector }: Collection, { from, to }: Stretch, sinceMs: number): string[] {
  return prometheus.series
    .flatMap((series) => samplesIn(series, { fromMs: Math.max(from, sinceMs), toMs: to }))
    .map(identityOf)
    .filter((identity) => !collector.points.has(identity));
}

test("whatever fails, a proved stretch is stored in whole, and every stretch is proved in the end", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ lateMs, everyMs, windowMsMax, events }) => {
      const collection = createCollection({
        proof: PROOF,
        windowMsMax,
        specs: [{ name: "a", promql: "a", group: "test" }],
        series: [
          { metric: "a", labels: { node: "a" }, everyMs, offsetMs: 0 },
          { metric: "a", labels: { node: "b" }, everyMs, offsetMs: 1, lateMs },
        ],
      });
      await collection.run();
      const since = (await collection.progress()).queries["a"]!.from;
      for (const event of [...events, ...Array.from({ length: QUIET_ROUNDS }, (): Event => "round")]) {
        await play(collection, event);
        const proved = (await stretches(collection)).filter(({ state }) => state === "proved");
        expect(proved.flatMap((stretch) => missingIn(collection, stretch, since))).toEqual([]);
      }
      const done = (await stretches(collection)).filter(({ to }) => to <= collection.prometheus.nowMs - DONE);
      // Only the time before counting began anew has no proof.
      const excused = events.includes("counts are lost") ? ["not_counted"] : [];
      const open = done.filter(({ state, reason = "" }) => state !== "proved" && !excused.includes(reason));
      expect(open).toEqual([]);
      const late = done.reduce((sum, stretch) => sum + stretch.late, 0);
      expect(late).toBeLessThanOrEqual(lateMs < LAG ? 0 : Infinity);
      const { committed } = (await collection.progress()).queries["a"]!;
      expect(committed).toHaveLength(1);
    }),
    { numRuns: 60 },
  );
}, 120_000);
