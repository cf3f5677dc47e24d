import { setImmediate as yieldToOthers } from "node:timers/promises";
import type { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import {
  outcomesOfSuccess,
  sameOutcome,
  type DeliveryOutcome,
  type PartOutcome,
} from "./delivery-outcome.ts";
import type { KnownPoints } from "./known-points.ts";
import type { PointKind, SplitRequest } from "./split.ts";
import type { ExportResult } from "./transport.ts";
import type { BatchPart } from "./writer.ts";

/** Sends a good point of this kind, made by the bridge itself; resolves to whether it was accepted. */
export type Probe = (kind: PointKind) => Promise<boolean>;

export type Failure = Extract<ExportResult, { kind: "rejected" | "retryable" }>;

/** Shared by the batches of one collection of one cluster. */
export interface IsolationRound {
  /** Requests that isolation took so far. */
  requests: number;
  /** Kinds of which not even a good point is accepted, with the error. Their points stay open. */
  down: Map<PointKind, BridgeError>;
  /** Counts the bytes of requests that are taken apart; below 0: given back. */
  hold(bytes: number): void;
}

export function createIsolationRound(hold: (bytes: number) => void = () => {}): IsolationRound {
  return { requests: 0, down: new Map(), hold };
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

/** Kinds that every batch can have: when neither is accepted, nothing is. Histograms are rare, and are probed only where there are some. */
const USUAL_KINDS = ["gauge", "sum"] as const satisfies readonly PointKind[];
/** Failures in a row that say nothing about the data, after which the Collector counts as unavailable. */
const UNAVAILABLE_MAX = 2;
const SERVER_ERROR = 500;
const SORTED_AT_ONCE = 2000;

/**
 * Divides a batch that was not accepted until what is refused stands alone, so that the rest arrives. It searches the first refused point by
 * halving (an accepted half leaves the refusal in the other one, which is then not sent as a whole), and sends all that is behind it in
 * one request: log2(n) + 3 requests for each refused point. A point is refused when the Collector answered 400, 413 or 500 to it alone, then
 * accepted a good point of the same kind, and refused it alone again; after a 500 a good point must pass once more. A 503 refuses nothing: a
 * point that gets it alone stays open. From then on it is sent apart, so that it does not keep other points from being accepted.
 */
export async function isolate<Owner>(
  deps: IsolationDeps,
  round: IsolationRound,
  work: Work<Owner>,
): Promise<Isolated<Owner>> {
  return await new Isolation(deps, round, work).run();
}

/** `settled`: the points have an outcome. `open`: they failed for now. `refused`: they have no outcome yet. */
type Sent = "settled" | "refused" | "open";

class Isolation<Owner> {
  readonly #deps: IsolationDeps;
  readonly #round: IsolationRound;
  readonly #work: Work<Owner>;
  readonly #owners: readonly Owner[];
  readonly #outcomes: { at: number; part: PartOutcome<Owner> }[] = [];
  #settledPoints = 0;
  #bytes = 0;
  #failure: Failure;
  #failuresInRow = 0;
  #unavailable: BridgeError | undefined;
  /**
   * True while a refused set with an accepted half has its refused points in the other half. That is not so when the size of the set was the
   * reason, or a passing fault.
   */
  #isMonotone = true;
  /** Sizes since the last point that was judged: the largest that was accepted, the smallest that was refused. */
  #acceptedSize = 0;
  #refusedSize = Number.POSITIVE_INFINITY;

  constructor(deps: IsolationDeps, round: IsolationRound, work: Work<Owner>) {
    this.#deps = deps;
    this.#round = round;
    this.#work = work;
    this.#owners = ownersOf(work.parts);
    this.#failure = work.first;
  }

  async run(): Promise<Isolated<Owner>> {
    const { request } = this.#work;
    const { rest, apart } = await this.#sort();
    await this.#sendRest(rest);
    // A point that got a 503 alone before may be accepted by now.
    const mustLeave = this.#unavailable !== undefined || this.#isSpent();
    if (apart.length > 0 && (mustLeave || (await this.#send(apart)) === "refused")) {
      this.#leaveOpen(apart, this.#unavailable ?? this.#failure.error);
    }
    assert(this.#settledPoints === request.points, "every point of a batch has one outcome");
    const parts = this.#outcomes.toSorted((a, b) => a.at - b.at).map(({ part }) => part);
    const stop = this.#unavailable ?? stopOf(this.#round);
    return { parts, bytes: this.#bytes, ...(stop ? { stop } : {}) };
  }

  async #sendRest(points: readonly number[]): Promise<void> {
    const { request } = this.#work;
    const { down } = this.#round;
    let rest = points;
    // The whole batch was sent before: its refusal is why this runs.
    let isWhole = rest.length === request.points;
    while (rest.length > 0 && !this.#isSpent() && !this.#unavailable) {
      const next = isWhole ? rest : rest.slice(0, this.#nextSize());
      const behind = rest.slice(next.length);
      const isRefused = isWhole || (await this.#send(next)) === "refused";
      rest = isRefused ? [...(await this.#search(next)), ...behind] : behind;
      isWhole = false;
      for (const point of rest) {
        const error = down.get(request.kindOf(point));
        if (error) this.#leaveOpen([point], error);
      }
      if (down.size > 0) rest = rest.filter((point) => !down.has(request.kindOf(point)));
    }
    this.#leaveOpen(rest, this.#unavailable ?? this.#failure.error);
  }

  /** Finds and judges the first refused point of a set that was refused as a whole; returns the points that are left to send. */
  async #search(refused: readonly number[]): Promise<number[]> {
    let suspects = refused;
    let wasSent = true;
    const later: number[][] = [];
    while (suspects.length > 1 && !this.#isSpent()) {
      const half = suspects.slice(0, (suspects.length + 1) >>> 1);
      const other = suspects.slice(half.length);
      const sent = await this.#send(half);
      if (sent === "refused") {
        later.unshift(other);
        suspects = half;
        wasSent = true;
      } else if (sent === "settled" && this.#isMonotone) {
        suspects = other;
        wasSent = false;
      } else return [...other, ...later.flat()];
    }
    if (suspects.length > 1) this.#leaveOpen(suspects, this.#failure.error);
    else await this.#judge(suspects[0]!, wasSent);
    return later.flat();
  }

  /** Decides about a point that stands alone and, if `wasSent`, was refused alone. */
  async #judge(point: number, wasSent: boolean): Promise<void> {
    if (this.#isSpent()) return this.#leaveOpen([point], this.#failure.error);
    if (!wasSent) {
      const sent = await this.#send([point]);
      // It was suspected for no reason: what was refused around it passes by itself.
      if (sent === "settled") this.#isMonotone = false;
      if (sent !== "refused") return;
    }
    const { request } = this.#work;
    const { error } = this.#failure;
    this.#acceptedSize = 0;
    this.#refusedSize = Number.POSITIVE_INFINITY;
    if (!isVerdict(this.#failure)) {
      this.#deps.known.set(request.fingerprintOf(point), { state: "unavailable" });
      return this.#leaveOpen([point], error);
    }
    if (!(await this.#isRefusedAgain(point, error))) return;
    const reason = `${error.message} (${request.metricOf(point)})`;
    const refused = { state: "refused", reason } as const;
    this.#deps.known.set(request.fingerprintOf(point), refused);
    this.#settle([point], refused);
  }

  /** Is a point that was refused alone refused alone again, while good points of its kind are accepted? If not, it has its outcome. */
  async #isRefusedAgain(point: number, error: BridgeError): Promise<boolean> {
    const kind = this.#work.request.kindOf(point);
    const leaveOpen = (): false => {
      this.#leaveOpen([point], error);
      return false;
    };
    if (this.#isSpent()) return leaveOpen();
    if (!(await this.#isKindAccepted(kind))) {
      await noteDown(this.#deps.probe, this.#round, [kind], error);
      return leaveOpen();
    }
    if ((await this.#send([point])) !== "refused") return false;
    const isServerError = this.#failure.status === SERVER_ERROR;
    return !isServerError || (await this.#isKindAccepted(kind)) ? true : leaveOpen();
  }

  #isKindAccepted(kind: PointKind): Promise<boolean> {
    this.#round.requests++;
    return this.#deps.probe(kind);
  }

  async #send(points: readonly number[]): Promise<Sent> {
    this.#round.requests++;
    const result = await this.#deps.post(points);
    if (result.kind === "accepted" || result.kind === "partial") {
      this.#failuresInRow = 0;
      this.#bytes += result.bytes;
      this.#acceptedSize = Math.max(this.#acceptedSize, points.length);
      this.#record(points, outcomesOfSuccess(partsOf(points, this.#owners), result));
      return "settled";
    }
    const { first } = this.#work;
    if (isVerdict(result) || (first.kind !== "rejected" && result.status === first.status)) {
      this.#failuresInRow = 0;
      this.#failure = result;
      this.#refusedSize = Math.min(this.#refusedSize, points.length);
      return "refused";
    }
    if (++this.#failuresInRow >= UNAVAILABLE_MAX) this.#unavailable = result.error;
    this.#leaveOpen(points, result.error);
    return "open";
  }

  #nextSize(): number {
    if (this.#isMonotone || this.#acceptedSize === 0) return Number.POSITIVE_INFINITY;
    const doubled = 2 * this.#acceptedSize;
    return doubled < this.#refusedSize ? doubled : this.#acceptedSize;
  }

  #isSpent(): boolean {
    return this.#round.requests >= this.#work.requestsMax;
  }

  #leaveOpen(points: readonly number[], error: BridgeError): void {
    this.#settle(points, { state: "failed", error });
  }

  #settle(points: readonly number[], outcome: DeliveryOutcome): void {
    if (points.length > 0) this.#record(points, sameOutcome(partsOf(points, this.#owners), outcome));
  }

  #record(points: readonly number[], parts: readonly PartOutcome<Owner>[]): void {
    let done = 0;
    for (const part of parts) {
      this.#outcomes.push({ at: points[Math.min(done, points.length - 1)]!, part });
      done += part.points;
    }
    this.#settledPoints += done;
  }

  /** Settles the points that are known to be refused or of a kind that is not accepted. Yields to other work meanwhile. */
  async #sort(): Promise<{ rest: number[]; apart: number[] }> {
    const { request } = this.#work;
    const { known } = this.#deps;
    const rest: number[] = [];
    const apart: number[] = [];
    for (let i = 0; i < request.points; i++) {
      if (i % SORTED_AT_ONCE === 0 && i > 0) await yieldToOthers();
      const error = this.#round.down.get(request.kindOf(i));
      const point = known.isEmpty() ? undefined : known.get(request.fingerprintOf(i));
      if (point?.state === "refused") this.#settle([i], point);
      else if (error) this.#leaveOpen([i], error);
      else if (point) apart.push(i);
      else rest.push(i);
    }
    return { rest, apart };
  }
}

/** Notes kinds that are not accepted, and probes the usual kinds that were not probed yet: when none of these is accepted, nothing more is sent. */
export async function noteDown(
  probe: Probe,
  round: IsolationRound,
  kinds: readonly PointKind[],
  error: BridgeError,
): Promise<void> {
  for (const kind of kinds) round.down.set(kind, error);
  for (const kind of USUAL_KINDS) {
    if (round.down.has(kind)) continue;
    round.requests++;
    if (!(await probe(kind))) round.down.set(kind, error);
  }
}

/** Set when no usual kind of points is accepted. */
export function stopOf({ down }: IsolationRound): BridgeError | undefined {
  return USUAL_KINDS.every((kind) => down.has(kind)) ? down.get(USUAL_KINDS[0]) : undefined;
}

/** 400, 413, 500 and their like: an answer about what was sent. */
export function isVerdict(result: Failure): boolean {
  return result.kind === "rejected" && result.divisible;
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
