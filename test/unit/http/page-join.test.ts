import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, it } from "vitest";
import { joinModules, type PageModule } from "#http/page-join.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();

async function run(name: string, modules: readonly PageModule[]): Promise<void> {
  const path = join(folder, `${name}.mjs`);
  writeFileSync(path, joinModules(modules));
  await import(pathToFileURL(path).href);
}

it("joins modules to one that does the same: scopes of their own, exports, libraries, in the order of imports", async () => {
  const said: string[] = [];
  Object.assign(globalThis, { saidByModules: said });
  await run("joined", [
    {
      name: "main.ts",
      text: `import { basename } from "node:path";
import {
  first,
  Second,
} from "./parts.ts";
const own = "main";
globalThis.saidByModules.push(first(own), new Second().text, basename("/a/b"));`,
    },
    {
      name: "parts.ts",
      text: `import { basename, extname } from "node:path";
import { third } from "./third.ts";
const own = "parts";
export async function later() {}
export function first(text) {
  return text + own + basename("/c/d.e") + extname("f.g");
}
export class Second {
  text = third;
}`,
    },
    { name: "third.ts", text: `const own = 3;\nexport const third = "third" + own;` },
    { name: "types.ts", text: "" },
  ]);
  expect(said).toEqual(["mainpartsd.e.g", "third3", "b"]);
});

it.each<[string, PageModule[], string]>([
  [
    "a circle",
    [
      { name: "a.ts", text: 'import { b } from "./b.ts";\nexport const a = 1;' },
      { name: "b.ts", text: 'import { a } from "./a.ts";\nexport const b = 1;' },
    ],
    "modules import each other: a.ts > b.ts > a.ts",
  ],
  [
    "two exports of one name",
    [
      { name: "a.ts", text: "export const same = 1;" },
      { name: "b.ts", text: "export function same() {}" },
    ],
    "a.ts and b.ts both export same",
  ],
  [
    "an export that has the name of a library's",
    [
      { name: "a.ts", text: 'import { basename } from "node:path";\nbasename("/a");' },
      { name: "b.ts", text: "export function basename() {}" },
    ],
    "b.ts exports basename, which is imported from node:path",
  ],
  [
    "a default export",
    [{ name: "a.ts", text: "export default 1;" }],
    "a.ts has a form of import or export that can't be joined: export default 1;",
  ],
  [
    "a renamed import",
    [
      { name: "a.ts", text: 'import { b as c } from "./b.ts";\nc();' },
      { name: "b.ts", text: "export const b = 1;" },
    ],
    'a.ts has a form of import or export that can\'t be joined: import { b as c } from "./b.ts";',
  ],
  [
    "a module that there is not",
    [{ name: "a.ts", text: 'import { b } from "./b.ts";' }],
    "a.ts imports b.ts, which is no module of the page",
  ],
])("refuses %s", (_name, modules, message) => {
  expect(() => joinModules(modules)).toThrow(message);
});
