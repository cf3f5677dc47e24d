import { Agent } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createOtlpReceiver, type OtlpReceiver } from "#allinone/otlp-receiver.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createRetryingTransport } from "#otlp/retrying-transport.ts";
import { createTransport, type ExportResult } from "#otlp/transport.ts";
import { migrate } from "#storage/migrate.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { useEngine } from "../helpers/engine.ts";
import { bitsOf, toOtlpRequest, writeOtherKinds } from "../helpers/otlp-request.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

// ClickHouse has no transaction over a table and its views: when one of them fails, the INSERT fails and what the others wrote stays. The bridge's own transport sends
// the request to the receiver, gets 503, and sends it again. In the end all must be as if nothing had failed.

const engine = useEngine({ migrated: false });
const logger = createSilentLogger();
const signal = new AbortController().signal;
const token = createSecret("half-510e527fade682d1");
const HOUR_MS = 3_600_000;
const FIRST_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 72 * HOUR_MS;
const dispatcher = new Agent();
const receivers: OtlpReceiver[] = [];
const urls: Record<string, string> = {};

beforeAll(async () => {
  for (const databaseName of ["whole", "half"]) {
    const parameters = { database: databaseName, retentionDays: 90 };
    await migrate(engine.database, { parameters, clock: systemClock, logger, signal });
    const deps = { database: engine.database, databaseName, token, clock: systemClock, logger };
    const receiver = createOtlpReceiver(deps);
    receivers.push(receiver);
    urls[databaseName] = `${(await receiver.start("127.0.0.1", 0)).url}/v1/metrics`;
  }
});

afterAll(async () => {
  await Promise.all(receivers.map((receiver) => receiver.stop()));
  await dispatcher.close();
});

/** Three days of gauges and of counters with resets, and the other kinds: several partitions and hours. */
function requestOf(cluster: string): Buffer {
  const points = (value: (n: number) => number) =>
    ["a", "b"].flatMap((instance) =>
      Array.from({ length: 36 }, (_, n) => ({
        labels: { instance },
        time: BigInt(FIRST_MS + n * 2 * HOUR_MS + 7) * 1_000_000n,
        bits: bitsOf(value(n)),
      })),
    );
  return toOtlpRequest(
    { cluster_id: cluster },
    [
      { name: "level", kind: "gauge", unit: "By", points: points((n) => Math.sin(n)) },
      { name: "good_total", kind: "sum", points: points((n) => (n % 15) * 3) },
      { name: "bad_total", kind: "sum", points: points((n) => n) },
    ],
    (scope) => writeOtherKinds(scope, BigInt(FIRST_MS) * 1_000_000n),
  );
}

/** Sends as the bridge does; `heal` runs while it waits to try again. */
async function send(databaseName: string, body: Buffer, heal?: () => Promise<void>): Promise<ExportResult> {
  const clock: Clock = { ...systemClock, sleep: async () => await heal?.() };
  const settings = {
    url: urls[databaseName]!,
    headers: { authorization: createSecret(`Bearer ${token.expose()}`) },
    compression: "gzip" as const,
    timeoutMs: 60_000,
  };
  const once = createTransport({ clock: systemClock, dispatcher }, settings);
  const retries = { initialMs: 1, maxMs: 1, multiplier: 1, maxElapsedMs: 60_000 };
  const transport = createRetryingTransport({ transport: once, clock, random: () => 0 }, retries);
  return await transport.send(await transport.encode(body), signal);
}

const VIEWS = ["samples", "histograms", "exponential_histograms", "summaries"];

/** All that readers see of a cluster, after its hours are rolled up. */
async function stored(databaseName: string, cluster: string): Promise<Record<string, unknown>> {
  await refreshRollups(engine.database, {
    databaseName,
    settleMs: -1000,
    clock: { ...systemClock, sleep: async () => {} },
    logger,
    signal,
  });
  const read = async (from: string): Promise<unknown[]> =>
    await engine.database.query(
      `SELECT * FROM ${databaseName}.${from} WHERE cluster_id = '${cluster}' ORDER BY ALL`,
    );
  const result: Record<string, unknown> = {};
  for (const view of [...VIEWS, "hourly_gauge", "hourly_counter", "series FINAL"]) {
    result[view] = await read(view);
  }
  result["marks"] = await engine.database.query(
    `SELECT metric_name, hour_end, max(marked_at) > max(rolled_at) AS is_dirty FROM ${databaseName}.rollup_marks
     WHERE cluster_id = '${cluster}' GROUP BY metric_name, hour_end ORDER BY ALL`,
  );
  return result;
}

const away = (table: string) => ({
  break: [`RENAME TABLE half.${table} TO half.${table}_away`],
  heal: [`RENAME TABLE half.${table}_away TO half.${table}`],
});
/** A view that takes all rows but those that the condition is about. */
const throwing = (condition: string) => ({
  break: [
    "CREATE TABLE half.sink (nothing UInt8) ENGINE = MergeTree ORDER BY tuple()",
    `CREATE MATERIALIZED VIEW half.throwing TO half.sink AS SELECT toUInt8(throwIf(${condition})) AS nothing FROM half.otel_metrics_sum`,
  ],
  heal: ["DROP TABLE half.throwing SYNC", "DROP TABLE half.sink SYNC"],
});

/** Rows of the failed INSERTs that stayed. */
let leftovers = 0;

test.each([
  ["the table of a view is missing", away("series")],
  ["the table of the marks is missing", away("rollup_marks")],
  ["the table of one kind is missing", away("otel_metrics_sum")],
  ["the table of the last kind is missing", away("otel_metrics_summary")],
  ["a view fails for one metric", throwing("MetricName = 'bad_total'")],
  [
    "a view fails for the last day only",
    throwing(`TimeUnix > fromUnixTimestamp64Milli(${FIRST_MS + 60 * HOUR_MS})`),
  ],
])(
  "%s: the request is answered 503, and sent again leaves nothing lost and nothing twice",
  async (name, failure) => {
    const cluster = name.replaceAll(" ", "-");
    const request = requestOf(cluster);
    expect((await send("whole", request)).kind).toBe("accepted");

    for (const sql of failure.break) await engine.database.command(sql);
    let failures = 0;
    const result = await send("half", request, async () => {
      failures++;
      for (const sql of failure.heal) await engine.database.command(sql);
      for (const table of ["otel_metrics_gauge", "otel_metrics_sum", "series", "rollup_marks"]) {
        const [row] = await engine.database.query<{ n: string }>(
          `SELECT count() AS n FROM half.${table} WHERE cluster_id = '${cluster}'`,
        );
        leftovers += Number(row?.n);
      }
    });
    expect([result.kind, failures]).toEqual(["accepted", 1]);

    const expected = await stored("whole", cluster);
    expect(expected["samples"]).toHaveLength(216);
    const found = await stored("half", cluster);
    for (const [what, rows] of Object.entries(expected))
      expect({ [what]: found[what] }).toEqual({ [what]: rows });
    expect(JSON.stringify(found["marks"])).not.toContain('"is_dirty":1');
  },
);

test("INSERTs really failed half-way", () => {
  expect(leftovers).toBeGreaterThan(0);
});

test("what a failed INSERT left is read, and has its series and hours after the next roll-up, if nobody sends it again", async () => {
  const failure = throwing("MetricName = 'bad_total'");
  for (const sql of failure.break) await engine.database.command(sql);
  // The bridge dies before it tries again.
  const sending = send("half", requestOf("abandoned"), async () => {
    for (const sql of failure.heal) await engine.database.command(sql);
    throw new Error("killed");
  });
  await expect(sending).rejects.toThrow("killed");
  const found = await stored("half", "abandoned");
  // The engine fills views in any order: what failed before the view of the marks has neither, until the next INSERT into its hours.
  const marked = new Set((found["marks"] as { metric_name: string }[]).map((row) => row.metric_name));
  expect(marked).toContain("level");
  const ids = (rows: unknown): string[] => [
    ...new Set(
      (rows as { metric_name: string; series_id: string }[])
        .filter((row) => marked.has(row.metric_name))
        .map((row) => row.series_id),
    ),
  ];
  expect(ids(found["samples"]).length).toBeGreaterThan(0);
  expect(ids(found["series FINAL"])).toEqual(expect.arrayContaining(ids(found["samples"])));
});
