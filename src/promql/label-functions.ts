import { RE2JS, RE2JSSyntaxException } from "re2js";
import type { Expr } from "./ast.ts";
import { failed, stringArgument } from "./evaluation.ts";
import { type Labels, METRIC_NAME } from "./labels.ts";

/** Changes one label of each series. */
export interface LabelChange {
  /** It is the metric's name: a value that lost its name has one again. */
  isName: boolean;
  /** undefined: stays as it is. */
  labels(labels: Labels): Labels | undefined;
}

/** label_replace's (target, replacement, source, expression). */
export function labelReplace(args: readonly Expr[]): LabelChange {
  const [target = "", replacement = "", source = "", expression = ""] = args.map(stringArgument);
  const pattern = compile(expression);
  if (!isLabelName(target)) throw failed(`invalid destination label name in label_replace(): ${target}`);
  const template = parseTemplate(replacement);
  return {
    isName: target === METRIC_NAME,
    labels: (labels) => {
      const matcher = pattern.matcher(labels.get(source));
      if (!matcher.matches()) return undefined;
      const text = template
        .map((part) => (typeof part === "string" ? part : groupOf(matcher, part.group)))
        .join("");
      return labels.with(target, text);
    },
  };
}

/** label_join's (target, separator, source ...). */
export function labelJoin(args: readonly Expr[]): LabelChange {
  const [target = "", separator = "", ...sources] = args.map(stringArgument);
  for (const source of sources)
    if (!isLabelName(source)) throw failed(`invalid source label name in label_join(): ${source}`);
  if (!isLabelName(target)) throw failed(`invalid destination label name in label_join(): ${target}`);
  return {
    isName: target === METRIC_NAME,
    labels: (labels) => labels.with(target, sources.map((source) => labels.get(source)).join(separator)),
  };
}

/** Any text in UTF-8: only half of a surrogate pair is none. */
export function isLabelName(name: string): boolean {
  return name !== "" && name.isWellFormed();
}

function compile(expression: string): RE2JS {
  try {
    return RE2JS.compile(expression, RE2JS.DOTALL);
  } catch (error) {
    if (!(error instanceof RE2JSSyntaxException)) throw error;
    throw failed(`invalid regular expression in label_replace(): ${expression}`);
  }
}

type TemplatePart = string | { group: string };

const REFERENCE = /\$(?:\$|(?<plain>[\p{L}\p{Nd}_]+)|\{(?<braced>[\p{L}\p{Nd}_]+)\})/u;

/** Go's Regexp.Expand: `$1`, `$name`, `${name}`, and `$$` for a dollar; a name goes on as long as it can. Any other dollar is a plain one. */
function parseTemplate(template: string): TemplatePart[] {
  const parts: TemplatePart[] = [];
  let rest = template;
  for (;;) {
    const at = rest.indexOf("$");
    if (at < 0) break;
    parts.push(rest.slice(0, at));
    rest = rest.slice(at);
    const reference = REFERENCE.exec(rest);
    if (reference?.index !== 0) {
      parts.push("$");
      rest = rest.slice(1);
      continue;
    }
    const group = reference.groups?.["plain"] ?? reference.groups?.["braced"];
    parts.push(group === undefined ? "$" : { group });
    rest = rest.slice(reference[0].length);
  }
  parts.push(rest);
  return parts;
}

/** "" for a group that there is not, or that matched nothing. */
function groupOf(matcher: ReturnType<RE2JS["matcher"]>, name: string): string {
  if (/^(?:0|[1-9]\d*)$/.test(name)) {
    const index = Number(name);
    return index > matcher.groupCount() ? "" : (matcher.group(index) ?? "");
  }
  return Object.hasOwn(matcher.pattern().namedGroups(), name) ? (matcher.group(name) ?? "") : "";
}
