import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine, type Engine } from "#promql/engine.ts";
import type { Series } from "#promql/source.ts";
import { useEngine } from "../helpers/engine.ts";
import { toStored } from "../helpers/stored-histograms.ts";
import { experimentalFeature } from "./experimental.ts";
import { largestOperand } from "./largest-operand.ts";
import { createMemorySource } from "./memory-source.ts";
import { askEngine, differenceBetween } from "./outcome.ts";
import { describeCase, type QueryCase } from "./query-case.ts";
import { ofDataset, type Served, startServed } from "./served.ts";
import { shiftQuery, shiftSeries } from "./shift.ts";
import { parseTestFile } from "./test-file.ts";

// What is stored by OTLP and asked by HTTP answers what the engine answers over the same samples in memory. That equals the real Prometheus by the
// other tests here.

const folder = process.env["PROMQLTEST_DIR"];
if (folder === undefined)
  throw new Error("PROMQLTEST_DIR is not set: the folder with Prometheus' .test files");
const files = readdirSync(folder).filter((name) => name.endsWith(".test"));

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const NOW_MS = Math.floor(Date.now() / MINUTE) * MINUTE;
/** Where the files' epoch is moved to. */
const EPOCH_MS = Math.floor(NOW_MS / DAY) * DAY - 40 * DAY;
const DATASETS = 400;
const limits = { samplesMax: 50_000_000, seriesMax: 100_000 };

const database = useEngine({ migrated: true });
let served: Served;
let dataset = 0;
beforeAll(async () => {
  served = await startServed(database.database, NOW_MS, DATASETS);
});
afterAll(() => served?.stop());

async function compare(engine: Engine, asked: QueryCase): Promise<string | undefined> {
  const [wanted, ours] = [await askEngine(engine, asked), await served.ask(dataset, asked)];
  const strict = { tolerance: 1e-12 };
  if (differenceBetween(wanted, ours, strict) === undefined) return undefined;
  const scale = await largestOperand(engine, asked);
  const difference = differenceBetween(wanted, ours, { ...strict, scale });
  return difference === undefined ? undefined : `${describeCase(asked)}: ${difference}`;
}

describe("Prometheus' own tests over the tables", () => {
  it.each(files)("%s", async (file) => {
    const source = createMemorySource();
    const shifted = createMemorySource();
    const engine = createEngine({ source: shifted }, { limits });
    const failures: string[] = [];
    const counts = { equal: 0, native: 0, experimental: 0 };
    const leftOut = new Map<string, number>();
    dataset++;
    for (const command of parseTestFile(readFileSync(join(folder, file), "utf8"))) {
      if (command.kind === "clear") {
        source.clear();
        shifted.clear();
        dataset++;
        continue;
      }
      if (command.kind === "load") {
        const own = createMemorySource();
        own.load(command);
        const store = (series: Series, counted?: Map<string, number>): Series =>
          toStored(shiftSeries(series, EPOCH_MS), counted);
        await served.store(
          dataset,
          own.series().map((series) => store(series, leftOut)),
        );
        source.load(command);
        for (const series of source.series()) shifted.add(ofDataset(dataset, store(series)));
        continue;
      }
      if (experimentalFeature(command.query) !== undefined) {
        counts.experimental++;
        continue;
      }
      const query = shiftQuery(command.query, EPOCH_MS);
      const times = {
        startMs: command.startMs + EPOCH_MS,
        endMs: command.endMs + EPOCH_MS,
        ...(command.stepMs !== undefined && { stepMs: command.stepMs }),
      };
      shifted.takeHasReadHistograms();
      const difference = await compare(engine, { query, times });
      if (shifted.takeHasReadHistograms()) counts.native++;
      if (difference === undefined) counts.equal++;
      else failures.push(`line ${command.line}: ${difference}`);
    }
    process.stdout.write(
      `${file} over the tables: ${counts.equal} equal, ${failures.length} not, of these ${counts.native} read native histograms; skipped ${counts.experimental} experimental\n`,
    );
    for (const [reason, samples] of leftOut)
      process.stdout.write(`  ${samples} native histograms not stored: ${reason}\n`);
    expect(failures).toEqual([]);
    expect(dataset).toBeLessThan(DATASETS);
  });
});
