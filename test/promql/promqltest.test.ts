import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createEngine } from "#promql/engine.ts";
import { experimentalFeature } from "./experimental.ts";
import { createMemorySource } from "./memory-source.ts";
import { runEvaluation } from "./run-evaluation.ts";
import { parseTestFile } from "./test-file.ts";

const folder = process.env["PROMQLTEST_DIR"];
if (folder === undefined) {
  throw new Error(
    "PROMQLTEST_DIR is not set: the folder of Prometheus' promql/promqltest/testdata, whose .test files are run here",
  );
}
const files = readdirSync(folder).filter((name) => name.endsWith(".test"));
if (files.length === 0) throw new Error(`PROMQLTEST_DIR has no .test files: ${folder}`);

interface FileResult {
  passed: number;
  /** Of these: read native histograms. */
  native: number;
  failures: string[];
  skipped: string[];
}

async function runFile(text: string): Promise<FileResult> {
  const result: FileResult = { passed: 0, native: 0, failures: [], skipped: [] };
  const source = createMemorySource();
  // Prometheus' own runner has the feature on that drops names at the end.
  const engine = createEngine(
    { source },
    { limits: { samplesMax: 10_000_000, seriesMax: 100_000 }, delayedNameRemoval: true },
  );
  let hasStartTimes = false;
  for (const command of parseTestFile(text)) {
    if (command.kind === "clear") {
      source.clear();
      hasStartTimes = false;
      continue;
    }
    if (command.kind === "load") {
      source.load(command);
      hasStartTimes ||= command.hasStartTimes;
      continue;
    }
    const title = `line ${command.line}: ${command.query}`;
    const feature = hasStartTimes ? "start timestamps" : experimentalFeature(command.query);
    if (feature !== undefined) {
      result.skipped.push(`${title}: ${feature}`);
      continue;
    }
    source.takeHasReadHistograms();
    const difference = await runEvaluation(engine, command);
    const isNative = source.takeHasReadHistograms();
    if (difference !== undefined) result.failures.push(`${title}: ${difference}`);
    else {
      result.passed++;
      if (isNative) result.native++;
    }
  }
  return result;
}

describe("Prometheus' own tests of PromQL", () => {
  it.each(files)("%s", async (file) => {
    const { passed, native, failures, skipped } = await runFile(readFileSync(join(folder, file), "utf8"));
    const head = `${file}: ${passed} passed, of these ${native} read native histograms; ${failures.length} failed; ${skipped.length} skipped, experimental:`;
    process.stdout.write(`${[head, ...skipped].join("\n  ")}\n`);
    expect(failures).toEqual([]);
    expect(passed + skipped.length).toBeGreaterThan(0);
  });
});
