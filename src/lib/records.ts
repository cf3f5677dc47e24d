/**
 * An object for keys that come from outside (query, metric, label and group names). It has no prototype, so `constructor`, `toString`
 * and `__proto__` are keys like any other: a plain `{}` finds inherited members under them, and drops or misuses `__proto__`.
 */
export function createRecord<T>(entries: Readonly<Record<string, T>> = {}): Record<string, T> {
  const record = Object.create(null) as Record<string, T>;
  for (const [key, value] of Object.entries(entries)) record[key] = value;
  return record;
}
