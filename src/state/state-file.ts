import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  type Stats,
} from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { BridgeError } from "#errors/error.ts";
import { damagedFile, newerFile, toStateError } from "./state-errors.ts";

/** `PRAGMA user_version` of the tables below; 0 are files of before, without checksums. */
const FORMAT = 1;
/** Files that SQLite may keep next to its file, under names derived from it. */
const COMPANIONS = ["", "-wal", "-shm", "-journal"];

/**
 * Opens a SQLite file of state records, mode 0600, and makes it when it is missing. The file is held with an exclusive lock until it is closed.
 * `remedy` is the hint for a damaged one.
 *
 * Throws BridgeError `config_invalid` for a file that is a link or belongs to another user, `state_damaged`, and `state_unavailable`.
 */
export function openStateFile(path: string, remedy: () => string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    for (const suffix of COMPANIONS) refuseForeignFile(`${path}${suffix}`);
    makePrivate(path);
    database = new DatabaseSync(path, { timeout: 1000 });
    // Exclusive before WAL: the lock is taken by the first statement and kept, and no -shm file is needed.
    database.exec(
      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON",
    );
    const check = database.prepare("PRAGMA integrity_check(1)").get();
    if (check?.["integrity_check"] !== "ok") throw damagedFile(path, remedy());
    prepareTables(database, path);
    return database;
  } catch (error) {
    database?.close();
    throw toStateError(error, path, remedy);
  }
}

function prepareTables(database: DatabaseSync, path: string): void {
  const format = Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (format > FORMAT || format < 0) throw newerFile(path);
  if (format === FORMAT) return;
  database.exec(`
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
    INSERT OR IGNORE INTO counter (id, version) VALUES (1, 0);
    ALTER TABLE records ADD COLUMN checksum INTEGER;
    -- An earlier version of the program changes values and knows no checksums.
    CREATE TRIGGER records_without_checksum AFTER UPDATE OF value ON records WHEN NEW.checksum IS OLD.checksum
      BEGIN UPDATE records SET checksum = NULL WHERE key = NEW.key; END;
    PRAGMA application_id = ${1 + Math.floor(Math.random() * 0x7ffffffe)};
    PRAGMA user_version = ${FORMAT};
    COMMIT`);
}

/**
 * SQLite follows no link itself when it opens a file (O_NOFOLLOW), but resolves the name before. A link, or a second name of the file, would let
 * anyone who can write to the folder make the program change another file of its user.
 */
function refuseForeignFile(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats) refuseForeign(path, stats);
}

function refuseForeign(path: string, stats: Stats): void {
  const user = process.geteuid?.();
  const what = stats.isSymbolicLink()
    ? "is a symbolic link"
    : !stats.isFile()
      ? "is no file"
      : stats.nlink > 1
        ? "has another name (a hard link)"
        : user !== undefined && user !== 0 && stats.uid !== user
          ? `belongs to another user (id ${stats.uid}, this program runs as ${user})`
          : undefined;
  if (what === undefined) return;
  throw new BridgeError("config_invalid", `DATA_DIR: ${path} ${what}`, {
    hint: "Nothing was opened or changed. Make it a plain file of the user that runs the program, with one name (copy it: cp -p FILE COPY), or set DATA_DIR to another folder. DATA_DIR itself may be a link.",
  });
}

/** SQLite gives -wal the mode of the file itself, so the file must have its mode before SQLite sees it. */
function makePrivate(path: string): void {
  const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
  const file = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    const stats = fstatSync(file);
    refuseForeign(path, stats);
    if ((stats.mode & 0o777) !== 0o600) fchmodSync(file, 0o600);
  } finally {
    closeSync(file);
  }
}
