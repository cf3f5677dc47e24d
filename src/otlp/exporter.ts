import type { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
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
import { createKnownPoints, type KnownPoints } from "./known-points.ts";
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
  /** Compresses a batch that is sent later, and releases it. */
  pack<Owner>(batch: Batch<Owner>): Promise<Batch<Owner>>;
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
/** A request that is taken apart is in memory as a whole and, at most, in parts of the same size. */
const PLAIN_COPIES = 2;

/**
 * Sends batches. When one is refused (400, 413, 500), it divides it until what is refused stands alone, so that the rest arrives; only a
 * point that is refused alone, by a Collector that takes good points of the same kind, counts as refused. 429, 502, 503, 504 and no answer
 * never refuse anything. After a 503, the kinds of points that are still accepted arrive without the others. Points that are not isolated
 * within `isolationRequestsMax` requests a round stay open; refused points are remembered, so that the next round gets further.
 */
export function createExporter(deps: ExporterDeps, settings: ExporterSettings): Exporter {
  const known = createKnownPoints(KNOWN_POINTS_MAX);

  const encode = async (batch: Batch<unknown>): Promise<Payload> => {
    const { body, packed } = batch;
    try {
      return packed
        ? await deps.transport.unpack({ body, encoding: packed })
        : await deps.transport.encode(body);
    } finally {
      batch.release();
    }
  };

  return {
    pack: async (batch) => {
      const { points, parts } = batch;
      try {
        const packed = await deps.transport.pack(batch.body);
        return { body: withoutSlack(packed.body), packed: packed.encoding, points, parts, release: () => {} };
      } finally {
        batch.release();
      }
    },
    send: async (batch, probe, signal, round = createIsolationRound()) => {
      const { parts, points } = batch;
      const payload = await encode(batch);
      const context: SendContext = { deps, settings, known, probe, signal, round };
      const isPartial = round.down.size > 0;
      const outcome = await (isPartial ? sendAcceptedKinds : sendAll)(context, payload, parts);
      assert(pointsOf(outcome.parts) === points, "every point of a batch has one outcome");
      return outcome;
    },
    isAccepted: async (batch, signal) => {
      const result = await deps.single.send(await encode(batch), signal);
      return result.kind === "accepted";
    },
  };
}

interface ExporterDeps {
  transport: Transport;
  /** Sends each request once, without retries. */
  single: Transport;
  logger: Logger;
}

/** For one batch. */
interface SendContext {
  deps: ExporterDeps;
  settings: ExporterSettings;
  known: KnownPoints;
  probe: Probe;
  signal: AbortSignal;
  round: IsolationRound;
}

/** Sends a request; isolates its refused points when it is not accepted as a whole. */
async function sendAll<Owner>(
  context: SendContext,
  payload: Payload,
  parts: readonly BatchPart<Owner>[],
): Promise<ExportOutcome<Owner>> {
  const { transport, logger } = context.deps;
  const result = await transport.send(payload, context.signal);
  if (result.kind === "accepted" || result.kind === "partial") {
    const outcomes = outcomesOfSuccess(parts, result);
    logSuccess(outcomes, result.message, logger);
    const isStored = outcomes.some(({ outcome }) => outcome.state !== "failed");
    return { parts: outcomes, bytes: isStored ? payload.body.length : 0 };
  }
  const { error } = result;
  // The cause quotes the Collector's answer with its addresses, which only the operator may see.
  const facts = { err: error, code: error.code, points: pointsOf(parts) };
  const failed = { parts: sameOutcome(parts, { state: "failed", error }), bytes: 0, stop: error };
  if (!isVerdict(result) && result.status !== UNAVAILABLE) {
    logger.warn(facts, "a batch was not delivered");
    return failed;
  }
  return await takeApart(context, payload, async (request) => {
    await probeKinds(request, result, context);
    if (stopOf(context.round)) {
      logger.warn(facts, "a batch was not delivered, and good data are not taken either");
      return failed;
    }
    logger.warn(facts, `${error.message}: sending what is taken without what is not`);
    return await isolateRefused(context, request, parts, result);
  });
}

/** The plain form of the request, and what is made of it, are in memory until `work` ends. */
async function takeApart<T>(
  { deps, round }: SendContext,
  payload: Payload,
  work: (request: SplitRequest) => Promise<T>,
): Promise<T> {
  const plain = await deps.transport.decode(payload);
  const bytes = PLAIN_COPIES * plain.length;
  round.hold(bytes);
  try {
    return await work(splitRequest(plain));
  } finally {
    round.hold(-bytes);
  }
}

async function isolateRefused<Owner>(
  { deps, settings, known, probe, signal, round }: SendContext,
  request: SplitRequest,
  parts: readonly BatchPart<Owner>[],
  first: Failure,
): Promise<ExportOutcome<Owner>> {
  const post = async (indexes: readonly number[]) => {
    const part = await deps.single.encode(request.select(indexes));
    return { ...(await deps.single.send(part, signal)), bytes: part.body.length };
  };
  const work = { request, parts, first, requestsMax: settings.isolationRequestsMax };
  return await isolate({ post, probe, known }, round, work);
}

/** Sends the points of a batch whose kinds are accepted; the others fail. */
async function sendAcceptedKinds<Owner>(
  context: SendContext,
  payload: Payload,
  parts: readonly BatchPart<Owner>[],
): Promise<ExportOutcome<Owner>> {
  const { deps, round } = context;
  return await takeApart(context, payload, async (request) => {
    const owners = ownersOf(parts);
    const byKind = Map.groupBy(owners.keys(), (index) => request.kindOf(index));
    const failed = [...byKind].flatMap(([kind, indexes]) => {
      const error = round.down.get(kind);
      return error ? sameOutcome(partsOf(indexes, owners), { state: "failed", error }) : [];
    });
    const accepted = [...owners.keys()].filter((index) => !round.down.has(request.kindOf(index)));
    if (accepted.length === 0) return { parts: failed, bytes: 0 };
    const rest = await deps.transport.encode(request.select(accepted));
    const outcome = await sendAll(context, rest, partsOf(accepted, owners));
    return { ...outcome, parts: [...failed, ...outcome.parts] };
  });
}

/** Probes which kinds of points are accepted; after a refusal one accepted kind is enough. */
async function probeKinds(
  request: SplitRequest,
  failure: Failure,
  { probe, round }: SendContext,
): Promise<void> {
  const down: PointKind[] = [];
  for (const kind of POINT_KINDS.filter((each) => hasKind(request, each))) {
    round.requests++;
    if (!(await probe(kind))) down.push(kind);
    else if (isVerdict(failure)) break;
  }
  if (down.length > 0) await noteDown(probe, round, down, failure.error);
}

/** zlib gives small results as a part of a larger buffer. */
function withoutSlack(bytes: Buffer): Buffer {
  return bytes.length < bytes.buffer.byteLength / 2 ? Buffer.from(bytes) : bytes;
}

function pointsOf(parts: readonly { points: number }[]): number {
  return parts.reduce((sum, { points }) => sum + points, 0);
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
  } else if (message !== "") logger.warn(facts, "the Collector sent a message");
}
