import type { BridgeProcess, StretchAnswer } from "./bridge-process.ts";

/** What a bridge says of the stretches of a cluster. */
export interface ProofFacts {
  /** How many stretches the time has, of all queries that are plain selectors together. */
  expected: number;
  proved: number;
  /** Samples. */
  late: number;
  /** Those that are not proved, by state, reason and query. */
  unproved: string[];
}

const HOUR_MS = 3_600_000;
const LACKS_MAX = 5;

/** Asks for the stretches that lie wholly within (fromMs, toMs]. */
export async function readProof(
  bridge: Pick<BridgeProcess, "stretches">,
  cluster: { id: string; selectors: number },
  time: { fromMs: number; toMs: number; stretchMs: number },
): Promise<ProofFacts> {
  const { stretchMs } = time;
  const first = Math.ceil(time.fromMs / stretchMs) * stretchMs;
  const last = Math.floor(time.toMs / stretchMs) * stretchMs;
  const stretches: StretchAnswer[] = [];
  // One answer has a limited number of stretches.
  for (let fromMs = first; fromMs < last; fromMs += HOUR_MS)
    stretches.push(...(await bridge.stretches(cluster.id, fromMs, Math.min(last, fromMs + HOUR_MS))));
  // An expression has no samples at the source to compare with.
  const comparable = stretches.filter(({ reason }) => reason !== "expression");
  const unproved = comparable.filter(({ state }) => state !== "proved");
  return {
    expected: (cluster.selectors * (last - first)) / stretchMs,
    proved: comparable.length - unproved.length,
    late: stretches.reduce((sum, { late }) => sum + (late ?? 0), 0),
    unproved: unproved.map(({ query, from, state, reason }) => `${state} (${reason}): ${query} from ${from}`),
  };
}

/** What keeps it from being a proof of the whole time. */
export function lacksOf({ expected, proved, unproved }: ProofFacts): string[] {
  if (expected > 0 && proved >= expected && unproved.length === 0) return [];
  return [`proved ${proved} stretches of ${expected}`, ...unproved.slice(0, LACKS_MAX)];
}
