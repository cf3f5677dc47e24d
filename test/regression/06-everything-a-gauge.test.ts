import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { setScene } from "../helpers/scene.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The former system sent everything as a gauge without a unit, made invalid JSON of NaN, and failed a cluster for one series without a name.

const queriesFile = join(createTemporaryFolder(), "queries.yaml");
const queries = [
  { name: "node_cpu_seconds_total", unit: "s" },
  { name: "node_memory_MemTotal_bytes" },
  { name: "node_load15" },
  { name: "load_of_all", promql: "sum(node_load1)", step: 30 },
];

it("kinds, units, NaN, infinities and series without a name arrive as they are", async () => {
  writeFileSync(queriesFile, JSON.stringify({ extends: "none", queries }));
  const { bridge, collector } = await setScene({ environment: { QUERIES_FILE: queriesFile } });
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  const points = [...collector.acknowledged.values()];
  const of = (metric: string) => points.filter((point) => point.metric === metric);
  const described = queries.map(({ name }) => [
    name,
    [...new Set(of(name).map(({ kind, unit }) => `${kind} ${unit}`))],
  ]);
  expect(Object.fromEntries(described)).toEqual({
    node_cpu_seconds_total: ["counter s"],
    node_memory_MemTotal_bytes: ["gauge By"],
    node_load15: ["gauge "],
    load_of_all: ["gauge "],
  });
  // Not by a Set, which takes -0 for 0.
  const odd = (name: string): (number | undefined)[] => {
    const [first, ...others] = of("node_load15").filter(({ labels }) => labels["case"] === name);
    return [
      first?.value,
      ...others.map(({ value }) => value).filter((value) => !Object.is(value, first?.value)),
    ];
  };
  expect(odd("nan")).toEqual([Number.NaN]);
  expect(odd("plus-inf")).toEqual([Number.POSITIVE_INFINITY]);
  expect(odd("minus-inf")).toEqual([Number.NEGATIVE_INFINITY]);
  expect(odd("minus-zero")).toEqual([-0]);
  expect(odd("smallest")).toEqual([5e-324]);
  expect(
    of("load_of_all").every(
      ({ labels, timestampMs }) => Object.keys(labels).length === 0 && timestampMs % 30_000 === 0,
    ),
  ).toBe(true);
  expect(of("load_of_all")).toHaveLength(4);
});
