const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The ms of a duration: seconds ("30", "1.5"), or a number with a unit ("250ms", "15m", "24h", "90d"). NaN for any other text. */
export function parseDuration(text: string): number {
  const [, count, unit = "s"] = /^(\d{1,15}(?:\.\d{1,9})?)(ms|s|m|h|d)?$/.exec(text.trim()) ?? [];
  return Number(count) * UNITS_MS[unit]!;
}
