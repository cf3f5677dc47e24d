import { expect, it } from "vitest";
import type { Stretch } from "#page/api-types.ts";
import { toRuns, toStepStates } from "#page/step-states.ts";

const at = (seconds: number): string => new Date(seconds * 1000).toISOString();

function stretch(from: number, to: number, changes: Partial<Stretch>): Stretch {
  return {
    query: "node_load1",
    from: at(from),
    to: at(to),
    state: "proved",
    reason: null,
    message: null,
    source: 1,
    read: 1,
    acknowledged: 1,
    refused: 0,
    late: 0,
    compared_at: null,
    ...changes,
  };
}

const times = [60, 120, 180, 240, 300, 360, 420];
const STRETCHES = [
  stretch(60, 180, {}),
  stretch(180, 300, { state: "lost", message: "older than MAX_BACKFILL" }),
  stretch(300, 420, { state: "pending" }),
];

function statesOf(values: (number | null)[], stretches = STRETCHES, asOf = 420) {
  return toStepStates({ times, lines: [{ name: "line", values }] }, stretches, asOf * 1000);
}

it("gives each time the state of the stretch that it is in: with its end, without its start", () => {
  const states = statesOf([1, 1, 1, 1, 1, 1, 1]);
  expect(states.map(({ state }) => state)).toEqual([
    null,
    "proved",
    "proved",
    "lost",
    "lost",
    "pending",
    "pending",
  ]);
  expect(states.map(({ text }) => text)).toEqual([
    "",
    "",
    "",
    "lost: older than MAX_BACKFILL",
    "lost: older than MAX_BACKFILL",
    "",
    "",
  ]);
});

it("says of each gap why it is there, but not of what is not whole yet", () => {
  const texts = statesOf([null, null, 1, null, null, null, null], STRETCHES, 360).map(({ text }) => text);
  expect(texts).toEqual([
    "nothing was collected",
    "no value: proved, everything that Prometheus had is stored",
    "",
    "lost: older than MAX_BACKFILL",
    "lost: older than MAX_BACKFILL",
    "no value: pending, not compared with Prometheus yet",
    "",
  ]);
});

it("takes the worst of several queries, whatever their order", () => {
  const open = stretch(60, 420, {
    query: "other",
    state: "open",
    message: "a part of it is still to be read",
  });
  const worst = ["open", "open", "lost", "lost", "open", "open"];
  for (const all of [
    [...STRETCHES, open],
    [open, ...STRETCHES],
  ]) {
    const states = statesOf([1, 1, 1, 1, 1, 1, 1], all).map(({ state }) => state);
    expect(states.slice(1)).toEqual(worst);
  }
});

it("puts neighbours of one state and text together", () => {
  expect(toRuns(statesOf([1, 1, 1, null, 1, 1, 1]))).toEqual([
    { state: null, text: "", from: 0, to: 0 },
    { state: "proved", text: "", from: 1, to: 2 },
    { state: "lost", text: "lost: older than MAX_BACKFILL", from: 3, to: 4 },
    { state: "pending", text: "", from: 5, to: 6 },
  ]);
});
