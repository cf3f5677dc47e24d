import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine } from "#promql/engine.ts";
import { expandQueries } from "./compliance-queries.ts";
import { demoSeries } from "./demo-series.ts";
import { createMemorySource } from "./memory-source.ts";
import { askEngine, differenceBetween } from "./outcome.ts";
import type { QueryCase } from "./query-case.ts";
import { type RealPrometheus, startReal } from "./real-prometheus.ts";

const folder = process.env["PROMQLTEST_DIR"];
if (folder === undefined)
  throw new Error("PROMQLTEST_DIR is not set: the folder with compliance-queries.yml");

const MINUTE = 60_000;
const endMs = Math.floor(Date.now() / MINUTE) * MINUTE - 5 * MINUTE;
const startMs = endMs - 100 * MINUTE;

describe("the queries of prometheus/compliance", () => {
  const source = createMemorySource();
  const engine = createEngine({ source }, { limits: { samplesMax: 50_000_000, seriesMax: 100_000 } });
  let prometheus: RealPrometheus;

  beforeAll(async () => {
    const series = demoSeries(startMs, endMs);
    for (const each of series) source.add(each);
    prometheus = await startReal(series);
  });
  afterAll(() => prometheus?.stop());

  it("answer what the real Prometheus answers", async () => {
    const queries = expandQueries(readFileSync(join(folder, "compliance-queries.yml"), "utf8"));
    expect(queries).toHaveLength(539);
    const differences: string[] = [];
    let answers = 0;
    for (const query of queries) {
      const times = { startMs: endMs - 20 * MINUTE, endMs: endMs - 10 * MINUTE, stepMs: 10_000 };
      const asked: QueryCase = { query, times };
      const [wanted, ours] = [await prometheus.ask(asked), await askEngine(engine, asked)];
      const how = { tolerance: 1e-9, ties: /^(?:topk|bottomk)/.test(query) };
      const difference = differenceBetween(wanted, ours, how);
      if (difference !== undefined) differences.push(`${query}: ${difference}`);
      if ("series" in ours && ours.series.length > 0) answers++;
    }
    process.stdout.write(
      `compliance: ${queries.length - differences.length} of ${queries.length} equal, ${answers} with series\n`,
    );
    expect(differences).toEqual([]);
    expect(answers).toBeGreaterThan(400);
  });
});
