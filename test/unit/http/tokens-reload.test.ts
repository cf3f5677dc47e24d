import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { expect, it, onTestFinished } from "vitest";
import { startTokensReload } from "#http/tokens-reload.ts";
import { readTokensFile } from "#http/tokens.ts";
import { createLogger } from "#telemetry/logger.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
const newFolder = (): string => mkdtempSync(join(folder, "tokens-"));

const tokensOf = (...names: string[]): string =>
  JSON.stringify(
    names.map((name) => ({
      name,
      sha256: Buffer.from(name).toString("hex").padEnd(64, "0"),
      scopes: ["read"],
    })),
  );

async function setUp(options: { path?: string } = {}) {
  const path = options.path ?? join(newFolder(), "tokens.yaml");
  if (options.path === undefined) writeFileSync(path, tokensOf("first"));
  const clock = createManualClock();
  const lines: { level: string; msg: string; added?: string[]; removed?: string[] }[] = [];
  const logger = createLogger({
    level: "info",
    destination: { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[number]) },
  });
  const inForce: string[][] = [];
  const reload = startTokensReload(
    { clock, logger },
    {
      path,
      text: await readTokensFile(path),
      onTokens: (tokens) => inForce.push(tokens.map(({ name }) => name)),
    },
  );
  onTestFinished(() => reload.stop());
  /** Lets one look happen. */
  const look = async (): Promise<void> => {
    clock.advance(10_000);
    while (clock.pending() === 0) await setImmediate();
  };
  return { path, clock, lines, inForce, reload, look };
}

it("logs a changed file once, with the added and removed tokens", async () => {
  const { path, lines, inForce, reload, look } = await setUp();
  await look();
  expect(inForce).toEqual([]);
  writeFileSync(path, tokensOf("second", "third"));
  await look();
  await look();
  expect(inForce).toEqual([["second", "third"]]);
  expect(lines).toMatchObject([{ level: "info", names: 2, added: ["second", "third"], removed: ["first"] }]);
  expect(reload.warnings()).toEqual([]);
});

it("sees a change that keeps size and time", async () => {
  const { path, inForce, look } = await setUp();
  const time = new Date("2025-01-01T00:00:00Z");
  utimesSync(path, time, time);
  await look();
  writeFileSync(path, tokensOf("fir5t"));
  utimesSync(path, time, time);
  await look();
  expect(inForce).toEqual([["fir5t"]]);
});

it("follows the links of a mounted Secret", async () => {
  const mount = newFolder();
  for (const [version, name] of [
    ["..1", "first"],
    ["..2", "second"],
  ] as const) {
    mkdirSync(join(mount, version));
    writeFileSync(join(mount, version, "tokens.yaml"), tokensOf(name));
  }
  symlinkSync("..1", join(mount, "..data"));
  symlinkSync("..data/tokens.yaml", join(mount, "tokens.yaml"));
  const { inForce, look } = await setUp({ path: join(mount, "tokens.yaml") });
  symlinkSync("..2", join(mount, "..data_tmp"));
  renameSync(join(mount, "..data_tmp"), join(mount, "..data"));
  await look();
  expect(inForce).toEqual([["second"]]);
});

it("keeps the tokens of before while the file is broken, says so once, and warns until it is good again", async () => {
  const { path, lines, inForce, reload, look } = await setUp();
  writeFileSync(path, "- {name: a, sha256: the-token-itself, scopes: [read]}");
  await look();
  await look();
  expect(lines).toMatchObject([
    { level: "error", msg: expect.stringContaining("stay in force"), err: { code: "tokens_file_invalid" } },
  ]);
  expect(JSON.stringify(lines)).not.toContain("the-token-itself");
  expect(reload.warnings()).toEqual([expect.stringContaining("API_TOKENS_FILE can't be used")]);
  // Another problem is news, also that of a file that is gone.
  rmSync(path);
  await look();
  await look();
  expect(lines.slice(1)).toMatchObject([
    { level: "error", err: { message: "API_TOKENS_FILE can't be read: ENOENT" } },
  ]);
  expect(inForce).toEqual([]);
  writeFileSync(path, tokensOf("second"));
  await look();
  expect(inForce).toEqual([["second"]]);
  expect(reload.warnings()).toEqual([]);
});

it("never takes an empty list for tokens", async () => {
  const { path, inForce, reload, look } = await setUp();
  writeFileSync(path, "[]");
  await look();
  expect(inForce).toEqual([]);
  expect(reload.warnings()).toHaveLength(1);
});

it("stops warning when the file is as it was", async () => {
  const { path, inForce, reload, look } = await setUp();
  writeFileSync(path, "broken: [");
  await look();
  expect(reload.warnings()).toHaveLength(1);
  writeFileSync(path, tokensOf("first"));
  await look();
  expect(reload.warnings()).toEqual([]);
  expect(inForce).toEqual([]);
});

it("ends with the program", async () => {
  const { path, clock, inForce, reload } = await setUp();
  reload.stop();
  writeFileSync(path, tokensOf("second"));
  expect(clock.pending()).toBe(0);
  clock.advance(60_000);
  await setImmediate();
  expect(inForce).toEqual([]);
});
