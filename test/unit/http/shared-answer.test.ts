import { expect, test } from "vitest";
import { createSharedAnswer } from "#http/shared-answer.ts";

test("callers that wait at the same time share one answer, and get it in turns of their own", async () => {
  let loads = 0;
  const ask = createSharedAnswer(() => Promise.resolve(++loads));
  let turns = 0;
  let isDone = false;
  const count = (): void => {
    turns++;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  const turnsOf = await Promise.all(
    Array.from({ length: 100 }, async () => {
      expect(await ask()).toBe(1);
      return turns;
    }),
  );
  isDone = true;
  expect(new Set(turnsOf).size).toBeGreaterThan(90);
  expect(await ask()).toBe(2);
});

test("a failure is for those that waited, and the next caller tries again", async () => {
  let loads = 0;
  const ask = createSharedAnswer(() =>
    ++loads === 1 ? Promise.reject(new Error("no")) : Promise.resolve(loads),
  );
  const both = await Promise.allSettled([ask(), ask()]);
  expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await ask()).toBe(2);
});
