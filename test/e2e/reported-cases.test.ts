import { existsSync, readdirSync } from "node:fs";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SimulatedCluster } from "#simulator/simulator.ts";
import { judgeAnswers } from "../forms/answers.ts";
import { differences } from "../forms/compare.ts";
import { serveCases, type ServedCall } from "../helpers/served-cases.ts";
import type { SourcePrometheus } from "../helpers/source-prometheus.ts";
import { startStateProgram, type ProgramCase, type StateProgram } from "../helpers/state-program.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { REPORTED_CASES } from "./reported-cases.ts";

// The clusters of public bug reports in the folder CASES_DIR (a case.mjs each, with its series as functions of time), through the whole program. The
// series stay there: only what is right for them is here.

interface CaseModule {
  series?: {
    m: string;
    l: Record<string, string | undefined>;
    v: number | ((ms: number) => number);
    every: number;
    off: number;
  }[];
  nodes?: Record<string, string>;
  metadata?: Record<string, unknown>;
  /** Prometheus has the sample by now. */
  visible?: (series: unknown, timeMs: number) => boolean;
  extra?: () => object;
  handle?: (call: ServedCall) => boolean;
  /** Its Service has two Prometheus; this module is the first's, or that of SHARD. */
  sharded?: boolean;
}

const SHARDED = "prometheus-operated";
const given = process.env["CASES_DIR"];
const folder = resolve(given ?? "");
// A folder that was asked for and is missing ends the run here.
const ids =
  given === undefined ? [] : readdirSync(folder).filter((id) => existsSync(join(folder, id, "case.mjs")));

let program: StateProgram;
let secondShard: SourcePrometheus;

async function load(id: string, shard: string): Promise<CaseModule> {
  process.env["SHARD"] = shard;
  return (await import(`${pathToFileURL(join(folder, id, "case.mjs")).href}?shard=${shard}`)) as CaseModule;
}

function toCase({ series = [], nodes, metadata, visible, extra, handle, sharded }: CaseModule): ProgramCase {
  const served = series.map((each) => ({
    metric: each.m,
    labels: Object.fromEntries(
      Object.entries(each.l).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    ),
    everyMs: each.every,
    offsetMs: each.off,
    valueAt: (timeMs: number) => {
      if (visible && !visible(each, timeMs)) return undefined;
      return typeof each.v === "function" ? each.v(timeMs) : each.v;
    },
  }));
  return {
    series: served,
    ...(nodes && { nodes }),
    ...(metadata && { metadata }),
    ...(extra && { beside: extra }),
    ...(handle && { handle }),
    ...(sharded && { prometheus: { service: SHARDED } }),
  };
}

/** A Service of two Prometheus Pods. */
function addShards({ kube }: SimulatedCluster, ports: () => number[]): void {
  for (const [i, name] of ["prometheus-k8s-0", "prometheus-k8s-shard-1-0"].entries()) {
    kube.addPod({
      namespace: "bud-system",
      name,
      nodeName: "sim-1-node-0",
      labels: { app: "sharded" },
      ports: [{ name: "web", containerPort: 9090 }],
      listeners: new Map([
        [
          9090,
          (stream) => {
            const socket = connect(ports()[i]!, "127.0.0.1");
            socket.on("error", () => stream.destroy());
            stream.on("close", () => socket.destroy());
            stream.pipe(socket).pipe(stream);
          },
        ],
      ]),
    });
  }
  kube.services.push({
    namespace: "bud-system",
    name: SHARDED,
    selector: { app: "sharded" },
    ports: [{ name: "web", port: 9090, targetPort: "web" }],
  });
}

const expectationOf = (id: string) => REPORTED_CASES[id.split("-")[0]!];

describe.runIf(given !== undefined)("reported cases", () => {
  beforeAll(async () => {
    const modules = await Promise.all(ids.map(async (id) => [id, await load(id, "0")] as const));
    const cases = Object.fromEntries(modules.map(([id, module]) => [id, toCase(module)]));
    const [sharded] = modules.find(([, module]) => module.sharded) ?? [];
    const second = sharded === undefined ? {} : { [sharded]: toCase(await load(sharded, "1")) };
    secondShard = await serveCases(second);
    program = await startStateProgram(join(createTemporaryFolder(), "program"), cases, {
      queries: ["app_requests_total", "kube_pod_annotations"].map((name) => ({ name, group: "app" })),
      prepare: (cluster, port) => addShards(cluster, () => [port, secondShard.port]),
    });
  }, 300_000);
  afterAll(async () => {
    await program?.stop();
    await secondShard?.stop();
  });

  test("every case has an expectation, and every expectation its case", () => {
    const numbers = ids.map((id) => id.split("-")[0]!);
    expect(new Set(numbers)).toEqual(new Set(Object.keys(REPORTED_CASES)));
    expect(new Set(numbers).size).toBe(ids.length);
  });

  test.each(
    ids.flatMap((id) => {
      const { fails, why } = expectationOf(id) ?? {};
      return fails === undefined ? [] : [[id, why, fails] as const];
    }),
  )("%s (%s) names its remedy", (id, _why, { code, hint }) => {
    const error = program.round.clusters.find(({ cluster_id }) => cluster_id === id)?.error;
    expect(error).toMatchObject({ code: expect.stringMatching(code), hint: expect.stringMatching(hint) });
  });

  test.each(
    ids.filter((id) => expectationOf(id)?.fails === undefined).map((id) => [id, expectationOf(id)?.why]),
  )("%s (%s)", async (id = "", why = "") => {
    const expected = expectationOf(id)!;
    const { outcome, error } = program.round.clusters.find(({ cluster_id }) => cluster_id === id)!;
    // One series of c28 is refused.
    expect([outcome, error]).toEqual([expect.stringMatching(/^(successful|partial)$/), error]);
    const form = { name: id, series: [], ...expected, why };
    const found = await judgeAnswers(form, program.answers(id));
    if (expected.rates) found.push(...(await wrongRates(id, expected.rates)));
    if (expected.stored) found.push(...(await wrongSeries(id, expected.stored)));
    expect(found).toEqual([]);
  });
});

async function wrongRates(
  id: string,
  { metric, by, are }: { metric: string; by: string[]; are: Readonly<Record<string, number>> },
): Promise<string[]> {
  const now = Math.floor(Date.now() / 1000);
  const { status, body } = await program.ask("/cluster-metrics/query", {
    cluster_id: id,
    metric_name: metric,
    aggregation: "rate",
    start_time: now - 900,
    end_time: now - 240,
    step: "2m",
    group_by: by,
  });
  if (status !== 200) return [`${metric}: ${status} ${JSON.stringify(body)}`];
  const { series } = body as { series: { labels: Record<string, string>; points: { value: number }[] }[] };
  const rates = series.map(({ labels, points }) => [Object.values(labels).join(), points.at(-1)?.value]);
  return differences(Object.fromEntries(rates), are, metric);
}

async function wrongSeries(
  id: string,
  { metric, series }: { metric: string; series: number },
): Promise<string[]> {
  const { body } = await program.ask(`/cluster-metrics/${id}/latest?metric=${metric}`);
  const { series: stored = [] } = body as { series?: unknown[] };
  return stored.length === series ? [] : [`${metric}: ${JSON.stringify(body).slice(0, 300)}`];
}
