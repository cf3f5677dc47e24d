import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startTestSystem } from "../helpers/test-system.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();

/** Every member that a plain object inherits and whose name is a metric name, which `constructor`, `__proto__` and `toString` are. */
const INHERITED = Object.getOwnPropertyNames(Object.prototype);
const GROUPS = ["constructor", "__proto__", "custom"];

test("queries and groups may have the names of what every object inherits", async () => {
  const queriesFile = join(folder, "queries.json");
  // A sum has no name of its own: its metric is named as the query is.
  const queries = INHERITED.map((name, i) => ({
    name,
    promql: "sum(node_load15)",
    group: GROUPS[i % GROUPS.length],
  }));
  writeFileSync(queriesFile, JSON.stringify({ extends: "none", queries: [...queries, { name: "up" }] }));
  const { bridge, clock, collector } = await startTestSystem({
    environment: { QUERIES_FILE: queriesFile },
  });

  const rounds = [];
  for (let round = 0; round < 3; round++) {
    clock.jump(60_000);
    rounds.push(await bridge.collect());
    if (round === 1) await bridge.restart();
  }
  expect(rounds.map(({ clusters }) => clusters.map(({ outcome, error }) => [outcome, error]))).toEqual([
    [["successful", null]],
    [["successful", null]],
    [["successful", null]],
  ]);
  const status = await bridge.statusOf("sim-1");
  expect([status.state, status.gaps]).toEqual(["healthy", []]);
  const groups = GROUPS.map((group): [string, unknown] => [group, "present"]);
  expect(Object.fromEntries(Object.entries(status.groups))).toEqual(Object.fromEntries(groups));
  expect(Object.keys(status.groups)).toHaveLength(GROUPS.length);

  const { queries: recorded } = await bridge.progress("sim-1");
  expect(Object.keys(recorded).sort()).toEqual([...INHERITED, "up"].sort());
  for (const query of Object.values(recorded)) {
    expect(query.committed).toEqual([[query.from, query.attempted]]);
    expect(query.samples_sent).toBeGreaterThan(0);
  }
  const metrics = new Set([...collector.acknowledged.values()].map(({ metric }) => metric));
  expect(INHERITED.filter((name) => !metrics.has(name))).toEqual([]);
});

test("a query that is its metric's name reads that metric, whatever an object inherits by that name", async () => {
  const queriesFile = join(folder, "metrics.json");
  const queries = INHERITED.map((name) => ({ name }));
  writeFileSync(queriesFile, JSON.stringify({ extends: "none", queries: [...queries, { name: "up" }] }));
  const { bridge } = await startTestSystem({ environment: { QUERIES_FILE: queriesFile } });

  const { clusters } = await bridge.collect();
  expect(clusters.map(({ outcome, error }) => [outcome, error])).toEqual([["successful", null]]);
  const { queries: recorded } = await bridge.progress("sim-1");
  const whole = INHERITED.map((name) => [[recorded[name]!.from, recorded[name]!.attempted]]);
  expect(INHERITED.map((name) => recorded[name]!.committed)).toEqual(whole);
});
