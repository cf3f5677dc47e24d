import type { LabelPairs } from "./message-writer.ts";
import { STALE_HIGH, STALE_LOW } from "./stale-marker.ts";

/** A series of an answer: its samples, oldest first. */
export interface ServedSamples {
  labels: LabelPairs;
  /** Whole ms since 1970. */
  times: Float64Array;
  values: Float64Array;
  /** 1: a stale marker. */
  stale?: Uint8Array;
}

/** The values' bits, the low half of value k at 2k and the high half behind it; of a stale marker, Prometheus' own. */
export function bitsOf({ values, stale }: Pick<ServedSamples, "values" | "stale">): Uint32Array {
  const bits = new Uint32Array(values.slice().buffer);
  for (let k = 0; stale !== undefined && k < stale.length; k++) {
    if (stale[k] !== 1) continue;
    bits[k * 2] = STALE_LOW;
    bits[k * 2 + 1] = STALE_HIGH;
  }
  return bits;
}
