import { PromqlError } from "#promql/error.ts";

const ESCAPED = /^U__(?:[a-zA-Z0-9:]|__|_[0-9a-fA-F]{1,6}_)*$/;

/**
 * The name of a label in a path. Names that are no identifiers come as they are, or as Prometheus escapes them: `U__`, `__` for `_`, and `_2e_` for the character with that number.
 * Throws PromqlError `bad_data` for a name that can't be one.
 */
export function unescapeName(name: string): string {
  if (!ESCAPED.test(name)) return name;
  return name.slice(3).replaceAll(/__|_([0-9a-fA-F]{1,6})_/g, (_all, hex: string | undefined) => {
    if (hex === undefined) return "_";
    const point = Number.parseInt(hex, 16);
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
      throw new PromqlError("bad_data", `invalid label name: ${JSON.stringify(name)}`);
    return String.fromCodePoint(point);
  });
}
