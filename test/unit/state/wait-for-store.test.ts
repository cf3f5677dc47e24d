import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { waitForStore } from "#state/wait-for-store.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

const settings = { timeoutMs: 2000, pauseMs: 500 };
const down = new BridgeError("state_unavailable", "down");

/** A store that answers from the given look on. */
function answeringFrom(look: number) {
  let looks = 0;
  return {
    looks: () => looks,
    check: async () => {
      await Promise.resolve();
      if (++looks < look) throw down;
    },
  };
}

async function advance(clock: ReturnType<typeof createManualClock>, until: () => boolean): Promise<void> {
  for (let i = 0; i < 100 && !until(); i++) {
    await Promise.resolve();
    if (clock.pending() > 0) clock.advance(settings.pauseMs);
  }
}

test("waits until the store answers", async () => {
  const clock = createManualClock();
  const store = answeringFrom(3);
  let isOver = false;
  const waiting = waitForStore(
    store,
    { clock, logger: createSilentLogger() },
    settings,
    new AbortController().signal,
  ).then(() => (isOver = true));
  await advance(clock, () => isOver);
  await waiting;
  expect([store.looks(), clock.monotonic()]).toEqual([3, 1000]);
});

test("goes on without a store that does not answer, and says so", async () => {
  const clock = createManualClock();
  const store = answeringFrom(1000);
  const said: unknown[] = [];
  const logger = { ...createSilentLogger(), error: (fields: unknown) => void said.push(fields) };
  let isOver = false;
  const waiting = waitForStore(store, { clock, logger }, settings, new AbortController().signal).then(
    () => (isOver = true),
  );
  await advance(clock, () => isOver);
  await waiting;
  expect(clock.monotonic()).toBe(2000);
  expect(said).toEqual([{ err: down }]);
});

test("ends when the program does", async () => {
  const clock = createManualClock();
  const stop = new AbortController();
  const waiting = waitForStore(
    answeringFrom(1000),
    { clock, logger: createSilentLogger() },
    settings,
    stop.signal,
  );
  stop.abort(new Error("stopped"));
  await expect(waiting).rejects.toThrow("stopped");
});
