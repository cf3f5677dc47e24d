/** Go's strconv.FormatFloat(value, 'f', -1, 64): the fewest digits that give the value again, without an exponent. */
export function formatFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (Object.is(value, -0)) return "-0";
  const text = String(value);
  const at = text.indexOf("e");
  if (at < 0) return text;
  const sign = text.startsWith("-") ? "-" : "";
  const [whole = "", fraction = ""] = text.slice(sign.length, at).split(".");
  const digits = whole + fraction;
  const point = whole.length + Number(text.slice(at + 1));
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  if (point >= digits.length) return sign + digits.padEnd(point, "0");
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** Go's %g, or %.Ng with `precision`. */
export function formatShort(value: number, precision?: number): string {
  if (!Number.isFinite(value) || value === 0) return formatFloat(value);
  const text = precision === undefined ? value.toExponential() : value.toExponential(precision - 1);
  const [mantissa = "", exponentText = ""] = text.split("e");
  const exponent = Number(exponentText);
  const digits = mantissa.replace(/^-|\./g, "").replace(/0+$/, "").length;
  let threshold = precision ?? 6;
  if (precision !== undefined && threshold > digits && digits > exponent) threshold = Math.max(digits, 1);
  if (exponent >= -4 && exponent < threshold) return formatFloat(Number(text));
  const sign = exponent < 0 ? "-" : "+";
  const trimmed = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  return `${trimmed}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const INFINITE = /^([+-]?)inf(inity)?$/i;

/** Go's strconv.ParseFloat for decimal numbers, infinities and NaN; undefined where Go refuses the text. */
export function parseFloatText(text: string): number | undefined {
  if (DECIMAL.test(text)) return Number(text);
  const infinite = INFINITE.exec(text);
  if (infinite) return infinite[1] === "-" ? -Infinity : Infinity;
  return /^nan$/i.test(text) ? NaN : undefined;
}
