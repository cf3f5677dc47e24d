import type { QueryParameters } from "#storage/database.ts";

/** What closes or escapes a string literal, and what the binding would cut the text at. */
const ESCAPED: Record<string, string> = { "\\": "\\\\", "'": "\\'", "\0": "\\0" };

/** A text as a string literal of ClickHouse. Lone surrogates become U+FFFD, as they do in every UTF-8 text. */
export function quoteText(text: string): string {
  return `'${text.replaceAll(/[\\'\0]/g, (character) => ESCAPED[character]!)}'`;
}

/** What is skipped: texts, quoted names and comments. Else `{name:Type}`, where a server takes a bound parameter. */
const TOKEN = new RegExp(
  [
    /'(?:[^'\\]|\\.)*'/,
    /`(?:[^`\\]|\\.)*`/,
    /"(?:[^"\\]|\\.)*"/,
    /--[^\n]*/,
    /\/\*.*?\*\//,
    /\{(?<name>[a-z_][a-z0-9_]*):(?<type>[A-Za-z][A-Za-z0-9]*(?:\([A-Za-z0-9]+\))?)\}/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "gs",
);

/**
 * The statement with its parameters as literals. chdb runs statements with bound parameters one after another in the whole process (it keeps them where all
 * connections see them); statements without run at the same time. A value can't leave its literal, and neither values nor the statement's own texts are searched
 * for places. A place without a value stays, and the engine refuses the statement.
 */
export function toLiteralSql(sql: string, parameters: QueryParameters): string {
  if (Object.keys(parameters).length === 0) return sql;
  return sql.replaceAll(TOKEN, (token: string, name: string | undefined, type: string) => {
    const value = name !== undefined && Object.hasOwn(parameters, name) ? parameters[name] : undefined;
    return value === undefined ? token : toLiteral(value, type);
  });
}

function toLiteral(value: QueryParameters[string], type: string): string {
  if (typeof value === "object") return `CAST([${value.map(quoteText).join(", ")}], '${type}')`;
  const text = quoteText(String(value));
  // The engine itself reads the number, and refuses what is none.
  return type === "String" ? text : `CAST(${text}, '${type}')`;
}
