import { RE2JS, RE2JSSyntaxException } from "re2js";

/** The problem of an expression, and the remedy. */
export interface ExpressionProblem {
  problem: string;
  remedy: string;
}

/**
 * Instructions of the compiled expression. Counted repetitions multiply: `((a{9}){9}){9}` is as large as 729 letters. ClickHouse's RE2 takes
 * more, but each instruction costs time for each label value.
 */
const SIZE_MAX = 10_000;
const SHOWN_CHARS_MAX = 40;
const SYNTAX = "Send one that https://github.com/google/re2/wiki/Syntax allows";

/**
 * The expression as Prometheus anchors it (model/labels, NewFastRegexMatcher): it matches the whole value. The expression must be checked by
 * `checkExpression` by itself before, or a parenthesis in it may close the group and escape the anchors.
 */
export function anchor(expression: string): string {
  return `^(?s:${expression})$`;
}

/** Checks that this is a regular expression of RE2 of limited size. undefined: it is. */
export function checkExpression(expression: string): ExpressionProblem | undefined {
  const outline = outlineOf(expression);
  if (outline.size > SIZE_MAX) {
    return {
      problem: "repeats too much: its counted repetitions multiply to more than 10000 characters",
      remedy: "Send smaller counts, or + and * instead.",
    };
  }
  const error = syntaxError(expression) ?? syntaxError(anchor(expression));
  if (error === undefined) return undefined;
  const position = outline.parenthesis ?? positionOf(error.fragment, expression);
  const at = position === undefined ? "" : ` at character ${position + 1}`;
  const isTelling = error.fragment !== "" && error.fragment !== expression;
  const fragment = isTelling ? ` (${error.fragment.slice(0, SHOWN_CHARS_MAX)})` : "";
  return {
    problem: `is not a regular expression of RE2: ${error.description}${fragment}${at}`,
    remedy: `${SYNTAX}; to match a character like ) or + itself, write \\ before it.`,
  };
}

function syntaxError(expression: string): { description: string; fragment: string } | undefined {
  try {
    RE2JS.compile(expression);
    return undefined;
  } catch (error) {
    if (!(error instanceof RE2JSSyntaxException)) throw error;
    return { description: error.getDescription(), fragment: error.getPattern() ?? "" };
  }
}

/** The position of the fragment in the parser's error; undefined when it is the whole expression, or not a part of it. */
function positionOf(fragment: string, expression: string): number | undefined {
  if (fragment === "" || fragment === expression) return undefined;
  const index = expression.indexOf(fragment);
  return index === -1 ? undefined : index;
}

interface Outline {
  /** At least about the instructions that RE2 makes of it. */
  size: number;
  /** Index of a parenthesis without its counterpart. */
  parenthesis?: number;
}

const COUNT = /^\{(\d{1,5})(?:,(\d{0,5}))?\}/;
const NAMED_CHARACTER = /^\\[pPx]\{[^}]*\}?/;

/**
 * Reads groups, classes, quotes and counts, without checking the syntax: compiling first would spend a second on `.{1000}` times 500.
 */
function outlineOf(expression: string): Outline {
  /** Sizes of the open groups so far, from the outermost; `last`: of the newest part, which a count multiplies. */
  const groups = [{ size: 0, last: 0, start: -1 }];
  let unopened: number | undefined;
  const add = (size: number): void => {
    const group = groups.at(-1)!;
    group.size += size;
    group.last = size;
  };
  for (let at = 0; at < expression.length; at++) {
    const character = expression[at];
    const rest = (): string => expression.slice(at, at + 64);
    if (character === "\\") {
      if (expression[at + 1] === "Q") {
        const end = expression.indexOf("\\E", at + 2);
        const quoted = (end === -1 ? expression.length : end) - at - 2;
        for (let i = 0; i < quoted; i++) add(1);
        at += quoted + 3;
      } else {
        at += (NAMED_CHARACTER.exec(rest())?.[0].length ?? 2) - 1;
        add(1);
      }
    } else if (character === "[") {
      at = endOfClass(expression, at);
      add(1);
    } else if (character === "(") {
      groups.push({ size: 2, last: 0, start: at });
    } else if (character === ")") {
      const group = groups.length > 1 ? groups.pop() : undefined;
      if (group) add(group.size);
      else unopened ??= at;
    } else {
      const [text, least, most] = character === "{" ? (COUNT.exec(rest()) ?? []) : [];
      if (text === undefined) {
        add(1);
        continue;
      }
      const group = groups.at(-1)!;
      const grown = group.last * Math.max(1, Number(least), Number(most ?? 0));
      group.size += grown - group.last;
      group.last = grown;
      at += text.length - 1;
    }
  }
  const size = groups.reduce((sum, group) => sum + group.size, 0);
  const unclosed = groups.length > 1 ? groups.at(-1)!.start : undefined;
  const parenthesis = unopened ?? unclosed;
  return { size, ...(parenthesis === undefined ? {} : { parenthesis }) };
}

/** The index of the bracket that ends the class which begins at `start`; a bracket that comes first is a member. */
function endOfClass(expression: string, start: number): number {
  let at = start + 1;
  if (expression[at] === "^") at++;
  if (expression[at] === "]") at++;
  while (at < expression.length && expression[at] !== "]") {
    if (expression[at] === "\\") at++;
    else if (expression.startsWith("[:", at)) {
      const end = expression.indexOf(":]", at);
      if (end !== -1) at = end + 1;
    }
    at++;
  }
  return at;
}
