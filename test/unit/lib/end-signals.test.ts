import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { onEndSignal } from "#lib/end-signals.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

function start() {
  const emitter = new EventEmitter();
  const clock = createManualClock();
  const exits: number[] = [];
  const ended = onEndSignal({ process: emitter, clock, exit: (code) => void exits.push(code) });
  const raise = (signal: NodeJS.Signals, afterMs = 0): void => {
    clock.advance(afterMs);
    emitter.emit(signal, signal);
  };
  return { ended, exits, raise };
}

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s asks to end", async (signal) => {
  const { ended, exits, raise } = start();
  raise(signal);
  expect([await ended, exits]).toEqual([signal, []]);
});

test.each([
  [
    "the terminal's and npm's",
    [
      ["SIGINT", 0],
      ["SIGINT", 3],
    ],
    0,
  ],
  [
    "many within two seconds",
    [
      ["SIGINT", 0],
      ["SIGINT", 900],
      ["SIGINT", 900],
      ["SIGINT", 199],
    ],
    0,
  ],
  [
    "of two kinds: a closed terminal and npm's",
    [
      ["SIGHUP", 0],
      ["SIGTERM", 1999],
    ],
    0,
  ],
  [
    "somebody who does not want to wait",
    [
      ["SIGINT", 0],
      ["SIGINT", 2000],
    ],
    1,
  ],
  [
    "counted from the first, not from the last",
    [
      ["SIGINT", 0],
      ["SIGINT", 1500],
      ["SIGINT", 1500],
    ],
    1,
  ],
  [
    "a supervisor that insists",
    [
      ["SIGTERM", 0],
      ["SIGTERM", 10_000],
    ],
    1,
  ],
] as const)("%s", async (_, signals, exitsExpected) => {
  const { ended, exits, raise } = start();
  for (const [signal, afterMs] of signals) raise(signal, afterMs);
  expect(await ended).toBe(signals[0][0]);
  expect(exits).toEqual(Array(exitsExpected).fill(130));
});
