import type { AnyValue } from "./otlp-proto.ts";

/**
 * An attribute's value as the Collector writes it into a text column (pcommon.Value.AsString): a string as it is, numbers and booleans as JSON
 * would, bytes in base64, arrays and maps as JSON, no value as "". The decoder bounds how deep values are nested.
 */
export function toAttributeText(value: AnyValue | null): string {
  if (value === null) return "";
  if (Object.hasOwn(value, "stringValue")) return value.stringValue;
  if (Object.hasOwn(value, "bytesValue")) return toBase64(value.bytesValue);
  if (Object.hasOwn(value, "doubleValue")) return String(value.doubleValue);
  const json = toJson(value);
  return json === "null" ? "" : json;
}

// By hand, since JSON.stringify can't write 64-bit integers.
function toJson(value: AnyValue | null): string {
  if (value === null) return "null";
  if (Object.hasOwn(value, "stringValue")) return JSON.stringify(value.stringValue);
  if (Object.hasOwn(value, "boolValue")) return String(value.boolValue);
  if (Object.hasOwn(value, "intValue")) return value.intValue.toString();
  if (Object.hasOwn(value, "doubleValue")) return JSON.stringify(value.doubleValue);
  if (Object.hasOwn(value, "bytesValue")) return JSON.stringify(toBase64(value.bytesValue));
  if (value.arrayValue) return `[${value.arrayValue.values.map(toJson).join(",")}]`;
  if (value.kvlistValue) {
    const pairs = value.kvlistValue.values.map((pair) => `${JSON.stringify(pair.key)}:${toJson(pair.value)}`);
    return `{${pairs.join(",")}}`;
  }
  return "null";
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
