import { RE2JS } from "re2js";
import type { Matcher } from "./ast.ts";
import type { Labels } from "./labels.ts";

/** An RE2 pattern that must match a whole text; `.` is also a line break, as in Prometheus. Throws an error with RE2's text. */
export function compilePattern(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern, RE2JS.DOTALL);
  } catch (error) {
    // re2js shows the flag as a part of the pattern.
    throw new Error((error as Error).message.replace("`(?s)", "`"), { cause: error });
  }
}

/** Tells whether a label's value is one that the matcher selects; "" stands for no label. */
export function compileMatcher({ type, value }: Matcher): (text: string) => boolean {
  switch (type) {
    case "=":
      return (text) => text === value;
    case "!=":
      return (text) => text !== value;
    case "=~":
    case "!~":
  }
  const pattern = compilePattern(value);
  return type === "=~" ? (text) => pattern.matches(text) : (text) => !pattern.matches(text);
}

/** Tells whether a series is one that all matchers select. */
export function compileMatchers(matchers: readonly Matcher[]): (labels: Labels) => boolean {
  const compiled = matchers.map((matcher) => ({ name: matcher.name, matches: compileMatcher(matcher) }));
  return (labels) => compiled.every(({ name, matches }) => matches(labels.get(name)));
}
