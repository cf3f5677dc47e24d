import type { Socket } from "node:net";
import { Agent, buildConnector } from "undici";
import { systemClock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createOtlpWriter } from "#otlp/writer.ts";
import type { StreamDeps } from "#prometheus/answer-stream.ts";
import { streamMatrix, type StreamSettings } from "#prometheus/matrix-stream.ts";
import { streamRemoteRead, UndecodableAnswer } from "#prometheus/remote-read-stream.ts";
import { createQueryMethod } from "#prometheus/requests.ts";
import type { Window } from "#prometheus/window.ts";
import { metricOf } from "./filled-prometheus.ts";

// Reads metrics by one transport, in a process of its own: `node transport-cost.ts JSON`, with a TransportTask. Prints a TransportCost as JSON.

export const TRANSPORTS = ["plain", "gzip", "samples", "chunks"] as const;
export type TransportName = (typeof TRANSPORTS)[number];

export interface TransportTask {
  transport: TransportName;
  address: { host: string; port: number };
  metrics: readonly string[];
  /** The value of the label `scrape`. */
  scrape: string;
  window: Window;
  /** Samples that are read at least, in as many turns as it takes. */
  samplesMin: number;
}

/** Of one turn, in which each metric is read once. */
export interface TransportCost {
  samples: number;
  /** Received, with the heads of the answers. */
  wireBytes: number;
  sourceSeconds: number;
  /** From the answer to the bytes of OTLP, not compressed. */
  bridgeSeconds: number;
  /** Of the process, Node itself included. */
  peakMb: number;
}

const WARM_UP_SAMPLES = 300_000;
const BATCH = {
  resource: { cluster_id: "bench" },
  scope: { name: "budcluster", version: "bench" },
  pointsMax: 20_000,
  bytesMax: 8 << 20,
};

async function measure(task: TransportTask): Promise<TransportCost> {
  const sockets: Socket[] = [];
  const connect = buildConnector({});
  const dispatcher = new Agent({
    connect: (options, callback) =>
      connect(options, (...[error, socket]) => {
        if (error) return callback(error, null);
        sockets.push(socket);
        callback(null, socket);
      }),
  });
  const received = (): number => sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  const turn = createTurn(task, dispatcher);
  for (let done = 0; done < WARM_UP_SAMPLES;) done += await turn();
  const before = { wire: received(), source: await sourceSeconds(task), own: process.cpuUsage() };
  let turns = 0;
  let samples = 0;
  while (samples < task.samplesMin) {
    samples += await turn();
    turns++;
  }
  const { user, system } = process.cpuUsage(before.own);
  const source = (await sourceSeconds(task)) - before.source;
  const wire = received() - before.wire;
  await dispatcher.close();
  return {
    samples: samples / turns,
    wireBytes: wire / turns,
    sourceSeconds: source / turns,
    bridgeSeconds: (user + system) / 1e6 / turns,
    peakMb: process.resourceUsage().maxRSS / 1024,
  };
}

const sourceSeconds = async (task: TransportTask): Promise<number> =>
  await metricOf(task, "process_cpu_seconds_total");

/** Reads each metric once; returns the number of samples. */
function createTurn({ transport, address, metrics, scrape, window }: TransportTask, dispatcher: Agent) {
  const isGzip = transport === "gzip";
  const compression = { isWanted: () => isGzip, measure: () => undefined, link: () => undefined };
  const deps: StreamDeps = {
    dispatcher,
    clock: systemClock,
    turns: createTurns(),
    queryMethod: createQueryMethod(),
    compression,
  };
  const settings: StreamSettings = {
    origin: `http://${address.host}:${address.port}`,
    pathPrefix: "",
    timeoutMs: 600_000,
  };
  const pool = createBufferPool(4, 32 << 20);
  const writer = createOtlpWriter<string>({ ...BATCH, pool, onBatch: (batch) => batch.release() });
  const { signal } = new AbortController();

  const read = async (name: string): Promise<number> => {
    const metric = { name, kind: "gauge", unit: "", description: "" } as const;
    const hooks = {
      sink: { series: (series: Parameters<typeof writer.series>[0]) => writer.series(series, metric, name) },
      pause: () => undefined,
    };
    if (transport === "samples" || transport === "chunks") {
      const matchers = [
        { type: "=", name: "__name__", value: name } as const,
        { type: "=", name: "scrape", value: scrape } as const,
      ];
      const asked = { matchers, window, form: transport, added: [], own: [] };
      return (await streamRemoteRead(deps, settings, asked, hooks, signal)).samples;
    }
    const selector = `${name}{scrape="${scrape}"}`;
    const query = { name, promql: selector, group: "", kind: "selector", selector } as const;
    return (await streamMatrix(deps, settings, query, window, hooks, signal)).samples;
  };
  return async (): Promise<number> => {
    let samples = 0;
    for (const name of metrics) samples += await read(name);
    writer.flush();
    return samples;
  };
}

const [, file, text] = process.argv;
if (file === import.meta.filename && text) {
  try {
    console.log(JSON.stringify(await measure(JSON.parse(text) as TransportTask)));
  } catch (error) {
    if (!(error instanceof UndecodableAnswer && error.reason === "too_large")) throw error;
    console.log("null");
  }
}
