import { BridgeError } from "#errors/error.ts";

const TEXT_BYTES_SHOWN = 40;
const DECIMAL = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/**
 * The number behind a sample value's text in Prometheus' JSON, as Go's strconv.FormatFloat writes it ("NaN", "+Inf", "-Inf", decimals, exponents).
 * Undefined for any other text, also for those that JavaScript reads as numbers ("0x10", "1_000", " 1", "Infinity") and for numbers that no double
 * holds ("1e400").
 */
export function sampleValueOf(text: string): number | undefined {
  if (DECIMAL.test(text)) {
    const value = Number(text);
    return Number.isFinite(value) ? value : undefined;
  }
  switch (text) {
    case "NaN":
      return Number.NaN;
    case "+Inf":
      return Number.POSITIVE_INFINITY;
    case "-Inf":
      return Number.NEGATIVE_INFINITY;
    default:
      return undefined;
  }
}

/** The same for callers that need a number. Throws BridgeError `prometheus_answer_invalid` with the beginning of the text. */
export function parseSampleValue(text: string): number {
  const value = sampleValueOf(text);
  if (value !== undefined) return value;
  throw new BridgeError(
    "prometheus_answer_invalid",
    `a sample's value is not a number: ${JSON.stringify(text.slice(0, TEXT_BYTES_SHOWN))}`,
  );
}

/** A number of JSON itself, or undefined when the text is none. */
export function jsonNumberOf(text: string): number | undefined {
  if (!DECIMAL.test(text)) return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : undefined;
}
