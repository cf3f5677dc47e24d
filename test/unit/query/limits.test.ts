import { expect, it } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { limitDatabase } from "#query/limits.ts";
import type { Database } from "#storage/database.ts";
import { toClickHouseError } from "#storage/storage-error.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { QUERY_DEFAULTS } from "../../helpers/query-defaults.ts";

function databaseThat(query: (sql: string) => Promise<never[]>): Database {
  return {
    command: () => Promise.resolve(),
    query,
    queryNative: async (sql) => Uint8Array.from(await query(sql)),
    close: () => Promise.resolve(),
  };
}

it("puts every limit into the statement", async () => {
  let sent = "";
  const database = databaseThat((sql) => {
    sent = sql;
    return Promise.resolve([]);
  });
  const limits = { ...QUERY_DEFAULTS.limits, timeoutMs: 1500, memoryBytesMax: 7, rowsReadMax: 8 };
  await limitDatabase(database, limits).query("SELECT 1", {}, undefined);
  expect(sent).toMatch(
    /^SELECT 1 SETTINGS max_execution_time = 2, max_memory_usage = 7, max_rows_to_read = 8\b/,
  );
});

it.each([
  [158, "query_too_large", 400, { limit: "rows_read" }],
  [241, "query_too_large", 400, { limit: "memory" }],
  [159, "query_timeout", 504, { limit: "time" }],
  [160, "query_timeout", 504, { limit: "time" }],
  [427, "request_invalid", 400, { fields: [{ field: "filters", problem: expect.any(String) as string }] }],
  [60, "storage_failed", 500, { clickhouse_code: 60 }],
])("ClickHouse's code %i is %s", async (number, code, status, details) => {
  const database = databaseThat(() => Promise.reject(toClickHouseError(number, "NAME", new Error("text"))));
  const error = await bridgeErrorOf(
    limitDatabase(database, QUERY_DEFAULTS.limits).query("SELECT 1", {}, undefined),
  );
  expect([error.code, error.httpStatus, error.details]).toEqual([code, status, details]);
});

it("what is not ClickHouse's stays what it is", async () => {
  const down = new BridgeError("storage_unavailable", "nobody answers");
  const database = databaseThat(() => Promise.reject(down));
  expect(
    await bridgeErrorOf(limitDatabase(database, QUERY_DEFAULTS.limits).query("SELECT 1", {}, undefined)),
  ).toBe(down);
});
