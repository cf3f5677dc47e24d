import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { parseRange, toStateWindow } from "#query/state/window.ts";

const NOW_MS = Date.UTC(2025, 5, 1, 12);
const HOUR_MS = 3_600_000;
const RULES = { defaultMs: HOUR_MS, maxMs: 24 * HOUR_MS };

function refusal(range: { from?: string; to?: string }): BridgeError {
  try {
    parseRange(range, NOW_MS, RULES);
  } catch (error) {
    if (error instanceof BridgeError) return error;
  }
  throw new Error("was not refused");
}

describe("parseRange", () => {
  test.each([
    ["2025-06-01T11:00:00Z", NOW_MS - HOUR_MS],
    ["2025-06-01T13:00:00.250+02:00", NOW_MS - HOUR_MS + 250],
    ["2025-06-01T13:00:00 02:00", NOW_MS - HOUR_MS],
    ["2025-06-01t11:00:00z", NOW_MS - HOUR_MS],
    ["1748775600", NOW_MS - HOUR_MS],
    ["1748775600.5", NOW_MS - HOUR_MS + 500],
  ])("reads %s", (from, fromMs) => {
    expect(parseRange({ from }, NOW_MS, RULES)).toEqual({ fromMs });
  });

  test.each([
    "",
    "now",
    "2025-06-01",
    "2025-06-01T11:00:00",
    "2025-02-29T11:00:00Z",
    "2025-13-01T00:00:00Z",
    "-5",
    "1e9",
  ])("refuses %j", (from) => {
    const error = refusal({ from });
    expect(error.code).toBe("request_invalid");
    expect(error.details).toMatchObject({ fields: [{ field: "from" }] });
  });

  test("refuses what is turned round, in the future or too long", () => {
    expect(refusal({ from: "1748775600", to: "1748775600" }).message).toContain("not before to");
    expect(refusal({ from: "1748779200" }).message).toContain("future");
    expect(refusal({ to: "1748779300" }).details).toMatchObject({ fields: [{ field: "to" }] });
    expect(refusal({ from: "1748600000" }).code).toBe("query_too_large");
    expect(refusal({ from: "1748775600000" }).hint).toContain("seconds");
  });

  test("a caller's clock may run ahead a little", () => {
    expect(parseRange({ to: "1748779230" }, NOW_MS, RULES)).toEqual({ toMs: NOW_MS + 30_000 });
  });
});

describe("toStateWindow", () => {
  const stored = NOW_MS - 300_000;

  test("ends where the data ends when nothing is asked for", () => {
    expect(toStateWindow({}, stored, NOW_MS, RULES)).toEqual({
      fromMs: stored - HOUR_MS,
      toMs: stored,
      asOfMs: stored,
    });
  });

  test("is what was asked for, and describes the newest stored time in it", () => {
    const fromMs = NOW_MS - 2 * HOUR_MS;
    const toMs = NOW_MS - HOUR_MS;
    expect(toStateWindow({ fromMs, toMs }, stored, NOW_MS, RULES)).toEqual({ fromMs, toMs, asOfMs: toMs });
    expect(toStateWindow({ fromMs, toMs: NOW_MS + 1 }, stored, NOW_MS, RULES)).toEqual({
      fromMs,
      toMs: NOW_MS,
      asOfMs: stored,
    });
  });

  test("has nothing to describe where nothing is stored", () => {
    expect(toStateWindow({}, null, NOW_MS, RULES).asOfMs).toBeNull();
    expect(toStateWindow({ fromMs: stored }, stored, NOW_MS, RULES).asOfMs).toBeNull();
  });
});
