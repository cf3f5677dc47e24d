import { randomUUID } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";

/** The file in the engine's data folder that says which database it is, and how often it was opened. */
export const DATABASE_MARK = "budcluster-database.json";
const KEY = "database";

interface Mark {
  id: string;
  /** Counts the starts: a database that was restored from a backup is behind the state store. */
  starts: number;
}

/** Which database the samples go to. */
export interface DatabaseIdentity {
  id: string;
  /** It has none of the samples that were committed before: it is new, or was replaced by another or an older one. */
  isNew: boolean;
}

/**
 * Tells whether the database is the one that the state store knows, by a mark that both keep: the progress of the clusters holds for that one
 * only. The mark is written before the state record, so a crash between the two leaves a database that is ahead, which is as good.
 * Throws state_*.
 */
export async function identifyDatabase(
  { path, wasMissing }: { path: string; wasMissing: boolean },
  { store, logger }: { store: StateStore; logger: Logger },
): Promise<DatabaseIdentity> {
  const file = join(path, "data", DATABASE_MARK);
  const mark = await readMark(file);
  const record = await store.get<unknown>(KEY);
  const known = toMark(record?.value);
  const isKnown = mark !== undefined && (!known || (known.id === mark.id && mark.starts >= known.starts));
  const isNew = !isKnown && (known !== undefined || wasMissing);
  if (isNew && known) {
    logger.warn(
      { path },
      "the database is not the one that samples were committed to (it was replaced, emptied or restored): everything back to MAX_BACKFILL is read again",
    );
  }
  const next: Mark = {
    id: isKnown ? mark.id : randomUUID(),
    starts: Math.max(mark?.starts ?? 0, known?.starts ?? 0) + 1,
  };
  try {
    await writeMark(file, next);
    await store.put(KEY, next, record?.etag);
  } catch (error) {
    // A full disk, say: it may still answer queries. The database then counts as another one at the next start, and is filled again.
    logger.warn({ err: error }, "the mark of the database could not be written");
  }
  return { id: next.id, isNew };
}

async function readMark(file: string): Promise<Mark | undefined> {
  try {
    return toMark(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return undefined;
  }
}

function toMark(value: unknown): Mark | undefined {
  const { id, starts } = (value ?? {}) as Partial<Record<keyof Mark, unknown>>;
  return typeof id === "string" && typeof starts === "number" ? { id, starts } : undefined;
}

async function writeMark(file: string, mark: Mark): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(mark)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}
