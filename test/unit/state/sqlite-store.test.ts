import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createSqliteStore } from "#state/sqlite-store.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";
import { testStore } from "../../helpers/store-contract.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const logger = createSilentLogger();
const folder = createTemporaryFolder();
let files = 0;
const newPath = (): string => join(folder, String(++files), "state.db");
const storeModule = join(import.meta.dirname, "../../../src/state/sqlite-store.ts");

/** Runs a script with a store of the same file in another process. */
function otherProcess(path: string, script: string): string[] {
  const quiet = "const logger = { warn() {} };";
  const open = `const { createSqliteStore } = await import(${JSON.stringify(storeModule)});
    const open = () => createSqliteStore({ path: ${JSON.stringify(path)}, logger });`;
  return ["--input-type=module", "-e", `${quiet} ${open} ${script}`];
}

testStore("SQLite", () => createSqliteStore({ path: newPath(), logger }));

test("keeps its records over a restart; the file is for its owner only", async () => {
  const path = newPath();
  const store = createSqliteStore({ path, logger });
  const etag = await store.put("a", { kept: true }, undefined);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(`${path}-wal`).mode & 0o777).toBe(0o600);
  await store.close();
  await store.close();
  const again = createSqliteStore({ path, logger });
  expect(await again.get("a")).toEqual({ value: { kept: true }, etag });
  await again.close();
});

test("keeps nothing of what was deleted, neither in the file nor in the log beside it", async () => {
  const path = newPath();
  const store = createSqliteStore({ path, logger });
  const bytes = (): string =>
    [path, `${path}-wal`]
      .map((file) => readFileSync(file, "latin1"))
      .join("")
      .replaceAll("\0", "");
  let etag = await store.put("a", { secret: "first-".repeat(3000) }, undefined);
  etag = await store.put("a", { secret: "second-".repeat(100) }, etag);
  await store.put("b", { other: "kept" }, undefined);
  expect(bytes()).toContain("second-second-");
  await store.delete("a");
  expect(bytes()).not.toMatch(/first-|second-/);
  expect(bytes()).toContain('{"other":"kept"}');
  await store.close();
});

test("keeps what was put before kill -9, and lets the next process in at once", async () => {
  const path = newPath();
  const script = `const store = open(); let etag;
    for (let n = 1; ; n++) { etag = await store.put("n", n, etag); process.stdout.write(n + "\\n"); }`;
  const child = spawn(process.execPath, otherProcess(path, script), { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk: string) => {
    printed += chunk;
    if (printed.split("\n").length > 20) child.kill("SIGKILL");
  });
  await once(child, "close");
  const acknowledged = Number(printed.split("\n").at(-2));
  const store = createSqliteStore({ path, logger });
  expect((await store.get<number>("n"))?.value).toBeGreaterThanOrEqual(acknowledged);
  await store.close();
});

test("a second process on the same file gets the error that another one uses it", async () => {
  const path = newPath();
  const store = createSqliteStore({ path, logger });
  const script = `try { open(); } catch (error) { console.log(error.code, "|", error.message, "|", error.hint); }`;
  const said = execFileSync(process.execPath, otherProcess(path, script), { encoding: "utf8" });
  expect(said).toBe(
    `state_unavailable | another process holds the state file ${path} | Only one process may work on one DATA_DIR: stop the other one or give this one its own.\n`,
  );
  await store.put("a", 1, undefined);
  await store.close();
});

test.each([
  [
    "text",
    (path: string) =>
      writeFileSync(path, "this is no database, but long enough to have a header of one".repeat(10)),
  ],
  [
    "a damaged page",
    (path: string) => {
      const bytes = readFileSync(path);
      writeFileSync(path, bytes.fill(0x5a, 4096));
    },
  ],
])("names a file that is %s and the remedy", async (_what, damage) => {
  const path = newPath();
  const store = createSqliteStore({ path, logger });
  for (let n = 0; n < 200; n++) await store.put(`key-${n}`, "x".repeat(200), undefined);
  await store.close();
  damage(path);
  const error = await bridgeErrorOf(() => createSqliteStore({ path, logger }));
  expect(error.code).toBe("state_damaged");
  expect(error.message).toBe(`the state file ${path} is damaged or is no SQLite database`);
  expect(error.hint).toContain(`for f in ${path} ${path}-wal; do`);
});

test("a folder that can't be made is state_unavailable", async () => {
  const file = join(folder, "a-file");
  writeFileSync(file, "");
  const error = await bridgeErrorOf(() => createSqliteStore({ path: join(file, "state.db"), logger }));
  expect(error.code).toBe("state_unavailable");
});

test("refuses work after close", async () => {
  const store = createSqliteStore({ path: newPath(), logger });
  await store.close();
  expect((await bridgeErrorOf(store.get("a"))).code).toBe("state_unavailable");
  expect((await bridgeErrorOf(store.check())).code).toBe("state_unavailable");
});
