import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { StateStore } from "./store.ts";

export interface WaitSettings {
  /** How long a store that does not answer is waited for. */
  timeoutMs: number;
  /** Between two looks. */
  pauseMs: number;
}

/**
 * Waits until the store answers: the program and Dapr's sidecar start together, and neither knows which is first. When the time is over the
 * program goes on without it: what needs the store then fails by name, and works as soon as the store does. Rejects only when aborted.
 */
export async function waitForStore(
  store: Pick<StateStore, "check">,
  { clock, logger }: { clock: Clock; logger: Logger },
  { timeoutMs, pauseMs }: WaitSettings,
  signal: AbortSignal,
): Promise<void> {
  const end = clock.monotonic() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await store.check();
    } catch (error) {
      if (clock.monotonic() + pauseMs > end) {
        const err = toBridgeError(error, "state_unavailable");
        logger.error({ err }, "the state store does not answer; starting without it");
        return;
      }
    }
    await clock.sleep(pauseMs, signal);
  }
}
