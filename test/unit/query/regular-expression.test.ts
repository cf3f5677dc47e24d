import { expect, test } from "vitest";
import { anchor, checkExpression } from "#query/series/regular-expression.ts";

test("anchors as Prometheus does", () => {
  expect(anchor("a|b")).toBe("^(?s:a|b)$");
});

test.each([
  "",
  "user|system",
  ".+",
  "(a|b)+c?",
  "[^)(]*",
  "[]()[]",
  "[[:alnum:]_]{1,63}",
  String.raw`\(\)\[\{`,
  String.raw`\Qa)(b\E`,
  String.raw`\x{1F600}\x{41}\pL\p{Greek}`,
  "(?i)abc",
  "(?i:a)(?P<name>b)",
  "a{2}{",
  "x{,5}",
  "[a-f0-9]{64}",
  "(a+)+$",
  "(([a-z]{1,9}[.-]){0,9}[a-z]){2}",
  Array.from({ length: 500 }, (_, index) => `pod-${index}`).join("|"),
  "日本語|é",
])("takes %j", (expression) => {
  expect(checkExpression(expression)).toBeUndefined();
});

test.each<[string, RegExp]>([
  [")", /unexpected \) at character 1$/],
  ["nope)|(?:dle", /unexpected \) at character 5$/],
  ["(a)|b)(", /unexpected \) at character 6$/],
  [String.raw`[)]\)x)y`, /unexpected \) at character 7$/],
  [String.raw`\Q)\E)`, /unexpected \) at character 6$/],
  ["(", /missing closing \) at character 1$/],
  ["a(b(c)", /missing closing \) at character 2$/],
  ["a[b", /missing closing \].* at character 2$/],
  ["*a", /missing argument to repetition operator \(\*\) at character 1$/],
  ["a**", /invalid nested repetition operator \(\*\*\) at character 2$/],
  ["a|b{1001}", /invalid repeat count \(\{1001\}\) at character 4$/],
  ["(?=a)", /invalid or unsupported Perl syntax \(\(\?=\) at character 1$/],
  ["a(?!b)", /\(\(\?!\) at character 2$/],
  ["a(?<!b)", /at character 2$/],
  [String.raw`(a)\1`, /invalid escape sequence \(\\1\) at character 4$/],
  ["[b-a]", /invalid character class range \(b-a\) at character 2$/],
  ["abc\\", /trailing backslash at end of expression$/],
  [String.raw`a\Qb`, /missing closing \)/],
  ["(".repeat(1500) + ")".repeat(1500), /nests too deeply/],
])("refuses %j with its place", (expression, problem) => {
  const wrong = checkExpression(expression);
  expect(wrong?.problem).toMatch(/^is not a regular expression of RE2: /);
  expect(wrong?.problem).toMatch(problem);
  expect(wrong?.remedy).toContain("github.com/google/re2/wiki/Syntax");
});

test.each([
  ["one count after another", ".{1000}".repeat(500)],
  ["nested counts", "((a{30}){30}){30}"],
  ["counts that may be nothing", "((a?){500}){2}".repeat(200)],
  ["counts with a class", "[^)]{1000}".repeat(11)],
  ["counts with a range", "(?:ab{0,50}){1,500}"],
  ["counts of named characters", String.raw`\p{Greek}{1000}`.repeat(11)],
  ["counts without an end", String.raw`(\x{1F600}{100,}){200,}`],
  ["counts behind a bracket", "[[:alpha:]](a{100}){101}"],
])("refuses %s before they are compiled", (_name, expression) => {
  expect(checkExpression(expression)?.problem).toContain("repeats too much");
});
