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
import { createOtlpWriter, type MetricDescription } from "#otlp/writer.ts";
import { createMatrixScanner } from "#prometheus/matrix-scanner.ts";
import { answerChunks, windowOf, type Workload } from "./workload.ts";

// Prometheus JSON -> OTLP on one core, uncompressed, with what the same data costs by JSON.parse alone and by the SDK's serializers.
// `npm run bench` prints medians; the machine's load changes them, the ratios less so.

const RUNS = 9;
const WARM_UPS = 5;
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
    nodeNameOf: () => undefined,
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
  for (const chunk of chunks) scanner.push(chunk);
  scanner.end();
  writer.flush();
  return total;
}

interface Matrix {
  data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
}

/** What a program does that hands Prometheus' answer to the SDK's exporter, in requests of 20,000 points. */
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
  run(): Converted;
  seconds: number[];
  converted: Converted;
}

/**
 * Runs the contenders in turn, so that the machine's other work hits all of them; the first rounds only warm up. What counts is the processor's time
 * of all threads (garbage collection and compilation too), which is what one core would need.
 */
function race(contenders: Contender[]): void {
  for (let round = 0; round < WARM_UPS + RUNS; round++) {
    for (const contender of contenders) {
      const start = process.cpuUsage();
      contender.converted = contender.run();
      const { user, system } = process.cpuUsage(start);
      if (round >= WARM_UPS) contender.seconds.push((user + system) / 1e6);
    }
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function printSpeed(): void {
  const chunks = [...answerChunks(SPEED, CHUNK_BYTES)];
  const body = Buffer.concat(chunks);
  const points = SPEED.series * SPEED.samplesPerSeries;
  console.log(
    `JSON -> OTLP, uncompressed, one core: ${SPEED.series} series, ${points} points, ${(body.length / 1e6).toFixed(1)} MB of JSON, median of ${RUNS} by processor time`,
  );
  const contender = (name: string, run: () => Converted): Contender => ({
    name,
    run,
    seconds: [],
    converted: { points: 0, bytes: 0 },
  });
  const contenders = [
    contender("streaming scanner -> protobuf writer (this program)", () => convert(chunks, SPEED)),
    contender("JSON.parse alone", () => parseOnly(body)),
    contender("JSON.parse -> SDK -> exporter-metrics-otlp-http's JSON", () =>
      convertBySdk(body, (metrics) => JsonMetricsSerializer.serializeRequest(metrics)),
    ),
    contender("JSON.parse -> SDK -> protobuf", () =>
      convertBySdk(body, (metrics) => ProtobufMetricsSerializer.serializeRequest(metrics)),
    ),
  ];
  race(contenders);
  const ours = median(contenders[0]!.seconds);
  for (const { name, seconds, converted } of contenders) {
    const each = median(seconds);
    const bytes = converted.bytes === 0 ? "" : `, ${Math.round(converted.bytes / points)} bytes a point`;
    console.log(
      `  ${name}: ${(points / each / 1e6).toFixed(2)} M points/s${bytes}, x ${(each / ours).toFixed(1)} the time of this program`,
    );
  }
}

function printMemory(): void {
  console.log("Peak RSS of a process that converts, the answer made as it is read:");
  for (const series of [10_000, 100_000]) {
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "memory", String(series)], {
      encoding: "utf8",
    });
    console.log(`  ${series} series: ${child.stdout.trim() || child.stderr}`);
  }
}

const [mode, series] = process.argv.slice(2);
if (mode === "memory") {
  const workload: Workload = { series: Number(series), samplesPerSeries: 10 };
  const { points } = convert(answerChunks(workload, CHUNK_BYTES), workload);
  console.log(`${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB (${points} points)`);
} else {
  printSpeed();
  printMemory();
}
