import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { prepareDataDirectory } from "#state/data-directory.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
let folders = 0;

function prepare(directory: string): { mode: string; said: string[] } {
  const said: string[] = [];
  const note = (level: string) => (_fields: unknown, message?: string) =>
    void said.push(`${level}: ${message ?? ""}`);
  prepareDataDirectory(directory, { info: note("info"), warn: note("warn") } as never);
  return { mode: (statSync(directory).mode & 0o7777).toString(8), said };
}

test("a new folder is for its owner only", () => {
  expect(prepare(join(folder, "new", "data"))).toEqual({ mode: "700", said: [] });
});

test.each([
  ["that is right", "700", [], "700", /^$/],
  ["of an earlier version", "755", ["state.sqlite", "keys", "clickhouse"], "700", /^info: closed DATA_DIR/],
  ["that is empty", "777", [], "700", /^info: closed/],
  ["that is read-only for a group", "750", ["state.sqlite"], "700", /^info: closed/],
  ["of a volume with an fsGroup", "2770", ["state.sqlite", "lost+found"], "2770", /^$/],
  ["of a volume with an fsGroup that others may read", "2775", ["state.sqlite"], "2770", /^info: closed/],
  ["that others use as well", "755", ["state.sqlite", "index.html"], "755", /^warn: other users/],
  ["that everybody uses", "1777", ["systemd-private"], "1777", /^warn: other users/],
])("a folder %s: %s with %j becomes %s", (_what, mode, names, after, said) => {
  const directory = join(folder, `existing-${++folders}`);
  mkdirSync(directory);
  for (const name of names) writeFileSync(join(directory, name), "");
  chmodSync(directory, Number.parseInt(mode, 8));
  const result = prepare(directory);
  expect(result.mode).toBe(after);
  expect(result.said.join("\n")).toMatch(said);
});

test("a folder that can't be made is named", async () => {
  const file = join(folder, "a-file");
  writeFileSync(file, "");
  const error = await bridgeErrorOf(() => prepare(join(file, "data")));
  expect([error.code, error.message]).toEqual([
    "state_unavailable",
    expect.stringContaining(`DATA_DIR ${join(file, "data")} can't be made`),
  ]);
});
