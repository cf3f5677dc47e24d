import { createDiagnoseStorage, type DiagnoseStorage } from "#diagnose/storage.ts";
import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import { toParameters } from "./storage.ts";
import type { Config } from "#config.ts";

export function createStorageDiagnosis(config: Config, database: Database, clock: Clock): DiagnoseStorage {
  return createDiagnoseStorage(
    { database, clock },
    {
      parameters: toParameters(config),
      stepMs: config.CLICKHOUSE_TIMEOUT,
      staleAfterMs: config.STALE_AFTER,
      rollupIntervalMs: config.ROLLUP_INTERVAL,
    },
  );
}
