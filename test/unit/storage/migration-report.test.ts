import { expect, test } from "vitest";
import type { MigrationStatus } from "#storage/migration-plan.ts";
import { isUpToDate, toPlanText, toStatusText } from "#storage/migration-report.ts";

test("a plan can be read, and run, as SQL", () => {
  const text = toPlanText({
    serverVersion: "26.7.2.1",
    pending: [{ name: "0001_a.sql", statements: ["CREATE TABLE a", "CREATE TABLE b"] }],
    retention: ["ALTER TABLE a MODIFY TTL x"],
    distributed: ["CREATE OR REPLACE TABLE all.a"],
  });
  expect(text).toBe(`-- ClickHouse 26.7.2.1: nothing of this was done

-- 0001_a.sql
CREATE TABLE a;

CREATE TABLE b;

-- retention
ALTER TABLE a MODIFY TTL x;

-- Distributed tables
CREATE OR REPLACE TABLE all.a;
`);
  expect(toPlanText({ serverVersion: "26.7.2.1", pending: [], retention: [], distributed: [] })).toBe(
    "-- ClickHouse 26.7.2.1: nothing to do\n",
  );
});

const GOOD: MigrationStatus = {
  serverVersion: "26.7.2.1",
  serverSupported: true,
  serverVersionMin: "25.8",
  applied: [{ name: "0001_a.sql", appliedAt: "2026-01-31T10:00:00.000Z", state: "applied" }],
  pending: [],
  foreign: [],
  retention: [{ table: "t", days: 90, wantedDays: 90 }],
  distributed: [],
};

test.each<[Partial<MigrationStatus>, boolean, string]>([
  [{}, true, ""],
  [{ pending: ["0002_b.sql"] }, false, "pending   0002_b.sql\n"],
  [{ distributed: ["CREATE VIEW all.v AS\nSELECT 1"] }, false, "missing   CREATE VIEW all.v AS\n"],
  [{ foreign: ["samples: its engine is Memory"] }, false, "foreign   samples: its engine is Memory\n"],
  [
    {
      retention: [
        { table: "t", days: 90, wantedDays: 30 },
        { table: "u", wantedDays: 60 },
      ],
    },
    false,
    "retention t: 90 days, not 30\nretention u: no number of days, not 60\n",
  ],
])("the status %j: up to date %j", (change, upToDate, end) => {
  const status = { ...GOOD, ...change };
  expect(isUpToDate(status)).toBe(upToDate);
  expect(toStatusText(status)).toBe(
    `server    ClickHouse 26.7.2.1\napplied   0001_a.sql (applied 2026-01-31T10:00:00.000Z)\n${end}`,
  );
});

test("an old server and a changed file are named", () => {
  const applied = GOOD.applied.map((row) => ({ ...row, state: "changed" as const }));
  const status = { ...GOOD, serverVersion: "25.3.1.1", serverSupported: false, applied };
  expect(isUpToDate({ ...GOOD, applied })).toBe(false);
  expect(isUpToDate({ ...GOOD, serverSupported: false })).toBe(false);
  expect(toStatusText(status)).toBe(
    "server    ClickHouse 25.3.1.1 is older than 25.8\nchanged   0001_a.sql (applied 2026-01-31T10:00:00.000Z)\n",
  );
});
