import type { Position } from "./ast.ts";
import { formatShort } from "./go-numbers.ts";
import { positionText } from "./go-text.ts";
import { quote } from "./labels.ts";

/** A remark of Prometheus on a query's answer; `at`: the part of the query that it is about. */
export interface Annotation {
  level: "warning" | "info";
  message: string;
  at: Position;
}

/** Fixes of one histogram_quantile that were necessary, over all its series and times. */
interface Monotonicity {
  fromMs: number;
  toMs: number;
  fromBucket: number;
  toBucket: number;
  differenceMax: number;
  samples: number;
  at: Position;
}

/** Collects a query's remarks, each text once. */
export class Annotations {
  readonly #byMessage = new Map<string, Annotation>();
  readonly #monotonicity = new Map<string, Monotonicity>();

  add(annotation: Annotation): void {
    this.#byMessage.set(annotation.message, annotation);
  }

  warn(message: string, at: Position): void {
    this.add({ level: "warning", message: `PromQL warning: ${message}`, at });
  }

  inform(message: string, at: Position): void {
    this.add({ level: "info", message: `PromQL info: ${message}`, at });
  }

  /** Classic buckets whose counts fell were raised: `metric` may be "". */
  forcedMonotonicity(
    metric: string,
    at: Position,
    timeMs: number,
    fromBucket: number,
    toBucket: number,
    difference: number,
  ): void {
    const message =
      "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see " +
      `https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)${forMetric(metric)}`;
    const seen = this.#monotonicity.get(message);
    if (!seen) {
      const first = {
        fromMs: timeMs,
        toMs: timeMs,
        fromBucket,
        toBucket,
        differenceMax: difference,
        samples: 1,
        at,
      };
      this.#monotonicity.set(message, first);
      return;
    }
    seen.fromMs = Math.min(seen.fromMs, timeMs);
    seen.toMs = Math.max(seen.toMs, timeMs);
    seen.fromBucket = Math.min(seen.fromBucket, fromBucket);
    seen.toBucket = Math.max(seen.toBucket, toBucket);
    seen.differenceMax = Math.max(seen.differenceMax, difference);
    seen.samples++;
  }

  /** The texts as Prometheus' HTTP API gives them; `query`: its text, for the places. */
  texts(query: string | undefined): { warnings: string[]; infos: string[] } {
    const warnings: string[] = [];
    const infos: string[] = [];
    for (const { level, message, at } of this.#byMessage.values())
      (level === "warning" ? warnings : infos).push(message + placeIn(query, at));
    for (const [message, fix] of this.#monotonicity)
      infos.push(message + fixText(fix) + placeIn(query, fix.at));
    return { warnings, infos };
  }
}

function fixText(fix: Monotonicity): string {
  const buckets = `from buckets ${formatShort(fix.fromBucket)} to ${formatShort(fix.toBucket)}`;
  const samples = `over ${fix.samples} samples from ${secondText(fix.fromMs)} to ${secondText(fix.toMs)}`;
  return `, ${buckets}, with a max diff of ${formatShort(fix.differenceMax, 2)}, ${samples}`;
}

function secondText(timeMs: number): string {
  return new Date(Math.trunc(timeMs / 1000) * 1000).toISOString().replace(".000Z", "Z");
}

/** Line and column (bytes), from 1. */
function placeIn(query: string | undefined, at: Position): string {
  if (query === undefined) return "";
  return ` (${positionText(query, at.start)})`;
}

/** Annotations name the metric only where the query still knows it. */
export function forMetric(metric: string): string {
  return metric === "" ? "" : ` for metric name ${quote(metric)}`;
}

export function mixedFloatsAndHistograms(metric: string): string {
  return `encountered a mix of histograms and floats for metric name ${quote(metric)}`;
}

export function ignoredHistogramsInRange(metric: string): string {
  return `ignored histograms in a range containing both floats and histograms for metric name ${quote(metric)}`;
}

export function mixedSchemas(metric: string): string {
  return `vector contains a mix of histograms with exponential and custom buckets schemas for metric name ${quote(metric)}`;
}

export function ignoredHistogramIn(aggregation: string): string {
  return `ignored histogram in ${aggregation} aggregation`;
}

export function invalidQuantile(value: number): string {
  return `quantile value should be between 0 and 1, got ${formatShort(value)}`;
}

export type HistogramOperation = "addition" | "subtraction" | "aggregation";

export function counterResetCollision(operation: HistogramOperation): string {
  return `conflicting counter resets during histogram ${operation}`;
}

export function reconciledCustomBuckets(operation: HistogramOperation): string {
  return `mismatched custom buckets were reconciled during ${operation}`;
}
