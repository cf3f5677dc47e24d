import { BridgeError } from "#errors.ts";

/** A sample value's text as Prometheus' JSON has it (Go's float format, "NaN", "+Inf", "-Inf") as a number. */
export function parseSampleValue(text: string): number {
  switch (text) {
    case "NaN":
      return Number.NaN;
    case "+Inf":
    case "Inf":
      return Number.POSITIVE_INFINITY;
    case "-Inf":
      return Number.NEGATIVE_INFINITY;
    default: {
      const value = Number(text);
      if (text.trim() === "" || Number.isNaN(value)) {
        throw new BridgeError(
          "prometheus_answer_invalid",
          `a sample's value is not a number: ${JSON.stringify(text.slice(0, 40))}`,
        );
      }
      return value;
    }
  }
}
