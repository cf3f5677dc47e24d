import { quote } from "./labels.ts";

const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** As `%q` writes a character: `'x'`. */
export function quoteChar(char: string): string {
  if (char === "'") return String.raw`'\''`;
  return char === '"' ? `'"'` : `'${quote(char).slice(1, -1)}'`;
}

/** As `%#U` writes a character: `U+0078 'x'`. */
export function codePoint(char: string): string {
  const hex = char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
  return PRINTABLE.test(char) ? `U+${hex} '${char}'` : `U+${hex}`;
}

/** Where `at` (a UTF-16 offset) is: `line:column` of Prometheus' messages. Both begin at 1; columns are bytes. */
export function positionText(text: string, at: number): string {
  if (text === "") return "unknown position";
  const before = text.slice(0, at);
  const lines = before.split("\n");
  return `${lines.length}:${Buffer.byteLength(lines.at(-1)!) + 1}`;
}
