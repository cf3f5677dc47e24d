import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Agent } from "undici";
import { afterAll, beforeAll, expect, it } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { SCHEMA_VERSION } from "#otlp/request-encoder.ts";
import { createRetryingTransport } from "#otlp/retrying-transport.ts";
import { createTransport, type Transport } from "#otlp/transport.ts";
import { migrate } from "#storage/migrate.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { fillSeries } from "#storage/series-fill.ts";
import { bitsOf, toOtlpRequest, writeOtherKinds } from "../helpers/otlp-request.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { startStack, type Stack } from "./stack.ts";

// The upgrade of a database that has data, while the bridge's own transport goes on to send through the real Collector.

const MIGRATIONS = "src/storage/migrations";
const HOUR_MS = 3_600_000;
const FIRST_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 30 * HOUR_MS;
const SERIES = 40;
const MINUTES_A_REQUEST = 15;
const dispatcher = new Agent();
const signal = new AbortController().signal;
const base = { clock: systemClock, logger: createSilentLogger(), signal };
const parameters = { database: "metrics", retentionDays: 90 };
let stack: Stack;
let transport: Transport;

beforeAll(async () => {
  stack = await startStack();
  const once = createTransport(
    { clock: systemClock, dispatcher },
    { url: `${stack.collectorUrl}/v1/metrics`, headers: {}, compression: "gzip", timeoutMs: 60_000 },
  );
  const retries = { initialMs: 100, maxMs: 1000, multiplier: 2, maxElapsedMs: 300_000 };
  transport = createRetryingTransport({ transport: once, clock: systemClock, random: () => 0.5 }, retries);
});

afterAll(async () => {
  await dispatcher.close();
  await stack?.stop();
});

const nanoseconds = (ms: number): bigint => BigInt(ms) * 1_000_000n;

/** The n-th quarter of an hour of a gauge and a counter, and a point of each other kind. */
function request(n: number): Buffer {
  const points = (value: (minute: number, series: number) => number) =>
    Array.from({ length: SERIES }, (_, series) => series).flatMap((series) =>
      Array.from({ length: MINUTES_A_REQUEST }, (_, i) => n * MINUTES_A_REQUEST + i).map((minute) => ({
        labels: { instance: `10.0.0.${series}:9100` },
        time: nanoseconds(FIRST_MS + minute * 60_000 + series),
        bits: bitsOf(value(minute, series)),
      })),
    );
  return toOtlpRequest(
    { cluster_id: "upgraded", "service.name": "budcluster" },
    [
      {
        name: "level",
        kind: "gauge",
        unit: "By",
        points: points((minute, series) => Math.sin(minute + series)),
      },
      { name: "grown_total", kind: "sum", points: points((minute) => (minute % 500) * 1.5) },
    ],
    (scope) => writeOtherKinds(scope, nanoseconds(FIRST_MS + n * MINUTES_A_REQUEST * 60_000)),
    { [SCHEMA_VERSION.name]: SCHEMA_VERSION.value },
  );
}

async function send(n: number): Promise<void> {
  const result = await transport.send(await transport.encode(request(n)), signal);
  expect([n, result.kind]).toEqual([n, "accepted"]);
}

/** Sends one request after the other until it is told to stop, and one more. Returns the number of all requests. */
async function collectWhile(from: number, work: () => Promise<void>): Promise<number> {
  let isDone = false;
  let next = from;
  const collecting = (async () => {
    while (!isDone) await send(next++);
    await send(next++);
  })();
  try {
    await work();
  } finally {
    isDone = true;
    await collecting;
  }
  return next;
}

const rows = async (from: string): Promise<number> =>
  Number((await stack.database.query<{ n: string }>(`SELECT count() AS n FROM ${from}`))[0]?.n);

it("keeps every acknowledged sample once, with its series and hours", async () => {
  const first = join(createTemporaryFolder(), "first");
  mkdirSync(first);
  for (const name of readdirSync(MIGRATIONS).slice(0, 2)) cpSync(join(MIGRATIONS, name), join(first, name));
  await migrate(stack.database, { ...base, parameters, directory: first });
  const STORED = 12;
  for (let n = 0; n < STORED; n++) await send(n);

  const impatient = { ...base, clock: { ...systemClock, sleep: async () => {} }, databaseName: "metrics" };
  const total = await collectWhile(STORED, async () => {
    const { applied } = await migrate(stack.database, { ...base, parameters });
    expect(applied.length).toBe(readdirSync(MIGRATIONS).length - 2);
    // A shorter and again a longer retention rewrite what every part knows of its expiry.
    await migrate(stack.database, { ...base, parameters: { ...parameters, retentionDays: 60 } });
    await migrate(stack.database, { ...base, parameters });
    // Not sooner: what is inserted between rolling an hour up and saying so would count as rolled up.
    await refreshRollups(stack.database, { ...impatient, settleMs: 1000 });
    const filled = await fillSeries(stack.database, { ...impatient, settleMs: -1000, budgetMs: 300_000 });
    expect(filled.isComplete).toBe(true);
    await stack.database.command("OPTIMIZE TABLE metrics.otel_metrics_gauge FINAL");
  });
  expect(total).toBeGreaterThan(STORED + 3);

  const samples = total * SERIES * MINUTES_A_REQUEST;
  for (const view of ["samples_gauge", "samples_sum"])
    expect([view, await rows(`metrics.${view}`)]).toEqual([view, samples]);
  for (const view of ["histograms", "exponential_histograms", "summaries"]) {
    expect([view, await rows(`metrics.${view}`)]).toEqual([view, total]);
  }
  const wrong = await stack.database.query(
    `SELECT metric_name, time, labels, value FROM metrics.samples_sum
     WHERE value != intDiv(toUnixTimestamp64Milli(time) - ${FIRST_MS}, 60000) % 500 * 1.5 LIMIT 5`,
  );
  expect(wrong).toEqual([]);
  // Each series and day as the samples say, whether it was filled or written by the views.
  const ofSamples = `SELECT metric_name, series_id, toDate(time) AS day, any(labels) AS labels, min(time) AS first_time, max(time) AS last_time
    FROM metrics.samples GROUP BY metric_name, series_id, day ORDER BY ALL`;
  const ofTable =
    "SELECT metric_name, series_id, day, labels, first_time, last_time FROM metrics.series FINAL ORDER BY ALL";
  const expected = await stack.database.query(ofSamples);
  expect(expected.length).toBeGreaterThanOrEqual(2 * SERIES);
  expect(await stack.database.query(ofTable)).toEqual(expected);
  await refreshRollups(stack.database, { ...impatient, settleMs: -1000 });
  const [hours] = await stack.database.query<{ gauge: string; counter: string }>(
    "SELECT (SELECT sum(count) FROM metrics.hourly_gauge) AS gauge, (SELECT sum(count) FROM metrics.hourly_counter) AS counter",
  );
  expect([Number(hours?.gauge), Number(hours?.counter)]).toEqual([samples, samples]);
});
