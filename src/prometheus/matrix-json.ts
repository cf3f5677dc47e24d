import { BridgeError } from "#errors.ts";
import { parseSampleValue } from "./sample-value.ts";
import type { ScannedSeries } from "./series-sink.ts";

/**
 * Reads one series that JSON.parse made (a layout that the scanner does not know, or one with native histograms) and hands its float samples
 * inside (fromMs, toMs] to `emit`. Returns how many native histogram samples of the window it left out: OTLP points of that kind are not
 * made yet, and the caller must report the number. Throws BridgeError prometheus_*.
 */
export function readJsonSeries(
  series: unknown,
  window: { fromMs: number; toMs: number },
  limits: { labelsMax: number; labelBytesMax: number },
  emit: (series: ScannedSeries) => void,
): number {
  if (typeof series !== "object" || series === null) throw invalid("a series is not an object");
  const { metric, values, histograms } = series as {
    metric?: unknown;
    values?: unknown;
    histograms?: unknown;
  };
  const timestamps: number[] = [];
  const numbers: number[] = [];
  if (values !== undefined && !Array.isArray(values)) throw invalid("a series' values are not a list");
  for (const sample of (values ?? []) as unknown[]) {
    const [time, value] = Array.isArray(sample) ? (sample as unknown[]) : [];
    if (typeof time !== "number" || typeof value !== "string") throw invalid("a sample is not [time, value]");
    const ms = Math.round(time * 1000);
    if (ms > window.fromMs && ms <= window.toMs) {
      timestamps.push(ms);
      numbers.push(parseSampleValue(value));
    }
  }
  if (timestamps.length > 0) emit(toScanned(metric, limits, timestamps, numbers));
  return countHistograms(histograms, window);
}

function toScanned(
  metric: unknown,
  limits: { labelsMax: number; labelBytesMax: number },
  timestamps: number[],
  values: number[],
): ScannedSeries {
  if (typeof metric !== "object" || metric === null) throw invalid("a series has no metric");
  const entries = Object.entries(metric as Record<string, unknown>).filter(([key]) => key !== "__name__");
  const name = Buffer.from(textOf((metric as Record<string, unknown>)["__name__"] ?? ""));
  const labels = new Int32Array(entries.length * 4);
  if (entries.length > limits.labelsMax) {
    throw new BridgeError("prometheus_label_too_large", `a series has more than ${limits.labelsMax} labels`);
  }
  const parts: Buffer[] = [name];
  let length = name.length;
  let count = 0;
  for (const [key, value] of entries) {
    for (const [i, text] of [key, textOf(value)].entries()) {
      const part = Buffer.from(text);
      parts.push(part);
      labels[count * 4 + i * 2] = length;
      length += part.length;
      labels[count * 4 + i * 2 + 1] = length;
    }
    count++;
  }
  if (length > limits.labelBytesMax) {
    throw new BridgeError(
      "prometheus_label_too_large",
      `a series' labels have more than ${limits.labelBytesMax} bytes`,
    );
  }
  return {
    bytes: Buffer.concat(parts, length),
    nameStart: 0,
    nameEnd: name.length,
    labelCount: count,
    labels,
    sampleCount: timestamps.length,
    timestamps: Float64Array.from(timestamps),
    values: Float64Array.from(values),
  };
}

function textOf(value: unknown): string {
  if (typeof value !== "string") throw invalid("a label's value is not a text");
  return value;
}

function countHistograms(histograms: unknown, window: { fromMs: number; toMs: number }): number {
  if (!Array.isArray(histograms)) return 0;
  return (histograms as unknown[]).filter((sample) => {
    const time = Array.isArray(sample) ? Math.round(Number(sample[0]) * 1000) : Number.NaN;
    return time > window.fromMs && time <= window.toMs;
  }).length;
}

function invalid(message: string): BridgeError {
  return new BridgeError("prometheus_answer_invalid", message);
}
