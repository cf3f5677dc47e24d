import { clusterPath, get } from "./api.ts";
import type { Completeness, Stretch } from "./api-types.ts";
import { settings } from "./settings.ts";

/** What became of the samples of these queries from `from` to `to`, in seconds since 1970; null: the API does not say. */
export async function readStretches(
  id: string,
  queries: readonly string[],
  { from, to }: { from: number; to: number },
  signal: AbortSignal,
): Promise<Stretch[] | null> {
  const pathOf = (query: string): string => {
    const asked = { query, from: String(from), to: String(to) };
    return settings.parts.collection
      ? `/metrics/completeness?${new URLSearchParams({ cluster: id, ...asked }).toString()}`
      : clusterPath(id, "completeness", asked);
  };
  try {
    const answers = await Promise.all(
      [...new Set(queries)].map((query) => get<Completeness>(pathOf(query), signal)),
    );
    return answers.flatMap(({ stretches }) => stretches);
  } catch {
    // A chart without the reasons of its gaps is better than none.
    signal.throwIfAborted();
    return null;
  }
}
