import protobuf from "protobufjs";
import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import { histogramBytesMax, putHistogram } from "#otlp/histogram-bytes.ts";
import { type HistogramPoint, toHistogramPoint } from "#otlp/histogram-point.ts";
import type { NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import { compact } from "#promql/histogram-math.ts";
import type { FloatHistogram } from "#promql/histogram.ts";
import type { Series } from "#promql/source.ts";
import { storeOfResource } from "./stored-world.ts";

/** A point as the bridge sends it. `histogram` undefined: a stale marker of the series whose sample before is `before`. */
export interface TestHistogram {
  name: string;
  labels: Record<string, string>;
  timeMs: number;
  histogram: FloatHistogram | undefined;
  before?: FloatHistogram | undefined;
}

const RESET = { unknown: "unknown", reset: "reset", no_reset: "none", gauge: "gauge" } as const;
const NO_HISTOGRAM: FloatHistogram = {
  schema: 0,
  count: 0,
  sum: 0,
  zeroThreshold: 0,
  zeroCount: 0,
  positiveSpans: [],
  positiveBuckets: [],
  negativeSpans: [],
  negativeBuckets: [],
  hint: "unknown",
};
const MARKER_BITS = Uint32Array.of(2, 0x7ff00000);

function toNative(h: FloatHistogram, timestampMs: number, isStale: boolean): NativeHistogram {
  return {
    timestampMs,
    isFloat: true,
    isStale,
    counterReset: RESET[h.hint],
    schema: h.schema,
    zeroThreshold: h.zeroThreshold,
    sum: h.sum,
    sumBits: isStale ? MARKER_BITS : new Uint32Array(Float64Array.of(h.sum).buffer),
    count: h.count,
    zeroCount: h.zeroCount,
    positiveSpans: h.positiveSpans,
    negativeSpans: h.negativeSpans,
    positiveCounts: Float64Array.from(h.positiveBuckets),
    negativeCounts: Float64Array.from(h.negativeBuckets),
    customValues: h.customValues ?? [],
    exact: undefined,
  };
}

/** Without the histograms that OTLP can't hold, which are counted by reason, and without what the tables have no column for. */
export function toStored(series: Series, leftOut = new Map<string, number>()): Series {
  const { histograms } = series;
  if (!histograms) return series;
  const kept: number[] = [];
  for (const k of series.times.keys()) {
    const histogram = histograms[k];
    const point = histogram && toHistogramPoint(toNative(histogram, series.times[k]!, false));
    if (typeof point === "string") leftOut.set(point, (leftOut.get(point) ?? 0) + 1);
    else kept.push(k);
  }
  return {
    labels: series.labels,
    times: Float64Array.from(kept, (k) => series.times[k]!),
    values: Float64Array.from(kept, (k) => series.values[k]!),
    ...(series.stale && { stale: Uint8Array.from(kept, (k) => series.stale![k]!) }),
    histograms: kept.map((k) => histograms[k] && asRead(histograms[k])),
  };
}

/** The tables do not have the zero threshold: it is the one of Prometheus' client libraries. */
function asRead(h: FloatHistogram): FloatHistogram {
  return { ...compact(h), zeroThreshold: h.customValues ? 0 : 2 ** -128, hint: "unknown" };
}

const DATA = { exponential_histogram: 10, histogram: 9 } as const;
const ATTRIBUTES = { exponential_histogram: 1, histogram: 9 } as const;
const CUMULATIVE = 2;

/** Stores native histograms as the OTLP receiver does. */
export async function storeHistograms(
  database: EmbeddedDatabase,
  resource: Readonly<Record<string, string>>,
  histograms: readonly TestHistogram[],
): Promise<void> {
  if (histograms.length === 0) return;
  await storeOfResource(database, resource, [], "now", (scope) => {
    for (const { name, labels, timeMs, histogram, before = NO_HISTOGRAM } of histograms) {
      const source = histogram ?? { ...NO_HISTOGRAM, schema: before.schema };
      const point = toHistogramPoint(toNative(source, timeMs, histogram === undefined));
      if (typeof point === "string") throw new Error(`${name}: ${point}`);
      scope.uint32((2 << 3) | 2).fork();
      scope.uint32((1 << 3) | 2).string(name);
      scope.uint32((DATA[point.kind] << 3) | 2).fork();
      scope.uint32((1 << 3) | 2).bytes(toBytes(point, labels));
      scope.uint32(2 << 3).int32(CUMULATIVE);
      scope.ldelim().ldelim();
    }
  });
}

function toBytes(point: HistogramPoint, labels: Record<string, string>): Uint8Array {
  const own = Buffer.alloc(histogramBytesMax(point));
  const length = putHistogram(own, 0, point);
  const writer = protobuf.Writer.create();
  for (const [key, value] of Object.entries(labels)) {
    writer.uint32((ATTRIBUTES[point.kind] << 3) | 2).fork();
    writer.uint32((1 << 3) | 2).string(key);
    writer.uint32((2 << 3) | 2).fork();
    writer.uint32((1 << 3) | 2).string(value);
    writer.ldelim().ldelim();
  }
  return Buffer.concat([own.subarray(0, length), writer.finish()]);
}
