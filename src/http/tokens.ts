import { readFile, stat } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import { CLUSTER_ID, CLUSTER_ID_RULE } from "#lib/cluster-id.ts";

/**
 * The permission that a route needs. open: none; any: a valid token, whatever its scopes; read: see status, clusters, metrics; collect:
 * start a round; admin: change things.
 * `admin` includes read and collect; `collect` does not include read.
 */
export type Scope = "open" | "any" | GrantedScope;
export const GRANTED_SCOPES = ["read", "collect", "admin"] as const;
export type GrantedScope = (typeof GRANTED_SCOPES)[number];

/** An entry of API_TOKENS_FILE. The program knows only the hash of a token. */
export interface ApiToken {
  /** Shown in the access log. */
  name: string;
  /** SHA-256 of the token, 64 lower-case hex characters. */
  sha256: string;
  scopes: readonly GrantedScope[];
  /** The only clusters that the token may read, by their ids; absent: all. Only with the scope read. */
  clusters?: readonly string[];
}

const FILE_BYTES_MAX = 1024 * 1024;
const TOKENS_MAX = 1000;
const PROBLEMS_MAX = 20;
const CLUSTERS_MAX = 1000;

const tokenEntry = z
  .strictObject({
    name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"),
    sha256: z
      .string()
      .regex(
        /^[0-9a-fA-F]{64}$/,
        "must be the 64 hex characters that `printf %s TOKEN | sha256sum` prints, not the token itself",
      )
      .transform((hex) => hex.toLowerCase()),
    scopes: z.array(z.enum(GRANTED_SCOPES)).min(1, "must name at least one of read, collect, admin"),
    clusters: z
      .array(z.string().regex(CLUSTER_ID, CLUSTER_ID_RULE))
      .min(1, "must name at least one cluster; leave it out for all clusters")
      .max(CLUSTERS_MAX)
      .exactOptional(),
  })
  .refine(({ clusters, scopes }) => clusters === undefined || scopes.every((scope) => scope === "read"), {
    path: ["clusters"],
    error: "goes with `scopes: [read]` only: rounds and changes are about all clusters",
  });

const tokensFile = z
  .array(tokenEntry)
  .min(1, "must hold at least one token; unset API_TOKENS_FILE to run without tokens on loopback")
  .max(TOKENS_MAX);

/**
 * The tokens of API_TOKENS_FILE's text: a YAML or JSON list of {name, sha256, scopes, clusters?}, at most 1000.
 * Throws tokens_file_invalid, which names every wrong entry and field and never repeats a value.
 */
export function parseTokens(text: string): ApiToken[] {
  const result = tokensFile.safeParse(parseText(text));
  if (!result.success) throw invalid(result.error.issues.slice(0, PROBLEMS_MAX).map(toProblem));
  const problems = ["name", "sha256"].flatMap((field) => repeated(result.data, field as "name" | "sha256"));
  if (problems.length > 0) throw invalid(problems);
  return result.data;
}

/** The text of API_TOKENS_FILE, at most 1 MiB. Throws tokens_file_invalid: it can't be read or is too large. */
export async function readTokensFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > FILE_BYTES_MAX) throw invalid([`is larger than ${FILE_BYTES_MAX} bytes`]);
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof BridgeError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new BridgeError(
      "tokens_file_invalid",
      `API_TOKENS_FILE can't be read: ${code ?? "unknown reason"}`,
      {
        hint: "Check that the path is right and that this process may read the file.",
        cause: error,
      },
    );
  }
}

function parseText(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0, logLevel: "error" });
  } catch (error) {
    // The parser's message quotes the line, which may hold a token written there by mistake.
    const at = (error as { linePos?: { line: number; col: number }[] }).linePos?.[0];
    throw invalid([`is neither YAML nor JSON${at ? ` (line ${at.line}, column ${at.col})` : ""}`]);
  }
}

function toProblem(issue: z.core.$ZodIssue): string {
  const [entry, ...field] = issue.path;
  const place = entry === undefined ? "the file" : `entry ${Number(entry) + 1}`;
  const name = field.length === 0 ? "" : ` ${field.join(".")}`;
  return `${place}${name}: ${issue.message}`;
}

function repeated(tokens: readonly ApiToken[], field: "name" | "sha256"): string[] {
  const seen = new Map<string, number>();
  return tokens.flatMap((token, index) => {
    const first = seen.get(token[field]);
    if (first === undefined) seen.set(token[field], index);
    return first === undefined
      ? []
      : [`entry ${index + 1} ${field}: is the same as that of entry ${first + 1}`];
  });
}

function invalid(problems: string[]): BridgeError {
  return new BridgeError("tokens_file_invalid", `API_TOKENS_FILE: ${problems.join("; ")}`, {
    hint: 'Write a list of {name: ci, sha256: "<64 hex>", scopes: [read, collect]}; a hash is made by `printf %s TOKEN | sha256sum`.',
  });
}
