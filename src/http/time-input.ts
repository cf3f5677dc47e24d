import { z } from "zod";
import { parseDuration } from "#lib/duration.ts";

// Checked here and converted by the handlers: zod leaves the examples out of a body that transforms.

/** A time in a request: RFC 3339 with Z or an offset, or Unix time in seconds (also as text, for query strings). */
export type TimeInput = string | number;

/** 3000-01-01: a later time is in milliseconds, or nonsense. */
const SECONDS_MAX = 32_503_680_000;
const rfc3339 = z.iso.datetime({ offset: true });

const isSeconds = (input: TimeInput): boolean =>
  typeof input === "number" || /^\d{1,15}(\.\d{1,9})?$/.test(input);

/** The "+" of an offset arrives as a space where a URL does not encode it; RFC 3339 allows "t" and "z". */
const toRfc3339 = (input: string): string => input.replace(/ (?=\d\d:\d\d$)/, "+").toUpperCase();

const time = z
  .union([z.number(), z.string().max(64)], { error: "must be RFC 3339 or Unix seconds" })
  .superRefine((input, context) => {
    const refuse = (message: string): void => context.addIssue({ code: "custom", message });
    if (!isSeconds(input)) {
      if (rfc3339.safeParse(toRfc3339(String(input))).success) return;
      refuse('must be RFC 3339 with a time zone, like "2025-06-01T12:00:00Z", or Unix seconds');
    } else if (Number(input) < 0) refuse("must not be before 1970");
    else if (Number(input) > SECONDS_MAX) refuse("is too large for Unix seconds: send seconds, not ms");
  });

export const timeInput = time.meta({
  description: "RFC 3339 with a time zone, or Unix time in seconds",
  examples: ["2025-06-01T12:00:00Z", 1_748_779_200],
});

/** Unix time in ms of what `timeInput` accepted. */
export function toTimeMs(input: TimeInput): number {
  return isSeconds(input) ? Math.round(Number(input) * 1000) : Date.parse(toRfc3339(String(input)));
}

/**
 * The fields `from` and `to` of a query string; `from` is not in the range, `to` is. Without examples, which /docs would fill in: the same time in both is an empty range.
 */
export const rangeFields = (fromDefault: string, toDefault: string) => ({
  from: time
    .optional()
    .meta({ description: `Start, not included: RFC 3339 or Unix seconds. ${fromDefault}` }),
  to: time.optional().meta({ description: `End: RFC 3339 or Unix seconds. ${toDefault}` }),
});

/** Unix time in ms of the fields of `rangeFields`. */
export function toRangeMs({ from, to }: { from?: TimeInput | undefined; to?: TimeInput | undefined }) {
  return {
    ...(from === undefined ? {} : { fromMs: toTimeMs(from) }),
    ...(to === undefined ? {} : { toMs: toTimeMs(to) }),
  };
}

const STEP_MS_MAX = 366 * 86_400_000;

/** Whole seconds, or a duration like "30s", "5m", "1h", "1d". */
export const stepInput = z
  .union([z.number(), z.string().max(32)], { error: 'must be seconds or a duration like "5m"' })
  .refine((input) => isStep(toStepMs(input)), {
    error: 'must be whole seconds from 1, or a duration like "30s", "5m", "1h"',
  })
  .meta({ description: 'Seconds, or a duration like "30s", "5m", "1h", "1d"', examples: ["5m", 300] });

const isStep = (ms: number): boolean => ms >= 1000 && ms <= STEP_MS_MAX && ms % 1000 === 0;

/** What `stepInput` accepted in ms; NaN for what it refuses. */
export function toStepMs(input: string | number): number {
  return parseDuration(String(input));
}
