import { readFile } from "node:fs/promises";
import { Agent, request, type Dispatcher } from "undici";
import { parseKubeconfig } from "#clusters/parse-kubeconfig.ts";
import { toKubeConfig } from "#clusters/kubernetes-client-config.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { openTunnel } from "#tunnel/dispatcher.ts";
import { createKubeClient } from "#tunnel/kube-client.ts";
import { listNodeNames } from "#tunnel/node-names.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

/** One sample as text that two systems can be compared by: time in ms, value as its 64 bits. */
interface Sample {
  ms: number;
  bits: bigint;
}

/** Samples by series; the key is the sorted labels as JSON. */
export type SeriesSamples = Map<string, Sample[]>;

/** Asks the cluster's Prometheus itself, not through the product's reading code. */
export interface Source {
  /** Every raw sample of the metric in (fromMs, toMs], in one query over the whole range. */
  samples(metric: string, fromMs: number, toMs: number): Promise<SeriesSamples>;
  version(): Promise<string>;
  /** Names of the metrics that Prometheus' metadata calls counters. */
  counters(): Promise<ReadonlySet<string>>;
  /** Node name by node address, as the bridge knows it. */
  nodeNames(): Promise<ReadonlyMap<string, string>>;
  close(): Promise<void>;
}

/** By its URL directly; without one through a port-forward of its own. */
export async function openSource(
  kubeconfigPath: string,
  direct = process.env["E2E_PROMETHEUS_URL"],
): Promise<Source> {
  const way = direct
    ? { dispatcher: new Agent() as Dispatcher, origin: direct }
    : await openForward(kubeconfigPath);
  const get = async (path: string, query: Record<string, string>): Promise<unknown> => {
    const url = `${way.origin}/api/v1/${path}?${new URLSearchParams(query).toString()}`;
    const { statusCode, body } = await request(url, { dispatcher: way.dispatcher });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`${url}: ${statusCode} ${text.slice(0, 300)}`);
    return (JSON.parse(text) as { data: unknown }).data;
  };
  return {
    version: async () => ((await get("status/buildinfo", {})) as { version: string }).version,
    counters: async () => {
      const metadata = (await get("metadata", {})) as Record<string, { type: string }[]>;
      return new Set(Object.keys(metadata).filter((name) => metadata[name]?.[0]?.type === "counter"));
    },
    nodeNames: async () => {
      const kubeConfig = await readKubeConfig(kubeconfigPath);
      const kube = createKubeClient({ kubeConfig, clock: systemClock }, { timeoutMs: 30_000 });
      return (await listNodeNames(kube, new AbortController().signal)).names;
    },
    close: () => way.dispatcher.close(),
    samples: async (metric, fromMs, toMs) => {
      const data = (await get("query", {
        query: `${metric}[${toMs - fromMs}ms]`,
        time: (toMs / 1000).toFixed(3),
      })) as {
        result: { metric: Record<string, string>; values: [number, string][] }[];
      };
      const series: SeriesSamples = new Map();
      for (const { metric: labels, values } of data.result) {
        const { __name__: _name, ...rest } = labels;
        const samples = values
          .map(([seconds, value]) => ({ ms: Math.round(seconds * 1000), bits: bitsOf(numberOf(value)) }))
          .filter((sample) => sample.ms > fromMs);
        if (samples.length > 0) series.set(keyOf(rest), samples);
      }
      return series;
    },
  };
}

export function keyOf(labels: Record<string, string>): string {
  return JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

const scratch = new DataView(new ArrayBuffer(8));

function bitsOf(value: number): bigint {
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0);
}

export function valueOf(bits: bigint): number {
  scratch.setBigUint64(0, bits);
  return scratch.getFloat64(0);
}

function numberOf(text: string): number {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}

async function readKubeConfig(path: string): ReturnType<typeof toKubeConfig> {
  const text = await readFile(path, "utf8");
  parseKubeconfig(text);
  return await toKubeConfig({ kind: "inline", kubeconfig: createSecret(text) }, true);
}

async function openForward(kubeconfigPath: string): Promise<{ dispatcher: Dispatcher; origin: string }> {
  return await openTunnel(
    { kubeConfig: await readKubeConfig(kubeconfigPath), clock: systemClock, logger: createSilentLogger() },
    {
      clusterId: "source",
      target: {
        namespace: "bud-system",
        service: "bud-metrics-kube-prometheu-prometheus",
        port: 9090,
        scheme: "http",
      },
      lanes: 1,
      timeoutMs: 60_000,
    },
    new AbortController().signal,
  );
}
