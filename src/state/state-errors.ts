import { dirname } from "node:path";
import { BridgeError } from "#errors/error.ts";

// Result codes of SQLite (https://sqlite.org/rescode.html), primary codes.
const SQLITE_ERROR = 1;
const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** The SQL is the program's own: that a table or column is missing (SQLITE_ERROR) is the file's fault. */
const DAMAGED = new Set<unknown>([SQLITE_ERROR, SQLITE_CORRUPT, SQLITE_NOTADB]);

/** Converts any failure of the file. `remedy` is the hint for a damaged file. */
export function toStateError(error: unknown, path: string, remedy: () => string): BridgeError {
  if (error instanceof BridgeError) return error;
  const unavailable = (message: string, hint?: string): BridgeError =>
    new BridgeError("state_unavailable", message, { cause: error, ...(hint === undefined ? {} : { hint }) });
  const sqlite = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : undefined;
  const system = error instanceof Error && "code" in error ? error.code : undefined;
  if (DAMAGED.has(sqlite)) return damagedFile(path, remedy(), error);
  if (sqlite === SQLITE_BUSY) {
    return unavailable(
      `another process holds the state file ${path}`,
      "Only one process may work on one DATA_DIR: stop the other one or give this one its own.",
    );
  }
  if (sqlite === SQLITE_FULL || system === "ENOSPC" || system === "EDQUOT") {
    return unavailable(
      `the disk under ${dirname(path)} is full`,
      "Free space on the disk of DATA_DIR. What was acknowledged is kept; the program goes on by itself.",
    );
  }
  if (sqlite === SQLITE_READONLY || system === "EACCES" || system === "EPERM" || system === "EROFS") {
    return unavailable(
      `the state file ${path} can't be written`,
      "Give DATA_DIR and the files in it to the user that runs the program, on a file system that is writable.",
    );
  }
  const text = error instanceof Error ? error.message : String(error);
  return unavailable(`the state file ${path} failed: ${text}`);
}

export function damagedFile(path: string, hint: string, cause?: unknown, what = ""): BridgeError {
  return new BridgeError(
    "state_damaged",
    `the state file ${path} is damaged or is no SQLite database${what}`,
    {
      hint,
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

export function newerFile(path: string): BridgeError {
  return new BridgeError(
    "state_damaged",
    `the state file ${path} was made by a newer version of this program`,
    {
      hint: "Start that version again, or restore the file from a backup that this version made.",
    },
  );
}
