import { createRandom } from "../helpers/random.ts";

const PARTS = ["bridge", "Collector", "ClickHouse", "API server", "kubelet", "Prometheus"] as const;
export type Part = (typeof PARTS)[number];

/** kill: SIGKILL, and a new start. pause: SIGSTOP, then SIGCONT. cut: its connections break, and no new one is made. */
const ACTIONS = ["kill", "pause", "cut"] as const;
export type Action = (typeof ACTIONS)[number];

export interface Fault {
  part: Part;
  action: Action;
  /** ms after the start of the faults. */
  atMs: number;
  /** How long the part is away, ms. */
  forMs: number;
}

/** Every action on every part. */
export const KINDS: readonly Pick<Fault, "part" | "action">[] = PARTS.flatMap((part) =>
  ACTIONS.map((action) => ({ part, action })),
);

/** With 18 kinds, each is struck once in three minutes. */
const SLOT_MS = 10_000;
const AWAY_MS_MIN = 1000;
/** Prometheus must be back before COLLECTION_LAG has passed: what it scraped just before a pause is appended after it. */
const AWAY_MS_MAX = 9000;

export function nameOf({ part, action }: Pick<Fault, "part" | "action">): string {
  return `${action} of ${part}`;
}

/**
 * Faults for `durationMs`, about one every 10 s, at random times, of random lengths: each kind once, in random order, then each kind again. All are over
 * before the end. The same seed plans the same faults.
 */
export function planFaults(seed: number, durationMs: number): Fault[] {
  const random = createRandom(seed);
  const cycles = Math.max(1, Math.floor(durationMs / (KINDS.length * SLOT_MS)));
  const slotMs = durationMs / (cycles * KINDS.length);
  const kinds = Array.from({ length: cycles }, () => shuffle(KINDS, random)).flat();
  return kinds.map((kind, slot) => {
    const forMs = Math.min(slotMs, AWAY_MS_MIN + random() * (AWAY_MS_MAX - AWAY_MS_MIN));
    const isLast = slot === kinds.length - 1;
    const startMs = random() * (isLast ? slotMs - forMs : slotMs);
    return { ...kind, atMs: Math.round(slot * slotMs + startMs), forMs: Math.round(forMs) };
  });
}

function shuffle<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other]!, result[last]!];
  }
  return result;
}
