/** A double in JSON. Values that are no JSON number are text, as in Prometheus' API. */
export type JsonDouble = number | "NaN" | "+Inf" | "-Inf";

/** ClickHouse quotes what is no JSON number: "nan", "inf", "-inf". */
export function toJsonDouble(value: number | string): JsonDouble {
  switch (value) {
    case "nan":
    case "-nan":
      return "NaN";
    case "inf":
      return "+Inf";
    case "-inf":
      return "-Inf";
    default:
      return Number(value);
  }
}
