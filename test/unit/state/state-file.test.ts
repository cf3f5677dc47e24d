import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createSqliteStore } from "#state/sqlite-store.ts";
import type { StateStore } from "#state/store.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const logger = createSilentLogger();
const folder = createTemporaryFolder();
let folders = 0;
function newFolder(): string {
  const made = join(folder, String(++folders));
  mkdirSync(made);
  return made;
}

function change(path: string, sql: string): void {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

const fill = async (store: StateStore, count: number): Promise<void> => {
  for (let n = 0; n < count; n++) await store.put(`progress:${n}`, { n, text: "x".repeat(300) }, undefined);
};

describe("a damaged file", () => {
  test("200 flipped bytes are found at the start, or hit nothing that is used", async () => {
    const path = join(newFolder(), "state.sqlite");
    const first = createSqliteStore({ path, logger });
    await fill(first, 60);
    await first.close();
    const sound = readFileSync(path);
    let found = 0;
    const positions = fc.array(fc.nat(sound.length - 1), { minLength: 200, maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(positions, async (flipped) => {
        const bytes = Buffer.from(sound);
        for (const at of flipped) bytes[at]! ^= 0x11;
        writeFileSync(path, bytes);
        rmSync(`${path}-wal`, { force: true });
        const opened = await bridgeErrorOf(() => createSqliteStore({ path, logger })).catch(() => undefined);
        if (opened === undefined) throw new Error("started without a word");
        expect(opened.code).toBe("state_damaged");
        expect(opened.message).toContain(path);
        found++;
      }),
      { numRuns: 40 },
    );
    expect(found).toBe(40);
  });

  test("one flipped byte of a value is found, with the record's name", async () => {
    const path = join(newFolder(), "state.sqlite");
    const first = createSqliteStore({ path, logger });
    await fill(first, 20);
    await first.close();
    const bytes = readFileSync(path);
    bytes[bytes.indexOf('{"n":7,') + 30]! ^= 1;
    writeFileSync(path, bytes);
    const error = await bridgeErrorOf(() => createSqliteStore({ path, logger }));
    expect(error.code).toBe("state_damaged");
    expect(error.message).toBe(
      `the state file ${path} is damaged or is no SQLite database (the record "progress:7")`,
    );
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test.each([
    ["empty of pages", (path: string) => writeFileSync(path, readFileSync(path).subarray(0, 100))],
    ["cut in the middle", (path: string) => writeFileSync(path, readFileSync(path).subarray(0, 8192))],
    ["zeros", (path: string) => writeFileSync(path, Buffer.alloc(20_000))],
    ["without its tables", (path: string) => change(path, "DROP TABLE records")],
    [
      "with a count of writes that is too small",
      (path: string) => change(path, "UPDATE counter SET version = 3"),
    ],
    ["of a newer version", (path: string) => change(path, "PRAGMA user_version = 2")],
  ])("%s", async (_what, damage) => {
    const path = join(newFolder(), "state.sqlite");
    const store = createSqliteStore({ path, logger });
    await fill(store, 50);
    await store.close();
    damage(path);
    const error = await bridgeErrorOf(() => createSqliteStore({ path, logger }));
    expect([error.code, error.message]).toEqual(["state_damaged", expect.stringContaining(path)]);
  });

  test("a file without checksums is taken, and may go back to the version that made it", async () => {
    const path = join(newFolder(), "state.sqlite");
    const old = new DatabaseSync(path);
    old.exec(`CREATE TABLE records (key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
      CREATE TABLE counter (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
      INSERT INTO counter VALUES (1, 7); INSERT INTO records VALUES ('a', '1', 7)`);
    old.close();
    const store = createSqliteStore({ path, logger });
    expect(await store.get("a")).toEqual({ value: 1, etag: "7" });
    expect(await store.put("a", 2, "7")).toBe("8");
    await store.close();

    const back = new DatabaseSync(path);
    back.exec("UPDATE counter SET version = 9; UPDATE records SET value = '3', version = 9 WHERE key = 'a'");
    back.exec("INSERT INTO records (key, value, version) VALUES ('b', '4', 9)");
    back.close();
    const again = createSqliteStore({ path, logger });
    expect([await again.get("a"), await again.get("b")]).toEqual([
      { value: 3, etag: "9" },
      { value: 4, etag: "9" },
    ]);
    await again.close();
  });
});

describe("what the file may not be", () => {
  test.each(["", "-wal", "-shm", "-journal"])("a symbolic link: state.sqlite%s", async (suffix) => {
    const directory = newFolder();
    const path = join(directory, "state.sqlite");
    const target = join(directory, "target");
    writeFileSync(target, "of another program");
    chmodSync(target, 0o644);
    symlinkSync(target, `${path}${suffix}`);
    const error = await bridgeErrorOf(() => createSqliteStore({ path, logger }));
    expect([error.code, error.message]).toEqual([
      "config_invalid",
      `DATA_DIR: ${path}${suffix} is a symbolic link`,
    ]);
    expect(readFileSync(target, "utf8")).toBe("of another program");
    expect(statSync(target).mode & 0o777).toBe(0o644);
    expect(existsSync(path)).toBe(suffix === "");
  });

  test("a symbolic link to nothing, through which a file would be made", async () => {
    const directory = newFolder();
    const path = join(directory, "state.sqlite");
    symlinkSync(join(directory, "made"), path);
    expect((await bridgeErrorOf(() => createSqliteStore({ path, logger }))).code).toBe("config_invalid");
    expect(existsSync(join(directory, "made"))).toBe(false);
  });

  test.each([
    [
      "a second name of a file",
      (path: string) => {
        writeFileSync(`${path}.other`, "of another program");
        linkSync(`${path}.other`, path);
      },
      "has another name (a hard link)",
    ],
    ["a folder", (path: string) => mkdirSync(path), "is no file"],
  ])("%s", async (_what, make, problem) => {
    const path = join(newFolder(), "state.sqlite");
    make(path);
    const error = await bridgeErrorOf(() => createSqliteStore({ path, logger }));
    expect([error.code, error.message]).toEqual(["config_invalid", `DATA_DIR: ${path} ${problem}`]);
  });

  test("DATA_DIR itself may be a link", async () => {
    const directory = newFolder();
    const link = `${directory}-link`;
    symlinkSync(directory, link);
    const store = createSqliteStore({ path: join(link, "state.sqlite"), logger });
    await store.put("a", 1, undefined);
    await store.close();
    expect(existsSync(join(directory, "state.sqlite"))).toBe(true);
  });
});

describe("the copy of the registry", () => {
  const PREFIXES = ["cluster:", "clusters:"];
  const pathsIn = (directory: string) => ({
    path: join(directory, "state.sqlite"),
    copyPath: join(directory, "registry-copy.sqlite"),
  });
  const open = (directory: string): StateStore => {
    const { path, copyPath } = pathsIn(directory);
    return createSqliteStore({ path, logger, copy: { path: copyPath, prefixes: PREFIXES } });
  };
  const bytesOf = (directory: string): string =>
    Object.values(pathsIn(directory))
      .flatMap((path) => [path, `${path}-wal`])
      .map((path) => (existsSync(path) ? readFileSync(path, "latin1") : ""))
      .join("");
  const started = async (): Promise<string> => {
    const directory = newFolder();
    const store = open(directory);
    await store.put("cluster:a", { jwe: "sealed-a" }, undefined);
    await store.put("clusters:index", { ids: ["a"] }, undefined);
    await store.put("progress:a", { committed: 1 }, undefined);
    await store.close();
    return directory;
  };

  test("is for its owner only, and gives back the registry, but no progress, when the state file is gone", async () => {
    const directory = await started();
    const { path, copyPath } = pathsIn(directory);
    expect(statSync(copyPath).mode & 0o777).toBe(0o600);
    rmSync(path);
    const store = open(directory);
    expect((await store.get("cluster:a"))?.value).toEqual({ jwe: "sealed-a" });
    expect((await store.get("clusters:index"))?.value).toEqual({ ids: ["a"] });
    expect(await store.get("progress:a")).toBeUndefined();
    // A key never gets an ETag that it had before.
    expect(Number(await store.put("progress:a", 1, undefined))).toBeGreaterThan(2);
    await store.close();
    await open(directory).close();
  });

  test("the commands of a damaged state file bring the registry back", async () => {
    const directory = await started();
    const { path } = pathsIn(directory);
    const bytes = readFileSync(path);
    bytes[bytes.indexOf("sealed-a")]! ^= 1;
    writeFileSync(path, bytes);
    const error = await bridgeErrorOf(() => open(directory));
    expect(error.code).toBe("state_damaged");
    expect(error.hint).toContain("takes the registered clusters from their copy");
    renameSync(path, `${path}.damaged`);
    const store = open(directory);
    expect((await store.get("cluster:a"))?.value).toEqual({ jwe: "sealed-a" });
    await store.close();
  });

  test("keeps nothing of what was deleted or replaced", async () => {
    const directory = await started();
    const store = open(directory);
    const etag = (await store.get("cluster:a"))!.etag;
    await store.put("cluster:a", { jwe: "renewed-b" }, etag);
    await store.delete("cluster:a");
    expect(bytesOf(directory)).not.toMatch(/sealed-a|renewed-b/);
    await store.close();
    rmSync(pathsIn(directory).path);
    const again = open(directory);
    expect(await again.get("cluster:a")).toBeUndefined();
    await again.close();
  });

  test("an older state file does not take newer clusters from the copy unasked", async () => {
    const directory = await started();
    const { path, copyPath } = pathsIn(directory);
    copyFileSync(path, `${path}.backup`);
    const store = open(directory);
    await store.put("cluster:b", { jwe: "sealed-b" }, undefined);
    await store.close();
    copyFileSync(`${path}.backup`, path);
    const before = readFileSync(copyPath);
    const error = await bridgeErrorOf(() => open(directory));
    expect([error.code, error.message]).toEqual(["state_damaged", expect.stringContaining("cluster:b")]);
    expect(readFileSync(copyPath).equals(before)).toBe(true);
    // Either is right, as the operator decides.
    renameSync(copyPath, `${copyPath}.damaged`);
    const restored = open(directory);
    expect(await restored.get("cluster:b")).toBeUndefined();
    await restored.close();
  });

  test("an older state file of the same clusters is taken", async () => {
    const directory = await started();
    const { path } = pathsIn(directory);
    copyFileSync(path, `${path}.backup`);
    const store = open(directory);
    await store.put("progress:a", { committed: 2 }, (await store.get("progress:a"))!.etag);
    await store.close();
    copyFileSync(`${path}.backup`, path);
    const older = open(directory);
    expect((await older.get("progress:a"))?.value).toEqual({ committed: 1 });
    await older.close();
  });

  test("a damaged copy is named, and the state file stays as it is", async () => {
    const directory = await started();
    const { path, copyPath } = pathsIn(directory);
    const before = readFileSync(path);
    writeFileSync(copyPath, "no database at all, but long enough to have a header of one".repeat(20));
    const error = await bridgeErrorOf(() => open(directory));
    expect([error.code, error.hint]).toEqual(["state_damaged", expect.stringContaining(`rm ${copyPath}`)]);
    expect(readFileSync(path).equals(before)).toBe(true);
  });
});
