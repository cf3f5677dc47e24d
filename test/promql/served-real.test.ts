import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine } from "#promql/engine.ts";
import type { Series } from "#promql/source.ts";
import { useEngine } from "../helpers/engine.ts";
import { expandQueries } from "./compliance-queries.ts";
import { demoSeries } from "./demo-series.ts";
import { largestOperand } from "./largest-operand.ts";
import { createMemorySource } from "./memory-source.ts";
import { oddSeries } from "./odd-series.ts";
import { differenceBetween, type Outcome } from "./outcome.ts";
import { describeCase } from "./query-case.ts";
import { randomQueries } from "./random-queries.ts";
import { type RealPrometheus, startReal } from "./real-prometheus.ts";
import { ofDataset, type Served, startServed } from "./served.ts";

// What is stored by OTLP and asked by HTTP answers what the real Prometheus answers. Beside the asked cluster there is another one that has the same series with
// other values: an answer that has anything of it is another one.

const folder = process.env["PROMQLTEST_DIR"];
if (folder === undefined)
  throw new Error("PROMQLTEST_DIR is not set: the folder with compliance-queries.yml");

const MINUTE = 60_000;
const NOW_MS = Math.floor(Date.now() / MINUTE) * MINUTE;
const END_MS = NOW_MS - 5 * MINUTE;
/** What is asked, and what is stored beside it. */
const COMPLIANCE = { asked: 0, other: 1 };
const RANDOM = { asked: 2, other: 3 };
const DATASETS = 4;
const CLUSTER_LABELS = new Set(["cluster", "cluster_id"]);

const database = useEngine({ migrated: true });
const started: RealPrometheus[] = [];
let served: Served;
beforeAll(async () => {
  served = await startServed(database.database, NOW_MS, DATASETS);
});
afterAll(async () => {
  await served?.stop();
  for (const prometheus of started) await prometheus.stop();
});

async function startPrometheusWith(series: readonly Series[]): Promise<RealPrometheus> {
  const prometheus = await startReal(series);
  started.push(prometheus);
  return prometheus;
}

/** Stores the series for the asked cluster, and for the other one with other values. */
async function store({ asked, other }: typeof COMPLIANCE, series: readonly Series[]): Promise<void> {
  await served.store(asked, series);
  await served.store(
    other,
    series.map((each) => ({ ...each, values: each.values.map((value) => 3 - 2 * value) })),
  );
  const times = { startMs: END_MS, endMs: END_MS };
  const sum = { query: 'sum({__name__!=""} < Inf > -Inf)', times };
  const outcomes = [await served.ask(asked, sum), await served.ask(other, sum)] as const;
  expect(differenceBetween(...outcomes, { tolerance: 1e-12 })).toBeDefined();
}

function withoutCluster(outcome: Outcome): Outcome {
  if (!("series" in outcome)) return outcome;
  const series = outcome.series.map((each) => ({ ...each, labels: each.labels.without(CLUSTER_LABELS) }));
  return { ...outcome, series };
}

/** Of answers that the source computed a part of. */
function createComputed(): { add(outcome: Outcome): void; readonly count: number } {
  let count = 0;
  return {
    add: (outcome) => {
      if ("type" in outcome && outcome.isComputed === true) count++;
    },
    get count() {
      return count;
    },
  };
}

describe("prometheus/compliance's queries over OTLP, the tables and HTTP", () => {
  const queries = expandQueries(readFileSync(join(folder, "compliance-queries.yml"), "utf8"));
  const endMs = END_MS - 10 * MINUTE;
  let prometheus: RealPrometheus;
  beforeAll(async () => {
    const series = demoSeries(END_MS - 100 * MINUTE, END_MS);
    prometheus = await startPrometheusWith(series);
    await store(COMPLIANCE, series);
  });

  // The source computes grids with steps of a minute and longer.
  it.each([
    { seconds: 10, minutes: 10, computedMin: 0 },
    { seconds: 120, minutes: 60, computedMin: 200 },
  ])(
    "answer what the real Prometheus answers, but for the cluster's labels: steps of $seconds s",
    async ({ seconds, minutes, computedMin }) => {
      expect(queries).toHaveLength(539);
      const times = { startMs: endMs - minutes * MINUTE, endMs, stepMs: seconds * 1000 };
      const differences: string[] = [];
      const computed = createComputed();
      for (const query of queries) {
        const asked = { query, times };
        const [wanted, ours] = await Promise.all([
          prometheus.ask(asked),
          served.ask(COMPLIANCE.asked, asked),
        ]);
        const how = { tolerance: 1e-9, ties: /^(?:topk|bottomk)/.test(query) };
        const difference = differenceBetween(wanted, withoutCluster(ours), how);
        if (difference !== undefined) differences.push(`${query}: ${difference}`);
        computed.add(ours);
      }
      process.stdout.write(
        `compliance over the tables, steps of ${seconds} s: ${queries.length - differences.length} of ${queries.length} equal, ${computed.count} with a part computed by the source\n`,
      );
      expect(differences).toEqual([]);
      expect(computed.count).toBeGreaterThanOrEqual(computedMin);
    },
  );
});

describe("random queries over OTLP, the tables and HTTP", () => {
  /** FUZZ_SEED repeats a run; FUZZ_SERVED_QUERIES makes it longer. */
  const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Date.now() / 1000));
  const count = Number(process.env["FUZZ_SERVED_QUERIES"] ?? 500);

  const startMs = END_MS - 60 * MINUTE;
  const series = oddSeries(startMs, END_MS);
  const labelled = series.map((each) => ofDataset(RANDOM.asked, each));
  const source = createMemorySource();
  const engine = createEngine({ source }, { limits: { samplesMax: 50_000_000, seriesMax: 100_000 } });
  let plain: RealPrometheus;
  let prometheus: RealPrometheus;
  beforeAll(async () => {
    [plain, prometheus] = [await startPrometheusWith(series), await startPrometheusWith(labelled)];
    await store(RANDOM, series);
    for (const each of labelled) source.add(each);
  });

  // `sum by (job) (a) + b` matches where b has no label but job, so its answer is another one with the cluster's labels: the real Prometheus has them, too.
  it(`answer what the real Prometheus answers over series with the cluster's labels (FUZZ_SEED=${seed}, ${count} queries)`, async () => {
    const differences: string[] = [];
    const computed = createComputed();
    let plainCount = 0;
    for (const asked of randomQueries(seed, count, startMs + 10 * MINUTE, END_MS)) {
      const [wanted, ours, ofPlain] = await Promise.all([
        prometheus.ask(asked),
        served.ask(RANDOM.asked, asked),
        plain.ask(asked),
      ]);
      const how = { tolerance: 1e-12, ties: asked.ties, ordered: asked.ordered };
      let difference = differenceBetween(wanted, ours, how);
      if (difference !== undefined) {
        const scale = await largestOperand(engine, asked);
        difference = differenceBetween(wanted, ours, { ...how, scale });
      }
      if (difference !== undefined) differences.push(`${describeCase(asked)}: ${difference}`);
      if (differenceBetween(ofPlain, withoutCluster(ours), { ...how, tolerance: 1e-9 }) === undefined)
        plainCount++;
      computed.add(ours);
    }
    process.stdout.write(
      `random queries over the tables, FUZZ_SEED=${seed}: ${count - differences.length} of ${count} equal, ${computed.count} with a part computed by the source; ${plainCount} also where the real one lacks the cluster's labels\n`,
    );
    expect(differences).toEqual([]);
    expect(computed.count).toBeGreaterThan(count / 50);
    expect(plainCount).toBeGreaterThan(count * 0.8);
  });

  it.each([
    "sum by (job) (up) - limit_bytes",
    "sum by (job) (rate(requests_total[5m])) / limit_bytes",
    "limit_bytes and sum by (job) (up)",
    "vector(1) or sum without (job) (limit_bytes)",
    "vector(1) + sum without (job) (limit_bytes)",
    "sum by (cluster) (rate(cpu_seconds_total[5m]))",
    "count by (cluster_id, job) (up)",
    "count without (instance, cluster_id) (up)",
    'label_join(up, "x", "/", "cluster", "job")',
    'label_replace(up, "x", "$1", "cluster_id", "(.*)")',
    'absent(up{cluster="set-2"})',
    'count(up{cluster=~"set-.*"})',
    'up{cluster_id=~"set-.+"}',
    'up{cluster=""}',
    "up * on (job, cluster) group_left (cluster_id) build_info",
  ])("answer by the cluster's labels as the real Prometheus that has them does: %s", async (query) => {
    for (const times of [
      { startMs: END_MS, endMs: END_MS },
      { startMs: END_MS - 30 * MINUTE, endMs: END_MS, stepMs: MINUTE },
    ]) {
      const asked = { query, times };
      const ours = await served.ask(RANDOM.asked, asked);
      expect(differenceBetween(await prometheus.ask(asked), ours, { tolerance: 1e-12 })).toBeUndefined();
      expect(differenceBetween(await plain.ask(asked), ours, { tolerance: 1e-12 })).toBeDefined();
    }
  });
});
