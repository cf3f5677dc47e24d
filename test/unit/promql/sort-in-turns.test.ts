import { expect, test } from "vitest";
import type { Evaluation } from "#promql/evaluation.ts";
import { sortInTurns } from "#promql/sort-in-turns.ts";

test("sorts as sort() does, stable, and gives others their turn", async () => {
  let turns = 0;
  const run = {
    signal: new AbortController().signal,
    pause: () => {
      turns++;
      return undefined;
    },
  } as unknown as Evaluation;
  const items = Array.from({ length: 5000 }, (_none, i) => ({ key: (i * 7919) % 97, i }));
  const expected = items.toSorted((a, b) => a.key - b.key);
  await sortInTurns(run, items, (a, b) => a.key - b.key);
  expect(items).toEqual(expected);
  expect(turns).toBeGreaterThan(20);
});
