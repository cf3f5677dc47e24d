import { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { ExportResult } from "./transport.ts";
import type { BatchPart } from "./writer.ts";

/** Whether the Collector took some points of one owner. */
export type DeliveryOutcome =
  | { state: "acknowledged" }
  /** The Collector will never take them: they are recorded and not sent again. */
  | { state: "refused"; reason: string }
  /** Not stored now: a later round reads and sends them again. */
  | { state: "failed"; error: BridgeError };

/** `points` is 0 for an owner that shared a partial success and may have lost points that were counted for another one. */
export interface PartOutcome<Owner> {
  owner: Owner;
  points: number;
  outcome: DeliveryOutcome;
}

type Success = Extract<ExportResult, { kind: "accepted" | "partial" }>;

/** The same outcome for all points of some parts. */
export function sameOutcome<Owner>(
  parts: readonly BatchPart<Owner>[],
  outcome: DeliveryOutcome,
): PartOutcome<Owner>[] {
  return parts.map(({ owner, points }) => ({ owner, points, outcome }));
}

/**
 * The outcomes of the points of a request that was answered 200. A partial success names only a number, and the specification forbids sending
 * the request again (OTLP, "Partial Success"): the number is shared out over the owners in proportion, and each of them
 * records the refusal. A number that can't be true says nothing about what is stored, so all points stay open: re-sending a stored point overwrites the same row.
 */
export function outcomesOfSuccess<Owner>(
  parts: readonly BatchPart<Owner>[],
  result: Success,
): PartOutcome<Owner>[] {
  if (result.kind === "accepted") return sameOutcome(parts, { state: "acknowledged" });
  const sent = parts.reduce((sum, { points }) => sum + points, 0);
  const { rejectedPoints: rejected, message } = result;
  if (!isPossible(rejected, sent)) {
    return sameOutcome(parts, { state: "failed", error: impossibleAnswer(rejected, sent) });
  }
  const isShared = new Set(parts.map(({ owner }) => owner)).size > 1;
  const which = isShared ? " of a request with several windows, without saying which" : "";
  const reason = `the Collector refused ${rejected} of ${sent} points${which}${message ? `: ${message}` : ""}`;
  const shares = shareOut(
    rejected,
    parts.map(({ points }) => points),
  );
  return parts.flatMap(({ owner, points }, i): PartOutcome<Owner>[] => {
    const refused = shares[i]!;
    return [
      ...(points > refused
        ? [{ owner, points: points - refused, outcome: { state: "acknowledged" as const } }]
        : []),
      { owner, points: refused, outcome: { state: "refused", reason } },
    ];
  });
}

/** True when the Collector can have refused so many of the points that it was sent. */
function isPossible(rejected: number, sent: number): boolean {
  return Number.isInteger(rejected) && rejected >= 1 && rejected <= sent;
}

function impossibleAnswer(rejected: number, sent: number): BridgeError {
  const claim = Number.isNaN(rejected) ? "a number of points that is none" : `${rejected} points`;
  return new BridgeError(
    "collector_answer_invalid",
    `a defect of the Collector: it says that it refused ${claim} of a request with ${sent}`,
  );
}

/** `total` in proportion to `sizes`, by whole numbers: the largest remainders get what is left over. */
function shareOut(total: number, sizes: readonly number[]): number[] {
  const sum = sizes.reduce((all, size) => all + size, 0);
  const exact = sizes.map((size) => (total * size) / sum);
  const shares = exact.map(Math.floor);
  const byRemainder = [...exact.keys()].toSorted((a, b) => (exact[b]! % 1) - (exact[a]! % 1));
  const left = total - shares.reduce((all, share) => all + share, 0);
  for (const i of byRemainder.slice(0, left)) shares[i]!++;
  assert(shares.reduce((all, share) => all + share, 0) === total, "the shares add up to the total");
  return shares;
}
