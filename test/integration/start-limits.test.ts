import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runBridge, startBridgeChild } from "../helpers/bridge-child.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const EXIT_CONFIG = 78;
const folder = createTemporaryFolder();
const environment = (name: string): Record<string, string> => ({
  PORT: "0",
  METRICS_COLLECTION_ENABLED: "false",
  DATA_DIR: join(folder, name),
});

test.each([30, 44])("all-in-one with %i file descriptors names their limit", async (limit) => {
  const { PATH = "" } = process.env;
  const said = await new Promise<{ code: number | null; stderr: string }>((resolve) => {
    const command = `ulimit -n ${limit}; exec "${process.execPath}" src/main.ts`;
    const env = { PATH, ...environment(`limit-${limit}`) };
    const child = execFile("sh", ["-c", command], { env }, (_error, _stdout, stderr) =>
      resolve({ code: child.exitCode, stderr }),
    );
  });
  expect([said.code, said.stderr]).toEqual([
    EXIT_CONFIG,
    expect.stringContaining(
      "startup failed (file_descriptors_exhausted):\n  the limit of open files (ulimit -n)",
    ),
  ]);
  expect(said.stderr).not.toMatch(/PORT|CLICKHOUSE_URL|another process/);
});

test("DATA_DIR and what is in it are for the owner only in all-in-one too; a link for the state file is refused", async () => {
  const values = environment("private");
  const child = startBridgeChild(values);
  await child.url;
  const mode = (path: string): number => statSync(path).mode & 0o777;
  expect(mode(values["DATA_DIR"]!)).toBe(0o700);
  const wide = readdirSync(values["DATA_DIR"]!).filter(
    (name) => (mode(join(values["DATA_DIR"]!, name)) & 0o77) !== 0,
  );
  expect(wide).toEqual([]);
  child.signal("SIGTERM");
  await child.ended;

  const linked = environment("linked");
  mkdirSync(linked["DATA_DIR"]!);
  writeFileSync(join(folder, "target"), "");
  symlinkSync(join(folder, "target"), join(linked["DATA_DIR"]!, "state.sqlite"));
  const { code, stderr } = await runBridge(linked);
  expect([code, stderr]).toEqual([EXIT_CONFIG, expect.stringContaining("state.sqlite is a symbolic link")]);
  expect(statSync(join(folder, "target")).size).toBe(0);
});
