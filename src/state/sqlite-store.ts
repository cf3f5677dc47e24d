import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { BridgeError } from "#errors.ts";
import type { Logger } from "#telemetry/logger.ts";
import { toRecordText } from "./record-text.ts";
import type { StateStore } from "./store.ts";

export interface SqliteStoreSettings {
  /** The database file; its folder is made when it is missing. SQLite keeps `-wal` beside it. */
  path: string;
  logger: Logger;
}

/** One record's JSON text, bytes. */
const VALUE_BYTES_MAX = 16 * 1024 * 1024;

// Result codes of SQLite (https://sqlite.org/rescode.html), primary codes.
const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/**
 * The state records in one SQLite file, mode 0600.
 *
 * A write is on the disk when `put` returns (WAL with synchronous=FULL), so it survives kill -9 and a power cut. The file is held with an
 * exclusive lock as long as the store is open; the operating system lets go of it when the process dies. ETags count the writes of the whole
 * file, so a key that was deleted and made again never gets an ETag that it had before. Of what was deleted no copy stays in the files.
 *
 * Throws BridgeError `state_unavailable` when the file can't be opened, is held by another process or is no sound SQLite database.
 */
export function createSqliteStore(settings: SqliteStoreSettings): StateStore {
  const { path, logger } = settings;
  const database = open(path);
  let closed = false;

  const select = database.prepare("SELECT value, version FROM records WHERE key = ?");
  const advance = database.prepare("UPDATE counter SET version = version + 1 RETURNING version");
  const insert = database.prepare("INSERT INTO records (key, value, version) VALUES (?, ?, ?)");
  const update = database.prepare("UPDATE records SET value = ?, version = ? WHERE key = ?");
  const remove = database.prepare("DELETE FROM records WHERE key = ?");

  const guarded = async <T>(run: () => T): Promise<T> => {
    if (closed) throw new BridgeError("state_unavailable", "the state file is closed");
    try {
      return run();
    } catch (error) {
      throw toStateError(error, path);
    }
  };

  const write = (key: string, text: string, etag: string | undefined): string => {
    const stored = select.get(key);
    const storedEtag = stored === undefined ? undefined : String(stored["version"]);
    if (storedEtag !== etag) {
      const what = etag === undefined ? "exists already" : "was changed by somebody else";
      throw new BridgeError("state_conflict", `the record ${key} ${what}`);
    }
    const version = Number(advance.get()?.["version"]);
    if (stored === undefined) insert.run(key, text, version);
    else update.run(text, version, key);
    return String(version);
  };

  return {
    get: (key) =>
      guarded(() => {
        const row = select.get(key);
        if (row === undefined) return undefined;
        // The caller knows what it has put under the key: `never` fits whatever it asks for.
        const value = parseValue(key, String(row["value"]), path) as never;
        return { value, etag: String(row["version"]) };
      }),
    put: (key, value, etag) =>
      guarded(() => {
        const text = toRecordText(key, value, VALUE_BYTES_MAX);
        return transaction(database, () => write(key, text, etag));
      }),
    delete: (key) =>
      guarded(() => {
        remove.run(key);
        // What was there is overwritten in the file, and its copies in -wal go as well: it may be credentials.
        database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      }),
    check: () =>
      guarded(() => {
        select.get("");
      }),
    close: async () => {
      if (closed) return;
      closed = true;
      try {
        database.close();
      } catch (error) {
        logger.warn({ err: error, path }, "the state file could not be closed cleanly");
      }
    },
  };
}

function open(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // SQLite gives -wal the mode of the file itself, so the file must have its mode before SQLite sees it.
    closeSync(openSync(path, "a", 0o600));
    chmodSync(path, 0o600);
    database = new DatabaseSync(path, { timeout: 1000 });
    // Exclusive before WAL: the lock is taken by the first statement and kept, and no -shm file is needed.
    database.exec(
      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON",
    );
    const check = database.prepare("PRAGMA quick_check(1)").get();
    if (check?.["quick_check"] !== "ok") throw corrupt(path, undefined);
    database.exec(`
      BEGIN IMMEDIATE;
      CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
      INSERT OR IGNORE INTO counter (id, version) VALUES (1, 0);
      COMMIT`);
    return database;
  } catch (error) {
    database?.close();
    throw toStateError(error, path);
  }
}

function transaction<T>(database: DatabaseSync, run: () => T): T {
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = run();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    // A failed COMMIT may have rolled back by itself.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

function parseValue(key: string, text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new BridgeError("state_record_damaged", `the record ${key} in ${path} is not JSON`, {
      cause: error,
    });
  }
}

function corrupt(path: string, cause: unknown): BridgeError {
  return new BridgeError("state_unavailable", `the state file ${path} is damaged or is no SQLite database`, {
    cause,
    hint: `Restore ${path} from a backup, or move it (and ${path}-wal) away: collection then starts anew and reads back what Prometheus still has, and clusters of the API are to be registered again.`,
  });
}

function toStateError(error: unknown, path: string): BridgeError {
  if (error instanceof BridgeError) return error;
  const code = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : undefined;
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return corrupt(path, error);
  if (code === SQLITE_BUSY) {
    return new BridgeError("state_unavailable", `another process holds the state file ${path}`, {
      cause: error,
      hint: "Only one process may work on one DATA_DIR: stop the other one or give this one its own.",
    });
  }
  const text = error instanceof Error ? error.message : String(error);
  return new BridgeError("state_unavailable", `the state file ${path} failed: ${text}`, { cause: error });
}
