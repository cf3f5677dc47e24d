import type { Clock } from "#lib/clock.ts";
import { backoffMs, type Backoff } from "#lib/retry.ts";
import type { ExportResult, Payload, Transport } from "./transport.ts";

export interface RetrySettings extends Backoff {
  /** No retry begins later than this after the first attempt. */
  maxElapsedMs: number;
}

/** Tells what an attempt came to, for the own metrics. */
export type AttemptObserver = (result: ExportResult["kind"], durationMs: number) => void;

/** Retries what the OTLP specification calls retryable, with exponential backoff, jitter and Retry-After, within a time limit. */
export function createRetryingTransport(
  deps: { transport: Transport; clock: Clock; random: () => number; onAttempt?: AttemptObserver },
  settings: RetrySettings,
): Transport {
  const { transport, clock, random } = deps;
  return {
    encode: (body) => transport.encode(body),
    decode: (payload) => transport.decode(payload),
    send: async (payload: Payload, signal: AbortSignal): Promise<ExportResult> => {
      const startedAt = clock.monotonic();
      for (let attempt = 0; ; attempt++) {
        const attemptAt = clock.monotonic();
        const result = await transport.send(payload, signal);
        deps.onAttempt?.(result.kind, clock.monotonic() - attemptAt);
        if (result.kind !== "retryable") return result;
        // A Retry-After of 0 must not spin: the backoff is the least delay.
        const pause = Math.max(backoffMs(settings, attempt, random), result.retryAfterMs ?? 0);
        if (clock.monotonic() - startedAt + pause > settings.maxElapsedMs) return result;
        await clock.sleep(pause, signal);
      }
    },
  };
}
