import { describe, expect, it } from "vitest";
import { afterSuccess, afterTooMuch, longestWindow, type WindowLength } from "#collect/window-length.ts";
import { HOUR, MINUTE } from "../../helpers/collection.ts";

const SLOW = { msMin: MINUTE, isSlow: true };

/** Reads windows of the length, as long as it is; the source answers up to `answeredMs`. Returns the lengths that were tried, in minutes. */
function read(times: number, answeredMs: number, start: WindowLength = longestWindow(HOUR)): number[] {
  let length = start;
  const tried: number[] = [];
  for (let i = 0; i < times; i++) {
    tried.push(length.ms / MINUTE);
    length =
      length.ms <= answeredMs
        ? afterSuccess(length, length.ms, { msMax: HOUR })
        : afterTooMuch(length, length.ms, SLOW);
  }
  return tried;
}

describe("the length of a query's windows", () => {
  it("stays the longest while that is answered", () => {
    expect(new Set(read(100, HOUR))).toEqual(new Set([60]));
  });

  it.each([29, 20, 5, 1])(
    "a source that answers %d minutes wastes few reads on longer windows",
    (minutes) => {
      const tried = read(400, minutes * MINUTE);
      const wasted = tried.filter((length) => length > minutes).length;
      expect(wasted).toBeLessThan(25);
      const done = tried.filter((length) => length <= minutes).reduce((sum, length) => sum + length, 0);
      expect(done).toBeGreaterThan((400 * minutes) / 4);
    },
  );

  it("grows back when the source recovers", () => {
    let length = longestWindow(HOUR);
    for (let i = 0; i < 200; i++) {
      length =
        length.ms <= MINUTE
          ? afterSuccess(length, length.ms, { msMax: HOUR })
          : afterTooMuch(length, length.ms, SLOW);
    }
    expect(read(100, HOUR, length).at(-1)).toBe(60);
  });

  it("is not proved by a shorter window, nor shortened by one that was shorter already", () => {
    const length = afterTooMuch(longestWindow(HOUR), HOUR, SLOW);
    expect(length.ms).toBe(30 * MINUTE);
    expect(afterSuccess(length, 5 * MINUTE, { msMax: HOUR })).toBe(length);
    // Two windows of an hour were under way: the second failure says nothing new.
    expect(afterTooMuch(length, HOUR, SLOW)).toBe(length);
  });

  it("is halved by a window with too many samples, faster and faster by windows that are slow", () => {
    const minutes = (isSlow: boolean): number[] => {
      let length = longestWindow(HOUR);
      return [1, 2, 3].map(() => {
        length = afterTooMuch(length, length.ms, { msMin: 1000, isSlow });
        return length.ms / MINUTE;
      });
    };
    expect(minutes(false)).toEqual([30, 15, 7.5]);
    expect(minutes(true)).toEqual([30, 7.5, 0.9375]);
  });

  it("does not go below the shortest", () => {
    const length = afterTooMuch({ ...longestWindow(HOUR), ms: 90_000 }, 90_000, SLOW);
    expect(length.ms).toBe(MINUTE);
    expect(afterTooMuch(length, MINUTE, SLOW)).toMatchObject({ ms: MINUTE, failures: 1 });
  });
});
