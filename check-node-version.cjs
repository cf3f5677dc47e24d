"use strict";
// npm scripts run this first, under the same `node` as the program. Every Node can read it: an older one can't read the TypeScript.

const wanted = require("./package.json").engines.node.replace(/\D*/, "");
const found = process.versions.node;
const major = (version) => Number(version.split(".")[0]);

if (major(found) < major(wanted)) {
  process.stderr.write(
    `Node.js ${found} can't run this program: it needs Node.js ${wanted} or newer.\n` +
      "`npm ci` installs one for Linux (glibc) and macOS on x64 and arm64. Run it again without --omit=optional, or install Node.js yourself.\n",
  );
  process.exitCode = 1;
}
