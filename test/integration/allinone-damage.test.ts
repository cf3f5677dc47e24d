import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

/** sysexits.h EX_CONFIG: starting again does not help. */
const EXIT_CONFIG = 78;
const chdbModule = join(import.meta.dirname, "../../src/allinone/chdb.ts");
const folder = createTemporaryFolder();
// A folder as users have them: the commands must quote it.
const sound = join(folder, "it's sound");
const environment = (directory: string): Record<string, string> => ({
  PORT: "0",
  METRICS_COLLECTION_ENABLED: "false",
  DATA_DIR: directory,
});

/** Every file and folder, with its size; `engine.xml` and the engine's `status` are written at each start. */
function listing(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter(({ name }) => name !== "status" && name !== "engine.xml" && !name.startsWith("state.sqlite"))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return `${path} ${entry.isFile() ? statSync(path).size : ""}`;
    })
    .sort();
}

const tableFolder = (directory: string, table: string): string =>
  realpathSync(join(directory, "clickhouse", "data", "data", "metrics", table));

function definitionOf(directory: string, name: string): string {
  return join(realpathSync(join(directory, "clickhouse", "data", "metadata", "metrics")), `${name}.sql`);
}

/** A folder of rows of a table: the one that was merged most often, as parts that were merged into another one are not read any more. */
function partOf(directory: string, table: string): string {
  const data = tableFolder(directory, table);
  const parts = readdirSync(data).filter((name) => /^\w+_\d+_\d+_\d+$/.test(name));
  const levelOf = (name: string): number => Number(name.slice(name.lastIndexOf("_") + 1));
  return join(data, parts.toSorted((a, b) => levelOf(b) - levelOf(a))[0]!);
}

/** Runs a script with the open database of a program that has ended; gives what it printed. */
function withDatabase(directory: string, script: string): string {
  const open = `const { openChdb } = await import(${JSON.stringify(chdbModule)});
    const logged = [];
    const logger = { warn() {}, debug() {}, error: (fields, message) => logged.push(fields.err.cause.message) };
    const path = ${JSON.stringify(join(directory, "clickhouse"))};
    const database = await openChdb({ path, logger, memoryBytesMax: 1e9 });`;
  const end = "await database.close(); process.exit(0);";
  return execFileSync(process.execPath, ["--input-type=module", "-e", `${open} ${script} ${end}`], {
    encoding: "utf8",
  });
}

function flip(file: string, count: number): void {
  const bytes = readFileSync(file);
  for (let i = 0; i < count; i++) bytes[Math.floor((i * bytes.length) / count)]! ^= 0x5a;
  writeFileSync(file, bytes);
}

async function runToTheEnd(directory: string): Promise<{ code: number | null; stderr: string }> {
  const child = startBridgeChild(environment(directory));
  return { code: await child.ended, stderr: child.stderr() };
}

/** The commands that a message shows, indented below its text. */
function commandsIn(stderr: string): string[] {
  return stderr.split("\n").flatMap((line) => /^ {4}((?:mv|rm) .*)$/.exec(line)?.[1] ?? []);
}

// First: what it makes is what the others damage.
test("one process owns the folder: there is no lock table", async () => {
  const child = startBridgeChild(environment(sound));
  await child.url;
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
  expect(listing(sound).filter((line) => line.includes("migration_lock"))).toEqual([]);
  withDatabase(
    sound,
    `await database.command("INSERT INTO metrics.otel_metrics_gauge (MetricName, TimeUnix, Value)
      SELECT 'm', now64(9) - number, number FROM numbers(5000)");`.replaceAll(/\s+/g, " "),
  );
});

/** Damages a folder and gives the file that the start is to name. */
type Damage = (directory: string) => string;

const emptied =
  (fileOf: (directory: string) => string): Damage =>
  (directory) => {
    const file = fileOf(directory);
    writeFileSync(file, "");
    return file;
  };

const inPart =
  (table: string, damage: (part: string) => void): Damage =>
  (directory) => {
    const part = partOf(directory, table);
    damage(part);
    return part;
  };

/** `isTried`: a start after the commands, one for each kind of remedy. */
test.each<{ what: string; damage: Damage; commands: number; isTried?: boolean }>([
  {
    what: "an empty definition of a lock table, as a full disk left it",
    damage: emptied((directory) => definitionOf(directory, "migration_lock_000002")),
    commands: 1,
    isTried: true,
  },
  {
    what: "an empty definition of a table",
    damage: emptied((directory) => definitionOf(directory, "otel_metrics_sum")),
    commands: 1,
  },
  {
    what: "flipped bytes in the definition of a view",
    damage: (directory) => {
      const file = definitionOf(directory, "samples");
      flip(file, 30);
      return file;
    },
    commands: 1,
  },
  {
    what: "an empty definition of the database",
    damage: emptied((directory) => join(directory, "clickhouse", "data", "metadata", "metrics.sql")),
    commands: 1,
    isTried: true,
  },
  {
    what: "a cut file of a part",
    damage: inPart("otel_metrics_gauge", (part) => writeFileSync(join(part, "data.bin"), "")),
    commands: 2,
    isTried: true,
  },
  {
    what: "flipped bytes in the checksums of a part",
    damage: inPart("otel_metrics_gauge", (part) => flip(join(part, "checksums.txt"), 20)),
    commands: 2,
  },
  {
    what: "a missing file of a part of the record of migrations",
    damage: inPart("migrations", (part) => rmSync(join(part, "columns.txt"))),
    commands: 1,
  },
  {
    what: "a table's format of a newer engine",
    damage: (directory) => {
      const file = join(tableFolder(directory, "otel_metrics_gauge"), "format_version.txt");
      writeFileSync(file, "2\n");
      return file;
    },
    commands: 1,
  },
  {
    what: "a kind of table that only a newer engine has",
    damage: (directory) => {
      const file = definitionOf(directory, "otel_metrics_gauge");
      writeFileSync(file, readFileSync(file, "utf8").replace("ENGINE = Replacing", "ENGINE = Future"));
      return file;
    },
    commands: 1,
  },
])(
  "$what is named with its file, and nothing is moved unasked",
  async ({ what, damage, commands, isTried }) => {
    const directory = join(folder, `it's ${what}`);
    cpSync(sound, directory, { recursive: true, verbatimSymlinks: true });
    const file = damage(directory);
    const before = listing(directory);

    const { code, stderr } = await runToTheEnd(directory);
    expect([code, stderr]).toEqual([EXIT_CONFIG, expect.stringContaining("storage_damaged")]);
    expect(stderr).toContain(`the embedded database is damaged: ${file}`);
    expect(listing(directory)).toEqual(before);

    // The commands that are shown, as a shell takes them.
    const shown = commandsIn(stderr);
    expect(shown).toHaveLength(commands);
    for (const command of shown) execFileSync("sh", ["-c", command]);
    if (!isTried) return;
    const child = startBridgeChild(environment(directory));
    expect(await child.url).toMatch(/^http:/);
  },
);

test("flipped bytes in samples are named when they are read, and the error does not show where the folder is", () => {
  const directory = join(folder, "it's flipped");
  cpSync(sound, directory, { recursive: true, verbatimSymlinks: true });
  const part = partOf(directory, "otel_metrics_gauge");
  flip(join(part, "data.bin"), 200);
  const said = withDatabase(
    directory,
    `await database.query("SELECT sum(Value) FROM metrics.otel_metrics_gauge").catch(({ code, message, hint }) =>
      console.log(JSON.stringify({ code, message, hint, logged })));`,
  );
  const { code, message, hint, logged } = JSON.parse(said) as Record<string, string>;
  expect(code).toBe("storage_damaged");
  expect(message).toBe(
    `the embedded database is damaged: ${join(part, "data.bin").slice(directory.length + 1)}`,
  );
  expect(`${message} ${hint}`).not.toContain(directory);
  expect(String(logged)).toContain(join(part, "data.bin"));
});
