import { array, assert, asyncProperty, boolean, integer, record, tuple } from "fast-check";
import { expect, test } from "vitest";
import { useEngine } from "../helpers/engine.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { AS_OF_MS, createStateCases, gauge, MINUTE_MS } from "../helpers/state-cases.ts";
import { marker, point } from "../helpers/stored-world.ts";

// A series ends at its stale marker, as Prometheus' instant selector says: at a time T its newest sample of (T - 5 minutes, T] counts, unless a marker is newer.

const engine = useEngine({ migrated: true });
const cases = createStateCases(engine);
const SECOND_MS = 1000;
const LOOKBACK_MS = 5 * MINUTE_MS;

interface TestEvent {
  atMs: number;
  isMarker: boolean;
}
const sample = (atMs: number): TestEvent => ({ atMs, isMarker: false });
const end = (atMs: number): TestEvent => ({ atMs, isMarker: true });

/** The instant rule, from the definition. */
function isPresent(events: readonly TestEvent[], atMs: number): boolean {
  const seen = events.filter((event) => event.atMs <= atMs && event.atMs > atMs - LOOKBACK_MS);
  const newest = seen.toSorted((a, b) => b.atMs - a.atMs)[0];
  return newest !== undefined && !newest.isMarker;
}

const points = (labels: Record<string, string>, events: readonly TestEvent[], value = 1) =>
  events.map(({ atMs, isMarker }) => (isMarker ? marker(labels, atMs) : point(labels, atMs, value)));

/** Each of a Pod, node or GPU, with what happened to its series. */
interface Things {
  pods: readonly (readonly TestEvent[])[];
  nodes: readonly (readonly TestEvent[])[];
  gpus: readonly (readonly TestEvent[])[];
}

const KSM = { instance: "ksm:8080" };

function metricsOf({ pods, nodes, gpus }: Things): TestMetric[] {
  const pod = (i: number) => ({ ...KSM, namespace: "a", pod: `pod-${i}` });
  const gpu = (i: number) => ({
    instance: "dcgm:9400",
    UUID: `GPU-${i}`,
    gpu: String(i),
    Hostname: "node-0",
  });
  const of = (
    name: string,
    things: readonly (readonly TestEvent[])[],
    labels: (i: number) => Record<string, string>,
    value?: (i: number) => number,
  ) =>
    gauge(
      name,
      things.flatMap((events, i) => points(labels(i), events, value?.(i))),
    );
  return [
    of("kube_pod_info", pods, (i) => ({ ...pod(i), node: "node-0" })),
    of("kube_pod_status_phase", pods, (i) => ({ ...pod(i), phase: "Running" })),
    of("kube_node_info", nodes, (i) => ({ ...KSM, node: `node-${i}`, internal_ip: `10.0.0.${i}` })),
    of(
      "node_load1",
      nodes,
      (i) => ({ instance: `10.0.0.${i}:9100`, "k8s.node.name": `node-${i}` }),
      (i) => i + 1,
    ),
    of("DCGM_FI_DEV_GPU_UTIL", gpus, gpu, (i) => i * 10),
  ];
}

const QUERIES = metricsOf({ pods: [], nodes: [], gpus: [] }).map(({ name }) => name);
const cluster = (metrics: readonly TestMetric[]) => cases.cluster(metrics, [{ queries: QUERIES }]);

/** Sums of other orders differ in the last digits. */
const toDigits = (value: number | null): string | undefined => value?.toFixed(9);

/** Who is there at a time, by every answer that says so. */
async function readPresent(clusterId: string, toMs: number) {
  const state = cases.state();
  const request = { clusterId, fromMs: toMs - 10 * MINUTE_MS, toMs };
  const [pods, nodes, gpus, summary, health] = await Promise.all([
    state.pods(request),
    state.nodes(request),
    state.gpus(request),
    state.summary(request),
    state.health(request),
  ]);
  return {
    pods: pods.pods.map(({ pod }) => pod),
    podCounts: [pods.pod_count, summary.pod_count ?? 0, summary.running_pod_count ?? 0],
    nodes: nodes.nodes.map(({ node }) => node),
    nodeCounts: [nodes.node_count, summary.node_count ?? 0, health.node_count],
    gpus: gpus.gpus.map(({ uuid }) => uuid),
    gpuCounts: [gpus.gpu_count, summary.gpu_count ?? 0],
    load: toDigits(summary.avg_load_1),
  };
}

function expectedAt(things: Things, toMs: number): Awaited<ReturnType<typeof readPresent>> {
  const named = (all: readonly (readonly TestEvent[])[], prefix: string): string[] =>
    all.flatMap((events, i) => (isPresent(events, toMs) ? [`${prefix}-${i}`] : []));
  const [pods, nodes, gpus] = [
    named(things.pods, "pod"),
    named(things.nodes, "node"),
    named(things.gpus, "GPU"),
  ];
  const mean = (values: readonly number[]): number | null =>
    values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  // Steps of a minute over the ten minutes.
  const loads = Array.from({ length: 10 }, (_, i) => toMs - i * MINUTE_MS).flatMap((atMs) => {
    const load = mean(things.nodes.flatMap((events, i) => (isPresent(events, atMs) ? [i + 1] : [])));
    return load === null ? [] : [load];
  });
  return {
    pods,
    podCounts: [pods.length, pods.length, pods.length],
    nodes,
    nodeCounts: [nodes.length, nodes.length, nodes.length],
    gpus,
    gpuCounts: [gpus.length, gpus.length],
    load: toDigits(mean(loads)),
  };
}

/** The answers and the model at a time, which are equal. */
async function readBoth(clusterId: string, things: Things, toMs: number) {
  const seconds = (toMs - AS_OF_MS) / SECOND_MS;
  return {
    answers: { seconds, ...(await readPresent(clusterId, toMs)) },
    model: { seconds, ...expectedAt(things, toMs) },
  };
}

/** Samples a minute apart, the last at `untilMs`. */
const scrapes = (untilMs: number, count = 12): TestEvent[] =>
  Array.from({ length: count }, (_, i) => sample(untilMs - (count - 1 - i) * MINUTE_MS));

const LAST_MS = AS_OF_MS - 10 * MINUTE_MS;
const END_MS = LAST_MS + MINUTE_MS;

test.each([
  { name: "with a marker", more: [end(END_MS)] },
  { name: "with a marker that was sent twice", more: [end(END_MS), end(END_MS)] },
  { name: "without a marker: for five minutes", more: [] },
  { name: "with samples after the marker", more: [end(END_MS), sample(END_MS + 90 * SECOND_MS)] },
  {
    name: "with a marker that comes late, before newer samples",
    more: [sample(END_MS + 30 * SECOND_MS), end(END_MS)],
  },
  {
    name: "with two ends",
    more: [end(END_MS), sample(END_MS + MINUTE_MS), end(END_MS + 2 * MINUTE_MS)],
  },
])("Pods, nodes and GPUs are there as Prometheus says: $name", { timeout: 120_000 }, async ({ more }) => {
  const ending = [...scrapes(LAST_MS), ...more];
  // One of each goes on.
  const living = scrapes(AS_OF_MS, 30);
  const things = { pods: [living, ending], nodes: [living, ending], gpus: [living, ending] };
  const id = await cluster(metricsOf(things));
  const times = [
    END_MS - SECOND_MS,
    END_MS,
    END_MS + 90 * SECOND_MS,
    LAST_MS + LOOKBACK_MS - SECOND_MS,
    LAST_MS + LOOKBACK_MS,
  ];
  for (const toMs of times) {
    const { answers, model } = await readBoth(id, things, toMs);
    expect(answers).toEqual(model);
  }
});

test("nothing that is left is nothing: all series end, as when an exporter is gone", async () => {
  const ending = [...scrapes(LAST_MS), end(END_MS)];
  const things = { pods: [ending], nodes: [ending], gpus: [ending] };
  const id = await cluster(metricsOf(things));
  for (const toMs of [END_MS - SECOND_MS, END_MS]) {
    const { answers, model } = await readBoth(id, things, toMs);
    expect(answers).toEqual(model);
  }
});

test("random series, markers and times", { timeout: 600_000 }, async () => {
  const step = 15 * SECOND_MS;
  const steps = 22 * 4;
  const events = array(record({ at: integer({ min: 0, max: steps }), isMarker: boolean() }), {
    maxLength: 30,
  }).map((all) => {
    // A target has one sample or marker at a time.
    const unique = new Map(all.map((each) => [each.at, each]));
    return [...unique.values()].map(({ at, isMarker }) => ({
      atMs: AS_OF_MS - at * step - 7 * SECOND_MS,
      isMarker,
    }));
  });
  const some = array(events, { minLength: 1, maxLength: 3 });
  const living = scrapes(AS_OF_MS, 30);
  await assert(
    asyncProperty(
      tuple(some, some, some),
      array(integer({ min: 0, max: 40 }), { minLength: 2, maxLength: 4 }),
      async ([pods, nodes, gpus], times) => {
        const things = {
          pods: [living, ...pods],
          nodes: [living, ...nodes],
          gpus: [living, ...gpus],
        };
        const id = await cluster(metricsOf(things));
        for (const at of times) {
          const { answers, model } = await readBoth(id, things, AS_OF_MS - at * step);
          expect(answers).toEqual(model);
        }
      },
    ),
    { numRuns: 6 },
  );
});

test("a Pod that kube-state-metrics has ended is gone, though cAdvisor's samples are young and have no marker", async () => {
  const memory = (pod: string, untilMs: number) =>
    points({ instance: "kubelet", namespace: "a", pod, container: "main" }, scrapes(untilMs), 1e6);
  const living = scrapes(AS_OF_MS, 30);
  const things = { pods: [living, [...scrapes(LAST_MS), end(END_MS)]], nodes: [living], gpus: [] };
  const used = gauge("container_memory_working_set_bytes", [
    ...memory("pod-0", AS_OF_MS),
    ...memory("pod-1", END_MS),
    // kube-state-metrics never had it.
    ...memory("static", AS_OF_MS),
  ]);
  const id = await cluster([...metricsOf(things), used]);
  const listed = async (toMs: number, more = {}) =>
    (await cases.state().pods({ clusterId: id, fromMs: toMs - 10 * MINUTE_MS, toMs, ...more })).pods.map(
      ({ pod }) => pod,
    );
  expect(await listed(END_MS - SECOND_MS)).toEqual(["pod-0", "pod-1", "static"]);
  expect(await listed(END_MS)).toEqual(["pod-0", "static"]);
  expect(await listed(END_MS, { sort: "memory" })).toEqual(["pod-0", "static"]);
  expect(await listed(AS_OF_MS)).toEqual(["pod-0", "static"]);
});

test("Pods are there while kube-state-metrics is not, without what it says of them", async () => {
  const ending = [...scrapes(LAST_MS), end(END_MS)];
  const labels = { instance: "kubelet", namespace: "a", pod: "pod-0", container: "main" };
  const used = gauge("container_memory_working_set_bytes", points(labels, scrapes(AS_OF_MS, 30), 1e6));
  const id = await cluster([...metricsOf({ pods: [ending], nodes: [], gpus: [] }), used]);
  const { pods } = await cases.state().pods({ clusterId: id, fromMs: LAST_MS - MINUTE_MS, toMs: END_MS });
  expect(pods).toMatchObject([
    { pod: "pod-0", node: null, phase: null, memory_working_set_bytes: 1e6, last_sample: expect.anything() },
  ]);
});

test("the Pod of a GPU's ended series holds it no more, and its XID of the window is still there", async () => {
  const device = { instance: "dcgm:9400", UUID: "GPU-0", gpu: "0", Hostname: "node-0" };
  const held = { ...device, exported_namespace: "a", exported_pod: "pod-0", exported_container: "main" };
  const ending = [...scrapes(LAST_MS), end(END_MS)];
  const free = [sample(END_MS), sample(END_MS + MINUTE_MS)];
  const id = await cluster([
    gauge("DCGM_FI_DEV_GPU_UTIL", [...points(held, ending, 80), ...points(device, free, 0)]),
    gauge("DCGM_FI_DEV_XID_ERRORS", [...points(held, ending, 79), ...points(device, free, 79)]),
  ]);
  const gpusAt = async (toMs: number) =>
    (await cases.state().gpus({ clusterId: id, fromMs: LAST_MS - MINUTE_MS, toMs })).gpus;
  expect(await gpusAt(LAST_MS)).toMatchObject([{ pods: [{ pod: "pod-0" }], utilization_percent: 80 }]);
  expect(await gpusAt(END_MS)).toMatchObject([{ pods: [], utilization_percent: 0, xid_error: 79 }]);
});
