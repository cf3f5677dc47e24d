import type { ErrorCode } from "#errors/error.ts";
import type { ClusterResult } from "#collect/status.ts";
import type { Stage } from "./stage.ts";

/** How a limit is switched off, to see that its test then fails. */
export type Lift =
  /** Variables of the program: the limit is a setting. */
  | { env: Readonly<Record<string, string>> }
  /** The limit is a constant: these texts of the sources are replaced. */
  | { source: readonly (readonly [text: string, replacement: string])[] }
  /** It can't be switched off alone; says what was done by hand to see the test fail, or why nothing can be. */
  | { byHand: string };

/** Something hostile that a cluster, or what stands for it, does; everything else goes on. */
export interface Behaviour {
  /** What the hostile part does: the test's title. */
  name: string;
  /** What keeps it harmless, and how to switch that off. */
  limit: string;
  lift: Lift;
  /** Begins it. */
  set: (stage: Stage) => Promise<void> | void;
  /** Default: failed with a code, otherwise successful. */
  outcome?: ClusterResult["outcome"];
  /** Of the hostile cluster's error; absent: it is collected all the same. */
  code?: ErrorCode;
  /** The error's message, which must tell what the cluster did. */
  says?: RegExp;
  /** A warning of the cluster's status. */
  warns?: RegExp;
  /** What must be nowhere in the program's log or answers. */
  secret?: (stage: Stage) => string;
  /** Also run by `npm test`. */
  quick?: true;
}
