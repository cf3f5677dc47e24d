import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { SCHEMA_VERSION } from "#otlp/request-encoder.ts";
import { migrate } from "#storage/migrate.ts";
import { migrationStatus, planMigrate, type PlanSettings } from "#storage/migration-plan.ts";
import { windowSource } from "#storage/rollup-sql.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { bitsOf, toOtlpRequest, writeOtherKinds } from "../helpers/otlp-request.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { complaintsIn } from "./delivery.ts";
import { startStack, type Stack } from "./stack.ts";

const HOUR = 3_600_000;
const FIRST_HOUR = Math.floor(Date.now() / (2 * HOUR)) * 2 * HOUR - 4 * HOUR;
const SAMPLES = 240;
const settings: PlanSettings = {
  parameters: { database: "metrics", retentionDays: 90 },
  signal: new AbortController().signal,
};
const TABLES = ["gauge", "sum", "histogram", "exponential_histogram", "summary"];
let stack: Stack;

beforeAll(async () => {
  stack = await startStack();
});

afterAll(() => stack?.stop());

const nanoseconds = (ms: number): bigint => BigInt(ms) * 1_000_000n;

/** All five kinds: four hours of a gauge and of a counter with a reset an hour and a half, one point of each other kind. */
function request(): Buffer {
  const minutes = Array.from({ length: SAMPLES }, (_, n) => n + 1);
  const points = (value: (minute: number) => number) =>
    minutes.map((minute) => ({
      labels: { instance: "10.0.0.1:9100", odd: "quote ' \\ Ü" },
      time: nanoseconds(FIRST_HOUR + minute * 60_000),
      bits: bitsOf(value(minute)),
    }));
  return toOtlpRequest(
    { cluster_id: "kinds", "service.name": "prometheus" },
    [
      { name: "g", kind: "gauge", unit: "By", points: points((minute) => Math.sin(minute)) },
      { name: "c_total", kind: "sum", points: points((minute) => (minute % 90) * 1.5) },
    ],
    (scope) => writeOtherKinds(scope, nanoseconds(FIRST_HOUR + HOUR)),
  );
}

async function send(body: Buffer = request()): Promise<void> {
  const answer = await fetch(`${stack.collectorUrl}/v1/metrics`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: new Uint8Array(body),
  });
  // A partial success without rejected points.
  expect([answer.status, ...new Uint8Array(await answer.arrayBuffer())]).toEqual([200, 10, 0]);
}

async function counts(final: string): Promise<number[]> {
  const parts = TABLES.map(
    (table, n) => `SELECT ${n} AS n, count() AS c FROM metrics.otel_metrics_${table} ${final}`,
  );
  const rows = await stack.database.query<{ c: string }>(
    `SELECT c FROM (${parts.join(" UNION ALL ")}) ORDER BY n`,
  );
  return rows.map((row) => Number(row.c));
}

describe("the tables behind the real Collector's exporter", () => {
  it("are made by several at once", async () => {
    expect((await planMigrate(stack.database, settings)).pending).toHaveLength(7);
    const run = () =>
      migrate(stack.database, { ...settings, clock: systemClock, logger: createSilentLogger() });
    const results = await Promise.all([run(), run(), run()]);
    expect(results.flatMap((result) => result.applied)).toHaveLength(7);
    const status = await migrationStatus(stack.database, settings);
    expect(status).toMatchObject({ pending: [], foreign: [], serverSupported: true });
  });

  it("take its INSERTs of all five kinds, and show what is sent again once", async () => {
    await send();
    const once = [SAMPLES, SAMPLES, 1, 1, 1];
    expect(await counts("")).toEqual(once);
    await send();
    expect(await counts("FINAL")).toEqual(once);
    const views = ["samples_gauge", "samples_sum", "histograms", "exponential_histograms", "summaries"];
    const rows = await stack.database.query<{ n: string; labels: Record<string, string> }>(
      `SELECT * FROM (${views.map((view, n) => `SELECT ${n} AS n, labels FROM metrics.${view} WHERE cluster_id = 'kinds' LIMIT 1`).join(" UNION ALL ")}) ORDER BY n`,
    );
    const number = { instance: "10.0.0.1:9100", odd: "quote ' \\ Ü" };
    expect(rows.map((row) => row.labels)).toEqual([number, number, { le: "x" }, { le: "x" }, { le: "x" }]);
  });

  it("roll up to what the samples give", async () => {
    const refreshed = await refreshRollups(stack.database, {
      databaseName: "metrics",
      settleMs: -1000,
      clock: systemClock,
      logger: createSilentLogger(),
      signal: new AbortController().signal,
    });
    expect(refreshed.hours).toBe(4);
    const end = FIRST_HOUR + 4 * HOUR;
    const [rolled, raw] = await Promise.all([
      stack.database.query<{ rate: number }>(
        `SELECT rate FROM (${windowSource("metrics", "counter")}) ORDER BY time_ms`,
        {
          cluster: "kinds",
          metric: "c_total",
          from: String(FIRST_HOUR),
          to: String(end),
          step: String(2 * HOUR),
        },
      ),
      stack.database.query<{ rate: number }>(
        `SELECT arrayJoin(timeSeriesRateToGrid(${(FIRST_HOUR + 2 * HOUR) / 1000}, ${end / 1000}, 7200, 7200)(time, value)) AS rate
         FROM metrics.samples WHERE cluster_id = 'kinds' AND metric_name = 'c_total'
         SETTINGS allow_experimental_time_series_aggregate_functions = 1`,
      ),
    ]);
    expect(rolled).toHaveLength(2);
    for (const [n, { rate }] of rolled.entries()) expect(rate / raw[n]!.rate).toBeCloseTo(1, 12);
  });

  it("tell series apart by all of their labels, and know those of older bridges again", async () => {
    const time = nanoseconds(FIRST_HOUR);
    const sendSeries = (labels: Record<string, string>[], scope: Record<string, string>): Promise<void> => {
      const points = labels.map((each) => ({ labels: each, time, bits: bitsOf(1) }));
      const metrics = (["gauge", "sum"] as const).map((kind) => ({ name: `identity_${kind}`, kind, points }));
      return send(toOtlpRequest({ cluster_id: "kinds" }, metrics, undefined, scope));
    };
    const now = { [SCHEMA_VERSION.name]: SCHEMA_VERSION.value };
    const node = (name: string) => ({ instance: "10.0.0.2:9100", "k8s.node.name": name });
    // As an older bridge sent it, and the same again after the upgrade.
    await sendSeries([{ instance: "10.0.0.1:9100", "k8s.node.name": "derived" }], {});
    await sendSeries([{ instance: "10.0.0.1:9100" }, node("a"), node("b")], now);
    const rows = await stack.database.query<{ metric: string; n: string; series: string }>(
      `SELECT metric_name AS metric, count() AS n, uniqExact(series_id) AS series FROM metrics.samples
       WHERE startsWith(metric_name, 'identity_') GROUP BY metric_name ORDER BY metric_name`,
    );
    expect(rows).toEqual([
      { metric: "identity_gauge", n: "3", series: "3" },
      { metric: "identity_sum", n: "3", series: "3" },
    ]);
  });

  it("were filled without a word of complaint from the exporter", async () => {
    const log = await stack.collectorLog();
    expect(log).toContain("Everything is ready");
    expect(complaintsIn(log)).toEqual([]);
  });
});
