import type { QueryParameters } from "#storage/database.ts";

/** ClickHouse takes at most 128 KiB as one parameter of a URL (http_max_field_value_size), and a quote and a comma go with each text. */
const BYTES_MAX = 60_000;

/** A list of any length as a constant `Array(String)` of SQL, in as many parameters as it needs. `name`: what the names of the parameters begin with. */
export function toLongList(
  name: string,
  texts: readonly string[],
): { sql: string; parameters: QueryParameters } {
  const parts: string[][] = [[]];
  let bytes = 0;
  for (const text of texts) {
    bytes += Buffer.byteLength(text) + 3;
    if (bytes > BYTES_MAX) {
      parts.push([]);
      bytes = Buffer.byteLength(text) + 3;
    }
    parts.at(-1)!.push(text);
  }
  const places = parts.map((_, i) => `{${name}_${i}:Array(String)}`);
  return {
    sql: places.length === 1 ? places[0]! : `arrayConcat(${places.join(", ")})`,
    parameters: Object.fromEntries(parts.map((part, i) => [`${name}_${i}`, part])),
  };
}
