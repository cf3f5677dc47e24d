import type { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { damagedFile } from "./state-errors.ts";

/** A record as the file has it. */
export interface StoredText {
  key: string;
  text: string;
  version: number;
}

/** The statements over the tables of a state file. Everything throws what node:sqlite throws. */
export interface RecordsFile {
  get(key: string): (StoredText & { isSound: boolean }) | undefined;
  getMany(keys: readonly string[]): (StoredText & { isSound: boolean })[];
  /** Writes a record with this version, whether it is there or not. */
  set(record: StoredText): void;
  delete(key: string): void;
  /** All records whose key begins with one of these, by key. */
  list(prefixes: readonly string[]): StoredText[];
  /** Counts the writes of the whole file. */
  version(): number;
  setVersion(version: number): void;
  /** Which file it is: a number that a copy has in common with what it is a copy of. */
  identity(): number;
  setIdentity(identity: number): void;
  transaction<T>(run: () => T): T;
  close(): void;
}

/**
 * SQLite keeps no checksums of pages: each record has its own, of key, value and version. Throws `state_damaged` naming the first record that does
 * not match, or a count of writes that is behind a record's.
 */
export function createRecordsFile(database: DatabaseSync, path: string, remedy: () => string): RecordsFile {
  const select = database.prepare("SELECT key, value, version, checksum FROM records WHERE key = ?");
  const selectMany = database.prepare(
    "SELECT key, value, version, checksum FROM records WHERE key IN (SELECT value FROM json_each(?))",
  );
  const all = database.prepare("SELECT key, value, version, checksum FROM records ORDER BY key");
  const set = database.prepare(
    "INSERT INTO records (key, value, version, checksum) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version, checksum = excluded.checksum",
  );
  const remove = database.prepare("DELETE FROM records WHERE key = ?");
  const readVersion = database.prepare("SELECT version FROM counter WHERE id = 1");
  const writeVersion = database.prepare("UPDATE counter SET version = ? WHERE id = 1");

  const toStored = (row: Record<string, unknown>): StoredText & { isSound: boolean } => {
    const record = { key: String(row["key"]), text: String(row["value"]), version: Number(row["version"]) };
    const { checksum } = row;
    return { ...record, isSound: checksum === null || checksum === checksumOf(record) };
  };
  const list = function* (): Generator<StoredText & { isSound: boolean }> {
    for (const row of all.iterate()) yield toStored(row);
  };
  const version = (): number => Number(readVersion.get()?.["version"]);
  const counted = version();
  for (const { key, isSound, version: own } of list()) {
    if (isSound && own <= counted) continue;
    throw damagedFile(path, remedy(), undefined, ` (the record ${JSON.stringify(key.slice(0, 80))})`);
  }
  if (!Number.isSafeInteger(counted)) throw damagedFile(path, remedy());

  return {
    get: (key) => {
      const row = select.get(key);
      return row && toStored(row);
    },
    getMany: (keys) => selectMany.all(JSON.stringify(keys)).map(toStored),
    set: (record) => void set.run(record.key, record.text, record.version, checksumOf(record)),
    delete: (key) => {
      remove.run(key);
      // The old value may be credentials: it is overwritten in the file, and its copies in -wal are removed.
      database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    },
    list: (prefixes) =>
      [...list()]
        .filter(({ key }) => prefixes.some((prefix) => key.startsWith(prefix)))
        .map(({ key, text, version: own }) => ({ key, text, version: own })),
    version,
    setVersion: (next) => void writeVersion.run(next),
    identity: () => Number(database.prepare("PRAGMA application_id").get()?.["application_id"]),
    setIdentity: (identity) => database.exec(`PRAGMA application_id = ${Math.trunc(identity)}`),
    transaction: (run) => {
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
    },
    close: () => database.close(),
  };
}

function checksumOf({ key, text, version }: StoredText): number {
  return crc32(`${key}\0${version}\0${text}`);
}
