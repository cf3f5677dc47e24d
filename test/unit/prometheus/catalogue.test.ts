import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { RE2JS } from "re2js";
import { describe, expect, test } from "vitest";
import { DEFAULT_QUERIES, loadQueries, toQueries, type Query } from "#prometheus/catalogue.ts";
import { matchersOfSelector, namesOfSelectors } from "#prometheus/selector-matchers.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
let files = 0;

function load(yaml: string, catalogue?: "base" | "dashboards" | "all"): Promise<Query[]> {
  const path = join(folder, `queries-${files++}.yaml`);
  writeFileSync(path, yaml);
  return loadQueries(path, catalogue);
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
      "node_filesystem_readonly",
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
      "kube_namespace_status_phase",
      ...suffixed("kube_deployment_status_replicas", ["", "_available", "_unavailable"], ""),
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
          "FB_RESERVED",
          "MEMORY_TEMP",
          "CLOCKS_EVENT_REASONS",
          "THERMAL_VIOLATION",
          "CORRECTABLE_REMAPPED_ROWS",
          "UNCORRECTABLE_REMAPPED_ROWS",
          "ROW_REMAP_FAILURE",
          "ECC_SBE_VOL_TOTAL",
          "ECC_DBE_VOL_TOTAL",
          "NVLINK_BANDWIDTH_TOTAL",
        ],
        "",
      ),
      "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
      ...suffixed(
        "DCGM_FI_PROF_",
        [
          "GR_ENGINE_ACTIVE",
          "SM_ACTIVE",
          "PIPE_TENSOR_ACTIVE",
          "DRAM_ACTIVE",
          "PCIE_TX_BYTES",
          "PCIE_RX_BYTES",
        ],
        "",
      ),
    ],
    gpu_hami: ["hami_host_gpu_utilization_ratio", "vGPU_device_memory_usage_in_bytes"],
    gpu_amd: ["gpu_gfx_activity", "gpu_used_vram", "gpu_package_power"],
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

describe("the catalogue for dashboards", () => {
  const metricsOf = (queries: readonly Query[]): string[] =>
    queries.flatMap(({ name, metrics }) => metrics ?? [name]);

  test("is the base and packs, each metric once", async () => {
    const queries = await loadQueries(undefined, "dashboards");
    expect(queries.slice(0, DEFAULT_QUERIES.length)).toEqual(await loadQueries(undefined));
    const metrics = metricsOf(queries);
    expect(new Set(metrics).size).toBe(metrics.length);
    expect(new Set(queries.map(({ name }) => name)).size).toBe(queries.length);
    expect(metrics).toHaveLength(DEFAULT_QUERIES.length + 392);
    expect(metrics).toEqual(
      expect.arrayContaining([
        "node_vmstat_pgmajfault",
        "kubelet_runtime_operations_duration_seconds_bucket",
        ":node_memory_MemAvailable_bytes:sum",
        "node_namespace_pod_container:container_cpu_usage_seconds_total:sum_rate5m",
      ]),
    );
  });

  test("reads each pack with one selector that lists its names and fits into a URL", async () => {
    const packs = (await loadQueries(undefined, "dashboards")).filter(({ metrics }) => metrics);
    expect(packs.length).toBeGreaterThan(20);
    for (const { name, group, promql, metrics } of packs) {
      expect(name).toMatch(/^dashboards_[a-z_]+$/);
      expect(group).toMatch(/^dashboards_[a-z_]+$/);
      expect(promql).toBe(`{__name__=~"${metrics!.join("|")}"}`);
      expect(namesOfSelectors([promql])).toEqual(new Set(metrics));
      expect(encodeURIComponent(promql).length).toBeLessThan(1600);
    }
  });

  test.each(["extends: dashboards", "extends: dashboards\nremove: []"])(
    "%j is the same as CATALOGUE=dashboards",
    async (yaml) => {
      expect(await load(yaml)).toEqual(await loadQueries(undefined, "dashboards"));
      expect(await load("{}", "dashboards")).toEqual(await loadQueries(undefined, "dashboards"));
    },
  );

  test.each(["base", "default"])("extends: %s wins over CATALOGUE", async (name) => {
    expect(await load(`extends: ${name}`, "dashboards")).toEqual(await loadQueries(undefined));
  });

  test("leaves out a metric of a pack, a pack, a group of packs, and all of them", async () => {
    const all = metricsOf(await loadQueries(undefined, "dashboards"));
    const leftOut = async (remove: string): Promise<string[]> => {
      const left = new Set(metricsOf(await load(`remove: [${remove}]`, "dashboards")));
      return all.filter((name) => !left.has(name));
    };
    expect(await leftOut("node_vmstat_pgfault, node_load15")).toEqual(["node_load15", "node_vmstat_pgfault"]);
    expect(await leftOut("dashboards_rest_client")).toEqual([
      "rest_client_request_duration_seconds_bucket",
      "rest_client_requests_total",
    ]);
    expect(await leftOut("dashboards_grafana")).toHaveLength(6);
    expect(await leftOut("dashboards")).toHaveLength(392);
  });

  test("a pack whose last metric is left out is gone", async () => {
    const queries = await load("remove: [kube_pod_owner, kube_resourcequota]", "dashboards");
    expect(named(queries, "dashboards_pods")).toBeUndefined();
  });

  test("a query of one's own takes its metric out of the pack", async () => {
    const queries = await load(
      "queries: [{name: node_vmstat_pgfault, promql: 'node_vmstat_pgfault{job=\"x\"}'}]",
      "dashboards",
    );
    expect(named(queries, "node_vmstat_pgfault")).toMatchObject({ group: "custom" });
    const pack = named(queries, "dashboards_node_vmstat")!;
    expect(pack.metrics).not.toContain("node_vmstat_pgfault");
    expect(pack.promql).not.toMatch(/pgfault/);
    expect(pack.promql).toMatch(/node_vmstat_pgmajfault/);
  });

  test("a metric that the catalogue does not have can't be left out of it", async () => {
    expect(await problemsOf("remove: [node_vmstat_pgfault]")).toEqual([
      "remove: no built-in query, metric or group is named node_vmstat_pgfault",
    ]);
  });
});

describe("the catalogue of everything", () => {
  const expressions = new Map<string, RE2JS>();
  const matches = (expression: string, metric: string): boolean => {
    const compiled = expressions.get(expression) ?? RE2JS.compile(expression, RE2JS.DOTALL);
    expressions.set(expression, compiled);
    return compiled.matches(metric);
  };
  /** The queries that read a metric of this name, by their matchers. */
  const readersOf = (queries: readonly Query[], metric: string): string[] =>
    queries
      .filter(({ promql }) =>
        matchersOfSelector(promql)!.every(({ type, value }) =>
          type === "=" ? metric === value : matches(value, metric) === (type === "=~"),
        ),
      )
      .map(({ name }) => name);

  test("reads each metric once, whatever its name is", async () => {
    const queries = await loadQueries(undefined, "all");
    expect(queries.slice(0, DEFAULT_QUERIES.length)).toEqual(await loadQueries(undefined));
    const dashboards = await loadQueries(undefined, "dashboards");
    const known = dashboards.flatMap(({ name, metrics }) => metrics ?? [name]);
    const made = [
      "a",
      "kube_",
      "kubex",
      "node",
      "_x",
      "Zulu",
      "my.metric",
      "ä",
      "job:up:sum",
      ":",
      "go_a:b",
      "c d",
    ];
    for (const metric of [...known, ...made]) expect(readersOf(queries, metric)).toHaveLength(1);
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1 }), (metric) => {
        expect(readersOf(queries, metric)).toHaveLength(1);
      }),
    );
    expect(readersOf(queries, "node_load1")).toEqual(["node_load1"]);
    expect(readersOf(queries, "kubelet_running_pods")).toEqual(["all_kubelet"]);
    expect(readersOf(queries, "my_app_requests_total")).toEqual(["all_i_to_p"]);
    expect(readersOf(queries, "node:cpu:sum")).toEqual(["all_rules"]);
  });

  test("drops names by whole regular expressions, of the base as well", async () => {
    const queries = await load('drop: ["apiserver_.*_bucket", "node_load1", "go_"]', "all");
    for (const metric of ["apiserver_request_duration_seconds_bucket", "node_load1"])
      expect(readersOf(queries, metric)).toEqual([]);
    for (const metric of ["apiserver_request_total", "node_load15", "go_goroutines", "x_apiserver_a_bucket"])
      expect(readersOf(queries, metric)).toHaveLength(1);
  });

  test("drops names of the packs", async () => {
    const queries = await load('drop: ["node_hwmon_.*", "node_vmstat_pg(in|out)?"]', "dashboards");
    expect(named(queries, "dashboards_node_hwmon")).toBeUndefined();
    expect(queries.some(({ name }) => name === "node_load1")).toBe(true);
  });

  test("leaves a metric to the user's own query of its name", async () => {
    const queries = await load("queries: [{name: my_app_up, promql: 'my_app_up{job=\"x\"}'}]", "all");
    expect(queries.filter(({ promql }) => promql.includes("my_app_up")).map(({ name }) => name)).toEqual([
      "all_i_to_p",
      "my_app_up",
    ]);
    expect(named(queries, "all_i_to_p")!.promql).toMatch(/__name__!~"my_app_up"/);
  });

  test("names a bad expression", async () => {
    expect(await problemsOf('drop: ["a(", "b"]')).toEqual(["drop.0: is no regular expression (RE2)"]);
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
    const rest = DEFAULT_QUERIES.filter(
      ({ name, group }) => name !== "up" && !["gpu", "gpu_hami", "gpu_amd"].includes(group),
    );
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
      "remove: no built-in query, metric or group is named nonsense",
      "remove: no built-in query, metric or group is named more_nonsense",
      "one: the name is used twice",
      expect.stringMatching(/^one: promql: syntax error at character/),
      expect.stringMatching(/^two: promql: a range/),
      expect.stringMatching(/^three: step: a plain selector/),
    ]);
  });

  test("names every field of a wrong form at once", async () => {
    const problems = await problemsOf(`
extends: everything
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
