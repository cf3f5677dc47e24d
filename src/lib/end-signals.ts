import type { Clock } from "./clock.ts";

/** Ctrl-C, a supervisor's request to end, and the end of the terminal. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** A terminal signals its whole foreground group, and npm passes the signal on to its child: one Ctrl-C arrives twice. */
const REPEAT_MS = 2000;

export interface EndSignalsDeps {
  /** The process, or an emitter in its place. */
  process: { on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown };
  clock: Pick<Clock, "monotonic">;
  /** Ends the process at once with this exit code, from inside the signal's listener. */
  exit: (code: number) => void;
}

/**
 * Resolves at the first SIGINT, SIGTERM or SIGHUP. Further ones within 2 s of it count as the same one; a later one asks to end at once
 * (exit code 130). The listeners stay, so that no signal ends the process behind the back of its `exit` listeners.
 */
export function onEndSignal({ process, clock, exit }: EndSignalsDeps): Promise<NodeJS.Signals> {
  let firstAt: number | undefined;
  return new Promise((resolve) => {
    for (const name of SIGNALS) {
      process.on(name, (signal) => {
        const now = clock.monotonic();
        firstAt ??= now;
        if (now - firstAt >= REPEAT_MS) exit(130);
        else resolve(signal);
      });
    }
  });
}
