import type { BridgeError } from "#errors.ts";
import type { Logger } from "#telemetry/logger.ts";
import { splitRequest, type SplitRequest } from "./split.ts";
import type { ExportResult, Payload, Transport } from "./transport.ts";
import type { Batch, BatchPart } from "./writer.ts";

/** What became of some points of one owner. */
export type Fate =
  | { state: "acknowledged" }
  /** The Collector will never take them: to be recorded, not sent again. */
  | { state: "refused"; reason: string }
  /** Not stored now: to be read and sent again in a later round. */
  | { state: "failed"; error: BridgeError };

export interface PartOutcome<Owner> {
  owner: Owner;
  points: number;
  fate: Fate;
}

export interface ExportOutcome<Owner> {
  parts: PartOutcome<Owner>[];
  /** Compressed bytes of the requests that were accepted. */
  bytes: number;
  /** Set when nothing more should be sent now: the Collector as a whole does not take data. */
  stop?: BridgeError;
}

export interface Exporter {
  /**
   * Sends a batch and releases it. `probe` sends something known to be good and tells whether it was accepted: it decides whether a
   * refusal is about the data or about the Collector. Throws only the signal's own reason.
   */
  send<Owner>(
    batch: Batch<Owner>,
    probe: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<ExportOutcome<Owner>>;
  /** Sends a batch once, without retries, and releases it: is it accepted? Throws only the signal's own reason. */
  isAccepted<Owner>(batch: Batch<Owner>, signal: AbortSignal): Promise<boolean>;
}

export interface ExporterSettings {
  /** Requests that isolating the refused points of one batch may take. */
  isolationRequestsMax: number;
}

type Failure = Extract<ExportResult, { kind: "rejected" | "retryable" }>;

interface Settled {
  ranges: Range[];
  bytes: number;
  stop?: BridgeError;
}

interface Range {
  from: number;
  to: number;
  fate: Fate;
}

/**
 * Sends batches and, when one is refused, splits it until what is refused stands alone, so that the rest arrives: after a 400, 413 or 500,
 * or a 503 that lasted while the probe passes. Only a point that is refused standing alone counts as refused. Isolation is bounded: beyond
 * `isolationRequestsMax` requests, what is left counts as failed, so its windows stay open.
 */
export function createExporter(
  deps: { transport: Transport; single: Transport; logger: Logger },
  settings: ExporterSettings,
): Exporter {
  const isolate = async (
    request: SplitRequest,
    first: Failure,
    probe: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<Settled> => {
    const ranges: Range[] = [];
    let bytes = 0;
    let requests = 0;
    let stop: BridgeError | undefined;

    /** Decides about what is not divided any further. */
    const giveUp = async (from: number, to: number, failure: Failure): Promise<void> => {
      const { error } = failure;
      const isolated = to - from === 1;
      // The Collector may have broken down meanwhile: only one that still takes good data can refuse bad data.
      if (isolated && !(await probe())) stop = error;
      if (!isolated || stop) {
        ranges.push({ from, to, fate: { state: "failed", error } });
        return;
      }
      // A 503 may pass by itself: what stands alone gets a second chance from a Collector that takes data right now.
      if (failure.kind === "retryable" && (await sendRange(from, to)).kind === "settled") return;
      const reason = `${error.message} (${request.metricOf(from)})`;
      ranges.push({ from, to, fate: { state: "refused", reason } });
    };

    /** One request with the points of the range; "settled" when it was accepted and is accounted for. */
    const sendRange = async (from: number, to: number): Promise<{ kind: "settled" } | Failure> => {
      const payload = await deps.single.encode(request.slice(from, to));
      requests++;
      const result = await deps.single.send(payload, signal);
      if (result.kind !== "accepted" && result.kind !== "partial") return result;
      bytes += payload.body.length;
      ranges.push(...acceptedRanges(from, to, result));
      return { kind: "settled" };
    };

    const divide = async (from: number, to: number, failure: Failure): Promise<void> => {
      if (to - from === 1 || requests >= settings.isolationRequestsMax)
        return await giveUp(from, to, failure);
      const middle = (from + to) >>> 1;
      await visit(from, middle);
      await visit(middle, to);
    };

    const visit = async (from: number, to: number): Promise<void> => {
      if (stop) {
        ranges.push({ from, to, fate: { state: "failed", error: stop } });
        return;
      }
      const result = await sendRange(from, to);
      if (result.kind === "settled") return;
      if (isDivisible(result)) await divide(from, to, result);
      else ranges.push({ from, to, fate: { state: "failed", error: result.error } });
    };

    await divide(0, request.points, first);
    return { ranges, bytes, ...(stop ? { stop } : {}) };
  };

  const settle = async (
    payload: Payload,
    points: number,
    probe: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<Settled> => {
    const result = await deps.transport.send(payload, signal);
    if (result.kind === "accepted" || result.kind === "partial") {
      if (result.message !== "") {
        deps.logger.warn(
          { collector_message: result.message, rejected: rejectedOf(result) },
          "the Collector had a remark",
        );
      }
      return { ranges: acceptedRanges(0, points, result), bytes: payload.body.length };
    }
    if (!isDivisible(result) || !(await probe())) {
      // The cause has the Collector's words with the addresses in them: they are for the operator alone.
      deps.logger.warn({ err: result.error, code: result.error.code, points }, "a batch was not delivered");
      return {
        ranges: [{ from: 0, to: points, fate: { state: "failed", error: result.error } }],
        bytes: 0,
        stop: result.error,
      };
    }
    deps.logger.warn(
      { err: result.error, code: result.error.code, points },
      `${result.error.message}: isolating what it refuses`,
    );
    return await isolate(splitRequest(await deps.transport.decode(payload)), result, probe, signal);
  };

  const encode = async (batch: Batch<unknown>): Promise<Payload> => {
    try {
      return await deps.transport.encode(batch.body);
    } finally {
      batch.release();
    }
  };

  return {
    send: async (batch, probe, signal) => {
      const { parts, points } = batch;
      const { ranges, bytes, stop } = await settle(await encode(batch), points, probe, signal);
      return { parts: toParts(parts, ranges), bytes, ...(stop ? { stop } : {}) };
    },
    isAccepted: async (batch, signal) => {
      const result = await deps.single.send(await encode(batch), signal);
      return result.kind === "accepted";
    },
  };
}

function rejectedOf(result: ExportResult): number {
  return result.kind === "partial" ? result.rejectedPoints : 0;
}

function isDivisible(result: Failure): boolean {
  return result.kind === "rejected" ? result.divisible : result.status === 503;
}

/** Which of the points a partial success refused is not said: the last ones stand for them. */
function acceptedRanges(from: number, to: number, result: ExportResult): Range[] {
  const rejected = Math.min(rejectedOf(result), to - from);
  const ranges: Range[] = [{ from, to: to - rejected, fate: { state: "acknowledged" } }];
  if (result.kind === "partial" && rejected > 0) {
    const reason = `the Collector refused ${rejected} of ${to - from} points${result.message ? `: ${result.message}` : ""}`;
    ranges.push({ from: to - rejected, to, fate: { state: "refused", reason } });
  }
  return ranges.filter((range) => range.to > range.from);
}

/** Gives every owner its share of the ranges. */
function toParts<Owner>(parts: readonly BatchPart<Owner>[], ranges: Range[]): PartOutcome<Owner>[] {
  const sorted = ranges.toSorted((a, b) => a.from - b.from);
  const outcomes: PartOutcome<Owner>[] = [];
  let start = 0;
  for (const { owner, points } of parts) {
    const end = start + points;
    for (const range of sorted) {
      const shared = Math.min(end, range.to) - Math.max(start, range.from);
      if (shared > 0) outcomes.push({ owner, points: shared, fate: range.fate });
    }
    start = end;
  }
  return outcomes;
}
