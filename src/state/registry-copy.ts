import { existsSync } from "node:fs";
import { BridgeError } from "#errors/error.ts";
import { toShellWord } from "#lib/shell-word.ts";
import type { Logger } from "#telemetry/logger.ts";
import { createRecordsFile, type RecordsFile, type StoredText } from "./records-file.ts";
import { openStateFile } from "./state-file.ts";

export interface RegistryCopySettings {
  /** The copy's own file, beside the state file. */
  path: string;
  /** Beginnings of the keys that are copied. */
  prefixes: readonly string[];
  /** Beginnings of those that the state file takes back whenever it lacks them: an older state file is not asked about for their sake. */
  merged?: readonly string[];
}

/** A second file with the records that have no other source: the registered clusters. */
export interface RegistryCopy {
  /** After the write to the state file; a failure is logged, and the copy made whole by the next write. */
  put(record: StoredText): void;
  /** Throws: what was deleted must not stay in the copy. */
  delete(key: string): void;
  close(): void;
}

/**
 * Opens the copy and makes both files agree. A state file that is new gets what the copy has; else the copy gets what the state file has.
 * Throws `state_damaged` when the copy is damaged, or knows more than the state file does, which then was replaced by an older or another one:
 * what is right only the operator knows.
 */
export function openRegistryCopy(
  main: RecordsFile,
  mainPath: string,
  settings: RegistryCopySettings,
  logger: Logger,
): RegistryCopy {
  const { path, prefixes } = settings;
  const remedy = (): string =>
    `${mainPath} is sound, so nothing is lost. Remove the copy; the next start makes it again:\n\n    rm ${toShellWord(path)}\n`;
  const database = openStateFile(path, remedy);
  let copy: RecordsFile;
  try {
    copy = createRecordsFile(database, path, remedy);
    agree(main, mainPath, copy, settings, logger);
  } catch (error) {
    database.close();
    throw error;
  }
  let isBehind = false;

  const isCopied = (key: string): boolean => prefixes.some((prefix) => key.startsWith(prefix));

  return {
    put: (record) => {
      if (!isCopied(record.key)) return;
      try {
        if (isBehind) copyAll(main, copy, prefixes);
        else copy.transaction(() => write(copy, record));
        if (isBehind) logger.info({ path }, "the copy of the registry is whole again");
        isBehind = false;
      } catch (error) {
        if (!isBehind) logger.error({ err: error, path }, "the copy of the registry can't be written");
        isBehind = true;
      }
    },
    delete: (key) => {
      if (isCopied(key)) copy.delete(key);
    },
    close: () => copy.close(),
  };
}

function agree(
  main: RecordsFile,
  mainPath: string,
  copy: RecordsFile,
  { path, prefixes, merged = [] }: RegistryCopySettings,
  logger: Logger,
): void {
  const copied = copy.list(prefixes);
  if (main.version() === 0 && copied.length > 0) {
    main.transaction(() => {
      for (const record of copied) main.set(record);
      main.setVersion(copy.version());
    });
    main.setIdentity(copy.identity());
    const clusters = copied.filter(({ key }) => key.startsWith("cluster:")).length;
    logger.warn(
      { path, clusters },
      "the state file was missing: took the registered clusters from their copy",
    );
    return;
  }
  const isMerged = ({ key }: StoredText): boolean => merged.some((prefix) => key.startsWith(prefix));
  const isSame = copy.version() === 0 || copy.identity() === main.identity();
  const lost = copied.filter((record) => {
    const { key, text, version } = record;
    if (isMerged(record)) return false;
    const own = main.get(key);
    return own?.text !== text && (isSame ? version > main.version() : own === undefined);
  });
  if (lost.length > 0) throw replaced(mainPath, path, lost);
  main.transaction(() => {
    for (const record of copied) {
      if (!isMerged(record) || main.get(record.key)) continue;
      const version = main.version() + 1;
      main.setVersion(version);
      main.set({ ...record, version });
    }
  });
  copyAll(main, copy, prefixes);
}

function copyAll(main: RecordsFile, copy: RecordsFile, prefixes: readonly string[]): void {
  const records = new Map(main.list(prefixes).map((record) => [record.key, record]));
  const deleted = copy.list(prefixes).filter(({ key }) => !records.has(key));
  if (copy.identity() !== main.identity()) copy.setIdentity(main.identity());
  copy.transaction(() => {
    for (const record of records.values()) {
      if (copy.get(record.key)?.version !== record.version) write(copy, record);
    }
  });
  for (const { key } of deleted) copy.delete(key);
}

function write(copy: RecordsFile, record: StoredText): void {
  copy.set(record);
  if (record.version > copy.version()) copy.setVersion(record.version);
}

function replaced(mainPath: string, path: string, lost: readonly StoredText[]): BridgeError {
  const names = lost.slice(0, 10).map(({ key }) => key);
  return new BridgeError(
    "state_damaged",
    `the state file ${mainPath} is older than, or another one than, the copy of the registry ${path}, which also has: ${names.join(", ")}`,
    {
      hint: `Nothing was changed. To go on with what the copy has (watermarks begin anew, back to MAX_BACKFILL is read again):\n\n    ${setAside(mainPath)}\n\n  Or, to go on with the state file as it is:\n\n    ${setAside(path)}\n`,
    },
  );
}

/** The command that moves a SQLite file away, with what SQLite left beside it after a crash. */
function setAside(path: string): string {
  return `for f in ${toShellWord(path)} ${toShellWord(`${path}-wal`)}; do [ ! -e "$f" ] || mv "$f" "$f.damaged"; done`;
}

/** The remedy for a damaged state file. */
export function damagedStateRemedy(path: string, copy: RegistryCopySettings | undefined): string {
  const begin = `Restore ${path} from a backup, or move it away`;
  const registry =
    copy && existsSync(copy.path)
      ? `the next start takes the registered clusters from their copy ${copy.path}`
      : "clusters of the API are to be registered again";
  return `${begin}: ${registry}, and everything back to MAX_BACKFILL is read again.\n\n    ${setAside(path)}\n`;
}
