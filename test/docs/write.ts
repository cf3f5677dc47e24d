import { readFileSync, writeFileSync } from "node:fs";
import { withErrorTable } from "./troubleshooting.ts";

/** `npm run docs`: brings what is generated in docs/ up to date. */
const path = "docs/troubleshooting.md";
writeFileSync(path, withErrorTable(readFileSync(path, "utf8")));
