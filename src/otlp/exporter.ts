import type { BridgeError } from "#errors/error.ts";
import type { Logger } from "#telemetry/logger.ts";
import { outcomesOfSuccess, sameOutcome, type PartOutcome } from "./delivery-outcome.ts";
import {
  createIsolationRound,
  isolate,
  isVerdict,
  noteDown,
  ownersOf,
  partsOf,
  stopOf,
  type Failure,
  type IsolationRound,
  type Probe,
} from "./isolation.ts";
import { createKnownPoints } from "./known-points.ts";
import { POINT_KINDS, splitRequest, type PointKind, type SplitRequest } from "./split.ts";
import type { Payload, Transport } from "./transport.ts";
import type { Batch, BatchPart } from "./writer.ts";

export interface ExportOutcome<Owner> {
  parts: PartOutcome<Owner>[];
  /** Compressed bytes of the requests that were accepted. */
  bytes: number;
  /** Set when nothing more should be sent now: the Collector as a whole does not take data. */
  stop?: BridgeError;
}

export interface Exporter {
  /**
   * Sends a batch and releases it. `probe` sends a good point of a kind and tells whether it was accepted: it decides whether a refusal is
   * about the data or about the Collector. `round` is what the batches of one collection share. Throws only the signal's own reason.
   */
  send<Owner>(
    batch: Batch<Owner>,
    probe: Probe,
    signal: AbortSignal,
    round?: IsolationRound,
  ): Promise<ExportOutcome<Owner>>;
  /** Sends a batch once, without retries, and releases it: is it accepted? Throws only the signal's own reason. */
  isAccepted<Owner>(batch: Batch<Owner>, signal: AbortSignal): Promise<boolean>;
}

export interface ExporterSettings {
  /** Requests that isolating refused points may take in one round of one cluster. */
  isolationRequestsMax: number;
}

/** Some 150 bytes each. */
const KNOWN_POINTS_MAX = 20_000;
const UNAVAILABLE = 503;

/**
 * Sends batches. When one is refused (400, 413, 500), it divides it until what is refused stands alone, so that the rest arrives; only a
 * point that is refused alone, by a Collector that takes good points of the same kind, counts as refused. 429, 502, 503, 504 and no answer
 * never refuse anything. After a 503 the kinds of points that are taken all the same arrive without the others. What is not isolated
 * within `isolationRequestsMax` requests a round stays open; what was refused is remembered, so that the next round gets further.
 */
export function createExporter(
  deps: { transport: Transport; single: Transport; logger: Logger },
  settings: ExporterSettings,
): Exporter {
  const known = createKnownPoints(KNOWN_POINTS_MAX);

  /** Finds out which kinds of points are taken; after a refusal one that is taken is enough. */
  const askKinds = async (
    request: SplitRequest,
    { failure, probe, round }: { failure: Failure; probe: Probe; round: IsolationRound },
  ): Promise<void> => {
    const present = POINT_KINDS.filter((kind) => hasKind(request, kind));
    const down: PointKind[] = [];
    for (const kind of present) {
      round.requests++;
      if (!(await probe(kind))) down.push(kind);
      else if (isVerdict(failure)) break;
    }
    if (down.length > 0) await noteDown(probe, round, down, failure.error);
  };

  const settle = async <Owner>(
    payload: Payload,
    parts: readonly BatchPart<Owner>[],
    probe: Probe,
    signal: AbortSignal,
    round: IsolationRound,
  ): Promise<ExportOutcome<Owner>> => {
    const result = await deps.transport.send(payload, signal);
    if (result.kind === "accepted" || result.kind === "partial") {
      const { message } = result;
      const outcome = outcomesOfSuccess(parts, result);
      logSuccess(outcome, message, deps.logger);
      const isStored = outcome.some(({ outcome }) => outcome.state !== "failed");
      return { parts: outcome, bytes: isStored ? payload.body.length : 0 };
    }
    const points = parts.reduce((sum, part) => sum + part.points, 0);
    const { error } = result;
    const failed = { parts: sameOutcome(parts, { state: "failed", error }), bytes: 0 };
    // The cause has the Collector's words with the addresses in them: they are for the operator alone.
    const facts = { err: error, code: error.code, points };
    if (!isVerdict(result) && result.status !== UNAVAILABLE) {
      deps.logger.warn(facts, "a batch was not delivered");
      return { ...failed, stop: error };
    }
    const request = splitRequest(await deps.transport.decode(payload));
    await askKinds(request, { failure: result, probe, round });
    const stop = stopOf(round);
    if (stop) {
      deps.logger.warn(facts, "a batch was not delivered, and good data are not taken either");
      return { ...failed, stop: error };
    }
    deps.logger.warn(facts, `${error.message}: sending what is taken without what is not`);
    const post = async (indexes: readonly number[]) => {
      const part = await deps.single.encode(request.select(indexes));
      return { ...(await deps.single.send(part, signal)), bytes: part.body.length };
    };
    const work = { request, parts, first: result, requestsMax: settings.isolationRequestsMax };
    return await isolate({ post, probe, known }, round, work);
  };

  /** A batch of a round in which some kinds are known not to be taken: the others go without them. */
  const settleTaken = async <Owner>(
    payload: Payload,
    parts: readonly BatchPart<Owner>[],
    probe: Probe,
    signal: AbortSignal,
    round: IsolationRound,
  ): Promise<ExportOutcome<Owner>> => {
    const request = splitRequest(await deps.transport.decode(payload));
    const owners = ownersOf(parts);
    const byKind = Map.groupBy(owners.keys(), (index) => request.kindOf(index));
    const failed = [...byKind].flatMap(([kind, indexes]) => {
      const error = round.down.get(kind);
      return error ? sameOutcome(partsOf(indexes, owners), { state: "failed", error }) : [];
    });
    const taken = [...owners.keys()].filter((index) => !round.down.has(request.kindOf(index)));
    if (taken.length === 0) return { parts: failed, bytes: 0 };
    const rest = await deps.transport.encode(request.select(taken));
    const outcome = await settle(rest, partsOf(taken, owners), probe, signal, round);
    return { ...outcome, parts: [...failed, ...outcome.parts] };
  };

  const encode = async (batch: Batch<unknown>): Promise<Payload> => {
    try {
      return await deps.transport.encode(batch.body);
    } finally {
      batch.release();
    }
  };

  return {
    send: async (batch, probe, signal, round = createIsolationRound()) => {
      const { parts } = batch;
      const payload = await encode(batch);
      const send = round.down.size > 0 ? settleTaken : settle;
      return await send(payload, parts, probe, signal, round);
    },
    isAccepted: async (batch, signal) => {
      const result = await deps.single.send(await encode(batch), signal);
      return result.kind === "accepted";
    },
  };
}

function hasKind(request: SplitRequest, kind: PointKind): boolean {
  for (let i = 0; i < request.points; i++) if (request.kindOf(i) === kind) return true;
  return false;
}

function logSuccess(outcome: readonly PartOutcome<unknown>[], message: string, logger: Logger): void {
  const facts = { collector_message: message };
  const failure = outcome.find(({ outcome }) => outcome.state === "failed");
  if (failure?.outcome.state === "failed") {
    const { error } = failure.outcome;
    logger.error({ ...facts, err: error, code: error.code }, error.message);
  } else if (message !== "") logger.warn(facts, "the Collector had a remark");
}
