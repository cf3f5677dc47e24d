import { PromqlError } from "#promql/error.ts";
import { parseExpr } from "#promql/parse.ts";

/** Which experimental feature of Prometheus a query uses, as the parser's refusal tells; undefined: none. */
export function experimentalFeature(query: string): string | undefined {
  try {
    parseExpr(query);
  } catch (error) {
    if (!(error instanceof PromqlError)) throw error;
    const [, named, func, modifier] =
      /(\w+)\(\) is experimental|function "(\w+)" is not enabled|(\w+) modifiers? (?:is|are) experimental/.exec(
        error.message,
      ) ?? [];
    if (modifier !== undefined) return modifier === "fill" ? "fill()" : modifier;
    const name = named ?? func;
    return name === undefined ? undefined : `${name}()`;
  }
  return undefined;
}
