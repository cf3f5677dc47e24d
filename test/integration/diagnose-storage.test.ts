import { describe, expect, it } from "vitest";
import { createDiagnoseStorage, type StorageDiagnosis } from "#diagnose/storage.ts";
import type { StepResult } from "#diagnose/step-runner.ts";
import { createSecret } from "#lib/secret.ts";
import { systemClock } from "#lib/clock.ts";
import { createClickHouse } from "#storage/clickhouse.ts";
import type { Database } from "#storage/database.ts";
import { OBJECTS } from "#storage/layout.ts";
import { toClickHouseError } from "#storage/storage-error.ts";
import { useEngine } from "../helpers/engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { point, storeMetrics } from "../helpers/stored-world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const engine = useEngine({ migrated: true });
const { signal } = new AbortController();

function diagnose(
  database: Database = engine.database,
  settings: { retentionDays?: number; aheadMs?: number; name?: string } = {},
): Promise<StorageDiagnosis> {
  const { retentionDays = 90, aheadMs = 0, name = "metrics" } = settings;
  const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  const run = createDiagnoseStorage(
    { database, clock },
    {
      parameters: { database: name, retentionDays },
      stepMs: 20_000,
      staleAfterMs: 15 * MINUTE,
      rollupIntervalMs: 5 * MINUTE,
    },
  );
  return run(signal);
}

function stepOf({ steps }: StorageDiagnosis, name: string): StepResult {
  const found = steps.find(({ step }) => step === name);
  if (!found) throw new Error(`there is no step ${name}`);
  return found;
}

function namesOf({ steps }: StorageDiagnosis, status: StepResult["status"]): string[] {
  return steps.filter((each) => each.status === status).map(({ step }) => step);
}

/** The engine, but for statements that begin like this. */
function withAnswer(start: string, answer: () => unknown[]): Database {
  const { database } = engine;
  return {
    ...database,
    command: async (sql, ...rest) => {
      if (sql.startsWith(start)) answer();
      else await database.command(sql, ...rest);
    },
    query: async <Row>(sql: string, ...rest: [Record<string, string>?, AbortSignal?]) =>
      sql.startsWith(start) ? (answer() as Row[]) : await database.query<Row>(sql, ...rest),
  };
}

function refusedWith(code: number, name: string): () => never {
  return () => {
    throw toClickHouseError(code, name, new Error(name));
  };
}

describe("the diagnosis of the storage", () => {
  it("passes a database that is migrated, and warns that it is empty", async () => {
    const diagnosis = await diagnose();
    expect(namesOf(diagnosis, "failed")).toEqual([]);
    expect(namesOf(diagnosis, "skipped")).toEqual([]);
    expect(namesOf(diagnosis, "warning")).toEqual(["newest_sample"]);
    expect(diagnosis).toMatchObject({ database: "metrics", status: "warning" });
    expect(diagnosis.steps.map(({ step }) => step)).toEqual([
      "reachable",
      "authentication",
      "version",
      "readonly",
      "database",
      ...OBJECTS.map((name) => `layout_${name}`),
      "migrations",
      "grant_select",
      "grant_insert_rollup_gauge",
      "grant_insert_rollup_counter",
      "grant_insert_rollup_marks",
      "grant_insert_series",
      "grant_insert_series_days",
      "newest_sample",
      "rollups",
      "series",
    ]);
  });

  it("tells the newest sample's age", async () => {
    const atMs = systemClock.now() - 2 * MINUTE;
    const points = [point({}, atMs, 1)];
    await storeMetrics(engine.database, "edge-1", [{ name: "up", kind: "gauge", points }]);
    const fresh = await diagnose();
    expect(fresh.status).toBe("passed");
    expect(stepOf(fresh, "newest_sample").details).toMatchObject({ newest: new Date(atMs).toISOString() });
    const old = await diagnose(engine.database, { aheadMs: 2 * HOUR });
    expect(stepOf(old, "newest_sample")).toMatchObject({
      status: "warning",
      message: "the newest is 2 h old",
      hint: expect.stringContaining("/metrics/status") as string,
    });
  });

  it("tells how long hours wait for their roll-up", async () => {
    const { database } = engine;
    await database.command(
      "INSERT INTO metrics.rollup_marks (cluster_id, metric_name, hour_end, marked_at) SELECT 'edge-1', 'up', toStartOfHour(now()), now64(3) - INTERVAL 3 HOUR",
    );
    const step = stepOf(await diagnose(), "rollups");
    expect(step).toMatchObject({ status: "warning", details: { waiting_hours: 1 } });
    expect(step.details?.["lag_seconds"]).toBeGreaterThanOrEqual((3 * HOUR - 10 * MINUTE) / 1000);
  });

  it("tells from which day on the table series is complete", async () => {
    const { database } = engine;
    await database.command("TRUNCATE TABLE metrics.series_days");
    expect(stepOf(await diagnose(), "series")).toMatchObject({
      status: "warning",
      message: "no day is filled",
    });
    await database.command("INSERT INTO metrics.series_days (day) SELECT toDate('2026-03-04')");
    expect(stepOf(await diagnose(), "series").message).toBe("it is from 2026-03-04 on");
    await database.command("INSERT INTO metrics.series_days (day) SELECT toDate(0)");
    expect(stepOf(await diagnose(), "series")).toMatchObject({
      status: "passed",
      message: "it has every day",
    });
  });

  it("warns of another retention", async () => {
    const diagnosis = await diagnose(engine.database, { retentionDays: 30 });
    expect(stepOf(diagnosis, "migrations")).toMatchObject({
      status: "warning",
      message: expect.stringContaining("CLICKHOUSE_RETENTION") as string,
    });
  });

  it("names a server that does not answer, and skips the rest", async () => {
    const database = createClickHouse({
      url: "http://127.0.0.1:1",
      user: "bud",
      password: createSecret("secret-password"),
      timeoutMs: 2000,
      logger: createSilentLogger(),
    });
    const diagnosis = await diagnose(database);
    await database.close();
    expect(namesOf(diagnosis, "failed")).toEqual(["reachable"]);
    expect(stepOf(diagnosis, "reachable")).toMatchObject({ code: "storage_unavailable" });
    expect(namesOf(diagnosis, "skipped")).toHaveLength(diagnosis.steps.length - 1);
  });

  it.each([
    ["a wrong password", 516, "AUTHENTICATION_FAILED", "authentication", "storage_failed"],
    ["an unknown user", 192, "UNKNOWN_USER", "authentication", "storage_failed"],
  ])("tells %s apart from a server that is gone", async (_what, code, name, step, errorCode) => {
    const diagnosis = await diagnose(withAnswer("SELECT version()", refusedWith(code, name)));
    expect(namesOf(diagnosis, "failed")).toEqual([step]);
    expect(stepOf(diagnosis, step)).toMatchObject({
      code: errorCode,
      hint: "Check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD.",
    });
  });

  it.each([
    ["an old server", "SELECT version()", [{ version: "24.3.1.1" }], "version", /VERSION|tested/],
    ["a read-only user", "SELECT getSetting", [{ readonly: 1 }], "readonly", /Remove `readonly`/],
  ])("names %s", async (_what, start, rows, step, hint) => {
    const diagnosis = await diagnose(withAnswer(start, () => rows));
    expect(namesOf(diagnosis, "failed")).toEqual([step]);
    expect(stepOf(diagnosis, step).hint).toMatch(hint);
  });

  it.each([
    ["read", "SELECT * FROM metrics.samples WHERE", "grant_select", "GRANT SELECT ON metrics.*"],
    [
      "write",
      "INSERT INTO metrics.rollup_marks",
      "grant_insert_rollup_marks",
      "GRANT INSERT ON metrics.rollup_marks",
    ],
  ])("names a grant to %s that is missing", async (_what, start, step, hint) => {
    const diagnosis = await diagnose(withAnswer(start, refusedWith(497, "ACCESS_DENIED")));
    expect(namesOf(diagnosis, "failed")).toEqual([step]);
    expect(stepOf(diagnosis, step).hint).toContain(hint);
  });

  it("tries the grants without writing anything", async () => {
    const count = async (): Promise<unknown> =>
      await engine.database.query("SELECT count() AS n FROM metrics.rollup_marks");
    const before = await count();
    expect(namesOf(await diagnose(), "failed")).toEqual([]);
    expect(await count()).toEqual(before);
  });

  it("names a database that is not there", async () => {
    const diagnosis = await diagnose(engine.database, { name: "elsewhere" });
    expect(namesOf(diagnosis, "failed")).toEqual(["database"]);
    expect(stepOf(diagnosis, "database").hint).toContain("npm run migrate");
  });

  // The last one: it spoils the database.
  it("names each object that is missing or another, and migrations that are not applied", async () => {
    const { database } = engine;
    await database.command("DROP VIEW metrics.hourly_gauge");
    await database.command("DROP VIEW metrics.summaries");
    await database.command("CREATE TABLE metrics.summaries (a Int8) ENGINE = MergeTree ORDER BY a");
    await database.command("DELETE FROM metrics.migrations WHERE version >= 3");
    const diagnosis = await diagnose();
    expect(namesOf(diagnosis, "failed")).toEqual(["layout_summaries", "layout_hourly_gauge", "migrations"]);
    expect(stepOf(diagnosis, "layout_summaries")).toMatchObject({
      code: "storage_layout_unknown",
      message: "view: its engine is MergeTree, not View",
    });
    expect(stepOf(diagnosis, "layout_hourly_gauge").message).toContain("there is no view hourly_gauge");
    expect(stepOf(diagnosis, "migrations").details).toMatchObject({
      pending: [
        "0003_rollups.sql",
        "0004_series_identity.sql",
        "0005_series.sql",
        "0006_time_codec.sql",
        "0007_stale_markers.sql",
      ],
    });
  });
});
