import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const logger = createSilentLogger();
// With a quote and a space, as a folder may have.
const path = join(createTemporaryFolder(), "it's data");
const chdbModule = join(import.meta.dirname, "../../src/allinone/chdb.ts");
let database: EmbeddedDatabase | undefined;
afterAll(() => database?.close());

function otherProcess(script: string): string[] {
  const prelude = `const { openChdb } = await import(${JSON.stringify(chdbModule)});
    const logger = { warn() {}, debug() {} };
    const open = () => openChdb({ path: ${JSON.stringify(path)}, logger, memoryBytesMax: 1e9 });`;
  return ["--input-type=module", "-e", `${prelude} ${script}`];
}

const BATCH = 100;

// One process opens one folder only once, so the order of what follows matters: first others work here, then this one.
test("every insert that was acknowledged survives kill -9, whole", async () => {
  const script = `const database = await open();
    await database.command("CREATE TABLE default.t (batch UInt32, n UInt32) ENGINE = MergeTree ORDER BY (batch, n)");
    for (let batch = 1; ; batch++) {
      const rows = new Uint32Array(${BATCH * 2});
      for (let n = 0; n < ${BATCH}; n++) rows.set([batch, n], n * 2);
      await database.insertRowBinary("default.t", [["batch", "UInt32"], ["n", "UInt32"]], new Uint8Array(rows.buffer));
      process.stdout.write(batch + "\\n");
    }`;
  const child = spawn(process.execPath, otherProcess(script), { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk: string) => {
    printed += chunk;
    if (printed.split("\n").length > 15) child.kill("SIGKILL");
  });
  await once(child, "close");
  const acknowledged = Number(printed.split("\n").at(-2));
  mkdirSync(join(path, "inbox"), { recursive: true });
  writeFileSync(join(path, "inbox", "left-behind.bin"), "x");

  database = await openChdb({ path, logger, memoryBytesMax: 800_000_000 });
  const batches = await database.query<{ batch: number; rows: string }>(
    "SELECT batch, count() AS rows FROM default.t GROUP BY batch ORDER BY batch LIMIT 10000",
  );
  expect(batches.length).toBeGreaterThanOrEqual(acknowledged);
  expect(batches.every((row, index) => row.batch === index + 1 && row.rows === String(BATCH))).toBe(true);
  expect(readdirSync(join(path, "inbox"))).toEqual([]);
});

function engine(): EmbeddedDatabase {
  if (!database) throw new Error("not open");
  return database;
}

test("another process on the same folder is refused and does no harm", async () => {
  writeFileSync(join(path, "inbox", "under-way.bin"), "x");
  const script = `await open().then(() => console.log("opened"), (error) => console.log(error.code, "|", error.message, "|", error.hint));
    process.exit(0);`;
  const said = execFileSync(process.execPath, otherProcess(script), {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  expect(said).toMatch(
    /^storage_unavailable \| another process holds .*data\/data \| Only one process may work on one DATA_DIR/,
  );
  expect(readdirSync(join(path, "inbox"))).toEqual(["under-way.bin"]);
  expect(await engine().query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
});

test("integers of 64 bits, NaN, infinities, dates and texts arrive as the port says; parameters are bound", async () => {
  const rows = await engine().query(
    `SELECT toUInt64(18446744073709551615) AS u, toInt64(-9223372036854775808) AS i, nan AS n, inf AS p, -inf AS m, 5e-324 AS d,
            toDateTime64('2026-01-31 10:00:00.123', 3, 'UTC') AS t, {s:String} AS s, {l:Array(String)} AS l, {f:Float64} AS f`,
    { s: "'; \\ \t\n日本🚀", l: ["a'b", "\\", ""], f: 0.1 },
  );
  expect(rows).toEqual([
    {
      u: "18446744073709551615",
      i: "-9223372036854775808",
      n: "nan",
      p: "inf",
      m: "-inf",
      d: 5e-324,
      t: "2026-01-31 10:00:00.123",
      s: "'; \\ \t\n日本🚀",
      l: ["a'b", "\\", ""],
      f: 0.1,
    },
  ]);
});

test("many statements at once, with and without parameters, each get their own answer", async () => {
  const numbers = Array.from({ length: 60 }, (_, index) => index);
  const answers = await Promise.all(
    numbers.map((n) =>
      n % 2 === 0
        ? engine().query<{ n: number }>("SELECT {n:UInt32} AS n", { n })
        : engine().query<{ n: number }>(`SELECT toUInt32(${n}) AS n, sleep(0.005) AS s`),
    ),
  );
  expect(answers.map((rows) => rows[0]?.n)).toEqual(numbers);
});

test("large answers with texts of several bytes arrive whole", async () => {
  const rows = await engine().query<{ text: string }>(
    "SELECT repeat('日本🚀é', 1000) AS text FROM numbers(2000)",
  );
  const text = "日本🚀é".repeat(1000);
  expect(rows.length === 2000 && rows.every((row) => row.text === text)).toBe(true);
});

test("errors carry ClickHouse's code; what passes by itself is storage_unavailable", async () => {
  const missing = await bridgeErrorOf(engine().query("SELECT 'private' FROM default.missing"));
  expect([missing.code, missing.details]).toEqual(["storage_failed", { clickhouse_code: 60 }]);
  expect(missing.message).toBe("ClickHouse refused the statement: code 60 UNKNOWN_TABLE");
  const syntax = await bridgeErrorOf(engine().command("SELEC 1"));
  expect(syntax.details).toEqual({ clickhouse_code: 62 });
  const memory = await bridgeErrorOf(engine().query("SELECT groupArray(number) FROM numbers(1000000000)"));
  expect([memory.code, memory.details]).toEqual(["storage_unavailable", { clickhouse_code: 241 }]);
  const rows = engine().insertRowBinary(
    "default.t",
    [
      ["batch", "UInt32"],
      ["n", "UInt32"],
    ],
    Buffer.alloc(7),
  );
  expect((await bridgeErrorOf(rows)).code).toBe("storage_failed");
  expect(readdirSync(join(path, "inbox"))).toEqual(["under-way.bin"]);
});

test.each(["query", "queryNative"] as const)(
  "what a statement answered before it failed is in no other answer: %s",
  async (answer) => {
    for (let k = 1; k <= 10; k++) {
      const most = `max_block_size = 1000, max_result_rows = ${k * 1000}, result_overflow_mode = 'throw'`;
      const failing = engine()[answer](`SELECT number AS n FROM numbers(200000) SETTINGS ${most}`);
      await expect(failing).rejects.toMatchObject({ code: "storage_failed" });
      // One of them has the same session.
      const next = Array.from({ length: 3 }, () => engine().query("SELECT 7 AS seven"));
      expect(await Promise.all(next)).toEqual(next.map(() => [{ seven: 7 }]));
    }
  },
);

test("an abort ends the waiting at once; the engine goes on and stays usable", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const sleeping = engine().query("SELECT sleepEachRow(0.1) FROM numbers(3)", {}, controller.signal);
  controller.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
  expect(await engine().query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
});

test("keeps to its memory and writes through to the disk", async () => {
  const [memory] = await engine().query(
    "SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'",
  );
  expect(memory).toEqual({ value: "800000000" });
  const [fsync] = await engine().query(
    "SELECT value FROM system.merge_tree_settings WHERE name = 'fsync_after_insert'",
  );
  expect(fsync).toEqual({ value: "1" });
});

test("close waits for what runs; afterwards everything is refused", async () => {
  const running = engine().query("SELECT sleep(0.2) AS s");
  await engine().close();
  expect(await running).toEqual([{ s: 0 }]);
  expect((await bridgeErrorOf(engine().query("SELECT 1"))).code).toBe("storage_unavailable");
});
