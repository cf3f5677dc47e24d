import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { BridgeError } from "#errors/error.ts";
import { toShellWord } from "#lib/shell-word.ts";
import { clickHouseCode, toClickHouseError } from "#storage/storage-error.ts";
import { DATABASE_MARK } from "./database-mark.ts";
import { diskFull } from "./free-space.ts";

/** The engine's words for a full disk: errno 28 of a write, or what it reserved in vain (code 243). */
const DISK_FULL = /No space left on device|Disk quota exceeded|errno: (?:28|122)\b|NOT_ENOUGH_SPACE/;
const TOO_MANY_FILES = /Too many open files|errno: (?:23|24)\b/;
const HELD = /Cannot lock file .*another server instance/is;
const REASON_CHARS_MAX = 160;
const REFUSED = /Permission denied|Read-only file system|Operation not permitted/i;

/**
 * Codes of ClickHouse (src/Common/ErrorCodes.cpp) for files that are not what they were: ATTEMPT_TO_READ_AFTER_EOF, CANNOT_READ_ALL_DATA,
 * CHECKSUM_DOESNT_MATCH, CANNOT_READ_FROM_FILE_DESCRIPTOR, CANNOT_OPEN_FILE, FILE_DOESNT_EXIST, INCORRECT_DATA, CORRUPTED_DATA,
 * CANNOT_DECOMPRESS, UNKNOWN_CODEC, and others of damaged numbers in a file: ARGUMENT_OUT_OF_BOUND, TOO_LARGE_SIZE_COMPRESSED.
 */
const DAMAGED = new Set([32, 33, 40, 69, 74, 76, 107, 117, 246, 261, 271, 432]);

/** Converts any failure of a statement of the engine. `path` is the folder that holds the engine's `data` folder. */
export function toEngineError(error: unknown, path: string): BridgeError {
  const cause = error instanceof Error ? error : new Error(String(error));
  if (DISK_FULL.test(cause.message)) return diskFull(path, cause);
  const code = /Code: (\d+)\./.exec(cause.message)?.[1];
  if (code === undefined) {
    return new BridgeError("storage_unavailable", "the embedded ClickHouse engine failed", { cause });
  }
  const name = /\(([A-Z][A-Z0-9_]{3,})\)[^()]*$/.exec(cause.message)?.[1] ?? "";
  const failure = toClickHouseError(Number(code), name, cause);
  const file = DAMAGED.has(clickHouseCode(failure) ?? 0) ? storedFile(cause.message, path) : undefined;
  // Answers of the API must not say where the folder is; the log has the whole path in the cause.
  return file === undefined ? failure : damaged(relative(dirname(path), file), { cause });
}

/** Why the engine did not open the folder, as far as its own words (`said`) tell. */
export function toOpeningError(said: string, path: string, cause: unknown): BridgeError {
  const unavailable = (message: string, hint: string): BridgeError =>
    new BridgeError("storage_unavailable", message, { cause, hint });
  const dataPath = join(path, "data");
  if (HELD.test(said)) {
    return unavailable(
      `another process holds ${dataPath}`,
      "Only one process may work on one DATA_DIR: stop the other one or give this one its own.",
    );
  }
  if (DISK_FULL.test(said)) return diskFull(path, cause);
  if (TOO_MANY_FILES.test(said)) {
    return new BridgeError(
      "file_descriptors_exhausted",
      "the limit of open files (ulimit -n) is too low for the embedded ClickHouse engine",
      { cause },
    );
  }
  if (REFUSED.test(said)) {
    return unavailable(
      `the embedded ClickHouse engine may not read or write ${dataPath}`,
      `Give the folder and everything in it to the user that runs the program (id ${process.getuid?.() ?? "unknown"}), and make its file system writable.`,
    );
  }
  const file = damagedFile(said, dataPath);
  const reason = reasonOf(said);
  if (file !== undefined) return damaged(`${file}${reason}`, { cause, hint: remedyOf(file, path) });
  return unavailable(
    `the embedded ClickHouse engine can't open ${dataPath}${reason}`,
    said === ""
      ? "The engine gave no reason. Check the folder's rights, the free space and the limit of open files (ulimit -n), and start again."
      : `Check the folder's rights and the free space. If both are right, its files are damaged: restore the folder from a backup, or begin with an empty database: ${setAside(path)}`,
  );
}

/** The innermost exception's beginning, for a line of a message. */
function reasonOf(said: string): string {
  const innermost = said.split("\n")[0]?.split("DB::Exception: ").at(-1) ?? "";
  const text = innermost.replaceAll(/[^\x20-\x7e]+/g, "?").split(/: (?=Cannot|while)|\. /)[0] ?? "";
  return text.trim() === "" ? "" : ` (ClickHouse: ${text.trim().slice(0, REASON_CHARS_MAX)})`;
}

function damaged(file: string, options: { cause: unknown; hint?: string }): BridgeError {
  return new BridgeError("storage_damaged", `the embedded database is damaged: ${file}`, options);
}

/** The file or part that the engine calls damaged when it opens the folder. Its own paths are absolute or begin in the data folder. */
function damagedFile(said: string, dataPath: string): string | undefined {
  const part = /Part (\/.*?)\/? is broken and needs manual correction/.exec(said)?.[1];
  if (part !== undefined) return part;
  const definition = /(?:metadata file|in file|from file) ((?:store|metadata)\/\S+?\.sql)/.exec(said)?.[1];
  const table = /Cannot attach table .*? UUID '([0-9a-f-]{36})'/s.exec(said)?.[1];
  const version = table && join(dataPath, "store", table.slice(0, 3), table, "format_version.txt");
  if (version !== undefined && !isFormatVersion(version)) return version;
  if (definition !== undefined) return join(dataPath, definition);
  return storedFile(said, dirname(dataPath));
}

/** MergeTree writes 1 into it, and nothing else since it exists. */
function isFormatVersion(file: string): boolean {
  try {
    return readFileSync(file, "utf8").trim() === "1";
  } catch {
    return false;
  }
}

/** A file below the data folder that a text names. */
function storedFile(text: string, path: string): string | undefined {
  const folder = `${join(path, "data")}/`;
  const at = text.indexOf(folder);
  if (at === -1) return undefined;
  const rest = /^[\w./-]+/.exec(text.slice(at + folder.length))?.[0].replace(/[./]+$/, "");
  return rest === undefined ? undefined : `${folder}${rest}`;
}

const LOCK_TABLE = /^migration_lock_\d+\.sql$/;
/** A part is a folder of a table: `<partition>_<from>_<to>_<level>`, in `store/<3 of the id>/<the table's id>`. */
const PART = /\/store\/[0-9a-f]{3}\/[0-9a-f-]{36}\/\w+_\d+_\d+_\d+[^/]*$/;

/** The commands that let the program start again with the least loss. */
function remedyOf(file: string, path: string): string {
  const name = basename(file);
  const move = `mv ${toShellWord(file)} ${toShellWord(join(path, `${name}.damaged`))}`;
  if (LOCK_TABLE.test(name)) {
    return `The table held a lock and no data: an earlier version left it on a full disk. Moving it away loses nothing else:\n\n    ${move}\n`;
  }
  if (PART.test(file) && !isOfMigrations(file, path)) {
    return `Restore it from a back-up, or start without this part's samples. The last command lets the program read again what Prometheus still has of them:\n\n    ${move}\n    rm -f ${toShellWord(join(path, "data", DATABASE_MARK))}\n`;
  }
  return `If a newer version of this program made it, start that version. Else restore the file from a back-up, or begin with an empty database: ${setAside(path)}`;
}

/** Without the record of what was applied, the program can't tell which tables there are: such a part can't be done without. */
function isOfMigrations(part: string, path: string): boolean {
  const folders = join(path, "data", "data");
  try {
    return readdirSync(folders).some(
      (database) => realpathSync(join(folders, database, "migrations")) === realpathSync(dirname(part)),
    );
  } catch {
    return true;
  }
}

function setAside(path: string): string {
  return `everything back to MAX_BACKFILL is then read again from the clusters, and what is older stays in the folder that was moved away.\n\n    mv ${toShellWord(path)} ${toShellWord(`${path}.damaged`)}\n`;
}
