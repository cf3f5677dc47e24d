import { createRandom } from "../helpers/random.ts";
import type { FloatSample } from "../helpers/remote-read-encoder.ts";
import {
  toHistogramWriteRequest,
  writtenSeries,
  type WrittenSeries,
} from "../helpers/remote-read-scenario.ts";
import {
  readChunkAnswer,
  readSampleAnswer,
  STALE_BITS,
  toReadRequest,
  type ReadSample,
  type ReadSeries,
} from "../helpers/remote-read-client.ts";
import { startExporter, type Exporter } from "./exporter.ts";
import { remoteWrite, startPrometheus, type WrittenPrometheus } from "./prometheus.ts";
import { keyOf } from "./source.ts";

// Real Prometheus servers whose samples a test makes: exporters that it changes, and what it writes to them. They are read by a decoder of the tests.

const EXTERNAL = { region: "source", cluster: "recorded" };

/** What the exporters serve. */
interface Exported {
  pods: Set<string>;
  nodes: Set<string>;
  /** Restarts at 0 when it is lowered. */
  requests: number;
  /** Series of `moving` have a label `region` of their own. */
  hasOwnRegion: boolean;
}

export interface Exporters {
  exported: Exported;
  /** As kube-state-metrics. */
  state: Exporter;
  /** Of an application. */
  application: Exporter;
  stop(): Promise<void>;
}

const text = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join();

function stateText({ pods, nodes }: Exported): string {
  const ofNodes = [...nodes].map((node) => `kube_node_info{${text({ node, kubelet_version: "v1.36.3" })}} 1`);
  const ofPods = [...pods].flatMap((pod) => {
    const labels = { namespace: "team", pod, uid: `uid-${pod}` };
    const running = Number(!pod.startsWith("pending"));
    return [
      `kube_pod_info{${text({ ...labels, node: `node-${Number(pod.at(-1)) % 2}`, created_by_kind: "Job" })}} 1`,
      `kube_pod_status_phase{${text({ ...labels, phase: "Running" })}} ${running}`,
      `kube_pod_status_phase{${text({ ...labels, phase: "Pending" })}} ${1 - running}`,
    ];
  });
  return ["# TYPE kube_node_info gauge", ...ofNodes, "# TYPE kube_pod_info gauge", ...ofPods, ""].join("\n");
}

function applicationText(exported: Exported): string {
  exported.requests += 7;
  const { requests, hasOwnRegion, pods } = exported;
  return [
    "# TYPE requests_total counter",
    `requests_total{code="200"} ${requests}`,
    `requests_total{code="500"} ${requests / 3}`,
    "# TYPE odd_values gauge",
    ...["NaN", "+Inf", "-Inf", "5e-324", "1.7976931348623157e+308", "-0"].map(
      (value) => `odd_values{value="${value}"} ${value}`,
    ),
    // A label of the name of an external one: on all, on some, with its value, and on all from some time on.
    "# TYPE own_region gauge",
    `own_region{region="mine"} ${requests}`,
    `own_region{region="other"} ${pods.size}`,
    "# TYPE equal_region gauge",
    `equal_region{region="mine"} ${requests}`,
    `equal_region{region="${EXTERNAL.region}"} ${pods.size}`,
    "# TYPE mixed_region gauge",
    `mixed_region{region="mine"} ${requests}`,
    `mixed_region{of="nobody"} ${pods.size}`,
    "# TYPE moving_region gauge",
    `moving_region{${hasOwnRegion ? 'region="mine",' : ""}of="all"} ${requests}`,
    "",
  ].join("\n");
}

export async function startExporters(): Promise<Exporters> {
  const exported: Exported = {
    pods: new Set(["pod-0", "pod-1", "pod-2", "pod-3", "pending-4", "pod-5"]),
    nodes: new Set(["node-0", "node-1"]),
    requests: 1000,
    hasOwnRegion: false,
  };
  const state = await startExporter(() => stateText(exported));
  const application = await startExporter(() => applicationText(exported));
  return {
    exported,
    state,
    application,
    stop: async () => void (await Promise.all([state.stop(), application.stop()])),
  };
}

export interface Recording extends WrittenPrometheus {
  id: string;
  origin: string;
  /** The labels and values of an instant query. */
  instant(promql: string, atMs: number): Promise<{ labels: Record<string, string>; value: string }[]>;
  /** All samples of a metric in (fromMs, toMs], markers among them. Labels that Prometheus added are left out, but those of `keeps`. */
  read(metric: string, window: { fromMs: number; toMs: number }, keeps?: readonly string[]): Promise<Samples>;
  /** All native histograms of a metric that has one series. */
  readHistograms(metric: string, window: { fromMs: number; toMs: number }): Promise<ReadSeries["histograms"]>;
}

/** By the sorted labels without the name, as JSON. */
export type Samples = Map<string, ReadSample[]>;

const STEP_MS = 20_000;

/** What is written: each kind of double, and samples that come out of order. The newest is three minutes old. */
function written(version: "2.42" | "3"): { first: WrittenSeries[]; second: WrittenSeries[] } {
  const endMs = Math.floor(Date.now() / 1000) * 1000 - 180_000;
  const shifted = writtenSeries(version).map(({ labels, samples, histograms }) => {
    const offset = endMs - (samples.at(-1) ?? histograms.at(-1))!.t;
    const shift = <T extends { t: number }>(each: T): T => ({ ...each, t: each.t + offset });
    return { labels, samples: samples.map(shift), histograms: histograms.map(shift) };
  });
  const random = createRandom(5);
  const late = Array.from({ length: 120 }, (_, i): FloatSample => ({
    t: endMs - i * STEP_MS,
    bits: BigInt(Math.floor(random() * 2 ** 52)),
  })).toReversed();
  const ofLate = (isSecond: boolean): WrittenSeries => ({
    labels: [
      ["__name__", "written_late"],
      ["job", "written"],
    ],
    samples: late.filter((_, i) => (i % 3 === 1) === isSecond),
    histograms: [],
  });
  const native = shifted.find(({ histograms }) => histograms.length > 0)?.histograms ?? [];
  const ofBoth: WrittenSeries = {
    labels: [
      ["__name__", "written_both"],
      ["job", "written"],
    ],
    // Before the native ones and among them.
    samples: late.filter((_, i) => i % 5 === 0).map(({ t, bits }) => ({ t: t + 1, bits })),
    histograms: native,
  };
  return { first: [...shifted, ofLate(false), ofBoth], second: [ofLate(true)] };
}

/** Scrapes the exporters each second, and has got what `written` says. */
export async function startRecording(id: string, version: string, exporters: Exporters): Promise<Recording> {
  const prometheus = await startPrometheus({
    version,
    outOfOrder: "2h",
    externalLabels: EXTERNAL,
    jobs: { "kube-state-metrics": exporters.state.port, application: exporters.application.port },
  });
  const origin = `http://${prometheus.address.host}:${prometheus.address.port}`;
  const { first, second } = written(version.startsWith("2") ? "2.42" : "3");
  for (const part of [first, second]) await remoteWrite(origin, toHistogramWriteRequest(part));
  const ask = async (metric: string, { fromMs, toMs }: { fromMs: number; toMs: number }, form: 0 | 1) => {
    const query = { fromMs: fromMs + 1, toMs, matchers: [["=", "__name__", metric]] as const };
    const answer = await fetch(`${origin}/api/v1/read`, {
      method: "POST",
      headers: {
        "content-encoding": "snappy",
        "content-type": "application/x-protobuf",
        "x-prometheus-remote-read-version": "0.1.0",
      },
      body: new Uint8Array(toReadRequest([query], [form])),
    });
    if (!answer.ok) throw new Error(`remote read: ${answer.status} ${await answer.text()}`);
    const body = Buffer.from(await answer.arrayBuffer());
    return form === 1 ? readChunkAnswer(body) : readSampleAnswer(body);
  };
  return {
    ...prometheus,
    id,
    origin,
    instant: async (promql, atMs) => {
      const query = new URLSearchParams({ query: promql, time: String(atMs / 1000) }).toString();
      const answer = await fetch(`${origin}/api/v1/query?${query}`);
      if (!answer.ok) throw new Error(`${promql}: ${answer.status} ${await answer.text()}`);
      const { data } = (await answer.json()) as {
        data: { result: { metric: Record<string, string>; value: [number, string] }[] };
      };
      return data.result.map(({ metric, value }) => ({ labels: metric, value: value[1] }));
    },
    read: async (metric, window, keeps = []) => toSamples(await ask(metric, window, 1), window, keeps),
    readHistograms: async (metric, window) =>
      (await ask(metric, window, 0)).flatMap(({ histograms }) => histograms),
  };
}

/** A chunk may reach out of the window. */
function toSamples(
  series: readonly ReadSeries[],
  { fromMs, toMs }: { fromMs: number; toMs: number },
  keeps: readonly string[],
): Samples {
  const found: Samples = new Map();
  for (const { labels, samples } of series) {
    const isOwn = ([name, value]: [string, string]): boolean =>
      name !== "__name__" && (keeps.includes(name) || (EXTERNAL as Record<string, string>)[name] !== value);
    const key = keyOf(Object.fromEntries(Object.entries(labels).filter(isOwn)));
    const inside = samples.filter(({ ms }) => ms > fromMs && ms <= toMs);
    if (inside.length > 0)
      found.set(
        key,
        [...(found.get(key) ?? []), ...inside].toSorted((a, b) => a.ms - b.ms),
      );
  }
  return found;
}

export const isMarker = ({ bits }: ReadSample): boolean => bits === STALE_BITS;
