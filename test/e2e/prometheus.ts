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
  write(
    series: readonly { labels: Record<string, string>; samples: readonly Sample[]; endMs?: number }[],
  ): Promise<void>;
  queryRange(promql: string, firstMs: number, lastMs: number, stepMs: number): Promise<Points>;
  /** Ends it with SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again with its data, at the same address. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

interface PrometheusSettings {
  version?: string;
  /** Exporters of the test, on ports of this machine, by their job. Scraped each second; their own labels win. */
  jobs?: Readonly<Record<string, number>>;
  externalLabels?: Readonly<Record<string, string>>;
  /** Every 5 s. Otherwise it scrapes nothing. */
  scrapesItself?: boolean;
  /** How old out-of-order samples may be, for example 30m. */
  outOfOrder?: string;
  /** A server of remote read on a port of this machine, asked with that token for whatever a query reads. */
  remoteRead?: { port: number; token: string };
  /** Names for --enable-feature. */
  features?: readonly string[];
}

const VERSION = "3.15.0";
const WRITE_MS = 15 * 60_000;

interface Matrix {
  data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
}

export async function startPrometheus(settings: PrometheusSettings = {}): Promise<WrittenPrometheus> {
  const { version = VERSION, scrapesItself = false, outOfOrder = "0s", features = [] } = settings;
  const { jobs = {}, externalLabels = {}, remoteRead } = settings;
  const configuration = {
    global: { scrape_interval: "5s", external_labels: externalLabels },
    scrape_configs: [
      ...(scrapesItself
        ? [{ job_name: "prometheus", static_configs: [{ targets: ["localhost:9090"] }] }]
        : []),
      ...Object.entries(jobs).map(([job, port]) => ({
        job_name: job,
        scrape_interval: "1s",
        scrape_timeout: "1s",
        honor_labels: true,
        static_configs: [{ targets: [`host.docker.internal:${port}`] }],
      })),
    ],
    storage: { tsdb: { out_of_order_time_window: outOfOrder } },
    ...(remoteRead && {
      remote_read: [
        {
          url: `http://host.docker.internal:${remoteRead.port}/api/v1/read`,
          authorization: { credentials: remoteRead.token },
          read_recent: true,
        },
      ],
    }),
  };
  const container = await new GenericContainer(`prom/prometheus:v${version}`)
    .withCopyContentToContainer([
      { content: JSON.stringify(configuration), target: "/etc/prometheus/prometheus.yml" },
    ])
    .withCommand([
      "--config.file=/etc/prometheus/prometheus.yml",
      "--storage.tsdb.path=/prometheus",
      "--web.enable-remote-write-receiver",
      ...(features.length > 0 ? [`--enable-feature=${features.join(",")}`] : []),
    ])
    .withExtraHosts([{ host: "host.docker.internal", ipAddress: "host-gateway" }])
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
    await remoteWrite(origin, toWriteRequest(series));
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
      const ended = series.filter(({ endMs }) => endMs !== undefined);
      await post(ended.map((each) => ({ ...each, samples: [] })));
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

/** Sends a WriteRequest, snappy-compressed, to a Prometheus that receives remote write. Throws what it answers instead of a success. */
export async function remoteWrite(origin: string, body: Uint8Array): Promise<void> {
  const answer = await fetch(`${origin}/api/v1/write`, {
    method: "POST",
    headers: {
      "content-type": "application/x-protobuf",
      "content-encoding": "snappy",
      "x-prometheus-remote-write-version": "0.1.0",
    },
    body: new Uint8Array(body),
  });
  if (answer.status !== 204) throw new Error(`remote write: ${answer.status} ${await answer.text()}`);
}
