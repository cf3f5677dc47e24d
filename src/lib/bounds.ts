/** The text, cut to at most `bytesMax` bytes as JSON writes it (with quotes and escapes); "..." marks the cut. */
export function boundText(text: string, bytesMax: number): string {
  let cut = text.slice(0, bytesMax);
  let bytes = jsonBytes(cut);
  if (bytes <= bytesMax && cut.length === text.length) return text;
  const room = Math.max(0, bytesMax - DOTS.length);
  while (bytes > room && cut.length > 0) {
    cut = cut.slice(0, Math.floor((cut.length * room) / bytes));
    bytes = jsonBytes(cut);
  }
  // Half of a surrogate pair is no text.
  return `${cut.replace(/[\uD800-\uDBFF]$/, "")}${DOTS}`;
}

const DOTS = "...";
const DEPTH_MAX = 6;
const NAME_CHARS_MAX = 200;

function jsonBytes(text: string): number {
  return Buffer.byteLength(JSON.stringify(text));
}

/**
 * An object for an answer or a record with at most about `bytesMax` bytes as JSON. Plain values come first; of lists and objects the first
 * members are kept, and how many are left out stands beside them: `ports` and `ports_omitted`. Its work is bounded like its result.
 */
export function boundObject(
  value: Readonly<Record<string, unknown>>,
  bytesMax: number,
): Record<string, unknown> {
  return boundMembers(value, { left: bytesMax - 2 }, 0);
}

/** The first items that have at most `bytesMax` bytes together as JSON, and how many are left out. */
export function boundList<T>(items: readonly T[], bytesMax: number): { kept: T[]; omitted: number } {
  let left = bytesMax;
  const end = items.findIndex((item) => (left -= Buffer.byteLength(JSON.stringify(item)) + 1) < 0);
  const kept = end < 0 ? [...items] : items.slice(0, end);
  return { kept, omitted: items.length - kept.length };
}

interface Budget {
  left: number;
}

function boundMembers(value: object, budget: Budget, depth: number): Record<string, unknown> {
  const found = new Map<string, unknown>();
  const nested: [string, object][] = [];
  const order: string[] = [];
  let omitted = 0;
  for (const name in value) {
    if (!Object.hasOwn(value, name)) continue;
    const member = plain((value as Record<string, unknown>)[name]);
    if (member === undefined) continue;
    if (budget.left <= 0) {
      omitted++;
      // Counting is cheap, but not worth a long look.
      if (omitted === MEMBERS_COUNTED_MAX) break;
      continue;
    }
    const key = name.slice(0, NAME_CHARS_MAX);
    budget.left -= jsonBytes(key) + 2;
    order.push(key);
    if (typeof member === "object" && member !== null) nested.push([key, member]);
    else found.set(key, boundScalar(member, budget));
  }
  for (const [key, member] of nested) {
    if (budget.left <= 0 || depth >= DEPTH_MAX) omitted++;
    else if (Array.isArray(member)) {
      const list = boundItems(member as unknown[], budget, depth + 1);
      found.set(key, list);
      if (list.length < member.length) found.set(`${key}_omitted`, member.length - list.length);
    } else found.set(key, boundMembers(member, budget, depth + 1));
  }
  const names = order.flatMap((key) => [key, `${key}_omitted`]).filter((key) => found.has(key));
  const entries = [...new Set(names)].map((key) => [key, found.get(key)] as const);
  return Object.fromEntries(omitted > 0 ? [...entries, ["members_omitted", omitted] as const] : entries);
}

const MEMBERS_COUNTED_MAX = 10_000;
/** Bytes that `x_omitted` and its number take. */
const COUNT_BYTES = 64;

function boundItems(items: readonly unknown[], budget: Budget, depth: number): unknown[] {
  const kept: unknown[] = [];
  budget.left -= COUNT_BYTES;
  for (const item of items) {
    if (budget.left <= 0) break;
    const member = plain(item) ?? null;
    budget.left -= 2;
    if (typeof member !== "object" || member === null) kept.push(boundScalar(member, budget));
    else if (depth >= DEPTH_MAX) break;
    else if (Array.isArray(member)) kept.push(boundItems(member as unknown[], budget, depth + 1));
    else kept.push(boundMembers(member, budget, depth + 1));
  }
  return kept;
}

function boundScalar(value: unknown, budget: Budget): unknown {
  const kept = typeof value === "string" ? boundText(value, Math.max(budget.left, DOTS.length + 2)) : value;
  budget.left -= typeof kept === "string" ? jsonBytes(kept) : String(kept).length;
  return kept;
}

/** The value as JSON.stringify sees it; undefined when it leaves it out. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  const { toJSON } = value as { toJSON?: unknown };
  return typeof toJSON === "function" ? (value as { toJSON(): unknown }).toJSON() : value;
}
