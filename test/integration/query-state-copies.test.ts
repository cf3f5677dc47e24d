import { assert, asyncProperty, boolean, constantFrom, integer, record } from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { createClusterState, type ClusterState } from "#query/state/cluster-state.ts";
import { createWorld } from "#simulator/world.ts";
import { differences } from "../forms/compare.ts";
import type { ExpectedValue } from "../forms/form.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { point, storeMetrics, storeNodes, storeRecord } from "../helpers/stored-world.ts";

// A cluster whose exporter is scraped twice, beside the same cluster with one of the two alone: every answer is that of one of them.

const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
const AS_OF_MS = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 5 * MINUTE_MS;
/** The window of the summary, too; the other answers begin 15 minutes before, and read their lookback. */
const FROM_MS = AS_OF_MS - 22 * MINUTE_MS;
const SUMMARY_FROM_MS = AS_OF_MS - 16 * MINUTE_MS;
const RUNS = 3;

interface Sample {
  labels: Record<string, string>;
  timeMs: number;
  value: number;
}
/** Samples by metric. */
type Samples = ReadonlyMap<string, readonly Sample[]>;

const EXPORTERS = {
  "kube-state-metrics": /^kube_/,
  node_exporter: /^node_/,
  cAdvisor: /^container_/,
  "dcgm-exporter": /^DCGM_/,
} as const;
type Exporter = keyof typeof EXPORTERS;

interface Copy {
  exporter: Exporter;
  /** Its port, and its job. */
  another: "instance" | "job" | "both";
  /** The target has the Pod of the exporter, and Prometheus renames the series' own labels. */
  isRenamed: boolean;
  shiftSeconds: number;
}

let base: Samples;
let nodes: ReadonlyMap<string, string>;
let kinds: ReadonlyMap<string, TestMetric["kind"]>;
let state: ClusterState;
let clusters = 0;

beforeAll(() => {
  const shape = {
    nodes: 2,
    pods: 5,
    cpus: 1,
    gpus: 2,
    scrapeIntervalMs: 60_000,
    oddities: false,
    // No Pod comes or goes: both copies have each series as long.
    churnEveryMs: 1e12,
  };
  const clock = createManualClock(AS_OF_MS + 10 * MINUTE_MS);
  const world = createWorld({ clock }, { shape }).cluster("sim-1");
  nodes = new Map(world.layout.nodes.map((node) => [node.address, node.name]));
  const read = world.metrics.filter(({ name }) => Object.values(EXPORTERS).some((own) => own.test(name)));
  kinds = new Map(read.map(({ name, family }) => [name, family?.type === "counter" ? "sum" : "gauge"]));
  base = new Map(
    read.map(({ name }) => [
      name,
      world.expected({ fromMs: FROM_MS, toMs: AS_OF_MS + MINUTE_MS, metric: name }).flatMap((series) => {
        const labels = Object.fromEntries(series.labels.filter(([label]) => label !== "__name__"));
        return series.timestamps.map((timeMs, i) => ({ labels, timeMs, value: series.values[i]! }));
      }),
    ]),
  );
  state = createClusterState(
    { database: engine.database, clock: createManualClock(AS_OF_MS + 2 * MINUTE_MS) },
    QUERY_DEFAULTS,
  );
});

const ofExporter = (exporter: Exporter): Samples =>
  new Map([...base].filter(([metric]) => EXPORTERS[exporter].test(metric)));
const ofOthers = (exporter: Exporter): Samples =>
  new Map([...base].filter(([metric]) => !EXPORTERS[exporter].test(metric)));

/** The exporter's samples as a second scrape has them. */
function copyOf({ exporter, another, isRenamed, shiftSeconds }: Copy): Samples {
  const target = isRenamed
    ? { namespace: "monitoring", pod: "exporter-x2", container: "exporter", service: "exporter" }
    : {};
  const relabel = (labels: Record<string, string>): Record<string, string> => {
    const own = Object.fromEntries(
      Object.entries(labels).map(([name, value]) => [name in target ? `exported_${name}` : name, value]),
    );
    const { instance = "", job = "" } = labels;
    return {
      ...own,
      ...target,
      ...(another !== "job" && { instance: instance.replace(/\d+$/, "7777") }),
      ...(another !== "instance" && { job: `another-${job}` }),
    };
  };
  return new Map(
    [...ofExporter(exporter)].map(([metric, samples]) => [
      metric,
      samples.map(({ labels, timeMs, value }) => ({
        labels: relabel(labels),
        timeMs: timeMs + shiftSeconds * 1000,
        value,
      })),
    ]),
  );
}

/** Stores a cluster of these samples, and gives all its answers with numbers rounded. */
async function answersOf(...parts: Samples[]): Promise<Record<string, ExpectedValue>> {
  const { database } = engine;
  const clusterId = `copies-${++clusters}`;
  const metrics = [...new Set(parts.flatMap((part) => [...part.keys()]))];
  const stored = metrics.map((name): TestMetric => ({
    name,
    kind: kinds.get(name)!,
    points: parts.flatMap((part) =>
      (part.get(name) ?? []).map(({ labels, timeMs, value }) => point(labels, timeMs, value)),
    ),
  }));
  await storeMetrics(database, clusterId, stored);
  await storeNodes(database, clusterId, nodes, { fromMs: FROM_MS, toMs: AS_OF_MS + MINUTE_MS });
  for (const atMs of [FROM_MS, AS_OF_MS + MINUTE_MS]) {
    await storeRecord(database, clusterId, { atMs, queries: metrics, watermarkMs: AS_OF_MS });
  }
  const { summary, nodes: nodesOf, pods, gpus, health } = state;
  const asked = Object.entries({ nodes: nodesOf, pods, gpus, health });
  const answers = [
    ["summary", await summary({ clusterId, fromMs: SUMMARY_FROM_MS })] as const,
    ...(await Promise.all(asked.map(async ([name, ask]) => [name, await ask({ clusterId })] as const))),
  ].map(([name, answer]) => [name, rounded(answer)] as const);
  return Object.fromEntries(answers);
}

function rounded(answer: object): ExpectedValue {
  const text = JSON.stringify(answer, (field, value: unknown) => {
    if (field === "completeness" || field === "cluster_id") return undefined;
    return typeof value === "number" ? Number(value.toPrecision(9)) : value;
  });
  return JSON.parse(text) as ExpectedValue;
}

const copies = record({
  another: constantFrom("instance" as const, "job" as const, "both" as const),
  isRenamed: boolean(),
  shiftSeconds: integer({ min: -25, max: 25 }),
});

test.each(Object.keys(EXPORTERS) as Exporter[])(
  "a second %s",
  async (exporter) => {
    const others = ofOthers(exporter);
    const first = ofExporter(exporter);
    const alone = await answersOf(others, first);
    await assert(
      asyncProperty(copies, async (options) => {
        const second = copyOf({ exporter, ...options });
        const secondAlone = await answersOf(others, second);
        const both = await answersOf(others, first, second);
        for (const [name, answer] of Object.entries(both)) {
          const wrong = [alone, secondAlone].map((copy) => differences(answer, copy[name]!, name));
          // One of the two lists is empty: the other copy's numbers may be others.
          expect(wrong).toContainEqual([]);
        }
      }),
      // A shrunk case says no more than these few options, and each try stores two clusters.
      { numRuns: RUNS, endOnFailure: true },
    );
  },
  120_000,
);
