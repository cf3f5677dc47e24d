import { randomUUID } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { clickHouseCode } from "./storage-error.ts";
import type { Database } from "./database.ts";

const TABLE = "migration_lock_";
const TABLE_ALREADY_EXISTS = 57;
const UNKNOWN_TABLE = 60;
/** A holder that has not renewed for so long is dead: another process takes the lock. */
const LEASE_MS = 60_000;
const RENEW_MS = 15_000;
const POLL_MS = 500;

export interface MigrationLock {
  /**
   * Call it before each statement that changes tables. Throws `migration_failed` when another process has taken the lock, because this process
   * was suspended for longer than its lease.
   */
  assertHeld(): Promise<void>;
  release(): Promise<void>;
}

interface Holder {
  table: string;
  generation: number;
  owner: string;
  /** By the database's clock, ms; 0 when it was released. */
  until: number;
}

interface LockSettings {
  /** Of identifiers that need no quoting. */
  databaseName: string;
  /** `ON CLUSTER ...` or nothing. */
  onCluster: string;
  waitMs: number;
  clock: Clock;
  signal: AbortSignal;
}

/**
 * A lock on top of an atomic operation of ClickHouse: CREATE TABLE fails when the name exists. To take the lock is to create the table of the
 * next generation (`migration_lock_000001`, ...). Its comment names the holder and the end of the lease. The newest table counts, older ones
 * are dropped, and the number never goes back, so a late contender can't take over from a live holder. Times are those of the database.
 *
 * Throws `migration_failed` when another live process still holds it after `waitMs`.
 */
export async function takeMigrationLock(database: Database, settings: LockSettings): Promise<MigrationLock> {
  const { clock, signal } = settings;
  const owner = randomUUID();
  const deadline = clock.monotonic() + settings.waitMs;
  const tables = new LockTables(database, settings);
  for (;;) {
    const table = await tryToTake(tables, owner);
    if (table !== undefined) return hold(tables, table, owner, clock);
    if (clock.monotonic() >= deadline) {
      throw new BridgeError("migration_failed", "another process is migrating this database", {
        hint: "Wait for it to finish; if it was killed, its lock ends by itself after a minute.",
      });
    }
    await clock.sleep(POLL_MS, signal);
  }
}

/** The table that was made, or undefined when another process holds the lock. */
async function tryToTake(tables: LockTables, owner: string): Promise<string | undefined> {
  const newest = (await tables.list()).at(-1);
  const now = await tables.now();
  if (newest !== undefined && newest.until >= now) return undefined;
  const table = `${TABLE}${String((newest?.generation ?? 0) + 1).padStart(6, "0")}`;
  if (!(await tables.create(table, owner, now + LEASE_MS))) return undefined;
  const holders = await tables.list();
  if (holders.at(-1)?.owner === owner) {
    await tables.drop(holders.slice(0, -1));
    return table;
  }
  // This process was slow: it re-created a generation that another one took, used and dropped in the meantime.
  await tables.drop(holders.filter((holder) => holder.owner === owner));
  return undefined;
}

/** Renews the lease until the lock is released. */
function hold(tables: LockTables, table: string, owner: string, clock: Clock): MigrationLock {
  const ended = new AbortController();
  const renewing = (async () => {
    while (!ended.signal.aborted) {
      await clock.sleep(RENEW_MS, ended.signal);
      try {
        await tables.setUntil(table, owner, (await tables.now()) + LEASE_MS);
      } catch (error) {
        // Another process took over. Any other failure may pass before the lease ends.
        if (clickHouseCode(error) === UNKNOWN_TABLE) return;
      }
    }
  })();
  // The sleep rejects at the end. assertHeld reports a lost lock.
  renewing.catch(() => {});
  return {
    assertHeld: async () => {
      if ((await tables.list()).at(-1)?.owner === owner) return;
      throw new BridgeError("migration_failed", "another process took the migration lock over");
    },
    release: async () => {
      ended.abort();
      await renewing.catch(() => {});
      await tables.setUntil(table, owner, 0);
    },
  };
}

/** The tables of the lock, one for each generation. */
class LockTables {
  readonly #database: Database;
  readonly #settings: LockSettings;

  constructor(database: Database, settings: LockSettings) {
    this.#database = database;
    this.#settings = settings;
  }

  /** The time of the database, ms. */
  async now(): Promise<number> {
    const sql = "SELECT toUnixTimestamp64Milli(now64(3)) AS now";
    const rows = await this.#database.query<{ now: string }>(sql, {}, this.#settings.signal);
    return Number(rows[0]?.now);
  }

  /** All generations, oldest first. */
  async list(): Promise<Holder[]> {
    const rows = await this.#database.query<{ name: string; comment: string }>(
      "SELECT name, comment FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String}) ORDER BY name",
      { database: this.#settings.databaseName, prefix: TABLE },
      this.#settings.signal,
    );
    return rows.map((row) => {
      const [owner = "", until = "0"] = row.comment.split(" ");
      const generation = Number(row.name.slice(TABLE.length));
      return { table: row.name, generation, owner, until: Number(until) };
    });
  }

  /** False when the table exists. */
  async create(table: string, owner: string, until: number): Promise<boolean> {
    const { databaseName, onCluster, signal } = this.#settings;
    const shape = "(nothing UInt8) ENGINE = MergeTree ORDER BY tuple()";
    const sql = `CREATE TABLE ${databaseName}.${table} ${onCluster} ${shape} COMMENT '${owner} ${until}'`;
    try {
      await this.#database.command(sql, {}, signal);
      return true;
    } catch (error) {
      if (clickHouseCode(error) === TABLE_ALREADY_EXISTS) return false;
      throw error;
    }
  }

  async drop(holders: readonly Holder[]): Promise<void> {
    const { databaseName, onCluster, signal } = this.#settings;
    for (const { table } of holders) {
      await this.#database.command(
        `DROP TABLE IF EXISTS ${databaseName}.${table} ${onCluster} SYNC`,
        {},
        signal,
      );
    }
  }

  /** Not bound to the signal: an aborted migration still releases its lock. */
  async setUntil(table: string, owner: string, until: number): Promise<void> {
    const { databaseName, onCluster } = this.#settings;
    const comment = `MODIFY COMMENT '${owner} ${until}'`;
    await this.#database.command(`ALTER TABLE ${databaseName}.${table} ${onCluster} ${comment}`);
  }
}
