import type { ScannedSeries, SeriesSink } from "#prometheus/series-sink.ts";

/** A series as plain data: labels in the order of the bytes, without `__name__`; each sample is [ms, value]. */
export interface PlainSeries {
  name: string;
  labels: [string, string][];
  samples: [number, number][];
}

/** The series as a scanner hands it over: ranges into one buffer that begins with other bytes, arrays longer than what they hold. */
export function toScanned({ name, labels, samples }: PlainSeries): ScannedSeries {
  const parts = [Buffer.from("other bytes"), Buffer.from(name)];
  let length = parts[0]!.length + parts[1]!.length;
  const ranges = new Int32Array(labels.length * 4 + 8).fill(-1);
  for (const [i, text] of labels.flat().entries()) {
    const bytes = Buffer.from(text);
    ranges[i * 2] = length;
    length += bytes.length;
    ranges[i * 2 + 1] = length;
    parts.push(bytes);
  }
  const spare = [Number.NaN, Number.NaN];
  return {
    bytes: Buffer.concat([...parts, Buffer.from("more bytes")]),
    nameStart: parts[0]!.length,
    nameEnd: parts[0]!.length + parts[1]!.length,
    labelCount: labels.length,
    labels: ranges,
    sampleCount: samples.length,
    timestamps: Float64Array.from([...samples.map(([ms]) => ms), ...spare]),
    values: Float64Array.from([...samples.map(([, value]) => value), ...spare]),
  };
}

/** A sink that keeps a copy of what it gets. */
export function createSeriesKeeper(): SeriesSink & { kept: PlainSeries[] } {
  const kept: PlainSeries[] = [];
  return { kept, series: (series) => void kept.push(toPlain(series)) };
}

function toPlain(series: ScannedSeries): PlainSeries {
  const bytes = Buffer.from(series.bytes);
  const text = (at: number): string => bytes.toString("utf8", series.labels[at], series.labels[at + 1]);
  return {
    name: bytes.toString("utf8", series.nameStart, series.nameEnd),
    labels: Array.from({ length: series.labelCount }, (_, i) => [text(i * 4), text(i * 4 + 2)]),
    samples: Array.from({ length: series.sampleCount }, (_, i) => [series.timestamps[i]!, series.values[i]!]),
  };
}
