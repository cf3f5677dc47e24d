import type { Clock } from "#lib/clock.ts";
import type { ExportResult, Transport } from "./transport.ts";

/** The result of one request. */
export interface ExportAttempt {
  result: ExportResult;
  durationSeconds: number;
  /** Of the body, as sent. */
  bytes: number;
}

/** Tells of each request that is answered, or not, and changes nothing. */
export function createObservedTransport(deps: {
  transport: Transport;
  clock: Clock;
  onAttempt: (attempt: ExportAttempt) => void;
}): Transport {
  const { transport, clock } = deps;
  return {
    ...transport,
    send: async (payload, signal) => {
      const startedAt = clock.monotonic();
      const result = await transport.send(payload, signal);
      const durationSeconds = (clock.monotonic() - startedAt) / 1000;
      deps.onAttempt({ result, durationSeconds, bytes: payload.body.length });
      return result;
    },
  };
}
