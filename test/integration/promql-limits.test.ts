import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { encodeReadRequest, READ_HEADERS } from "#prometheus/remote-read/request.ts";
import { createPromql, type PromqlSettings } from "#query/promql/promql.ts";
import { createSamplePool } from "#query/promql/sample-pool.ts";
import { systemClock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { point, storeMetrics } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { startHarness } from "./http-harness.ts";

const engine = useEngine({ migrated: true });
const NOW_MS = Math.floor(Date.now() / 60_000) * 60_000;
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

beforeAll(async () => {
  const points = Array.from({ length: 20 }, (_unused, s) =>
    Array.from({ length: 50 }, (_each, k) => point({ s: String(s) }, NOW_MS - k * 30_000, k)),
  ).flat();
  await storeMetrics(engine.database, "edge-1", [{ name: "load", kind: "gauge", points }]);
});

async function start({
  database = engine.database,
  clock = systemClock,
  ...changed
}: Partial<PromqlSettings> & { database?: Database; clock?: typeof systemClock } = {}): Promise<string> {
  const { databaseName, limits, promql } = QUERY_DEFAULTS;
  const settings = { ...promql, ...changed, databaseName, queryLimits: limits };
  const harness = await startHarness({
    deps: { clock, promql: createPromql({ database, clock }, settings) },
  });
  ends.push(() => harness.server.stop());
  return `${harness.url}/api/v1`;
}

const query = (url: string, text: string, more = "", init: RequestInit = {}): Promise<Response> =>
  fetch(`${url}/query?query=${encodeURIComponent(text)}&time=${NOW_MS / 1000}${more}`, init);

/** The engine, whose statements for samples wait until they are given up; `asked` resolves with the signal of the first one. */
function waiting(): { database: Database; asked: Promise<AbortSignal> } {
  const { promise, resolve } = Promise.withResolvers<AbortSignal>();
  const queryNative: Database["queryNative"] = (_sql, _parameters, signal) =>
    new Promise((_resolve, reject) => {
      signal!.addEventListener("abort", () => reject(signal!.reason as Error));
      resolve(signal!);
    });
  return { database: { ...engine.database, queryNative }, asked: promise };
}

it("refuses a query that holds too many samples, in Prometheus' words", async () => {
  const url = await start({ limits: { samplesMax: 500, seriesMax: 100 } });
  const answer = await query(url, "load[20m]");
  expect([answer.status, await answer.json()]).toEqual([
    422,
    {
      status: "error",
      errorType: "execution",
      error: "query processing would load too many samples into memory in query execution",
    },
  ]);
  expect((await query(url, 'load{s="1"}[20m]')).status).toBe(200);
  expect((await query(url, "sum(load)")).status).toBe(200);
});

it("refuses a query that reads too many series", async () => {
  const url = await start({ limits: { samplesMax: 1e6, seriesMax: 19 } });
  const answer = await query(url, "sum(load)");
  expect([answer.status, await answer.json()]).toMatchObject([422, { errorType: "execution" }]);
  expect((await query(url, 'sum(load{s!="1"})')).status).toBe(200);
});

it("the parameter timeout ends the query and its statement", async () => {
  const { database, asked } = waiting();
  const clock = createManualClock(NOW_MS);
  const url = await start({ database, clock });
  const answer = query(url, "load", "&timeout=2s");
  const signal = await asked;
  clock.advance(1999);
  expect(signal.aborted).toBe(false);
  clock.advance(1);
  const { status } = await answer;
  expect([status, await (await answer).json()]).toEqual([
    503,
    { status: "error", errorType: "timeout", error: "query timed out in expression evaluation" },
  ]);
  expect(signal.aborted).toBe(true);
});

it("a client that goes away ends its statement", async () => {
  const { database, asked } = waiting();
  const url = await start({ database });
  const gone = new AbortController();
  const answer = query(url, "load", "", { signal: gone.signal });
  const signal = await asked;
  gone.abort();
  await expect(answer).rejects.toThrow("abort");
  await expect.poll(() => signal.aborted).toBe(true);
});

it("all queries together hold no more than the pool", async () => {
  const pool = createSamplePool(150);
  const limits = { samplesMax: 100, seriesMax: 10 };
  const [first, second] = [pool.open(limits), pool.open(limits)];
  first.add(100);
  second.add(50);
  const refused = await bridgeErrorOf(Promise.resolve().then(() => second.add(1)));
  expect([refused.code, refused.details]).toEqual([
    "query_busy",
    { limit: "samples", retry_after_seconds: 5 },
  ]);
  first.close();
  first.close();
  // What a query that was given up still does counts no more.
  first.release(100);
  first.add(60);
  second.add(40);
  const third = pool.open(limits);
  third.add(59);
  expect(() => third.add(1)).toThrow("other queries");
});

it("what a query held is given back, whether it was answered or failed", async () => {
  const url = await start({ limits: { samplesMax: 2100, seriesMax: 100 } });
  for (let i = 0; i < 6; i++) {
    expect((await (await query(url, "load[25m]")).json()) as object).toMatchObject({ status: "success" });
    expect((await query(url, "load[25m] + 1")).status).toBe(400);
    expect((await query(url, "load * on () load")).status).toBe(422);
  }
});

describe.each(["samples", "chunks"] as const)("remote read as %s", (form) => {
  const read = (url: string, more: RequestInit = {}): Promise<Response> => {
    const matchers = [{ type: "=", name: "__name__", value: "load" } as const];
    const body = encodeReadRequest({ startMs: 0, endMs: NOW_MS, matchers }, [form]);
    return fetch(`${url}/read`, {
      method: "POST",
      headers: READ_HEADERS,
      body: new Uint8Array(body),
      ...more,
    });
  };

  it("is refused as a whole with too many samples or series", async () => {
    for (const limits of [
      { samplesMax: 1500, seriesMax: 100 },
      { samplesMax: 1e6, seriesMax: 19 },
    ]) {
      const answer = await read(await start({ limits }));
      expect([answer.status, await answer.json()]).toMatchObject([422, { errorType: "execution" }]);
    }
  });

  it("gives back what it held", async () => {
    // While it is encoded, what was read counts as well.
    const url = await start({ limits: { samplesMax: 2000, seriesMax: 20 } });
    for (let i = 0; i < 6; i++) {
      const answer = await read(url);
      expect([answer.status, (await answer.arrayBuffer()).byteLength > 1000]).toEqual([200, true]);
    }
  });

  it("ends its statement when the client goes away", async () => {
    const { database, asked } = waiting();
    const gone = new AbortController();
    const answer = read(await start({ database }), { signal: gone.signal });
    const signal = await asked;
    gone.abort();
    await expect(answer).rejects.toThrow("abort");
    await expect.poll(() => signal.aborted).toBe(true);
  });
});
