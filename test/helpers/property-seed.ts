import { readFileSync } from "node:fs";
import { expect } from "vitest";

/**
 * Property tests get the same random cases in each run, so that a change fails for what it does. Set-up file of the projects unit and
 * integration. PROPERTY_SEED=random tries new cases, and a number repeats a failure; a failure names its seed.
 */
const SEED = 20_261_129;

const given = process.env["PROPERTY_SEED"];
if (given !== "random" && readFileSync(expect.getState().testPath!, "utf8").includes("fast-check")) {
  const { configureGlobal } = await import("fast-check");
  configureGlobal({ seed: given === undefined ? SEED : Number(given) });
}
