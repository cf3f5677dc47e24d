import { GenericContainer, getContainerRuntimeClient, Wait } from "testcontainers";
import { keyOfLabels, type Points } from "../helpers/promql-reference.ts";
import { toWriteRequest } from "../helpers/remote-write.ts";
import type { Sample } from "../helpers/stored-series.ts";
import { freePort } from "./stack.ts";

/** A Prometheus that holds what a test writes into it. */
export interface WrittenPrometheus {
  address: { host: string; port: number };
  version(): Promise<string>;
  /** All at once: what is older than what it has by more than an hour is refused. Samples ascend by time. */
  write(series: readonly { labels: Record<string, string>; samples: readonly Sample[] }[]): Promise<void>;
  queryRange(promql: string, firstMs: number, lastMs: number, stepMs: number): Promise<Points>;
  /** Ends it with SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again with its data, at the same address. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

interface PrometheusSettings {
  version?: string;
  /** Every 5 s. Otherwise it scrapes nothing. */
  scrapesItself?: boolean;
  /** How old out-of-order samples may be, for example 30m. */
  outOfOrder?: string;
}

const VERSION = "3.15.0";
const WRITE_MS = 15 * 60_000;

interface Matrix {
  data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
}

export async function startPrometheus(settings: PrometheusSettings = {}): Promise<WrittenPrometheus> {
  const { version = VERSION, scrapesItself = false, outOfOrder = "0s" } = settings;
  const configuration = {
    global: { scrape_interval: "5s" },
    scrape_configs: scrapesItself
      ? [{ job_name: "prometheus", static_configs: [{ targets: ["localhost:9090"] }] }]
      : [],
    storage: { tsdb: { out_of_order_time_window: outOfOrder } },
  };
  const container = await new GenericContainer(`prom/prometheus:v${version}`)
    .withCopyContentToContainer([
      { content: JSON.stringify(configuration), target: "/etc/prometheus/prometheus.yml" },
    ])
    .withCommand([
      "--config.file=/etc/prometheus/prometheus.yml",
      "--storage.tsdb.path=/prometheus",
      "--web.enable-remote-write-receiver",
    ])
    // A port without a number would be another one after a restart.
    .withExposedPorts({ container: 9090, host: await freePort() })
    .withWaitStrategy(Wait.forHttp("/-/ready", 9090))
    .start();
  const address = { host: container.getHost(), port: container.getMappedPort(9090) };
  const origin = `http://${address.host}:${address.port}`;
  const handle = (await getContainerRuntimeClient()).container.getById(container.getId());

  const get = async (path: string, query: Record<string, string>): Promise<unknown> => {
    const answer = await fetch(`${origin}/api/v1/${path}?${new URLSearchParams(query).toString()}`);
    if (!answer.ok) throw new Error(`${query["query"]}: ${answer.status} ${await answer.text()}`);
    return await answer.json();
  };

  const post = async (series: Parameters<typeof toWriteRequest>[0]): Promise<void> => {
    if (series.length === 0) return;
    const answer = await fetch(`${origin}/api/v1/write`, {
      method: "POST",
      headers: {
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
        "x-prometheus-remote-write-version": "0.1.0",
      },
      body: new Uint8Array(toWriteRequest(series)),
    });
    if (!answer.ok) throw new Error(`remote write: ${answer.status} ${await answer.text()}`);
  };

  return {
    address,
    kill: async () => void (await handle.kill()),
    restart: async () => void (await handle.start()),
    version: async () => ((await get("status/buildinfo", {})) as { data: { version: string } }).data.version,
    write: async (series) => {
      const first = Math.min(...series.map(({ samples }) => samples[0]?.[0] ?? Infinity));
      const last = Math.max(...series.map(({ samples }) => samples.at(-1)?.[0] ?? -Infinity));
      const done = series.map(() => 0);
      for (let toMs = first + WRITE_MS; toMs < last + WRITE_MS; toMs += WRITE_MS) {
        const part = series.map(({ labels, samples }, i) => {
          const from = done[i]!;
          let to = from;
          while (to < samples.length && samples[to]![0] < toMs) to++;
          done[i] = to;
          return { labels, samples: samples.slice(from, to) };
        });
        await post(part.filter(({ samples }) => samples.length > 0));
      }
    },
    queryRange: async (promql, firstMs, lastMs, stepMs) => {
      const { data } = (await get("query_range", {
        query: promql,
        start: String(firstMs / 1000),
        end: String(lastMs / 1000),
        step: String(stepMs / 1000),
      })) as Matrix;
      return new Map(
        data.result.map(({ metric, values }) => [
          keyOfLabels(metric),
          new Map(values.map(([seconds, value]) => [Math.round(seconds * 1000), toNumber(value)])),
        ]),
      );
    },
    stop: async () => void (await container.stop()),
  };
}

function toNumber(text: string): number {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}
