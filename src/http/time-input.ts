import { z } from "zod";

// Checked here and converted by the handlers: zod leaves the examples out of a body that transforms.

/** A time in a request: RFC 3339 with Z or an offset, or Unix time in seconds (also as text, for query strings). */
export type TimeInput = string | number;

/** 3000-01-01: what is later is in milliseconds, or nonsense. */
const SECONDS_MAX = 32_503_680_000;
const rfc3339 = z.iso.datetime({ offset: true });

const isSeconds = (input: TimeInput): boolean =>
  typeof input === "number" || /^\d{1,15}(\.\d{1,9})?$/.test(input);

export const timeInput = z
  .union([z.number(), z.string().max(64)], { error: "must be RFC 3339 or Unix seconds" })
  .superRefine((input, context) => {
    const refuse = (message: string): void => context.addIssue({ code: "custom", message });
    if (!isSeconds(input)) {
      if (rfc3339.safeParse(input).success) return;
      refuse('must be RFC 3339 with a time zone, like "2025-06-01T12:00:00Z", or Unix seconds');
    } else if (Number(input) < 0) refuse("must not be before 1970");
    else if (Number(input) > SECONDS_MAX) refuse("is no Unix time in seconds; is it in milliseconds?");
  })
  .meta({
    description: "RFC 3339 with a time zone, or Unix time in seconds",
    examples: ["2025-06-01T12:00:00Z", 1_748_779_200],
  });

/** Unix time in ms of what `timeInput` accepted. */
export function toTimeMs(input: TimeInput): number {
  return isSeconds(input) ? Math.round(Number(input) * 1000) : Date.parse(String(input));
}

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const STEP_MS_MAX = 366 * 86_400_000;

/** Whole seconds, or a duration like "30s", "5m", "1h", "1d". */
export const stepInput = z
  .union([z.number(), z.string().max(32)], { error: 'must be seconds or a duration like "5m"' })
  .refine((input) => toStepMs(input) >= 1000 && toStepMs(input) <= STEP_MS_MAX, {
    error: 'must be whole seconds from 1, or a duration like "30s", "5m", "1h"',
  })
  .meta({ description: 'Seconds, or a duration like "30s", "5m", "1h", "1d"', examples: ["5m", 300] });

/** What `stepInput` accepted in ms; NaN for what it refuses. */
export function toStepMs(input: string | number): number {
  const [, digits, unit = "s"] = /^(\d{1,9})([smhd])?$/.exec(String(input)) ?? [];
  return Number(digits) * UNIT_MS[unit]!;
}
