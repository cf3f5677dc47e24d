import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { checkRequestedRange, toStateWindow, type RequestedRange } from "#query/state/window.ts";

const NOW_MS = Date.UTC(2025, 5, 1, 12);
const HOUR_MS = 3_600_000;
const RULES = { defaultMs: HOUR_MS, maxMs: 24 * HOUR_MS };

function refusal(range: RequestedRange): BridgeError {
  try {
    checkRequestedRange(range, NOW_MS, RULES);
  } catch (error) {
    if (error instanceof BridgeError) return error;
  }
  throw new Error("was not refused");
}

describe("checkRequestedRange", () => {
  test("refuses what is reversed, in the future or too long", () => {
    const beforeMs = NOW_MS - HOUR_MS;
    expect(refusal({ fromMs: beforeMs, toMs: beforeMs }).message).toContain("not before to");
    expect(refusal({ fromMs: NOW_MS }).message).toContain("future");
    expect(refusal({ toMs: NOW_MS + 301_000 }).details).toMatchObject({ fields: [{ field: "to" }] });
    expect(refusal({ fromMs: NOW_MS - 25 * HOUR_MS }).code).toBe("query_too_large");
  });

  test("a caller's clock may run ahead a little", () => {
    expect(() => checkRequestedRange({ toMs: NOW_MS + 299_000 }, NOW_MS, RULES)).not.toThrow();
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
