import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { judgeAnswers } from "../forms/answers.ts";
import { differences } from "../forms/compare.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { startStateProgram, type ProgramCase, type StateProgram } from "../helpers/state-program.ts";
import { toServed } from "../helpers/served-forms.ts";
import { COUNTERS_OF_TWO_NODES, PROGRAM_FORMS, UNTYPED } from "./state-program-cases.ts";

// Clusters as public bug reports show them, from their Prometheus through the port-forward, the Collector and ClickHouse to the answers of the HTTP API.

let program: StateProgram;
const startMs = Date.now();

beforeAll(async () => {
  const cases: Record<string, ProgramCase> = {};
  for (const { id, series, apiNodes = {}, metadata } of PROGRAM_FORMS) {
    cases[id] = { series: toServed(series, startMs), nodes: apiNodes, ...(metadata && { metadata }) };
  }
  program = await startStateProgram(join(createTemporaryFolder(), "program"), cases, {
    queries: [{ name: "app_requests_total", group: "app" }],
  });
}, 180_000);
afterAll(() => program?.stop());

test("all clusters are collected", () => {
  const failed = program.round.clusters.filter(({ outcome }) => outcome !== "successful");
  expect(failed.map(({ cluster_id, error }) => [cluster_id, error])).toEqual([]);
  expect(program.round.clusters).toHaveLength(PROGRAM_FORMS.length);
});

test.each(PROGRAM_FORMS.map((form) => [form.name, form.why, form] as const))(
  "%s (%s)",
  async (_name, _why, form) => {
    expect(await judgeAnswers(form, program.answers(form.id))).toEqual([]);
  },
);

describe("queries", () => {
  /** The newest points of one query, by their labels. */
  const rates = async (id: string, metric: string, group_by: string[]) => {
    const now = Math.floor(Date.now() / 1000);
    const { status, body } = await program.ask("/cluster-metrics/query", {
      cluster_id: id,
      metric_name: metric,
      aggregation: "rate",
      start_time: now - 900,
      end_time: now - 240,
      step: "2m",
      group_by,
    });
    expect([status, body]).toEqual([200, expect.anything()]);
    const { series } = body as { series: { labels: Record<string, string>; points: { value: number }[] }[] };
    return Object.fromEntries(
      series.map(({ labels, points }) => [Object.values(labels).join(), points.at(-1)?.value]),
    );
  };

  test("two counters that differ by k8s.node.name alone are two (Prometheus 3 promotes it: prometheus#15384)", async () => {
    expect(
      differences(await rates(COUNTERS_OF_TWO_NODES, "app_requests_total", []), { "": 11 }, "rate"),
    ).toEqual([]);
    const byNode = await rates(COUNTERS_OF_TWO_NODES, "app_requests_total", ["k8s.node.name"]);
    expect(differences(byNode, { "promoted-a": 10, "promoted-b": 1 }, "rate")).toEqual([]);
  });

  test("a counter whose type is unknown to a federating Prometheus is one by its name (prometheus#5589)", async () => {
    const all = await rates(UNTYPED, "node_cpu_seconds_total", ["mode"]);
    // Two CPUs, of which a fifth is busy.
    expect(differences(all, { idle: 1.6, user: 0.4 }, "rate")).toEqual([]);
  });
});
