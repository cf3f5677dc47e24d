import { BridgeError } from "#errors/error.ts";
import type { Logger } from "#telemetry/logger.ts";
import { toRecordText } from "./record-text.ts";
import { createRecordsFile, type RecordsFile } from "./records-file.ts";
import {
  damagedStateRemedy,
  openRegistryCopy,
  type RegistryCopy,
  type RegistryCopySettings,
} from "./registry-copy.ts";
import { toStateError } from "./state-errors.ts";
import { openStateFile } from "./state-file.ts";
import type { StateStore } from "./store.ts";

export interface SqliteStoreSettings {
  /** The database file; its folder is made when it is missing. SQLite keeps `-wal` beside it. */
  path: string;
  logger: Logger;
  /** Default: no copy. */
  copy?: RegistryCopySettings;
}

/** One record's JSON text, bytes. */
const VALUE_BYTES_MAX = 16 * 1024 * 1024;

/**
 * The state records in one SQLite file, mode 0600.
 *
 * A write is on the disk when `put` returns (WAL with synchronous=FULL), so it survives kill -9 and a power cut. The file is held with an
 * exclusive lock as long as the store is open; the operating system lets go of it when the process dies. ETags count the writes of the whole
 * file, so a key that was deleted and made again never gets an ETag that it had before. Of what was deleted no copy stays in the files.
 * The whole file is checked when it is opened, each record by its checksum.
 *
 * Throws BridgeError `state_unavailable` when the file can't be opened or is held by another process, `state_damaged` when it is no sound file of
 * this program, `config_invalid` when it is a link or belongs to another user.
 */
export function createSqliteStore(settings: SqliteStoreSettings): StateStore {
  const { path, logger } = settings;
  const { records, copy } = open(settings);
  let closed = false;

  const guarded = async <T>(run: () => T): Promise<T> => {
    if (closed) throw new BridgeError("state_unavailable", "the state file is closed");
    try {
      return run();
    } catch (error) {
      throw toStateError(error, path, () => damagedStateRemedy(path, settings.copy));
    }
  };

  const write = (key: string, text: string, etag: string | undefined): number => {
    const stored = records.get(key);
    const storedEtag = stored === undefined ? undefined : String(stored.version);
    if (storedEtag !== etag) {
      const what = etag === undefined ? "exists already" : "was changed by another process";
      throw new BridgeError("state_conflict", `the record ${key} ${what}`);
    }
    const version = records.version() + 1;
    records.setVersion(version);
    records.set({ key, text, version });
    return version;
  };

  return {
    get: (key) =>
      guarded(() => {
        const record = records.get(key);
        if (record === undefined) return undefined;
        if (!record.isSound) throw recordDamaged(key, path, "does not match its checksum");
        // The caller knows what it has put under the key: `never` fits whatever it asks for.
        const value = parseValue(key, record.text, path) as never;
        return { value, etag: String(record.version) };
      }),
    getMany: (keys) =>
      guarded(
        () =>
          new Map(
            records.getMany(keys).map(({ key, text, version, isSound }) => {
              return [key, { value: isSound ? tryParse(text) : undefined, etag: String(version) }] as const;
            }),
          ),
      ),
    put: (key, value, etag) =>
      guarded(() => {
        const text = toRecordText(key, value, VALUE_BYTES_MAX);
        const version = records.transaction(() => write(key, text, etag));
        copy?.put({ key, text, version });
        return String(version);
      }),
    delete: (key) =>
      guarded(() => {
        records.delete(key);
        copy?.delete(key);
      }),
    check: () =>
      guarded(() => {
        records.get("");
      }),
    close: async () => {
      if (closed) return;
      closed = true;
      try {
        records.close();
        copy?.close();
      } catch (error) {
        logger.warn({ err: error, path }, "the state file could not be closed cleanly");
      }
    },
  };
}

function open(settings: SqliteStoreSettings): { records: RecordsFile; copy: RegistryCopy | undefined } {
  const { path, logger } = settings;
  const remedy = (): string => damagedStateRemedy(path, settings.copy);
  const database = openStateFile(path, remedy);
  try {
    const records = createRecordsFile(database, path, remedy);
    const copy = settings.copy && openRegistryCopy(records, path, settings.copy, logger);
    return { records, copy };
  } catch (error) {
    database.close();
    throw toStateError(error, path, remedy);
  }
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parseValue(key: string, text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw recordDamaged(key, path, "is not JSON", error);
  }
}

function recordDamaged(key: string, path: string, what: string, cause?: unknown): BridgeError {
  return new BridgeError(
    "state_record_damaged",
    `the record ${key} in ${path} ${what}`,
    cause === undefined ? {} : { cause },
  );
}
