import type { Label } from "./series.ts";

/**
 * 2: ranges closed at both ends, HTML characters escaped in labels; 3: left-open ranges, nothing escaped that
 * JSON does not ask for.
 */
export type PrometheusVersion = 2 | 3;

/**
 * A sample's value as Prometheus writes it: Go's 'f' format, 'e' with at least two digits below 1e-6 and from
 * 1e21 on.
 */
export function formatValue(value: number): string {
  if (value !== value) return "NaN";
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  // ECMAScript and Go agree on the shortest digits and on both limits; only the exponent's width differs.
  const text = String(value);
  const exponent = text.indexOf("e");
  return exponent > 0 && text.length === exponent + 3
    ? `${text.slice(0, exponent + 2)}0${text.at(-1)}`
    : text;
}

/** A scalar result's value: Go's 'f' format, however long. */
export function formatScalar(value: number): string {
  const text = formatValue(value);
  const parts = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (!parts) return text;
  const [, sign = "", whole = "", fraction = "", power = ""] = parts;
  const digits = whole + fraction;
  const exponent = Number(power);
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  return sign + digits.padEnd(exponent + 1, "0");
}

/** Seconds with no decimals or three. */
export function formatTime(timeMs: number): string {
  const whole = Math.floor(timeMs / 1000);
  const rest = timeMs - whole * 1000;
  if (rest === 0) return String(whole);
  return `${whole}.${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}`;
}

const SPECIAL_3 = /["\\\p{Cc}]/gu;
const SPECIAL_2 = /["\\\p{Cc}<>&\u2028\u2029]/gu;
const SHORT: Record<string, string> = { '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A JSON string with the escapes of Go's encoders: no \b and \f. */
export function formatText(text: string, version: PrometheusVersion): string {
  const escape = (char: string): string => {
    const unit = char.charCodeAt(0);
    if (unit >= 0x7f && unit <= 0x9f) return char;
    return SHORT[char] ?? `\\u${unit.toString(16).padStart(4, "0")}`;
  };
  return `"${text.replaceAll(version === 2 ? SPECIAL_2 : SPECIAL_3, escape)}"`;
}

export function formatLabels(labels: readonly Label[], version: PrometheusVersion): string {
  let text = "{";
  for (const [name, value] of labels) {
    text += `${text.length > 1 ? "," : ""}${formatText(name, version)}:${formatText(value, version)}`;
  }
  return `${text}}`;
}
