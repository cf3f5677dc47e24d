import { describe, expect, test } from "vitest";
import { createTurns } from "#lib/turns.ts";

/** Lets the event loop turn once. */
async function turn(): Promise<void> {
  await new Promise((resolve) => void setImmediate(resolve));
}

describe("turns of the event loop", () => {
  test("a reader goes on until the slice is over, and then waits for the next turn", async () => {
    let nowMs = 0;
    const turns = createTurns(() => nowMs);
    expect(turns.pause()).toBeUndefined();
    nowMs = 7;
    expect(turns.pause()).toBeUndefined();
    nowMs = 8;
    const pause = turns.pause();
    expect(pause).toBeDefined();
    await pause;
    expect(turns.pause()).toBeUndefined();
  });

  test("the slice is shared: many readers together hold the loop no longer than one", async () => {
    let nowMs = 0;
    const turns = createTurns(() => nowMs);
    const workedInTurn: number[] = [];
    let loopTurns = 0;
    let isDone = false;
    const reader = async (): Promise<void> => {
      for (let chunk = 0; chunk < 20; chunk++) {
        nowMs += 3;
        workedInTurn[loopTurns] = (workedInTurn[loopTurns] ?? 0) + 3;
        const pause = turns.pause();
        if (pause) await pause;
      }
    };
    const count = async (): Promise<void> => {
      while (!isDone) {
        loopTurns++;
        await turn();
      }
    };
    const counting = count();
    await Promise.all(Array.from({ length: 10 }, reader));
    isDone = true;
    await counting;
    expect(workedInTurn.reduce((sum, ms) => sum + ms, 0)).toBe(600);
    // The first turn has the first chunk of each reader: nobody knows of the others before it asks.
    expect(Math.max(...workedInTurn.slice(2).filter((ms) => ms !== undefined))).toBeLessThanOrEqual(24);
  });

  test("who waits goes on in the order of waiting", async () => {
    let nowMs = 0;
    const turns = createTurns(() => nowMs);
    const order: number[] = [];
    void turns.pause();
    nowMs = 100;
    await Promise.all(
      [1, 2, 3].map(async (id) => {
        await turns.pause();
        order.push(id);
      }),
    );
    expect(order).toEqual([1, 2, 3]);
  });
});
