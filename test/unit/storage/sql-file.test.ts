import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { expandFragments, fillTemplate, readSqlFiles, splitStatements } from "#storage/sql-file.ts";
import { readMigrations } from "#storage/migration-plan.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();

test.each([
  ["SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]],
  ["SELECT ';'';', 'a\\';b'; SELECT 2;", ["SELECT ';'';', 'a\\';b'", "SELECT 2"]],
  ['SELECT "a;b", `c;d`', ['SELECT "a;b", `c;d`']],
  ["-- one; it's a comment\nSELECT 1 -- two;\n+ 1", ["SELECT 1  \n+ 1"]],
  ["/* a; 'b */ SELECT '/* ; */';\n-- the end;\n ;;", ["SELECT '/* ; */'"]],
  ["SELECT '--;'", ["SELECT '--;'"]],
  ["SELECT 'unclosed; SELECT 2", ["SELECT 'unclosed; SELECT 2"]],
  [" \n;", []],
])("splits %j", (text, statements) => {
  expect(splitStatements(text)).toEqual(statements);
});

test("any texts as literals stay in their statement", () => {
  const literal = fc
    .string({ unit: "binary" })
    .map((text) => `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`);
  fc.assert(
    fc.property(fc.array(fc.array(literal, { minLength: 1 })), (statements) => {
      const texts = statements.map((literals) => `SELECT ${literals.join(", ")}`);
      expect(splitStatements(texts.join(";\n"))).toEqual(texts);
    }),
  );
});

test("fills templates and names one without a value", async () => {
  expect(fillTemplate("{{db}}.a {{on_cluster}}|{{db}}", { db: "m", on_cluster: "" })).toBe("m.a |m");
  const error = await bridgeErrorOf(() => fillTemplate("{{toString}}", {}));
  expect([error.code, error.message]).toEqual(["migration_failed", "no value for {{toString}}"]);
});

test("reads numbered files in order, whatever their line ends", async () => {
  const unix = join(folder, "unix");
  const windows = join(folder, "windows");
  for (const [directory, end] of [
    [unix, "\n"],
    [windows, "\r\n"],
  ] as const) {
    mkdirSync(directory);
    writeFileSync(join(directory, "0010_b.sql"), "SELECT 2;");
    writeFileSync(join(directory, "0002_a.sql"), `SELECT 1;${end}`);
  }
  const files = await readSqlFiles(unix);
  expect(files.map((file) => [file.version, file.name])).toEqual([
    [2, "0002_a.sql"],
    [10, "0010_b.sql"],
  ]);
  expect(await readSqlFiles(windows)).toEqual(files);
});

test.each(["1_short.sql", "0001-dash.sql", "0001_x.txt", "README.md"])(
  "refuses a file named %s",
  async (name) => {
    const directory = join(folder, `wrong-${name}`);
    mkdirSync(directory);
    writeFileSync(join(directory, name), "");
    expect((await bridgeErrorOf(readSqlFiles(directory))).message).toContain(name);
  },
);

test("refuses two files of one number", async () => {
  const directory = join(folder, "two");
  mkdirSync(directory);
  writeFileSync(join(directory, "0001_a.sql"), "");
  writeFileSync(join(directory, "0001_b.sql"), "");
  expect((await bridgeErrorOf(readSqlFiles(directory))).message).toBe("two migrations have the number 1");
});

test("a fragment is repeated wherever it is used", async () => {
  const text =
    "-- Tables.\n\n--{{define end}}\n  b Int8\n);\n--{{end}}\n\nA (\n--{{use end}}\n\nB (\n--{{use end}}\n";
  expect(expandFragments(text)).toBe("-- Tables.\n\nA (\n  b Int8\n);\n\nB (\n  b Int8\n);\n");
  const error = await bridgeErrorOf(() => expandFragments("--{{use end}}\n"));
  expect([error.code, error.message]).toEqual(["migration_failed", "no fragment {{define end}}"]);
});

test("released migrations keep the checksums that databases have on record", async () => {
  const files = await readMigrations();
  expect(files.slice(0, 7).map(({ name, checksum }) => [name, checksum])).toEqual([
    ["0001_tables.sql", "37428331d64e8b7dd079911d591119c73ff75e42eecdf4c0745530f9af3697f4"],
    ["0002_views.sql", "f2e116981a4a22f174f47edcac50ca64e30e83ffd366dbca2ba0a46a1e11d12c"],
    ["0003_rollups.sql", "23f0156587286936007fc0595ee299889b5ebbae8257ff167103a3890a977121"],
    ["0004_series_identity.sql", "7c0265b928c175ae0e9bc4b33e3af672e248ec54f9f62e07770426971200b187"],
    ["0005_series.sql", "f25b0c2f3e4c2ca809e41fecfe8a3dac546a3c16ec12edd0f178079addefbfc7"],
    ["0006_time_codec.sql", "7085af3c14cf7ad580c3d5c92d6d690fbc437845d1bd6e6bd31cb39745975282"],
    ["0007_stale_markers.sql", "108bc7fd63058cbb54c8f7df0740e8600ffe6c239b61433956c1924dc476439a"],
  ]);
});
