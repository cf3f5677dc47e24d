import { z } from "zod";

/** 3000-01-01: what is later is in milliseconds, or nonsense. */
const SECONDS_MAX = 32_503_680_000;

const seconds = z.coerce
  .number()
  .min(0, "must not be before 1970")
  .max(SECONDS_MAX, "is no Unix time in seconds; is it in milliseconds?");

/** RFC 3339 with Z or an offset, or Unix time in seconds (also as text, for query strings); gives ms. */
export const timeInput = z
  .union([z.number(), z.string().max(64)], { error: "must be RFC 3339 or Unix seconds" })
  .transform((input, context): number => {
    const parsed =
      typeof input === "number" || /^\d+(\.\d+)?$/.test(input)
        ? seconds.safeParse(input)
        : z.iso
            .datetime({
              offset: true,
              error: 'must be RFC 3339 with a time zone, like "2025-06-01T12:00:00Z", or Unix seconds',
            })
            .safeParse(input);
    if (!parsed.success) {
      context.addIssue({ code: "custom", message: parsed.error.issues[0]?.message ?? "is no time" });
      return z.NEVER;
    }
    return typeof parsed.data === "number" ? Math.round(parsed.data * 1000) : Date.parse(parsed.data);
  })
  .meta({
    description: "RFC 3339 with a time zone, or Unix time in seconds",
    examples: ["2025-06-01T12:00:00Z", 1_748_779_200],
  });

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const STEP_MS_MAX = 366 * 86_400_000;

/** Whole seconds, or a duration like "30s", "5m", "1h", "1d"; gives ms. */
export const stepInput = z
  .union([z.number(), z.string().max(32)], { error: 'must be seconds or a duration like "5m"' })
  .transform((input, context): number => {
    const [, digits, unit = "s"] = /^(\d{1,9})([smhd])?$/.exec(String(input)) ?? [];
    const ms = Number(digits) * UNIT_MS[unit]!;
    if (ms >= 1000 && ms <= STEP_MS_MAX) return ms;
    context.addIssue({
      code: "custom",
      message: 'must be whole seconds from 1, or a duration like "30s", "5m", "1h"',
    });
    return z.NEVER;
  })
  .meta({ description: 'Seconds, or a duration like "30s", "5m", "1h", "1d"', examples: ["5m", 300] });
