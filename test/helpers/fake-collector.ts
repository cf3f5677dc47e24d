import {
  createOtlpCodec,
  type ExponentialHistogramDataPoint,
  type HistogramDataPoint,
  type Metric,
  type NumberDataPoint,
} from "#allinone/otlp-proto.ts";
import { BridgeError } from "#errors/error.ts";
import { abortable } from "#lib/clock.ts";
import type { Exporter } from "#otlp/exporter.ts";
import type { DeliveryOutcome, PartOutcome } from "#otlp/delivery-outcome.ts";
import type { Batch } from "#otlp/writer.ts";

export interface StoredPoint {
  metric: string;
  kind: "counter" | "gauge" | "histogram";
  labels: Record<string, string>;
  timestampMs: number;
  /** Of a histogram: its sum. */
  value: number;
  unit: string;
  resource: Record<string, string>;
  /** Only with the flag NO_RECORDED_VALUE. */
  isMarker?: true;
}

/**
 * Result of a batch. down: nothing is stored and the Collector as a whole fails; unheard: stored, but the answer is lost;
 * hang: no answer until the signal; or the points of which it holds are refused, the others stored.
 */
type Verdict = "accept" | "down" | "unheard" | "hang" | ((point: StoredPoint) => boolean);

export interface FakeCollector {
  exporter: Exporter;
  /** Stored points by identity: a repeat is the same row. */
  points: Map<string, StoredPoint>;
  /** Identities that came under two kinds: they would be in two tables. */
  conflicts: string[];
  /** Batches that came, with their points. */
  batches: StoredPoint[][];
  /** Batches that were released. */
  released: number;
  onSend: (points: readonly StoredPoint[]) => Verdict;
}

export const DOWN = new BridgeError("collector_unavailable", "the Collector answered 503");

const codec = createOtlpCodec();

/** Metric, labels and time. */
export function identityOf(point: Pick<StoredPoint, "metric" | "labels" | "timestampMs">): string {
  const labels = Object.entries(point.labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([point.metric, labels, point.timestampMs]);
}

function textsOf(attributes: readonly { key: string; value: { stringValue: string } | null }[]) {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value?.stringValue ?? ""]));
}

function decode(body: Buffer): StoredPoint[] {
  return codec.decodeRequest(body).resourceMetrics.flatMap(({ resource, scopeMetrics }) =>
    scopeMetrics.flatMap(({ metrics }) =>
      metrics.flatMap((metric) =>
        pointsOf(metric).map((point) => ({
          metric: metric.name,
          kind: kindOf(metric),
          labels: textsOf(point.attributes),
          timestampMs: Number(BigInt(point.timeUnixNano.toString()) / 1_000_000n),
          value: "sum" in point ? point.sum : point.asDouble,
          unit: metric.unit,
          resource: textsOf(resource?.attributes ?? []),
          ...(point.flags === 1 ? { isMarker: true as const } : {}),
        })),
      ),
    ),
  );
}

function kindOf(metric: Metric): StoredPoint["kind"] {
  if (metric.histogram ?? metric.exponentialHistogram) return "histogram";
  return metric.sum ? "counter" : "gauge";
}

function pointsOf(metric: Metric): (NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint)[] {
  if (metric.sum && !(metric.sum.isMonotonic && metric.sum.aggregationTemporality === 2)) {
    throw new Error(`${metric.name} is not a cumulative monotonic Sum`);
  }
  const { sum, gauge, histogram, exponentialHistogram } = metric;
  return (sum ?? gauge ?? histogram ?? exponentialHistogram)?.dataPoints ?? [];
}

/** A Collector with its storage, behind the exporter's interface. */
export function createFakeCollector(): FakeCollector {
  const store = (point: StoredPoint): void => {
    const identity = identityOf(point);
    const known = fake.points.get(identity);
    if (known && known.kind !== point.kind) fake.conflicts.push(identity);
    fake.points.set(identity, point);
  };

  const take = (batch: Batch<unknown>): StoredPoint[] => {
    const points = decode(batch.body);
    if (points.length !== batch.points) throw new Error("the batch has other points than it says");
    batch.release();
    fake.released++;
    fake.batches.push(points);
    return points;
  };

  const settle = (verdict: Verdict, point: StoredPoint): DeliveryOutcome => {
    if (verdict === "down") return { state: "failed", error: DOWN };
    if (typeof verdict === "function" && verdict(point)) return { state: "refused", reason: "bad value" };
    store(point);
    return verdict === "unheard" ? { state: "failed", error: DOWN } : { state: "acknowledged" };
  };

  const exporter: Exporter = {
    pack: async <Owner>(batch: Batch<Owner>) => {
      const { points, parts } = batch;
      const copy = Buffer.from(batch.body);
      await Promise.resolve();
      batch.release();
      return { body: copy, packed: "none" as const, points, parts, release: () => {} };
    },
    send: async <Owner>(batch: Batch<Owner>, _probe: unknown, signal: AbortSignal) => {
      const points = take(batch);
      const verdict = fake.onSend(points);
      await Promise.resolve();
      signal.throwIfAborted();
      if (verdict === "hang") await abortable(new Promise<never>(() => {}), signal);
      const parts: PartOutcome<Owner>[] = [];
      let at = 0;
      for (const { owner, points: count } of batch.parts) {
        for (const point of points.slice(at, at + count)) {
          parts.push({ owner, points: 1, outcome: settle(verdict, point) });
        }
        at += count;
      }
      const failed = verdict === "down" || verdict === "unheard";
      return failed ? { parts, bytes: 0, stop: DOWN } : { parts, bytes: batch.body.length };
    },
    isAccepted: async (batch) => {
      const points = take(batch);
      await Promise.resolve();
      return fake.onSend(points) === "accept";
    },
  };

  const fake: FakeCollector = {
    exporter,
    points: new Map(),
    conflicts: [],
    batches: [],
    released: 0,
    onSend: () => "accept",
  };
  return fake;
}
