import { GenericContainer, Wait } from "testcontainers";
import { keyOfLabels, type Points } from "../helpers/promql-reference.ts";
import { toWriteRequest } from "../helpers/remote-write.ts";
import type { Sample } from "../helpers/stored-series.ts";

/** A Prometheus that scrapes nothing and holds what a test writes into it. */
export interface WrittenPrometheus {
  version(): Promise<string>;
  /** All at once: what is older than what it has by more than an hour is refused. Samples ascend by time. */
  write(series: readonly { labels: Record<string, string>; samples: readonly Sample[] }[]): Promise<void>;
  queryRange(promql: string, firstMs: number, lastMs: number, stepMs: number): Promise<Points>;
  stop(): Promise<void>;
}

const IMAGE = "prom/prometheus:v3.15.0";
const WRITE_MS = 15 * 60_000;

interface Matrix {
  data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
}

export async function startPrometheus(): Promise<WrittenPrometheus> {
  const container = await new GenericContainer(IMAGE)
    .withCopyContentToContainer([
      { content: "global: {scrape_interval: 15s}\n", target: "/etc/prometheus/prometheus.yml" },
    ])
    .withCommand([
      "--config.file=/etc/prometheus/prometheus.yml",
      "--storage.tsdb.path=/prometheus",
      "--web.enable-remote-write-receiver",
    ])
    .withExposedPorts(9090)
    .withWaitStrategy(Wait.forHttp("/-/ready", 9090))
    .start();
  const origin = `http://${container.getHost()}:${container.getMappedPort(9090)}`;

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
