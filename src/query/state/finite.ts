/**
 * The answer with null for each number that is no finite one. Samples near 1.8e308, the largest double, add up to infinity, which neither JSON nor
 * the API's schemas have.
 */
export function withFiniteNumbers<T>(answer: T): T {
  return toFinite(answer) as T;
}

function toFinite(value: unknown): unknown {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(toFinite);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, toFinite(each)]));
}
