import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openChdb } from "#allinone/chdb.ts";
import { identifyDatabase, type DatabaseIdentity } from "#allinone/database-mark.ts";
import { requireFreeSpace } from "#allinone/free-space.ts";
import { createOtlpReceiver } from "#allinone/otlp-receiver.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import { createSecret } from "#lib/secret.ts";
import type { TransportSettings } from "#otlp/transport.ts";
import { createClickHouse } from "#storage/clickhouse.ts";
import type { StateStore } from "#state/store.ts";
import type { Database } from "#storage/database.ts";
import { DISTRIBUTED_SETTINGS } from "#storage/distributed.ts";
import { migrate } from "#storage/migrate.ts";
import type { MigrationParameters } from "#storage/migration-parameters.ts";
import { migrationStatus, planMigrate } from "#storage/migration-plan.ts";
import { isUpToDate, toPlanText, toStatusText } from "#storage/migration-report.ts";
import { createRollupTimer } from "#storage/rollup-timer.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Config } from "#config.ts";

const DAY_MS = 86_400_000;

/** Where OTLP is sent, and as whom. */
export type CollectorPlace = Pick<TransportSettings, "url" | "name" | "headers">;

export function configuredCollector(config: Config): CollectorPlace {
  return { url: config.OTEL_COLLECTOR_ENDPOINT.href, headers: config.OTLP_HEADERS };
}

/** A ClickHouse server; nothing is connected yet. */
function connectStorage(
  config: Config,
  logger: Logger,
  url = config.CLICKHOUSE_URL,
  settings: Readonly<Record<string, string | number>> = {},
): Database {
  return createClickHouse({
    url: url.href,
    user: config.CLICKHOUSE_USER,
    password: config.CLICKHOUSE_PASSWORD,
    timeoutMs: config.CLICKHOUSE_TIMEOUT,
    settings,
    logger,
  });
}

/** A server of each shard: what writes tables works on each of them by itself. */
function shardUrls(config: Config): readonly URL[] {
  return config.CLICKHOUSE_SHARD_URLS ?? [config.CLICKHOUSE_URL];
}

/** The database that answers are read from. */
export function readDatabaseName(config: Config): string {
  return config.CLICKHOUSE_DISTRIBUTED_DATABASE ?? config.CLICKHOUSE_DATABASE;
}

/** The role migrate: brings ClickHouse's tables up to date, one shard after the other. */
export async function runMigrations(config: Config, logger: Logger, signal: AbortSignal): Promise<void> {
  for (const url of shardUrls(config)) {
    const database = connectStorage(config, logger, url);
    try {
      await migrate(database, { parameters: toParameters(config), clock: systemClock, logger, signal });
    } finally {
      await database.close();
    }
  }
}

/** The output of `migrate --dry-run` and `migrate status`. `isUpToDate` is false when there is work to do or a problem. */
export async function inspectMigrations(
  config: Config,
  what: "plan" | "status",
  logger: Logger,
  signal: AbortSignal,
): Promise<{ text: string; isUpToDate: boolean }> {
  const results: { text: string; isUpToDate: boolean }[] = [];
  for (const url of shardUrls(config)) {
    const database = connectStorage(config, logger, url);
    try {
      const settings = { parameters: toParameters(config), signal };
      if (what === "plan") {
        results.push({ text: toPlanText(await planMigrate(database, settings)), isUpToDate: true });
      } else {
        const status = await migrationStatus(database, settings);
        results.push({ text: toStatusText(status), isUpToDate: isUpToDate(status) });
      }
    } finally {
      await database.close();
    }
  }
  return {
    text: results.map(({ text }) => text).join("\n"),
    isUpToDate: results.every((result) => result.isUpToDate),
  };
}

export function toParameters(config: Config): MigrationParameters {
  const { CLICKHOUSE_ROLLUP_RETENTION: rollup, CLICKHOUSE_SERIES_RETENTION: series } = config;
  const { CLICKHOUSE_DISTRIBUTED_DATABASE: distributed, CLICKHOUSE_DISTRIBUTED_CLUSTER: shards } = config;
  return {
    database: config.CLICKHOUSE_DATABASE,
    retentionDays: config.CLICKHOUSE_RETENTION / DAY_MS,
    ...(rollup === undefined ? {} : { rollupRetentionDays: rollup / DAY_MS }),
    ...(series === undefined ? {} : { seriesRetentionDays: series / DAY_MS }),
    ...(config.CLICKHOUSE_CLUSTER === undefined ? {} : { cluster: config.CLICKHOUSE_CLUSTER }),
    ...(distributed === undefined || shards === undefined
      ? {}
      : { shards: { database: distributed, cluster: shards, count: shardUrls(config).length } }),
  };
}

/** The query role's storage: the server of CLICKHOUSE_URL. The hours are rolled up on each shard, in its own tables. */
export function startServerStorage(
  config: Config,
  deps: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
): Database {
  const isSharded = config.CLICKHOUSE_SHARD_URLS !== undefined;
  const settings = isSharded ? DISTRIBUTED_SETTINGS : {};
  const database = connectStorage(config, deps.logger, config.CLICKHOUSE_URL, settings);
  deps.lifecycle.onStop("ClickHouse", () => database.close());
  for (const url of config.CLICKHOUSE_SHARD_URLS ?? []) {
    const shard = connectStorage(config, deps.logger, url);
    deps.lifecycle.onStop("ClickHouse", () => shard.close());
    startRollups(config, shard, deps);
  }
  if (!isSharded) startRollups(config, database, deps);
  return database;
}

function startRollups(
  config: Config,
  database: Database,
  { clock, logger, lifecycle }: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
): void {
  const settings = { databaseName: config.CLICKHOUSE_DATABASE, intervalMs: config.ROLLUP_INTERVAL };
  const rollups = createRollupTimer({ database, clock, logger }, settings);
  rollups.start();
  lifecycle.onStop("roll-ups", () => rollups.stop());
}

const TOKEN_BYTES = 32;

/** The all-in-one role's own ClickHouse engine behind an OTLP receiver, in this process, which no other process can send to. */
export async function startEmbeddedStorage(
  config: Config,
  deps: { clock: Clock; logger: Logger; lifecycle: Lifecycle; store: StateStore },
): Promise<{ database: Database; collector: CollectorPlace; identity: DatabaseIdentity }> {
  const { clock, logger, lifecycle, store } = deps;
  const path = join(config.DATA_DIR, "clickhouse");
  const wasMissing = !existsSync(join(path, "data", "metadata"));
  const database = await openChdb({ path, logger, memoryBytesMax: config.EMBEDDED_MEMORY_MAX });
  lifecycle.onStop("embedded ClickHouse", () => database.close());
  await migrate(database, {
    parameters: toParameters(config),
    clock,
    logger,
    // The engine holds the folder, so no other process can migrate it. A statement on a full disk leaves a table that can't be opened.
    lock: { assertHeld: () => requireFreeSpace(path), release: () => Promise.resolve() },
    signal: new AbortController().signal,
  });
  const identity = await identifyDatabase({ path, wasMissing }, { store, logger });
  startRollups(config, database, deps);
  // It is nowhere but in this process' memory.
  const token = createSecret(randomBytes(TOKEN_BYTES).toString("base64url"));
  const databaseName = config.CLICKHOUSE_DATABASE;
  const receiver = createOtlpReceiver({ database, databaseName, token, clock, logger });
  const { url } = await receiver.start("127.0.0.1", 0);
  lifecycle.onStop("OTLP receiver", () => receiver.stop());
  const collector = {
    url: `${url}/v1/metrics`,
    name: "the OTLP receiver of this process",
    headers: { authorization: createSecret(`Bearer ${token.expose()}`) },
  };
  return { database, collector, identity };
}
