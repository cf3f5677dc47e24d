import type { Expected, ExpectedValue } from "./form.ts";

const DIGITS = 9;

/** What is not as expected, one line each: "path: is X, not Y". Fields that are not expected are not compared; lists must be equal. */
export function differences(actual: unknown, expected: ExpectedValue, path: string): string[] {
  const wrong = `${path}: is ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`;
  if (typeof expected === "number") {
    const isEqual = typeof actual === "number" && actual.toPrecision(DIGITS) === expected.toPrecision(DIGITS);
    return isEqual ? [] : [wrong];
  }
  if (expected === null || typeof expected !== "object") return actual === expected ? [] : [wrong];
  if (isList(expected)) {
    if (!Array.isArray(actual) || actual.length !== expected.length) return [wrong];
    return expected.flatMap((each, i) => differences(actual[i], each, `${path}[${i}]`));
  }
  if (actual === null || typeof actual !== "object") return [wrong];
  return fieldDifferences(actual, expected, path);
}

/** As `differences`, but no other row may be there. */
export function rowDifferences(
  actual: ReadonlyMap<string, object>,
  expected: Readonly<Record<string, Expected>>,
  path: string,
): string[] {
  const names = [...actual.keys()].sort();
  const wanted = Object.keys(expected).sort();
  const rows = names.join() === wanted.join() ? [] : [`${path}: are ${names.join()}, not ${wanted.join()}`];
  return [
    ...rows,
    ...Object.entries(expected).flatMap(([name, row]) =>
      actual.has(name) ? differences(actual.get(name), row, `${path} ${name}`) : [],
    ),
  ];
}

const isList = (value: ExpectedValue): value is readonly ExpectedValue[] => Array.isArray(value);

const fieldDifferences = (actual: object, expected: Expected, path: string): string[] =>
  Object.entries(expected).flatMap(([field, value]) =>
    differences((actual as Record<string, unknown>)[field], value, `${path}.${field}`),
  );
