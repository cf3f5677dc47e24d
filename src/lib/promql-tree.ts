import type { Tree } from "@lezer/common";
import { parser } from "@prometheus-io/lezer-promql";

/**
 * The grammar looks names up, in lower case, in plain objects, and takes these two for keywords. While the text is parsed, another name of the
 * same length stands for them.
 */
const INHERITED = /constructor|__proto__/gi;

/** A text's tree by Prometheus' own grammar; its positions are those of `promql`. */
export function parsePromqlTree(promql: string): Tree {
  return parser.parse(promql.replace(INHERITED, (name) => "x".repeat(name.length)));
}
