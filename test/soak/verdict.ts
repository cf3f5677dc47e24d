import type { GapReport } from "#collect/status.ts";
import type { Comparison } from "../e2e/comparison.ts";
import { lacksOf, type ProofFacts } from "../e2e/proof.ts";
import { KINDS, nameOf } from "./plan.ts";

/** What is known at the end. */
export interface Outcome {
  /** How often each kind of fault was struck, by its name. */
  struck: ReadonlyMap<string, number>;
  gaps: readonly GapReport[];
  /** Of the time while faults were struck. */
  proof: ProofFacts;
  comparison: Comparison;
  /** Of the bridge at SIGTERM. */
  exitCode: number | null;
}

/** What failed, by name. */
export function failuresOf({ struck, gaps, proof, comparison, exitCode }: Outcome): string[] {
  const { samples, ...differences } = comparison.total;
  return [
    ...KINDS.map(nameOf)
      .filter((name) => !struck.has(name))
      .map((name) => `never struck: ${name}`),
    ...gaps.map((gap) => `${gap.state} gap: ${JSON.stringify(gap)}`),
    ...lacksOf(proof),
    ...(samples > 0 ? [] : ["no samples to compare"]),
    ...Object.entries(differences)
      .filter(([, count]) => count > 0)
      .map(([how, count]) => `samples ${how}: ${count}`),
    ...(comparison.wrong.length > 0
      ? [`wrong kind, time, hole or count: ${comparison.wrong.join(", ")}`]
      : []),
    ...(exitCode === 0 ? [] : [`the bridge ended with exit code ${exitCode} at SIGTERM`]),
  ];
}
