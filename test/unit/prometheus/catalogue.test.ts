import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DEFAULT_QUERIES, loadQueries, toQueries, type Query } from "#prometheus/catalogue.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
let files = 0;

function load(yaml: string): Promise<Query[]> {
  const path = join(folder, `queries-${files++}.yaml`);
  writeFileSync(path, yaml);
  return loadQueries(path);
}

async function problemsOf(yaml: string): Promise<string[]> {
  const error = await bridgeErrorOf(load(yaml));
  expect(error.code).toBe("queries_file_invalid");
  const { problems } = error.details as { problems: string[] };
  for (const problem of problems) expect(error.message).toContain(problem);
  return problems;
}

const named = (queries: readonly Query[], name: string): Query | undefined =>
  queries.find((query) => query.name === name);

describe("the built-in catalogue", () => {
  const suffixed = (prefix: string, middles: string[], suffix: string): string[] =>
    middles.map((middle) => `${prefix}${middle}${suffix}`);
  const wanted = {
    node: [
      "up",
      "node_cpu_seconds_total",
      ...suffixed("node_memory_", ["MemTotal", "MemAvailable", "MemFree", "Buffers", "Cached"], "_bytes"),
      ...suffixed("node_filesystem_", ["size", "avail"], "_bytes"),
      ...suffixed("node_load", ["1", "5", "15"], ""),
      ...suffixed("node_network_", ["receive", "transmit"], "_bytes_total"),
      ...suffixed("node_disk_", ["read", "written"], "_bytes_total"),
      "node_uname_info",
      "kube_node_info",
      ...suffixed("kube_node_status_", ["condition", "capacity", "allocatable"], ""),
    ],
    pod: [
      "kube_pod_info",
      "kube_pod_status_phase",
      ...suffixed("kube_pod_container_resource_", ["requests", "limits"], ""),
      "kube_pod_container_status_restarts_total",
      "container_cpu_usage_seconds_total",
      ...suffixed("container_memory_", ["usage", "working_set"], "_bytes"),
      ...suffixed("container_network_", ["receive", "transmit"], "_bytes_total"),
    ],
    gpu: [
      ...suffixed(
        "DCGM_FI_DEV_",
        [
          "GPU_UTIL",
          "FB_FREE",
          "FB_USED",
          "GPU_TEMP",
          "POWER_USAGE",
          "SM_CLOCK",
          "MEM_CLOCK",
          "MEM_COPY_UTIL",
          "XID_ERRORS",
        ],
        "",
      ),
      "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
      "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    ],
  };

  test.each(Object.entries(wanted))(
    "has every metric of the group %s as raw samples",
    async (group, names) => {
      const queries = await loadQueries(undefined);
      for (const name of names) {
        expect(named(queries, name)).toMatchObject({ name, group, kind: "selector", selector: name });
      }
    },
  );

  test("has each name once", () => {
    expect(new Set(DEFAULT_QUERIES.map(({ name }) => name)).size).toBe(DEFAULT_QUERIES.length);
  });

  test.each([
    ["node_cpu_seconds_total", "s"],
    ["node_memory_MemTotal_bytes", "By"],
    ["DCGM_FI_DEV_FB_USED", "MiBy"],
    ["DCGM_FI_DEV_POWER_USAGE", "W"],
    ["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "mJ"],
    ["up", ""],
  ])("gives %s the unit '%s'", async (name, unit) => {
    expect(named(await loadQueries(undefined), name)?.unit).toBe(unit);
  });
});

describe("QUERIES_FILE", () => {
  test.each(["", "{}", "extends: default", "# nothing\n", "queries: []"])(
    "%j leaves the catalogue as it is",
    async (yaml) => {
      expect(await load(yaml)).toEqual(await loadQueries(undefined));
    },
  );

  test("adds queries", async () => {
    const queries = await load(`
queries:
  - name: my_metric
  - name: cpu_busy
    promql: sum by (node) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))
    group: own_group
    unit: "1"
    type: gauge
    step: 30
  - name: pods
    promql: count(kube_pod_info)
`);
    expect(queries).toHaveLength(DEFAULT_QUERIES.length + 3);
    expect(named(queries, "my_metric")).toEqual({
      name: "my_metric",
      promql: "my_metric",
      group: "custom",
      kind: "selector",
      selector: "my_metric",
    });
    expect(named(queries, "cpu_busy")).toMatchObject({
      kind: "expression",
      stepMs: 30_000,
      group: "own_group",
      unit: "1",
      type: "gauge",
    });
    expect(named(queries, "pods")).toMatchObject({ kind: "expression", stepMs: 60_000 });
  });

  test("replaces a built-in query of the same name", async () => {
    const queries = await load('queries: [{name: up, promql: \'up{job="node"}\', unit: "1"}]');
    expect(queries).toHaveLength(DEFAULT_QUERIES.length);
    expect(named(queries, "up")).toMatchObject({ selector: 'up{job="node"}', unit: "1", group: "custom" });
  });

  test("removes queries and groups by name", async () => {
    const queries = await load("remove: [gpu, up]");
    const rest = DEFAULT_QUERIES.filter(({ name, group }) => name !== "up" && group !== "gpu");
    expect(queries.map(({ name }) => name)).toEqual(rest.map(({ name }) => name));
  });

  test("keeps its own queries in a group that it removes", async () => {
    const queries = await load("remove: [gpu]\nqueries: [{name: my_gpu, group: gpu}]");
    expect(queries.filter(({ group }) => group === "gpu").map(({ name }) => name)).toEqual(["my_gpu"]);
  });

  test("begins from nothing", async () => {
    const queries = await load("extends: none\nqueries: [{name: up}]");
    expect(queries.map(({ name }) => name)).toEqual(["up"]);
  });

  test("an empty unit says that there is none, a missing one leaves it to the metadata", async () => {
    const queries = await load('queries: [{name: a_bytes, unit: ""}, {name: b_bytes}]');
    expect(named(queries, "a_bytes")).toHaveProperty("unit", "");
    expect(named(queries, "b_bytes")).not.toHaveProperty("unit");
  });

  test("names every bad entry at once", async () => {
    const problems = await problemsOf(`
remove: [nonsense, more_nonsense]
queries:
  - {name: one}
  - {name: one, promql: "up{"}
  - {name: two, promql: "up[5m]"}
  - {name: three, promql: up, step: 15}
  - {name: four, promql: "rate(up[5m])", step: 15}
`);
    expect(problems).toEqual([
      "remove: no built-in query or group is named nonsense",
      "remove: no built-in query or group is named more_nonsense",
      "one: the name is used twice",
      expect.stringMatching(/^one: promql: syntax error at character/),
      expect.stringMatching(/^two: promql: a range/),
      expect.stringMatching(/^three: step: a plain selector/),
    ]);
  });

  test("names every field of a wrong form at once", async () => {
    const problems = await problemsOf(`
extends: all
more: 1
queries:
  - {name: "not a name"}
  - {promql: up}
  - {name: a, type: histogram}
  - {name: b, step: 0.5}
  - {name: c, group: "Große Gruppe"}
  - {name: d, query: up}
  - {name: e, promql: ""}
`);
    for (const part of [
      "extends",
      "more",
      "queries.0.name",
      "queries.1.name",
      "queries.2.type",
      "queries.3.step",
    ]) {
      expect(problems.join("\n")).toContain(part);
    }
    for (const part of ["queries.4.group", "query", "queries.6.promql"])
      expect(problems.join("\n")).toContain(part);
    expect(problems).toHaveLength(9);
  });

  test("says when nothing is left", async () => {
    expect(await problemsOf("extends: none")).toEqual(["no query is left"]);
    expect(await problemsOf("remove: [node, pod, gpu]")).toEqual(["no query is left"]);
  });

  test.each([
    ["queries: [", /flow/i],
    ["a: 1\na: 2", /unique|duplicate/i],
    ["queries: {name: up}", /queries/],
    ["- up", /object/],
    ["just text", /object/],
    ["queries: &a [*a]", /.+/],
  ])("YAML that can't be used is refused: %j", async (yaml, problem) => {
    expect((await problemsOf(yaml)).join("\n")).toMatch(problem);
  });

  test("a file that is not there is named", async () => {
    const error = await bridgeErrorOf(loadQueries(join(folder, "absent.yaml")));
    expect(error.code).toBe("queries_file_invalid");
    expect(error.message).toContain("absent.yaml");
  });

  test("many problems do not make an endless message", async () => {
    const specs = Array.from({ length: 900 }, (_, i) => ({ name: `q${i}`, promql: "up{", group: "g" }));
    const error = await bridgeErrorOf(() => toQueries(specs));
    expect(error.message.length).toBeLessThan(4_000);
    expect(error.details?.["problems"]).toHaveLength(50);
  });
});
