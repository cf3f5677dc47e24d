import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { createSecret, type Secret } from "#lib/secret.ts";
import type { WorkerMetricName } from "./ports.ts";

/** Work on one cluster that a worker takes over. */
export type Operation = "collect" | "check" | "diagnose" | "find_services";

/** abort: end at once. end_reading: deliver what was read. stop_soon: begin nothing new. */
export type SignalName = "abort" | "end_reading" | "stop_soon";

/** What a worker asks the main process for, while it works on the cluster that the arguments name. */
type RequestName = "get" | "put" | "delete" | "open_credentials";

/** From the main process to a worker. Everything is JSON; secrets are packed with `pack`. */
export type ToWorker =
  | { type: "start"; settings: unknown }
  | { type: "call"; id: number; operation: Operation; cluster: unknown; epoch: number }
  | { type: "signal"; id: number; name: SignalName; reason: WireError }
  /** Asks a collection how far it is; it answers by `told`. */
  | { type: "ask_progress"; id: number }
  | { type: "answer"; id: number; value?: unknown; error?: WireError };

/** From a worker to the main process. */
export type FromWorker =
  | { type: "ready" }
  /** Sent every second: the event loop turns. `rssBytes`: its resident memory, for systems without /proc. */
  | { type: "alive"; rssBytes: number }
  /** Of a call under way: the progress of a collection, or a step of a diagnosis. */
  | { type: "told"; id: number; value: unknown }
  | { type: "done"; id: number; value?: unknown; error?: WireError }
  | { type: "request"; id: number; name: RequestName; args: unknown[] }
  | { type: "metric"; name: WorkerMetricName; args: unknown[] };

export interface WireError {
  /** Absent: not a BridgeError. */
  code?: ErrorCode;
  message: string;
  hint?: string;
  details?: Record<string, unknown>;
  httpStatus?: number;
}

export function toWireError(thrown: unknown): WireError {
  if (!(thrown instanceof BridgeError)) {
    return { message: thrown instanceof Error ? thrown.message : String(thrown) };
  }
  const { code, message, hint, details, httpStatus } = thrown;
  return { code, message, hint, httpStatus, ...(details ? { details } : {}) };
}

export function fromWireError({ code, message, ...options }: WireError): Error {
  return code === undefined ? new Error(message) : new BridgeError(code, message, options);
}

const SECRET = "$secret";

/** A copy of a JSON-like value in which each Secret is an object with its text: a Secret itself never becomes JSON. */
export function pack(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (isSecret(value)) return { [SECRET]: value.expose() };
  if (Array.isArray(value)) return value.map(pack);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, pack(part)]));
}

/** The reverse of {@link pack}. */
export function unpack(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(unpack);
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === SECRET && typeof first[1] === "string") {
    return createSecret(first[1]);
  }
  return Object.fromEntries(entries.map(([name, part]) => [name, unpack(part)]));
}

export const packCluster = (cluster: Cluster): unknown => pack(cluster);
export const unpackCluster = (packed: unknown): Cluster => unpack(packed) as Cluster;

function isSecret(value: object): value is Secret {
  return "expose" in value && typeof value.expose === "function";
}
