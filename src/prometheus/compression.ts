import type { Clock } from "#lib/clock.ts";

/** What is known of the link to a source; the names are those of the progress record. */
export interface LinkSpeed {
  /** Of a large answer that was not compressed, while its bytes arrived. */
  bytes_per_second: number;
  /** Unix time in ms. */
  measured_at: number;
}

/** Whether answers are asked for compressed. */
export interface Compression {
  /** Gzip, for the next request. */
  isWanted(): boolean;
  /** After an answer that was not compressed: its bytes, and the time spent waiting for them after the first ones. */
  measure(bytes: number, waitedMs: number): void;
  /** For the progress record; undefined: nothing was measured yet. */
  link(): LinkSpeed | undefined;
}

/** Below this speed of the link, answers are asked for compressed (docs/decisions/0023-gzip-over-slow-links.md). */
const SLOW_BYTES_PER_SECOND = 4 << 20;
/** A smaller answer fits into the buffers of the sockets, and tells little of the link. */
const MEASURED_BYTES_MIN = 256 << 10;
/** An answer is read uncompressed once in this time to see whether the link is still slow. */
const REMEASURE_MS = 6 * 3_600_000;
const BYTES_PER_SECOND_MAX = 1e9;

/** `known`: from an earlier collection. */
export function createCompression(clock: Clock, known: LinkSpeed | undefined): Compression {
  let link = known;
  return {
    isWanted: () => {
      if (!link || link.bytes_per_second >= SLOW_BYTES_PER_SECOND) return false;
      return Math.abs(clock.now() - link.measured_at) < REMEASURE_MS;
    },
    measure: (bytes, waitedMs) => {
      if (bytes < MEASURED_BYTES_MIN) return;
      const rate = Math.min((bytes / Math.max(waitedMs, 0.001)) * 1000, BYTES_PER_SECOND_MAX);
      link = { bytes_per_second: Math.round(rate), measured_at: clock.now() };
    },
    link: () => link,
  };
}
