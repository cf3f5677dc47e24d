import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine } from "#promql/engine.ts";
import { largestOperand } from "./largest-operand.ts";
import { createMemorySource } from "./memory-source.ts";
import { oddSeries } from "./odd-series.ts";
import { askEngine, differenceBetween } from "./outcome.ts";
import { describeCase } from "./query-case.ts";
import { randomQueries } from "./random-queries.ts";
import { type RealPrometheus, startReal } from "./real-prometheus.ts";

const MINUTE = 60_000;
const endMs = Math.floor(Date.now() / MINUTE) * MINUTE - 5 * MINUTE;
const startMs = endMs - 60 * MINUTE;
/** FUZZ_SEED repeats a run; FUZZ_QUERIES makes it longer. */
const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Date.now() / 1000));
const count = Number(process.env["FUZZ_QUERIES"] ?? 2000);

describe("random queries", () => {
  const source = createMemorySource();
  const engine = createEngine({ source }, { limits: { samplesMax: 50_000_000, seriesMax: 100_000 } });
  let prometheus: RealPrometheus;

  beforeAll(async () => {
    const series = oddSeries(startMs, endMs);
    for (const each of series) source.add(each);
    prometheus = await startReal(series);
  });
  afterAll(() => prometheus?.stop());

  it(`answer what the real Prometheus answers (FUZZ_SEED=${seed}, ${count} queries)`, async () => {
    const differences: string[] = [];
    const kinds = { answers: 0, empty: 0, errors: 0 };
    for (const asked of randomQueries(seed, count, startMs + 10 * MINUTE, endMs)) {
      const [wanted, ours] = [await prometheus.ask(asked), await askEngine(engine, asked)];
      const how = { tolerance: 1e-12, ties: asked.ties, ordered: asked.ordered };
      let difference = differenceBetween(wanted, ours, how);
      if (difference !== undefined) {
        const scale = await largestOperand(engine, asked);
        difference = differenceBetween(wanted, ours, { ...how, scale });
      }
      if (difference !== undefined) differences.push(`${describeCase(asked)}: ${difference}`);
      if ("error" in ours) kinds.errors++;
      else if ("series" in ours && ours.series.length === 0) kinds.empty++;
      else kinds.answers++;
    }
    process.stdout.write(
      `random queries, FUZZ_SEED=${seed}: ${count - differences.length} of ${count} equal; ${kinds.answers} with an answer, ${kinds.empty} empty, ${kinds.errors} errors\n`,
    );
    expect(differences).toEqual([]);
    expect(kinds.answers).toBeGreaterThan(count / 4);
  });
});
