import { describe, expect, test } from "vitest";
import { stepInput, timeInput, toStepMs, toTimeMs } from "#http/time-input.ts";

const ELEVEN_MS = Date.UTC(2025, 5, 1, 11);

describe("timeInput", () => {
  test.each([
    ["2025-06-01T11:00:00Z", ELEVEN_MS],
    ["2025-06-01T13:00:00.250+02:00", ELEVEN_MS + 250],
    ["2025-06-01T13:00:00 02:00", ELEVEN_MS],
    ["2025-06-01t11:00:00z", ELEVEN_MS],
    ["1748775600", ELEVEN_MS],
    ["1748775600.5", ELEVEN_MS + 500],
    [1_748_775_600.5, ELEVEN_MS + 500],
  ])("reads %s", (input, ms) => {
    expect(toTimeMs(timeInput.parse(input))).toBe(ms);
  });

  test.each([
    "",
    "now",
    "2025-06-01",
    "2025-06-01T11:00:00",
    "2025-02-29T11:00:00Z",
    "2025-13-01T00:00:00Z",
    "-5",
    -5,
    "1e9",
    "1748775600000",
  ])("refuses %j", (input) => {
    expect(timeInput.safeParse(input).success).toBe(false);
  });
});

describe("stepInput", () => {
  test.each([
    [300, 300_000],
    ["300", 300_000],
    ["30s", 30_000],
    ["5m", 300_000],
    ["1.5h", 5_400_000],
    ["1d", 86_400_000],
  ])("reads %j", (input, ms) => {
    expect(toStepMs(stepInput.parse(input))).toBe(ms);
  });

  test.each(["", "m", "0", 0.5, "1500ms", "-1", "5 minutes", "367d", 1e21])("refuses %j", (input) => {
    expect(stepInput.safeParse(input).success).toBe(false);
  });
});
