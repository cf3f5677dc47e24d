import { createOtlpCodec, type KeyValue, type MetricsRequest } from "#allinone/otlp-proto.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import { createOtlpWriter, type Batch, type OtlpWriter, type WriterSettings } from "#otlp/writer.ts";
import { bitsOf } from "./otlp-request.ts";
import type { PlainSeries } from "./scanned-series.ts";

/** A point with everything that is said of it, read by protobufjs. */
export interface DecodedPoint {
  metric: string;
  unit: string;
  description: string;
  kind: "gauge" | "cumulative monotonic sum" | "other";
  ns: bigint;
  /** The double's 64 bits. */
  bits: bigint;
  attributes: [string, string][];
}

const codec = createOtlpCodec();

export function decodeRequest(body: Uint8Array): MetricsRequest {
  return codec.decodeRequest(body);
}

/** The points of a request in their order. */
export function pointsOf(body: Uint8Array): DecodedPoint[] {
  return codec.decodeRequest(body).resourceMetrics.flatMap(({ scopeMetrics }) =>
    scopeMetrics.flatMap(({ metrics }) =>
      metrics.flatMap(({ name, unit, description, gauge, sum }) => {
        const isCounter = sum?.aggregationTemporality === 2 && sum.isMonotonic;
        const kind = gauge ? "gauge" : isCounter ? "cumulative monotonic sum" : "other";
        return (gauge ?? sum)!.dataPoints.map((point): DecodedPoint => ({
          metric: name,
          unit,
          description,
          kind,
          ns: BigInt(point.timeUnixNano.toString()),
          bits: bitsOf(point.asDouble),
          attributes: attributesOf(point.attributes),
        }));
      }),
    ),
  );
}

export function attributesOf(attributes: readonly KeyValue[]): [string, string][] {
  return attributes.map(({ key, value }) => [key, value?.stringValue ?? "no text"]);
}

/** The expected points of a series. */
export function expectedPoints(
  { labels, samples }: PlainSeries,
  { name, unit, description, kind }: MetricDescription,
): DecodedPoint[] {
  return samples.map(([ms, value]) => ({
    metric: name,
    unit,
    description,
    kind: kind === "gauge" ? "gauge" : "cumulative monotonic sum",
    ns: BigInt(ms) * 1_000_000n,
    bits: bitsOf(value),
    attributes: labels,
  }));
}

/** A batch as it was handed over, its bytes copied and released. */
export interface KeptBatch<Owner> {
  body: Buffer;
  points: number;
  parts: Batch<Owner>["parts"];
}

export const RESOURCE = {
  cluster_id: "c-1",
  cluster_name: "Köln 🚀",
  "service.name": "budcluster",
  empty: "",
};

/** A writer whose batches are kept. */
export function createKeepingWriter<Owner>(settings: Partial<WriterSettings<Owner>> = {}): {
  writer: OtlpWriter<Owner>;
  batches: KeptBatch<Owner>[];
} {
  const batches: KeptBatch<Owner>[] = [];
  const writer = createOtlpWriter<Owner>({
    resource: RESOURCE,
    scope: { name: "budcluster", version: "1.2.3" },
    pointsMax: 20_000,
    bytesMax: 8 << 20,
    pool: createBufferPool(2),
    onBatch: (batch) => {
      batches.push({ body: Buffer.from(batch.body), points: batch.points, parts: batch.parts });
      batch.release();
    },
    ...settings,
  });
  return { writer, batches };
}
