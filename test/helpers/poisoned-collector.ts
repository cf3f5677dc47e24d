import { BridgeError } from "#errors/error.ts";
import type { ExportResult, Payload, Transport } from "#otlp/transport.ts";
import type { Batch } from "#otlp/writer.ts";
import { createKeepingWriter, pointsOf } from "./otlp-points.ts";
import { toScanned } from "./scanned-series.ts";

/** A Collector's answer to the points of a request, which are identified by their index in the batch. */
export type Verdict = (points: readonly number[]) => ExportResult;

export const ACCEPTED: ExportResult = { kind: "accepted", message: "" };

export function rejected(status: number, divisible = true): ExportResult {
  const code = divisible ? "collector_refused" : "collector_misconfigured";
  return {
    kind: "rejected",
    status,
    divisible,
    error: new BridgeError(code, `the Collector answered ${status}: no`),
  };
}

export function retryable(status?: number): ExportResult {
  const error = new BridgeError("collector_unavailable", `the Collector answered ${status}: busy`);
  return { kind: "retryable", error, ...(status === undefined ? {} : { status }) };
}

/** Refuses each request that has one of the points with `refusal`. */
export function poisonedBy(poison: ReadonlySet<number>, refusal: ExportResult): Verdict {
  return (points) => (points.some((point) => poison.has(point)) ? refusal : ACCEPTED);
}

/** A Collector in memory behind the two transports of an exporter. It stores what it accepts. */
export interface PoisonedCollector {
  verdict: Verdict;
  /** With retries, and without. */
  transport: Transport;
  single: Transport;
  /** Points of each request by the way it came. */
  requests: { retried: number[][]; single: number[][] };
  /** How often each point was stored. */
  stored: Map<number, number>;
}

export function createPoisonedCollector(verdict: Verdict): PoisonedCollector {
  const answer = (log: number[][], payload: Payload): ExportResult => {
    const points = pointsOf(payload.body).map(({ ns }) => Number(ns / 1_000_000n) - FIRST_MS);
    log.push(points);
    const result = collector.verdict(points);
    const taken = result.kind === "accepted" ? points : [];
    const kept = result.kind === "partial" ? points.slice(0, points.length - result.rejectedPoints) : taken;
    for (const point of kept) collector.stored.set(point, (collector.stored.get(point) ?? 0) + 1);
    return result;
  };
  const transportBy = (log: number[][]): Transport => ({
    encode: (body) => Promise.resolve({ body: Buffer.from(body), encoding: "none" }),
    pack: (body) => Promise.resolve({ body: Buffer.from(body), encoding: "none" }),
    unpack: (payload) => Promise.resolve(payload),
    decode: ({ body }) => Promise.resolve(body),
    send: (payload, signal) => {
      signal.throwIfAborted();
      return Promise.resolve(answer(log, payload));
    },
  });
  const requests: PoisonedCollector["requests"] = { retried: [], single: [] };
  const collector: PoisonedCollector = {
    verdict,
    requests,
    stored: new Map(),
    transport: transportBy(requests.retried),
    single: transportBy(requests.single),
  };
  return collector;
}

const FIRST_MS = 1_767_225_600_000;

/** A batch of which run i has `runs[i]` points of the owner "o<i>" and of metric "m<i>". Its bytes are spoiled when it is released. */
export function createBatch(runs: readonly number[]): Batch<string> & { released: () => number } {
  const { writer, batches } = createKeepingWriter<string>();
  let at = FIRST_MS;
  for (const [i, count] of runs.entries()) {
    const metric = {
      name: `m${i}`,
      kind: i % 2 === 0 ? ("gauge" as const) : ("counter" as const),
      unit: "",
      description: "",
    };
    const samples = Array.from({ length: count }, (): [number, number] => [at++, i]);
    writer.series(toScanned({ name: "", labels: [["run", String(i)]], samples }), metric, `o${i}`);
  }
  writer.flush();
  const { body, points, parts } = batches[0]!;
  let releases = 0;
  return {
    body,
    points,
    parts,
    released: () => releases,
    release: () => {
      releases++;
      body.fill(0xff);
    },
  };
}
