import type { Clock } from "#lib/clock.ts";
import { backoffMs, type Backoff } from "#lib/retry.ts";
import type { ExportResult, Payload, Transport } from "./transport.ts";

export interface RetrySettings extends Backoff {
  /** No retry begins later than this after the first attempt. */
  maxElapsedMs: number;
}

/** Retries what the OTLP specification calls retryable, with exponential backoff, jitter and Retry-After, within a time limit. */
export function createRetryingTransport(
  deps: { transport: Transport; clock: Clock; random: () => number },
  settings: RetrySettings,
): Transport {
  const { transport, clock, random } = deps;
  return {
    ...transport,
    send: async (payload: Payload, signal: AbortSignal): Promise<ExportResult> => {
      const startedAt = clock.monotonic();
      for (let attempt = 0; ; attempt++) {
        const result = await transport.send(payload, signal);
        if (result.kind !== "retryable") return result;
        // A Retry-After of 0 must not spin: the backoff is the least delay.
        const pause = Math.max(backoffMs(settings, attempt, random), result.retryAfterMs ?? 0);
        if (clock.monotonic() - startedAt + pause > settings.maxElapsedMs) return result;
        await clock.sleep(pause, signal);
      }
    },
  };
}
