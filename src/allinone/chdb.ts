import { existsSync } from "node:fs";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BridgeError } from "#errors/error.ts";
import { abortable } from "#lib/clock.ts";
import type { Database, QueryParameters } from "#storage/database.ts";
import type { Logger } from "#telemetry/logger.ts";
import { toEngineError, toOpeningError } from "./engine-errors.ts";
import { diskFull, isDiskFull, requireFreeSpace } from "./free-space.ts";
import { quoteText, toLiteralSql } from "./literals.ts";
import { askForReason } from "./opening-reason.ts";
import { createPool, type Lane } from "./pool.ts";

/** The embedded engine: a Database that also takes rows in ClickHouse's own binary form. */
export interface EmbeddedDatabase extends Database {
  /**
   * Inserts RowBinary rows; `columns` are name and type of each column in the order in which the rows have them. When it resolves the rows
   * are on the disk (fsync). After an error, or an abort, none or all of the rows of a partition may be there: send them again.
   */
  insertRowBinary(
    table: string,
    columns: readonly (readonly [name: string, type: string])[],
    rows: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void>;
}

export interface ChdbSettings {
  /** A folder of its own, made when it is missing. A process can open one only, and only one process a folder. */
  path: string;
  logger: Logger;
  /** The engine fails a statement rather than use more. */
  memoryBytesMax: number;
  /** For one statement; the engine can't be interrupted otherwise. Default 60 s. */
  statementTimeoutMs?: number;
  /** How the package is loaded. */
  load?: () => Promise<ChdbModule>;
}

/** The part of the package chdb that is used. */
interface ChdbModule {
  Session: new (path: string, options: { connectionArgs: readonly string[] }) => ChdbSession;
  drainPending(): Promise<void>;
}

interface ChdbAnswer {
  text(): string;
  bytes(): Uint8Array;
}

interface ChdbSession {
  query(sql: string): string;
  queryAsync(sql: string, options: { format: string }): Promise<ChdbAnswer>;
  close(): void;
}

// Each busy connection holds a thread of libuv's pool, which has 4: one must be left for files and name look-ups.
const CONNECTIONS = 3;
/** Connections that only inserts use: queries must not stop the collection. */
const INSERT_CONNECTIONS = 1;
const WAITING_MAX = 256;
/** Filters are a part of the statement, some of them several times. */
const STATEMENT_BYTES_MAX = 16 * 1024 * 1024;
const MARK_CACHE_SHARE = 16;

/**
 * Opens ClickHouse's engine inside this process (package chdb, loaded here and nowhere else).
 *
 * Throws BridgeError `engine_unavailable` when the package is missing or does not fit the machine, `storage_unavailable` when the folder can't
 * be opened, above all because another process holds it. Its statements fail as a Database's do; with more than 256 inserts or more than 256
 * others waiting also `storage_unavailable`. One connection is kept for inserts.
 */
export async function openChdb(settings: ChdbSettings): Promise<EmbeddedDatabase> {
  const { path, logger } = settings;
  const chdb = await loadChdb(settings.load ?? (() => import("chdb")));
  const inbox = join(path, "inbox");
  const configFile = join(path, "engine.xml");
  await prepare(path, inbox, configFile, settings.memoryBytesMax);
  // A first start makes the engine's own files.
  if (!existsSync(join(path, "data", "metadata"))) await requireFreeSpace(path);
  const dataPath = join(path, "data");
  const timeoutMs = settings.statementTimeoutMs ?? 60_000;
  const sessions = await openSessions(chdb, { path, dataPath, configFile, timeoutMs });
  // Only now is it certain that no other process works here. A killed process never acknowledged the files that it left behind.
  await emptyFolder(inbox, logger);
  const pool = createPool(sessions, { waitingMax: WAITING_MAX, reserved: INSERT_CONNECTIONS });
  /** Sessions whose last statement failed. */
  const failed = new Set<ChdbSession>();
  let insertCount = 0;

  const run = async (
    sql: string,
    parameters: QueryParameters,
    signal: AbortSignal | undefined,
    { lane = "ordinary", format = "JSONEachRow" }: { lane?: Lane; format?: "JSONEachRow" | "Native" } = {},
  ): Promise<ChdbAnswer> => {
    const literal = toLiteralSql(sql, parameters);
    const work = pool.use(
      async (session) => {
        try {
          if (failed.has(session)) await emptyAnswer(session);
          failed.delete(session);
          return await session.queryAsync(literal, { format });
        } catch (error) {
          failed.add(session);
          const failure = error instanceof BridgeError ? error : toEngineError(error, path);
          if (failure.code === "storage_damaged") logger.error({ err: failure }, failure.message);
          else logger.debug({ err: error, code: failure.code }, "a statement failed");
          throw failure;
        }
      },
      signal,
      lane,
    );
    return signal ? await abortable(work, signal) : await work;
  };

  return {
    command: async (sql, parameters = {}, signal) => {
      await run(sql, parameters, signal);
    },
    query: async <Row>(sql: string, parameters: QueryParameters = {}, signal?: AbortSignal) => {
      const answer = await run(sql, parameters, signal);
      const lines = answer
        .text()
        .split("\n")
        .filter((line) => line !== "");
      return lines.map((line) => JSON.parse(line) as Row);
    },
    queryNative: async (sql, parameters = {}, signal) =>
      (await run(sql, parameters, signal, { format: "Native" })).bytes(),
    insertRowBinary: async (table, columns, rows, signal) => {
      const file = join(inbox, `${++insertCount}.bin`);
      const insert = async (): Promise<void> => {
        try {
          await writeRows(file, rows);
          await run(toInsert(table, columns, file), {}, undefined, { lane: "preferred" });
        } finally {
          await removeFile(file, logger);
        }
      };
      // An abort ends the waiting but not the engine, which still reads the file.
      await (signal ? abortable(insert(), signal) : insert());
    },
    close: async () => {
      await pool.close();
      for (const session of sessions) session.close();
      await chdb.drainPending();
    },
  };
}

const EMPTY_ATTEMPTS = 3;

/**
 * A statement that fails after a part of its answer leaves that part in its session, and the engine puts it before the answer of the next statement: so
 * that is read and thrown away. Throws `storage_unavailable` when it does not end.
 */
async function emptyAnswer(session: ChdbSession): Promise<void> {
  for (let left = EMPTY_ATTEMPTS; left > 0; left--) {
    const answer = await session.queryAsync("SELECT 'nothing else' AS answer", { format: "JSONEachRow" });
    if (answer.text().trim() === '{"answer":"nothing else"}') return;
  }
  throw new BridgeError(
    "storage_unavailable",
    "the embedded ClickHouse engine gives answers of other statements",
  );
}

async function loadChdb(load: () => Promise<ChdbModule>): Promise<ChdbModule> {
  try {
    return await load();
  } catch (error) {
    throw new BridgeError(
      "engine_unavailable",
      "the embedded ClickHouse engine (package chdb) can't be loaded",
      {
        cause: error,
      },
    );
  }
}

async function prepare(
  path: string,
  inbox: string,
  configFile: string,
  memoryBytesMax: number,
): Promise<void> {
  // Caps are the server's configuration, not settings of a query; fsync because the bridge takes an answered insert for stored.
  // By default the engine would set up to 100 damaged parts aside and start without their samples: the operator is to decide that.
  const config = `<clickhouse>
  <max_server_memory_usage>${memoryBytesMax}</max_server_memory_usage>
  <mark_cache_size>${Math.floor(memoryBytesMax / MARK_CACHE_SHARE)}</mark_cache_size>
  <background_pool_size>2</background_pool_size>
  <merge_tree>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>
    <min_compressed_bytes_to_fsync_after_merge>1</min_compressed_bytes_to_fsync_after_merge>
    <max_suspicious_broken_parts>0</max_suspicious_broken_parts>
  </merge_tree>
</clickhouse>
`;
  try {
    await mkdir(inbox, { recursive: true, mode: 0o700 });
    await writeFile(configFile, config, { mode: 0o600 });
  } catch (error) {
    if (isDiskFull(error)) throw diskFull(path, error);
    throw new BridgeError("storage_unavailable", `the folder ${path} can't be written`, {
      cause: error,
      hint: "Check that DATA_DIR is writable and not full.",
    });
  }
}

interface Opening {
  /** The folder that holds the data folder. */
  path: string;
  dataPath: string;
  configFile: string;
  timeoutMs: number;
}

async function openSessions(
  chdb: ChdbModule,
  { path, dataPath, configFile, timeoutMs }: Opening,
): Promise<ChdbSession[]> {
  const sessions: ChdbSession[] = [];
  try {
    for (let index = 0; index < CONNECTIONS; index++) {
      const session = new chdb.Session(dataPath, { connectionArgs: [`--config-file=${configFile}`] });
      sessions.push(session);
      session.query(
        `SET max_execution_time = ${Math.ceil(timeoutMs / 1000)}, max_query_size = ${STATEMENT_BYTES_MAX}, async_insert = 0,
         output_format_json_quote_64bit_integers = 1, output_format_json_quote_denormals = 1`,
      );
    }
    return sessions;
  } catch (error) {
    for (const session of sessions) session.close();
    throw toOpeningError(await askForReason(dataPath, configFile), path, error);
  }
}

function toInsert(table: string, columns: readonly (readonly [string, string])[], file: string): string {
  const names = columns.map(([name]) => `\`${name}\``).join(", ");
  const structure = columns.map(([name, type]) => `\`${name}\` ${type}`).join(", ");
  return `INSERT INTO ${table} (${names}) SELECT ${names} FROM file(${quoteText(file)}, 'RowBinary', ${quoteText(structure)})`;
}

async function writeRows(file: string, rows: Uint8Array): Promise<void> {
  try {
    await writeFile(file, rows, { mode: 0o600 });
  } catch (error) {
    if (isDiskFull(error)) throw diskFull(dirname(file), error);
    throw new BridgeError("storage_unavailable", "the rows can't be written to DATA_DIR", { cause: error });
  }
}

async function emptyFolder(folder: string, logger: Logger): Promise<void> {
  for (const name of await readdir(folder)) await removeFile(join(folder, name), logger);
}

async function removeFile(file: string, logger: Logger): Promise<void> {
  try {
    await rm(file, { force: true });
  } catch (error) {
    logger.warn({ err: error }, "a temporary file could not be removed; the next start removes it");
  }
}
