import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";
import { loadConfig, VARIABLES } from "#config.ts";
import { withErrorTable } from "./docs/troubleshooting.ts";

const ROOT = join(import.meta.dirname, "..");
const LINES_MAX = 400;

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

const PAGES = ["*.md", "docs/**/*.md", "helm/*.md", "dapr/*.md"].flatMap((glob) =>
  globSync(glob, { cwd: ROOT }),
);

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

/** "page: path" of each file or folder of the repository that a page names in code, and that does not exist. `*` stands for any text. */
function missingPaths(page: string): string[] {
  const named = read(page).matchAll(/`((?:src|test|simulator|helm|docs|dapr|compose|\.ci)\/[\w./*-]+)`/g);
  const paths = [...new Set([...named].map(([, path]) => path!))];
  return paths.filter((path) => globSync(path, { cwd: ROOT }).length === 0).map((path) => `${page}: ${path}`);
}

test("files that the documentation names exist", () => {
  expect(PAGES.length).toBeGreaterThan(20);
  expect(PAGES.flatMap(missingPaths)).toEqual([]);
});

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): Set<string> {
  const headings = [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading!);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/** "page: link" of each relative link that leads to no file, or to no heading of it. */
function brokenLinks(page: string): string[] {
  const links = [...read(page).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(([, link]) => link!);
  return links
    .filter((link) => {
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? page : join(dirname(page), path);
      if (!existsSync(join(ROOT, target))) return true;
      return anchor !== undefined && !anchorsOf(target).has(anchor);
    })
    .map((link) => `${page}: ${link}`);
}

test("links of the documentation lead to files and headings that exist", () => {
  expect(PAGES.flatMap(brokenLinks)).toEqual([]);
});

test(`no source file has more than ${LINES_MAX} lines`, () => {
  const long = SOURCES.filter(({ text }) => text.split("\n").length - 1 > LINES_MAX);
  expect(long.map(({ path }) => path)).toEqual([]);
});

test("only config.ts and main.ts know the environment", () => {
  expect(linesWith(/\bprocess\.env\b/, ["src/config.ts", "src/main.ts", "simulator/main.ts"])).toEqual([]);
});

test("only the entries main.ts and worker.ts end the process", () => {
  expect(
    linesWith(/\bprocess\.(exit|abort|kill)\b/, ["src/main.ts", "src/worker.ts", "simulator/main.ts"]),
  ).toEqual([]);
});

test("time comes from the clock only", () => {
  const ownTime =
    /\b(setTimeout|setInterval|Date\.now|performance\.now)\b|\bnew Date\(\)|\bAbortSignal\.timeout\b/;
  expect(linesWith(ownTime, ["src/lib/", "src/page/clock.ts", "simulator/"])).toEqual([]);
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
