import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import {
  DataPointType,
  InstrumentType,
  AggregationTemporality,
  type ResourceMetrics,
} from "@opentelemetry/sdk-metrics";
import { JsonMetricsSerializer, ProtobufMetricsSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import { createOtlpWriter } from "#otlp/writer.ts";
import { createMatrixScanner } from "#prometheus/matrix-scanner.ts";
import { answerChunks, windowOf, type Workload } from "./workload.ts";

// Prometheus JSON -> OTLP on one core, uncompressed, with what the same data costs by JSON.parse alone and by the SDK's serializers.
// `npm run bench` prints medians; the machine's load changes them, the ratios less so.

const RUNS = 9;
const WARM_UPS = 5;
const ROUNDS = 3;
const CHUNK_BYTES = 32 << 10;
const SPEED: Workload = { series: 20_000, samplesPerSeries: 10 };
const RESOURCE = {
  cluster_id: "bench",
  cluster_name: "bench",
  cluster_platform: "bench",
  "service.name": "budcluster",
};
const METRIC: MetricDescription = {
  name: "container_memory_working_set_bytes",
  kind: "gauge",
  unit: "By",
  description: "",
};

interface Converted {
  points: number;
  bytes: number;
}

const pool = createBufferPool(4);

/** The product's own path. */
function convert(chunks: Iterable<Buffer>, workload: Workload): Converted {
  const total: Converted = { points: 0, bytes: 0 };
  const writer = createOtlpWriter<string>({
    resource: RESOURCE,
    scope: { name: "budcluster", version: "bench" },
    pointsMax: 20_000,
    bytesMax: 8 << 20,
    pool,
    onBatch: (batch) => {
      total.points += batch.points;
      total.bytes += batch.body.length;
      batch.release();
    },
  });
  const scanner = createMatrixScanner(
    { series: (series) => writer.series(series, METRIC, "bench") },
    windowOf(workload),
  );
  for (const chunk of chunks) for (let at = 0; at < chunk.length;) at = scanner.scan(chunk, at);
  scanner.end();
  writer.flush();
  return total;
}

interface Matrix {
  data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
}

/** A program that passes Prometheus' answer to the SDK's exporter, in requests of 20,000 points. */
function convertBySdk(
  body: Buffer,
  serialize: (metrics: ResourceMetrics) => Uint8Array | undefined,
): Converted {
  const total: Converted = { points: 0, bytes: 0 };
  const { result } = (JSON.parse(body.toString("utf8")) as Matrix).data;
  const points = result.flatMap(({ metric, values }) => {
    const { __name__: _name, ...attributes } = metric;
    return values.map(([time, value]) => {
      const ms = Math.round(time * 1000);
      const at: [number, number] = [Math.floor(ms / 1000), (ms % 1000) * 1e6];
      return { startTime: at, endTime: at, attributes, value: Number(value) };
    });
  });
  for (let from = 0; from < points.length; from += 20_000) {
    const dataPoints = points.slice(from, from + 20_000);
    const bytes = serialize({
      resource: resourceFromAttributes(RESOURCE),
      scopeMetrics: [
        {
          scope: { name: "budcluster", version: "bench" },
          metrics: [
            {
              descriptor: {
                name: METRIC.name,
                description: "",
                unit: "By",
                valueType: 1,
                type: InstrumentType.GAUGE,
                advice: {},
              },
              aggregationTemporality: AggregationTemporality.CUMULATIVE,
              dataPointType: DataPointType.GAUGE,
              dataPoints,
            },
          ],
        },
      ],
    } as unknown as ResourceMetrics);
    total.points += dataPoints.length;
    total.bytes += bytes?.length ?? 0;
  }
  return total;
}

function parseOnly(body: Buffer): Converted {
  return { points: (JSON.parse(body.toString("utf8")) as Matrix).data.result.length, bytes: 0 };
}

interface Contender {
  name: string;
  run: (chunks: readonly Buffer[], body: Buffer) => Converted;
}

const CONTENDERS: readonly Contender[] = [
  { name: "streaming scanner -> protobuf writer (this program)", run: (chunks) => convert(chunks, SPEED) },
  { name: "JSON.parse alone", run: (_chunks, body) => parseOnly(body) },
  {
    name: "JSON.parse -> SDK -> exporter-metrics-otlp-http's JSON",
    run: (_chunks, body) => convertBySdk(body, (metrics) => JsonMetricsSerializer.serializeRequest(metrics)),
  },
  {
    name: "JSON.parse -> SDK -> protobuf",
    run: (_chunks, body) =>
      convertBySdk(body, (metrics) => ProtobufMetricsSerializer.serializeRequest(metrics)),
  },
];

/** Measurements of one contender in one process. */
interface Measured {
  seconds: number;
  bytes: number;
}

/**
 * Median processor time of all threads (garbage collection and compilation too), which is what one core would need. In a process of its own: one
 * contender's garbage is else collected at the next one's cost.
 */
function measure({ run }: Contender): Measured {
  const chunks = [...answerChunks(SPEED, CHUNK_BYTES)];
  const body = Buffer.concat(chunks);
  const seconds: number[] = [];
  let bytes = 0;
  for (let round = 0; round < WARM_UPS + RUNS; round++) {
    const start = process.cpuUsage();
    ({ bytes } = run(chunks, body));
    const { user, system } = process.cpuUsage(start);
    if (round >= WARM_UPS) seconds.push((user + system) / 1e6);
  }
  return { seconds: median(seconds), bytes };
}

function inChild(...args: string[]): string {
  const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...args], { encoding: "utf8" });
  if (child.status !== 0) throw new Error(child.stderr);
  return child.stdout.trim();
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function printSpeed(): void {
  const points = SPEED.series * SPEED.samplesPerSeries;
  console.log(
    `JSON -> OTLP, uncompressed: ${SPEED.series} series, ${points} points; processor time, each in a process of its own, best of ${ROUNDS} medians`,
  );
  const best = CONTENDERS.map((): Measured => ({ seconds: Infinity, bytes: 0 }));
  // In turn, so that the machine's other work hits all of them.
  for (let round = 0; round < ROUNDS; round++) {
    for (const i of CONTENDERS.keys()) {
      const measured = JSON.parse(inChild("contender", String(i))) as Measured;
      if (measured.seconds < best[i]!.seconds) best[i] = measured;
    }
  }
  for (const [i, { name }] of CONTENDERS.entries()) {
    const { seconds, bytes } = best[i]!;
    const perPoint = bytes === 0 ? "" : `, ${Math.round(bytes / points)} bytes a point`;
    const ratio = (seconds / best[0]!.seconds).toFixed(1);
    console.log(
      `  ${name}: ${(points / seconds / 1e6).toFixed(2)} M points/s${perPoint}, x ${ratio} the time of this program`,
    );
  }
}

function printMemory(): void {
  console.log("Peak RSS of a process that converts, the answer made as it is read:");
  for (const series of [10_000, 100_000])
    console.log(`  ${series} series: ${inChild("memory", String(series))}`);
}

const [mode, argument] = process.argv.slice(2);
if (mode === "contender") {
  console.log(JSON.stringify(measure(CONTENDERS[Number(argument)]!)));
} else if (mode === "memory") {
  const workload: Workload = { series: Number(argument), samplesPerSeries: 10 };
  const { points } = convert(answerChunks(workload, CHUNK_BYTES), workload);
  console.log(`${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB (${points} points)`);
} else {
  printSpeed();
  printMemory();
}
