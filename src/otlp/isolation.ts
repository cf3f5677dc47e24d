import { setImmediate as yieldToOthers } from "node:timers/promises";
import type { BridgeError } from "#errors/error.ts";
import { fatesOfSuccess, sameFate, type Fate, type PartOutcome } from "./fates.ts";
import type { KnownPoints } from "./known-points.ts";
import { POINT_KINDS, type PointKind, type SplitRequest } from "./split.ts";
import type { ExportResult } from "./transport.ts";
import type { BatchPart } from "./writer.ts";

/** Is a good point of this kind, made by the bridge itself, accepted right now? */
export type Probe = (kind: PointKind) => Promise<boolean>;

export type Failure = Extract<ExportResult, { kind: "rejected" | "retryable" }>;

/** What the batches of one collection of one cluster share. */
export interface IsolationRound {
  /** Requests that isolation took so far. */
  requests: number;
  /** Kinds of which not even a good point is accepted, and why: their points stay open. */
  down: Map<PointKind, BridgeError>;
}

export function createIsolationRound(): IsolationRound {
  return { requests: 0, down: new Map() };
}

export interface IsolationDeps {
  /** Sends these points once. */
  post: (points: readonly number[]) => Promise<ExportResult & { bytes: number }>;
  probe: Probe;
  known: KnownPoints;
}

interface Work<Owner> {
  request: SplitRequest;
  parts: readonly BatchPart<Owner>[];
  first: Failure;
  /** Requests that the round may take for isolation. */
  requestsMax: number;
}

export interface Isolated<Owner> {
  parts: PartOutcome<Owner>[];
  bytes: number;
  stop?: BridgeError;
}

type PartsToOutcomes<Owner> = (parts: BatchPart<Owner>[]) => PartOutcome<Owner>[];

/** Failures in a row that are no verdict on the data, after which the Collector counts as gone. */
const UNAVAILABLE_MAX = 2;
const SERVER_ERROR = 500;
const SORTED_AT_ONCE = 2000;

/**
 * Divides a batch that was not accepted until what is refused stands alone, so that the rest arrives. It searches the first refused point by
 * halving (an accepted half leaves the refusal in the other one, which is then not sent as a whole), and sends all that is behind it in
 * one request: log2(n) + 3 requests for each refused point. A point is refused when the Collector answered 400, 413 or 500 to it alone, then
 * accepted a good point of the same kind, and refused it alone again; after a 500 a good point must pass once more. A 503 is no verdict: a
 * point that gets it alone stays open, and is kept apart from then on so that it stands in no other point's way.
 */
export async function isolate<Owner>(
  deps: IsolationDeps,
  round: IsolationRound,
  work: Work<Owner>,
): Promise<Isolated<Owner>> {
  const { request, first, requestsMax } = work;
  const owners = ownersOf(work.parts);
  const mayRefuse = first.kind === "rejected";
  const outcomes: { at: number; outcome: PartOutcome<Owner> }[] = [];
  let bytes = 0;
  let failure: Failure = first;
  let unavailable = 0;
  let gone: BridgeError | undefined;
  /** Does a refused set with an accepted half have its refused points in the other half? Not when it was its size, or a passing fault. */
  let isMonotone = true;
  /** Sizes since the last point that was judged: the largest that was taken, the smallest that was refused. */
  let fits = 0;
  let tooLarge = Number.POSITIVE_INFINITY;

  const record = (points: readonly number[], outcomesOf: PartsToOutcomes<Owner>): void => {
    let done = 0;
    for (const outcome of outcomesOf(partsOf(points, owners))) {
      outcomes.push({ at: points[Math.min(done, points.length - 1)]!, outcome });
      done += outcome.points;
    }
  };
  const settle = (points: readonly number[], fate: Fate): void => {
    if (points.length > 0) record(points, (parts) => sameFate(parts, fate));
  };
  const leaveOpen = (points: readonly number[], error: BridgeError): void =>
    settle(points, { state: "failed", error });

  type Sent = "settled" | "refused" | "open";
  const send = async (points: readonly number[]): Promise<Sent> => {
    round.requests++;
    const result = await deps.post(points);
    if (result.kind === "accepted" || result.kind === "partial") {
      unavailable = 0;
      bytes += result.bytes;
      fits = Math.max(fits, points.length);
      record(points, (parts) => fatesOfSuccess(parts, result));
      return "settled";
    }
    if (isVerdict(result) || (!mayRefuse && statusOf(result) === statusOf(first))) {
      unavailable = 0;
      failure = result;
      tooLarge = Math.min(tooLarge, points.length);
      return "refused";
    }
    if (++unavailable >= UNAVAILABLE_MAX) gone = result.error;
    leaveOpen(points, result.error);
    return "open";
  };
  const sizeOfNext = (): number => {
    if (isMonotone || fits === 0) return Number.POSITIVE_INFINITY;
    return 2 * fits < tooLarge ? 2 * fits : fits;
  };
  const isSpent = (): boolean => round.requests >= requestsMax;

  /** Decides about a point that stands alone and, if `wasAlone`, was refused alone. */
  const judge = async (point: number, wasAlone: boolean): Promise<void> => {
    if (isSpent()) return leaveOpen([point], failure.error);
    if (!wasAlone) {
      const sent = await send([point]);
      // It was suspected for no reason: what was refused around it passes by itself.
      if (sent === "settled") isMonotone = false;
      if (sent !== "refused") return;
    }
    const kind = request.kindOf(point);
    const { error } = failure;
    fits = 0;
    tooLarge = Number.POSITIVE_INFINITY;
    if (!isVerdict(failure)) {
      deps.known.set(request.fingerprintOf(point), { state: "held" });
      return leaveOpen([point], error);
    }
    if (isSpent()) return leaveOpen([point], error);
    if (!(await isTaken(kind))) {
      await noteDown(deps.probe, round, [kind], error);
      return leaveOpen([point], error);
    }
    if ((await send([point])) !== "refused") return;
    if (statusOf(failure) === SERVER_ERROR && !(await isTaken(kind))) return leaveOpen([point], error);
    const reason = `${error.message} (${request.metricOf(point)})`;
    const refused = { state: "refused", reason } as const;
    deps.known.set(request.fingerprintOf(point), refused);
    settle([point], refused);
  };
  const isTaken = (kind: PointKind): Promise<boolean> => {
    round.requests++;
    return deps.probe(kind);
  };

  /** Finds and judges the first refused point of a refused set; returns what is left to send. */
  const search = async (refused: readonly number[], wasSent: boolean): Promise<number[]> => {
    let suspects = refused;
    let wasAlone = wasSent;
    const later: number[][] = [];
    while (suspects.length > 1 && !isSpent()) {
      const half = suspects.slice(0, (suspects.length + 1) >>> 1);
      const other = suspects.slice(half.length);
      const sent = await send(half);
      if (sent === "refused") {
        later.unshift(other);
        suspects = half;
        wasAlone = true;
      } else if (sent === "settled" && isMonotone) {
        suspects = other;
        wasAlone = false;
      } else return [...other, ...later.flat()];
    }
    if (suspects.length > 1) leaveOpen(suspects, failure.error);
    else await judge(suspects[0]!, wasAlone);
    return later.flat();
  };

  const sorted = await sort(deps.known, round, request, settle);
  let { rest } = sorted;
  let isWhole = rest.length === request.points;
  while (rest.length > 0 && !isSpent() && !gone) {
    const points = isWhole ? rest : rest.slice(0, sizeOfNext());
    const behind = rest.slice(points.length);
    const isRefused = isWhole || (await send(points)) === "refused";
    rest = isRefused ? [...(await search(points, true)), ...behind] : behind;
    isWhole = false;
    const open = rest.filter((point) => round.down.has(request.kindOf(point)));
    for (const point of open) leaveOpen([point], round.down.get(request.kindOf(point))!);
    if (open.length > 0) rest = rest.filter((point) => !round.down.has(request.kindOf(point)));
  }
  leaveOpen(rest, gone ?? failure.error);
  // What got a 503 alone before may be taken by now.
  const { held } = sorted;
  if (held.length > 0 && (gone || isSpent() || (await send(held)) === "refused"))
    leaveOpen(held, gone ?? failure.error);
  const parts = outcomes.toSorted((a, b) => a.at - b.at).map(({ outcome }) => outcome);
  const stop = gone ?? stopOf(round);
  return { parts, bytes, ...(stop ? { stop } : {}) };
}

/** Settles the points that are known to be refused or of a kind that is not taken; gives the others their turn meanwhile. */
async function sort(
  known: KnownPoints,
  round: IsolationRound,
  request: SplitRequest,
  settle: (points: readonly number[], fate: Fate) => void,
): Promise<{ rest: number[]; held: number[] }> {
  const rest: number[] = [];
  const held: number[] = [];
  for (let i = 0; i < request.points; i++) {
    if (i % SORTED_AT_ONCE === 0 && i > 0) await yieldToOthers();
    const error = round.down.get(request.kindOf(i));
    const point = known.isEmpty() ? undefined : known.get(request.fingerprintOf(i));
    if (point?.state === "refused") settle([i], point);
    else if (error) settle([i], { state: "failed", error });
    else if (point) held.push(i);
    else rest.push(i);
  }
  return { rest, held };
}

/** Notes kinds that are not taken; of a kind that nobody asked for yet it finds out, since nothing is to be sent when none is taken. */
export async function noteDown(
  probe: Probe,
  round: IsolationRound,
  kinds: readonly PointKind[],
  error: BridgeError,
): Promise<void> {
  for (const kind of kinds) round.down.set(kind, error);
  for (const kind of POINT_KINDS) {
    if (round.down.has(kind)) continue;
    round.requests++;
    if (!(await probe(kind))) round.down.set(kind, error);
  }
}

/** Set when no kind of points is taken. */
export function stopOf(round: IsolationRound): BridgeError | undefined {
  return round.down.size === POINT_KINDS.length ? round.down.get(POINT_KINDS[0]) : undefined;
}

/** 400, 413, 500 and their like: an answer about what was sent. */
export function isVerdict(result: Failure): boolean {
  return result.kind === "rejected" && result.divisible;
}

function statusOf(result: Failure): number | undefined {
  return result.status;
}

/** The owner of each point. */
export function ownersOf<Owner>(parts: readonly BatchPart<Owner>[]): Owner[] {
  return parts.flatMap(({ owner, points }) => Array<Owner>(points).fill(owner));
}

/** The owners of some points, as parts: one for each run of neighbours with the same owner. */
export function partsOf<Owner>(points: readonly number[], owners: readonly Owner[]): BatchPart<Owner>[] {
  const parts: BatchPart<Owner>[] = [];
  for (const [i, point] of points.entries()) {
    const owner = owners[point]!;
    const last = parts.at(-1);
    if (last?.owner === owner && points[i - 1] === point - 1) last.points++;
    else parts.push({ owner, points: 1 });
  }
  return parts;
}
