import { createMemoryBudget } from "#lib/memory-budget.ts";
import { systemClock } from "#lib/clock.ts";
import { Agent } from "undici";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createExporter, type Exporter } from "#otlp/exporter.ts";
import { answerBytesMax, createKeptAnswer } from "#otlp/kept-answer.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import { createTransport } from "#otlp/transport.ts";
import { createOtlpWriter, type Batch } from "#otlp/writer.ts";
import { createMatrixScanner } from "#prometheus/matrix-scanner.ts";
import type { SeriesSink } from "#prometheus/series-sink.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { answerChunks, windowOf, type Workload } from "./workload.ts";

// What it costs to keep each answer until it is whole (docs/decisions/0020): processor time of all threads from Prometheus' JSON to compressed requests,
// beside that of a program that sends while it reads. In turn, so that the machine's other work hits both.

const RUNS = 7;
const WARM_UPS = 2;
const CHUNK_BYTES = 32 << 10;
const LIMITS = { pointsMax: 20_000, bytesMax: 8 << 20 };
const KEPT_BYTES_MAX = 8 << 20;
const BATCH = {
  resource: { cluster_id: "bench" },
  scope: { name: "budcluster", version: "bench" },
  ...LIMITS,
};
const METRIC: MetricDescription = { name: "bench", kind: "gauge", unit: "", description: "" };
const CASES: readonly { name: string; answers: number; workload: Workload }[] = [
  { name: "300 answers of 2,000 points", answers: 300, workload: { series: 200, samplesPerSeries: 10 } },
  { name: "30 answers of 12,000 points", answers: 30, workload: { series: 1200, samplesPerSeries: 10 } },
  { name: "3 answers of 200,000 points", answers: 3, workload: { series: 20_000, samplesPerSeries: 10 } },
];

const pool = createBufferPool(4, 32 << 20);
const transport = createTransport(
  { clock: systemClock, dispatcher: new Agent() },
  { url: "http://127.0.0.1:9", headers: {}, compression: "gzip", timeoutMs: 1000 },
);
const exporter = createExporter(
  { transport, single: transport, logger: createSilentLogger() },
  { isolationRequestsMax: 0 },
);

interface Sent {
  requests: number;
  points: number;
}

/** Compresses requests, two at once. */
function createSending(): { submit: (batch: Batch<number>) => void; room: () => Promise<void>; sent: Sent } {
  const sent: Sent = { requests: 0, points: 0 };
  const underWay = new Set<Promise<void>>();
  const send = async (batch: Batch<number>): Promise<void> => {
    sent.requests++;
    sent.points += batch.points;
    if (!batch.packed) await exporter.pack(batch);
  };
  return {
    sent,
    submit: (batch) => {
      const sending = send(batch).finally(() => underWay.delete(sending));
      underWay.add(sending);
    },
    room: async () => {
      while (underWay.size > 1) await Promise.race(underWay);
    },
  };
}

async function read(
  chunks: readonly Buffer[],
  workload: Workload,
  sink: SeriesSink,
  room: () => Promise<void> | undefined,
) {
  const scanner = createMatrixScanner(sink, windowOf(workload));
  for (const chunk of chunks) for (let at = 0; at < chunk.length; await room()) at = scanner.scan(chunk, at);
  scanner.end();
}

type Way = (chunks: readonly Buffer[], answers: number, workload: Workload) => Promise<Sent>;

const whileReading: Way = async (chunks, answers, workload) => {
  const { submit, room, sent } = createSending();
  const writer = createOtlpWriter<number>({ ...BATCH, pool, onBatch: submit });
  for (let i = 0; i < answers; i++)
    await read(chunks, workload, { series: (series) => writer.series(series, METRIC, i) }, room);
  writer.flush();
  await room();
  return sent;
};

const whenWhole: Way = async (chunks, answers, workload) => {
  const { submit, room, sent } = createSending();
  const shared = createOtlpWriter<number>({ ...BATCH, pool, onBatch: submit });
  const settings = { ...BATCH, keptBytesMax: KEPT_BYTES_MAX };
  const account = createMemoryBudget(Infinity).open(() => shared.flush());
  const deps = { exporter: exporter satisfies Pick<Exporter, "pack">, pool, shared, submit };
  for (let i = 0; i < answers; i++) {
    const reservation = await account.reserve(answerBytesMax(settings), true, new AbortController().signal);
    const answer = createKeptAnswer(deps, settings, i, reservation);
    await read(chunks, workload, { series: (series) => answer.series(series, METRIC) }, () => answer.room());
    await answer.send();
    await room();
  }
  shared.flush();
  await room();
  return sent;
};

async function cpuSecondsOf(work: () => Promise<Sent>): Promise<{ seconds: number; sent: Sent }> {
  const start = process.cpuUsage();
  const sent = await work();
  const { user, system } = process.cpuUsage(start);
  return { seconds: (user + system) / 1e6, sent };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

console.log("JSON -> compressed OTLP requests, processor time of all threads, medians");
for (const { name, answers, workload } of CASES) {
  const chunks = [...answerChunks(workload, CHUNK_BYTES)];
  const ways: [string, Way][] = [
    ["sent while it is read", whileReading],
    ["sent when it is whole (this program)", whenWhole],
  ];
  const seconds = ways.map((): number[] => []);
  const last: Sent[] = [];
  for (let run = 0; run < WARM_UPS + RUNS; run++) {
    for (const [i, [, way]] of ways.entries()) {
      const measured = await cpuSecondsOf(() => way(chunks, answers, workload));
      if (run >= WARM_UPS) seconds[i]!.push(measured.seconds);
      last[i] = measured.sent;
    }
  }
  for (const [i, [way]] of ways.entries()) {
    const { points, requests } = last[i]!;
    const perSecond = (points / median(seconds[i]!) / 1e6).toFixed(2);
    const best = (points / Math.min(...seconds[i]!) / 1e6).toFixed(2);
    console.log(`  ${name}, ${way}: ${perSecond} M points/s (best ${best}), ${requests} requests`);
  }
}
