import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { expect, test } from "vitest";
import { loadConfig, VARIABLES } from "#config.ts";
import { withErrorTable } from "./docs/troubleshooting.ts";

const ROOT = join(import.meta.dirname, "..");
const LINES_MAX = 400;

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

interface SourceFile {
  path: string;
  text: string;
}

const SOURCES: SourceFile[] = ["src", "simulator"]
  .flatMap((folder) => readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
  .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
  .map((path) => ({ path, text: read(path) }));

/** "path:line" of each line of the sources that matches, but in files whose path begins with one of `except`. */
function linesWith(pattern: RegExp, except: readonly string[] = []): string[] {
  return SOURCES.filter(({ path }) => !except.some((start) => path.startsWith(start))).flatMap(
    ({ path, text }) =>
      text
        .split("\n")
        .map((line, i) => [`${path}:${i + 1}`, line.replace(/^\s*(\/\/|\*|\/\*).*/, "")] as const)
        .filter(([, line]) => pattern.test(line))
        .map(([place]) => place),
  );
}

/** `NAME=default` and `# NAME=default` lines. */
const EXAMPLES = new Map(
  [...read(".env.example").matchAll(/^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(([, name, value]) => [
    name!,
    value!,
  ]),
);

test("the sources are found", () => {
  expect(SOURCES.length).toBeGreaterThan(50);
});

test(".env.example describes every variable, and no other", () => {
  expect([...EXAMPLES.keys()].toSorted()).toEqual(VARIABLES.toSorted());
});

test.each([...EXAMPLES].filter(([, value]) => value !== ""))(
  "the default of %s in .env.example is %j",
  (name, value) => {
    const known = name as keyof ReturnType<typeof loadConfig>;
    expect(JSON.stringify(loadConfig({ [name]: value })[known])).toBe(JSON.stringify(loadConfig({})[known]));
  },
);

test("docs/troubleshooting.md has every error code as the table has it: `npm run docs` writes it", () => {
  const page = read("docs/troubleshooting.md");
  expect(withErrorTable(page)).toBe(page);
});

test(`no source file has more than ${LINES_MAX} lines`, () => {
  const long = SOURCES.filter(({ text }) => text.split("\n").length - 1 > LINES_MAX);
  expect(long.map(({ path }) => path)).toEqual([]);
});

test("only config.ts and main.ts know the environment", () => {
  expect(linesWith(/\bprocess\.env\b/, ["src/config.ts", "src/main.ts", "simulator/main.ts"])).toEqual([]);
});

test("only main.ts ends the process", () => {
  expect(linesWith(/\bprocess\.(exit|abort|kill)\b/, ["src/main.ts", "simulator/main.ts"])).toEqual([]);
});

test("time comes from the clock only", () => {
  const ownTime =
    /\b(setTimeout|setInterval|Date\.now|performance\.now)\b|\bnew Date\(\)|\bAbortSignal\.timeout\b/;
  expect(linesWith(ownTime, ["src/lib/", "simulator/"])).toEqual([]);
});

test("imports across folders are by #folder/file.ts", () => {
  expect(linesWith(/from "\.\.\/|import\("\.\.\//)).toEqual([]);
});

test("nothing is silenced or left for later", () => {
  const marks = /(ox|es)lint-disable|@ts-(ignore|expect-error|nocheck)|\b(TODO|FIXME|XXX)\b/;
  expect(SOURCES.filter(({ text }) => marks.test(text)).map(({ path }) => path)).toEqual([]);
});

test("every dependency has an exact version", () => {
  const manifest = JSON.parse(read("package.json")) as Record<string, Record<string, string> | undefined>;
  const versions = ["dependencies", "devDependencies", "optionalDependencies"].flatMap((group) =>
    Object.entries(manifest[group] ?? {}),
  );
  expect(versions.length).toBeGreaterThan(20);
  expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
});
