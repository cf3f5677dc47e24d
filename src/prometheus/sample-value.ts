import { BridgeError } from "#errors.ts";

/** A sample value's text as Prometheus' JSON has it (Go's float format, "NaN", "+Inf", "-Inf") as a number. */
export function parseSampleValue(text: string): number {
  const value = Number(text);
  // Number makes 0 of an empty text, and NaN of Go's words for NaN and the infinities.
  if (!Number.isNaN(value) && value !== 0) return value;
  switch (text) {
    case "NaN":
      return Number.NaN;
    case "+Inf":
    case "Inf":
      return Number.POSITIVE_INFINITY;
    case "-Inf":
      return Number.NEGATIVE_INFINITY;
  }
  if (value === 0 && text.trim() !== "") return value;
  throw new BridgeError(
    "prometheus_answer_invalid",
    `a sample's value is not a number: ${JSON.stringify(text.slice(0, 40))}`,
  );
}
