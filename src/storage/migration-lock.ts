import { randomUUID } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { clickHouseCode } from "./storage-error.ts";
import type { Database } from "./database.ts";

const TABLE = "migration_lock_";
const TABLE_ALREADY_EXISTS = 57;
const UNKNOWN_TABLE = 60;
/** A holder that has not renewed for so long is dead: somebody else takes the lock. */
const LEASE_MS = 60_000;
const RENEW_MS = 15_000;
const POLL_MS = 500;

export interface MigrationLock {
  /**
   * May the next statement change tables? Throws `migration_failed` when another process has taken the lock (this process stood still for
   * longer than its lease).
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
 * A lock made of what ClickHouse does atomically: CREATE TABLE of a name that exists fails. Each taking makes the table of the next generation
 * (`migration_lock_000001`, ...), whose comment says who holds it until when; the newest one counts, older ones are dropped and the number
 * never goes back, so a late contender can't take over from a live holder. Times are the database's own.
 *
 * Throws `migration_failed` when another live process still holds it after `waitMs`.
 */
export async function takeMigrationLock(database: Database, settings: LockSettings): Promise<MigrationLock> {
  const { databaseName, onCluster, clock, signal } = settings;
  const owner = randomUUID();
  const giveUp = clock.monotonic() + settings.waitMs;
  const readNow = async (): Promise<number> => {
    const rows = await database.query<{ now: string }>(
      "SELECT toUnixTimestamp64Milli(now64(3)) AS now",
      {},
      signal,
    );
    return Number(rows[0]?.now);
  };
  const readAll = () => readHolders(database, databaseName, signal);

  for (;;) {
    const newest = (await readAll()).at(-1);
    const now = await readNow();
    if (newest === undefined || newest.until < now) {
      const table = `${TABLE}${String((newest?.generation ?? 0) + 1).padStart(6, "0")}`;
      const comment = `${owner} ${now + LEASE_MS}`;
      if (await create(`${databaseName}.${table}`, comment)) {
        const holders = await readAll();
        if (holders.at(-1)?.owner === owner) {
          await drop(holders.slice(0, -1));
          return hold(table);
        }
        // A slow contender made a generation anew that was taken, used and dropped meanwhile.
        await drop(holders.filter((holder) => holder.owner === owner));
      }
    }
    if (clock.monotonic() >= giveUp) {
      throw new BridgeError("migration_failed", "another process is migrating this database", {
        hint: "Wait for it to finish; if it was killed, its lock ends by itself after a minute.",
      });
    }
    await clock.sleep(POLL_MS, signal);
  }

  async function create(table: string, comment: string): Promise<boolean> {
    try {
      const shape = "(nothing UInt8) ENGINE = MergeTree ORDER BY tuple()";
      await database.command(`CREATE TABLE ${table} ${onCluster} ${shape} COMMENT '${comment}'`, {}, signal);
      return true;
    } catch (error) {
      if (clickHouseCode(error) === TABLE_ALREADY_EXISTS) return false;
      throw error;
    }
  }

  async function drop(holders: Holder[]): Promise<void> {
    for (const holder of holders) {
      await database.command(
        `DROP TABLE IF EXISTS ${databaseName}.${holder.table} ${onCluster} SYNC`,
        {},
        signal,
      );
    }
  }

  function hold(table: string): MigrationLock {
    const ended = new AbortController();
    const setUntil = async (until: number): Promise<void> => {
      const comment = `${owner} ${until}`;
      await database.command(`ALTER TABLE ${databaseName}.${table} ${onCluster} MODIFY COMMENT '${comment}'`);
    };
    const renewing = (async () => {
      while (!ended.signal.aborted) {
        await clock.sleep(RENEW_MS, ended.signal);
        try {
          await setUntil((await readNow()) + LEASE_MS);
        } catch (error) {
          // Somebody took over; anything else may pass before the lease does.
          if (clickHouseCode(error) === UNKNOWN_TABLE) return;
        }
      }
    })();
    // The end of holding. Whether the lock was lost, assertHeld tells.
    renewing.catch(() => {});
    return {
      assertHeld: async () => {
        if ((await readAll()).at(-1)?.owner === owner) return;
        throw new BridgeError("migration_failed", "another process took the migration lock over");
      },
      release: async () => {
        ended.abort();
        await renewing.catch(() => {});
        await setUntil(0);
      },
    };
  }
}

/** All generations, oldest first. */
async function readHolders(database: Database, databaseName: string, signal: AbortSignal): Promise<Holder[]> {
  const rows = await database.query<{ name: string; comment: string }>(
    "SELECT name, comment FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String}) ORDER BY name",
    { database: databaseName, prefix: TABLE },
    signal,
  );
  return rows.map((row) => {
    const [owner = "", until = "0"] = row.comment.split(" ");
    return { table: row.name, generation: Number(row.name.slice(TABLE.length)), owner, until: Number(until) };
  });
}
