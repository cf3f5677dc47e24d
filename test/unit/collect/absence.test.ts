import { expect, test } from "vitest";
import { sawAbsent } from "#collect/absence.ts";
import { newQueryProgress } from "#collect/progress.ts";
import { MINUTE, SECOND, START } from "../../helpers/collection.ts";

const INTERVAL = 5 * MINUTE;

test("many short stretches that were seen at different times all count as lost an interval later", () => {
  const query = newQueryProgress("up", START);
  const see = (piece: number, nowMs: number) => {
    const fromMs = START + piece * SECOND;
    return sawAbsent("up", query, [fromMs, fromMs + SECOND], { nowMs, intervalMs: INTERVAL });
  };
  const pieces = Array.from({ length: 200 }, (_, i) => i);
  const seenAt = START + 10 * MINUTE;
  for (const piece of pieces) if (piece % 2 === 0) see(piece, seenAt);
  for (const piece of pieces) if (piece % 2 === 1) see(piece, seenAt + MINUTE);
  expect(query.absent!.length).toBeLessThanOrEqual(50);
  expect(query.gaps).toEqual([]);

  for (const piece of pieces) see(piece, seenAt + MINUTE + INTERVAL);
  const lostMs = (): number => query.gaps.reduce((sum, { from, to }) => sum + to - from, 0);
  expect(query.gaps.every(({ state }) => state === "lost")).toBe(true);
  // Only what was forgotten while the even ones had no neighbours is seen a third time.
  expect(lostMs()).toBeGreaterThanOrEqual(100 * SECOND);
  for (const piece of pieces) see(piece, seenAt + MINUTE + 2 * INTERVAL);
  expect(lostMs()).toBe(200 * SECOND);
  expect(query.absent).toBeUndefined();
});
