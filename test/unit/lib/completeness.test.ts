import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  createTally,
  lastHours,
  SAMPLE_COUNTS,
  STRETCH_KINDS,
  type StretchReport,
} from "#lib/completeness.ts";
import { STRETCH_STATES, worseState, type StretchState } from "#lib/stretch-states.ts";

const HOUR = 3_600_000;
const T = 480_000 * HOUR;

const report = (change: Partial<StretchReport>): StretchReport => ({
  query: "up",
  from: T,
  to: T + HOUR,
  state: "proved",
  reason: null,
  comparedAt: null,
  source: 0,
  read: 0,
  acknowledged: 0,
  refused: 0,
  late: 0,
  ...change,
});

const hoursOf = (stretches: StretchReport[], length = 1): (StretchState | null)[] => {
  const tally = createTally({ from: T, to: T + length * HOUR });
  tally.add(stretches);
  return tally.summary().hours.map(({ state }) => state);
};

test("the last of the 24 hours is the running one; an hour that has just ended is the last one", () => {
  expect(lastHours(T + 1)).toEqual({ from: T - 23 * HOUR, to: T + HOUR });
  expect(lastHours(T)).toEqual({ from: T - 24 * HOUR, to: T });
  const { hours } = createTally(lastHours(T + 1)).summary();
  expect(hours).toHaveLength(24);
  expect(hours.at(-1)).toEqual({ from: new Date(T).toISOString(), state: null });
});

test.each(STRETCH_STATES.slice(1).map((state, i) => [STRETCH_STATES[i]!, state] as const))(
  "an hour with a stretch that is %s and one that is %s has the former state",
  (worse, better) => {
    expect(hoursOf([report({ state: worse }), report({ state: better })])).toEqual([worse]);
    expect(hoursOf([report({ state: better }), report({ state: worse })])).toEqual([worse]);
  },
);

test("an expression has no proof, but does not make an hour unproved where selectors are proved", () => {
  const expression = report({ query: "rate", state: "unproved", reason: "expression" });
  expect(hoursOf([expression, report({})])).toEqual(["proved"]);
  expect(hoursOf([report({}), expression])).toEqual(["proved"]);
  expect(hoursOf([expression])).toEqual(["unproved"]);
  expect(hoursOf([report({ state: "lost", reason: "lost" }), expression])).toEqual(["lost"]);
  const lost = report({ query: "rate", state: "lost", reason: "lost" });
  expect(hoursOf([lost, report({})])).toEqual(["lost"]);
});

test("stretches of a minute make an hour, and one of six hours makes six", () => {
  const minutes = Array.from({ length: 60 }, (_, i) =>
    report({ from: T + i * 60_000, to: T + (i + 1) * 60_000, state: i === 7 ? "open" : "proved" }),
  );
  expect(hoursOf(minutes)).toEqual(["open"]);
  expect(hoursOf([report({ from: T - 3 * HOUR, to: T + 3 * HOUR })], 4)).toEqual([
    "proved",
    "proved",
    "proved",
    null,
  ]);
});

test("what the bridge did not report is unknown, and decides about no hour", () => {
  const unknown = report({ state: null, source: null, read: null });
  expect(hoursOf([unknown])).toEqual([null]);
  expect(hoursOf([unknown, report({})])).toEqual(["proved"]);
  const tally = createTally({ from: T, to: T + HOUR });
  tally.add([unknown]);
  expect(tally.summary().totals).toMatchObject({ source: 0, read: 0, stretches: { unknown: 1 } });
});

const anyReport: fc.Arbitrary<StretchReport> = fc
  .record({
    hour: fc.nat(30),
    state: fc.constantFrom(null, ...STRETCH_STATES),
    isExpression: fc.boolean(),
    counts: fc.array(fc.option(fc.nat(1e9)), {
      minLength: SAMPLE_COUNTS.length,
      maxLength: SAMPLE_COUNTS.length,
    }),
  })
  .map(({ hour, state, isExpression, counts }) =>
    report({
      from: T + hour * HOUR,
      to: T + (hour + 1) * HOUR,
      state,
      reason: state === "unproved" && isExpression ? "expression" : null,
      ...Object.fromEntries(SAMPLE_COUNTS.map((name, i) => [name, counts[i] ?? null])),
    }),
  );

test("totals are the sums of the stretches, and each hour is as bad as its worst one, in any order and parts", () => {
  fc.assert(
    fc.property(fc.array(anyReport), fc.nat(), (stretches, cut) => {
      const tally = createTally({ from: T, to: T + 24 * HOUR });
      const at = stretches.length === 0 ? 0 : cut % stretches.length;
      tally.add(stretches.slice(at));
      tally.add(stretches.slice(0, at));
      const { totals, hours } = tally.summary();
      for (const name of SAMPLE_COUNTS) {
        expect(totals[name]).toBe(stretches.reduce((sum, stretch) => sum + (stretch[name] ?? 0), 0));
      }
      const counted = STRETCH_KINDS.reduce((sum, kind) => sum + totals.stretches[kind], 0);
      expect(counted).toBe(stretches.length);
      for (const [i, { state }] of hours.entries()) {
        const inHour = stretches.filter(({ from }) => from === T + i * HOUR);
        const states = inHour.flatMap((stretch) =>
          stretch.state === null || stretch.reason === "expression" ? [] : [stretch.state],
        );
        const isExpression = inHour.some(({ reason }) => reason === "expression");
        const worst = states.reduce<StretchState | null>(
          (known, each) => (known === null ? each : worseState(known, each)),
          null,
        );
        expect(state).toBe(worst ?? (isExpression ? "unproved" : null));
      }
    }),
  );
});
