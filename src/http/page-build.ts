import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parentPort } from "node:worker_threads";
import { constants, gzipSync } from "node:zlib";
import { joinModules } from "./page-join.ts";

/** A file of the page as the server sends it. */
export interface PageFile {
  type: string;
  body: Uint8Array;
  gzip: Uint8Array;
}

/** What the worker of page-files.ts posts. */
export interface PageBuild {
  /** A hash of all files: a part of their URLs, so that browsers may keep them for ever. */
  version: string;
  /** By the path behind /page/VERSION/. */
  files: Map<string, PageFile>;
  /** The paths of the page's own script and of the libraries that it always needs. */
  modules: string[];
  /** The path of each library by the name that modules import it by. */
  imports: Record<string, string>;
  /** The template of the document. */
  template: string;
}

const FOLDER = fileURLToPath(new URL("../page/", import.meta.url));
const TYPES = {
  script: "text/javascript; charset=utf-8",
  style: "text/css; charset=utf-8",
  icon: "image/svg+xml",
};

/** The browser's libraries: the name that modules import, the file of the package, and whether only charts need it. */
const LIBRARIES: { name: string; file: string; late?: true; suffix?: string }[] = [
  { name: "preact", file: "preact/dist/preact.mjs" },
  { name: "preact/hooks", file: "preact/hooks/dist/hooks.mjs" },
  { name: "@preact/signals-core", file: "@preact/signals-core/dist/signals-core.mjs" },
  { name: "@preact/signals", file: "@preact/signals/dist/signals.mjs" },
  { name: "htm", file: "htm/dist/htm.mjs" },
  // Only its classic script is minified: in a module its `var uPlot` is the module's own.
  { name: "uplot", file: "uplot/dist/uPlot.iife.min.js", late: true, suffix: "\nexport default uPlot;\n" },
];

/** All modules of the page; index.html names it. */
const SCRIPT = "page.js";

/** The folder of the package: the program's own packages are beside `src`, or further up. */
function readLibrary(file: string): string {
  for (let folder = join(FOLDER, "../.."); ; folder = join(folder, "..")) {
    try {
      return readFileSync(join(folder, "node_modules", file), "utf8");
    } catch (error) {
      if (folder === join(folder, "..")) throw error;
    }
  }
}

function withoutMap(text: string): string {
  return text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
}

/**
 * Without indentation and blank lines, which are a sixth of the bytes sent. A template may lose its indentation too: htm and browsers take a line
 * break for a space, however many spaces follow.
 */
function withoutIndentation(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, "\n");
}

function toFile(type: string, text: string): PageFile {
  const body = Buffer.from(text);
  return { type, body, gzip: gzipSync(body, { level: constants.Z_BEST_COMPRESSION }) };
}

function build(): PageBuild {
  const files = new Map<string, PageFile>();
  const imports: Record<string, string> = {};
  const modules: string[] = [];
  for (const { name, file, late, suffix = "" } of LIBRARIES) {
    const path = `lib/${name.replaceAll(/[@/]/g, "-").replace(/^-/, "")}.js`;
    files.set(path, toFile(TYPES.script, withoutMap(readLibrary(file)) + suffix));
    imports[name] = path;
    if (!late) modules.push(path);
  }
  const own = globSync("*.ts", { cwd: FOLDER })
    .toSorted()
    .map((path) => ({
      name: basename(path),
      text: stripTypeScriptTypes(readFileSync(join(FOLDER, path), "utf8")),
    }));
  files.set(SCRIPT, toFile(TYPES.script, withoutIndentation(withoutComments(joinModules(own)))));
  modules.push(SCRIPT);
  const style = withoutIndentation(readFileSync(join(FOLDER, "style.css"), "utf8"));
  files.set("style.css", toFile(TYPES.style, `${readLibrary("uplot/dist/uPlot.min.css")}\n${style}`));
  files.set("icon.svg", toFile(TYPES.icon, readFileSync(join(FOLDER, "icon.svg"), "utf8")));
  const template = readFileSync(join(FOLDER, "index.html"), "utf8");
  const hash = createHash("sha256").update(template);
  for (const [path, { body }] of files) hash.update(path).update(body);
  return { version: hash.digest("hex").slice(0, 16), files, modules, imports, template };
}

/** Comments that begin a line, and what the types left of their lines: a tenth of the bytes sent. */
function withoutComments(script: string): string {
  return script.replaceAll(/^[ \t]*\/\*\*(?:(?!\*\/)[^])*\*\/[ \t]*\n/gm, "").replaceAll(/^[ \t]+$/gm, "");
}

parentPort?.postMessage(build(), []);
