import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
import { createSilentLogger } from "./silent-logger.ts";
import { createTemporaryFolder } from "./temporary-folder.ts";

const MEMORY_BYTES = 1_000_000_000;

/** The embedded engine in a new folder for the tests of one file; `database` may be used inside tests and hooks. */
export function useEngine(settings: { migrated: boolean }): { readonly database: EmbeddedDatabase } {
  const path = join(createTemporaryFolder(), "clickhouse");
  let opened: EmbeddedDatabase | undefined;
  beforeAll(async () => {
    opened = await openChdb({ path, logger: createSilentLogger(), memoryBytesMax: MEMORY_BYTES });
    if (!settings.migrated) return;
    await migrate(opened, {
      parameters: { database: "metrics", retentionDays: 90 },
      clock: systemClock,
      logger: createSilentLogger(),
      signal: new AbortController().signal,
    });
  });
  afterAll(() => opened?.close());
  return {
    get database() {
      if (!opened) throw new Error("the engine is open inside tests only");
      return opened;
    },
  };
}
