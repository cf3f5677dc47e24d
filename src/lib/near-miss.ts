/** Unknown names that an error lists: more would not help the reader, and each costs a comparison with all known ones. */
export const UNKNOWN_NAMES_MAX = 5;

/** The one of `known` that `name` was probably meant to be: at most two edits away (one in words of up to four letters). */
function nearMiss(name: string, known: readonly string[]): string | undefined {
  const wanted = plain(name);
  const limit = wanted.length <= 4 ? 1 : 2;
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const candidate of known) {
    const other = plain(candidate);
    // The distance is at least the difference in length.
    if (Math.abs(other.length - wanted.length) > limit) continue;
    const distance = editDistance(wanted, other);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** The question after an unknown name; "" when no known one is similar. */
export function didYouMean(name: string, known: readonly string[], prefix = ""): string {
  const meant = nearMiss(name, known);
  return meant === undefined ? "" : `did you mean ${prefix}${meant}?`;
}

/** pathPrefix, path-prefix and path_prefix are the same word. */
function plain(name: string): string {
  return name.slice(0, 64).toLowerCase().replaceAll(/[-_]/g, "");
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
