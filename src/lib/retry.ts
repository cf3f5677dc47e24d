/** Exponential backoff with full jitter (the OTLP specification asks for jitter; AWS "full jitter" is the form). */
export interface Backoff {
  initialMs: number;
  multiplier: number;
  maxMs: number;
}

/** Delay before retry number `attempt` (0 is the first retry): between half and the whole of the exponential step. */
export function backoffMs(backoff: Backoff, attempt: number, random: () => number): number {
  const step = Math.min(backoff.maxMs, backoff.initialMs * backoff.multiplier ** attempt);
  return step / 2 + (random() * step) / 2;
}
