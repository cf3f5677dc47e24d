import { compareSources } from "./identity.ts";
import type { Member, StateRow, Values } from "./rows.ts";

/** What one source says about an identity over a grid: one or more parts that belong together, such as idle and all CPU time. */
export interface SourcedGrids {
  /** As `sourceOf`. */
  source: readonly string[];
  /** The same number in each source. A step counts where all have a value. */
  parts: readonly Values[];
}

/** Copies of an exporter are scraped at other times: one more step at an end of the window is no gap of the other. */
const STEPS_ALIKE = 1;

/**
 * One source for an identity: the one with the fewest steps without a value, then `compareSources`; at each step where it has none, the next one that has. Returns the best
 * source (undefined: there is none), the one whose value is the newest (without any value: the best), and the parts.
 */
export function chooseSource<Sourced extends SourcedGrids>(
  sources: readonly Sourced[],
): { best: Sourced | undefined; last: Sourced | undefined; parts: readonly Values[] } {
  if (sources.length <= 1) return { best: sources[0], last: sources[0], parts: sources[0]?.parts ?? [] };
  const counted = sources.map((sourced) => ({
    sourced,
    source: sourced.source,
    covered: countSteps(sourced),
  }));
  const most = Math.max(...counted.map(({ covered }) => covered));
  const order = counted
    .map((each) =>
      each.covered >= most - STEPS_ALIKE && each.covered > 0 ? { ...each, covered: most } : each,
    )
    .sort(compareSources)
    .map(({ sourced }) => sourced);
  const [best] = order;
  const lastStep = (best!.parts[0] ?? []).findLastIndex((_, i) => order.some((each) => hasStep(each, i)));
  const last = order.find((each) => hasStep(each, lastStep)) ?? best;
  const parts = best!.parts.map((values, part) =>
    values.map((value, i) =>
      hasStep(best!, i) ? value : (order.find((each) => hasStep(each, i))?.parts[part]?.[i] ?? value),
    ),
  );
  return { best, last, parts };
}

function countSteps(sourced: SourcedGrids): number {
  return (sourced.parts[0] ?? []).filter((_, i) => hasStep(sourced, i)).length;
}

function hasStep({ parts }: SourcedGrids, i: number): boolean {
  return parts.every((values) => (values[i] ?? null) !== null);
}

/** A source whose newest sample is older has a gap at the end: the scrape interval is a minute, at most two. */
const RECENT_MS = 120_000;

/** The members of rows of one metric, each once: of the source that still has it, then by `compareSources`; of one source the newest. `identity`: the labels that make it. */
export function chooseMembers(
  rows: readonly StateRow[],
  identity: readonly string[],
  atMs: number,
): Member[] {
  const order = rows.map(({ source }) => ({ source, covered: 0 })).sort(compareSources);
  const placeOf = new Map(order.map(({ source }, place) => [source, place]));
  const chosen = new Map<string, Choice>();
  for (const { source, members } of rows) {
    const place = placeOf.get(source)!;
    for (const member of members) {
      const key = identity.map((name) => member.own[name]).join("\0");
      const ended = member.newestMs <= atMs - RECENT_MS;
      const before = chosen.get(key);
      if (before === undefined || isBetter({ member, ended, place }, before)) {
        chosen.set(key, { member, ended, place });
      }
    }
  }
  return [...chosen.values()].map(({ member }) => member);
}

interface Choice {
  member: Member;
  ended: boolean;
  place: number;
}

function isBetter(one: Choice, other: Choice): boolean {
  if (one.ended !== other.ended) return other.ended;
  if (one.place !== other.place) return one.place < other.place;
  return one.member.newestMs > other.member.newestMs;
}
