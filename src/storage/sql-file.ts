import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { BridgeError } from "#errors/error.ts";

/** A numbered file of SQL statements: its fragments are expanded, its templates are not filled in. */
export interface SqlFile {
  /** From the name's digits: `0001_tables.sql` is 1. */
  version: number;
  name: string;
  text: string;
  /** SHA-256 (hex) of the text. Line ends are \n, so that a checkout on Windows does not differ. */
  checksum: string;
}

const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/;

/** The `NNNN_name.sql` files of a folder by version. Throws `migration_failed` for another name, or two of one version. */
export async function readSqlFiles(directory: string): Promise<SqlFile[]> {
  const files: SqlFile[] = [];
  for (const name of (await readdir(directory)).sort()) {
    const version = Number(FILE_NAME.exec(name)?.[1] ?? Number.NaN);
    if (Number.isNaN(version)) {
      throw new BridgeError("migration_failed", `${name} is not named like 0001_tables.sql`);
    }
    if (files.at(-1)?.version === version) {
      throw new BridgeError("migration_failed", `two migrations have the number ${version}`);
    }
    const text = expandFragments((await readFile(join(directory, name), "utf8")).replaceAll("\r\n", "\n"));
    files.push({ version, name, text, checksum: createHash("sha256").update(text).digest("hex") });
  }
  return files;
}

const DEFINITION = /^--\{\{define (\w+)\}\}\n([\s\S]*?)^--\{\{end\}\}\n\n?/gm;
const USE = /^--\{\{use (\w+)\}\}\n/gm;

/**
 * Puts the lines between `--{{define name}}` and `--{{end}}` in place of each line `--{{use name}}` of the same file. A fragment is text like any
 * other: how a file is divided into fragments does not change its checksum. Throws `migration_failed` for a name that the file does not define.
 */
export function expandFragments(text: string): string {
  const fragments = new Map<string, string>();
  const rest = text.replaceAll(DEFINITION, (_whole, name: string, lines: string) => {
    fragments.set(name, lines);
    return "";
  });
  return rest.replaceAll(USE, (_whole, name: string) => {
    const lines = fragments.get(name);
    if (lines === undefined) throw new BridgeError("migration_failed", `no fragment {{define ${name}}}`);
    return lines;
  });
}

/** Puts `values` in place of `{{name}}`. Throws `migration_failed` for a name that has no value. */
export function fillTemplate(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\{\{(\w+)\}\}/g, (_whole, name: string) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) throw new BridgeError("migration_failed", `no value for {{${name}}}`);
    return value;
  });
}

/** One token that a statement's end can't be in: comment, string, quoted identifier. An unclosed one reaches to the end of the text. */
const OPAQUE =
  /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^'\\]|\\[\s\S])*(?:'|$)|"(?:[^"\\]|\\[\s\S])*(?:"|$)|`(?:[^`\\]|\\[\s\S])*(?:`|$)|;/g;

/**
 * The statements between semicolons, without their comments; a semicolon in a string (quotes doubled or escaped by a backslash), a quoted
 * identifier or a comment ends none. Empty statements are left out.
 */
export function splitStatements(text: string): string[] {
  const statements: string[] = [];
  let statement = "";
  let from = 0;
  const finish = (): void => {
    if (statement.trim() !== "") statements.push(statement.trim());
    statement = "";
  };
  for (const match of text.matchAll(OPAQUE)) {
    const token = match[0];
    statement += text.slice(from, match.index);
    from = match.index + token.length;
    if (token === ";") finish();
    else if (token.startsWith("--") || token.startsWith("/*")) statement += " ";
    else statement += token;
  }
  statement += text.slice(from);
  finish();
  return statements;
}
