import { CST, Lexer, LineCounter, parseAllDocuments } from "yaml";

export interface YamlLimits {
  bytesMax: number;
  /** Keys, list items and brackets together: bounds both nesting and the parser's quadratic search for double keys. */
  structureMax: number;
}

/** Why a text was not read. `reason` never quotes the text, which may be a secret. */
export type YamlResult = { ok: true; value: unknown } | { ok: false; reason: string };

/** Deep enough for any kubeconfig or clusters file, far from the end of the parser's stack. */
const DEPTH_MAX = 40;

/**
 * Reads one YAML (1.2 core) or JSON document from a text that may be hostile: no tags, anchors, aliases or directives,
 * no second document, no double keys, bounded in size, nesting and number of nodes. Map keys are always strings.
 */
export function readYaml(text: string, limits: YamlLimits): YamlResult {
  if (Buffer.byteLength(text) > limits.bytesMax) {
    return { ok: false, reason: `is larger than the ${limits.bytesMax} bytes allowed` };
  }
  const refused = refusedToken(text, limits.structureMax);
  if (refused) return { ok: false, reason: refused };
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, {
    schema: "core",
    version: "1.2",
    strict: true,
    uniqueKeys: true,
    stringKeys: true,
    merge: false,
    prettyErrors: false,
    logLevel: "silent",
    lineCounter: lines,
  });
  const [document, second] = documents;
  if (!document) return { ok: false, reason: "is empty" };
  if (second) return { ok: false, reason: "has more than one YAML document" };
  const error = document.errors[0] ?? document.warnings[0];
  if (error) {
    const place = error.pos[0] >= 0 ? ` at line ${lines.linePos(error.pos[0]).line}` : "";
    return { ok: false, reason: `is not valid YAML (${error.code}${place})` };
  }
  return { ok: true, value: document.toJS({ maxAliasCount: 0 }) };
}

const REFUSED_TOKENS: Readonly<Record<string, string>> = {
  anchor: "anchors",
  alias: "aliases",
  tag: "tags",
  "directive-line": "directives",
};

const STRUCTURE_TOKENS = new Set([
  "flow-map-start",
  "flow-seq-start",
  "map-value-ind",
  "explicit-key-ind",
  "seq-item-ind",
  "comma",
]);

/** Looks at the text's tokens before anything is built from them. */
function refusedToken(text: string, structureMax: number): string | undefined {
  let structure = 0;
  let depth = 0;
  let scalarFollows = false;
  for (const lexeme of new Lexer().lex(text)) {
    if (scalarFollows) {
      scalarFollows = false;
      continue;
    }
    const type = CST.tokenType(lexeme) ?? "";
    const refused = REFUSED_TOKENS[type];
    if (refused) return `uses YAML ${refused}, which are not allowed`;
    if (type === "scalar") scalarFollows = true;
    if (type === "flow-map-start" || type === "flow-seq-start") depth++;
    if (type === "flow-map-end" || type === "flow-seq-end") depth--;
    if (STRUCTURE_TOKENS.has(type)) structure++;
    if (depth > DEPTH_MAX) return `is nested deeper than ${DEPTH_MAX} levels`;
    if (structure > structureMax) return `has more than ${structureMax} entries`;
  }
  return undefined;
}

export type YamlMap = Record<string, unknown>;

export function isYamlMap(value: unknown): value is YamlMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
