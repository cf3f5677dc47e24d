import type { Clock } from "#lib/clock.ts";
import { BridgeError } from "#errors/error.ts";
import type { CollectionRecords } from "#query/collection-record.ts";
import { relevantQueries, storedUntil, toCompleteness, type Completeness } from "#query/completeness.ts";
import { toTimestamp } from "#query/grid.ts";
import type { NodeAddresses, ReadNodeAddresses } from "#query/node-addresses.ts";
import { parseRange, toStateWindow, type TimeRange, type WindowRules } from "./window.ts";

export interface StateRequest extends TimeRange {
  clusterId: string;
  signal?: AbortSignal;
}

/** What every answer about the state of a cluster begins with. */
export interface StateHead {
  cluster_id: string;
  /** The time that the answer describes: the newest of the window up to which everything is stored. null: nothing of it is. */
  as_of: string | null;
  window: StateWindowAnswer;
  completeness: Completeness;
}

export interface StateWindowAnswer {
  from: string;
  to: string;
  /** A gauge counts with its newest sample of this many seconds before the time that is described. */
  lookback_seconds: number;
}

/** A request that was understood, with what is known of the cluster's collection. */
export interface Frame {
  clusterId: string;
  fromMs: number;
  toMs: number;
  /** null: there is nothing to read. */
  asOfMs: number | null;
  nowMs: number;
  /** When the credentials end that the cluster was last reached by; null: they are not known to end. */
  credentialsEndMs: number | null;
  /** Does a query of the catalogue collect this metric? */
  collects(metric: string): boolean;
  /** Which node had which address from fromMs to asOfMs. Read once, when it is first asked for. */
  nodeAddresses(): Promise<NodeAddresses>;
  /** Reads what is still missing for the head; to be run beside the answer's own queries. */
  head(metrics: readonly string[]): Promise<StateHead>;
}

/**
 * Checks the request and finds the cluster. Throws `request_invalid`, `query_too_large` (the range) and `cluster_not_found`; what a
 * LimitedDatabase throws.
 */
export type OpenFrame = (
  request: StateRequest,
  metrics: readonly string[],
  rules: WindowRules,
) => Promise<Frame>;

const CLUSTER_ID = /^[A-Za-z0-9._-]{1,64}$/;

export function createOpenFrame(
  deps: { records: CollectionRecords; readNodeAddresses: ReadNodeAddresses; clock: Clock },
  settings: { staleAfterMs: number; lookbackMs: number },
): OpenFrame {
  return async (request, needed, rules) => {
    const { clusterId, signal } = request;
    if (!CLUSTER_ID.test(clusterId)) {
      throw new BridgeError("request_invalid", "the cluster's id must be 1 to 64 of A-Z a-z 0-9 . _ -", {
        details: { fields: [{ field: "cluster_id", problem: "has other characters, or too many" }] },
      });
    }
    const nowMs = deps.clock.now();
    const asked = parseRange(request, nowMs, rules);
    // The report from a window's length ago is about what was stored when the window began.
    const baseMs = asked.fromMs ?? (asked.toMs ?? nowMs) - rules.defaultMs;
    const { record, before } = await deps.records.read(clusterId, { nowMs, baseMs }, signal);
    const stored = storedUntil(relevantQueries(record, needed), settings.staleAfterMs);
    const { fromMs, toMs, asOfMs } = toStateWindow(asked, stored, nowMs, rules);
    const collected = new Set(record.queries.map(({ query }) => query));
    const range = { fromMs, toMs: asOfMs ?? toMs };
    let addresses: Promise<NodeAddresses> | undefined;
    return {
      clusterId,
      fromMs,
      toMs,
      asOfMs,
      nowMs,
      credentialsEndMs: record.credentialsEndMs,
      collects: (metric) => collected.has(metric),
      nodeAddresses: () => (addresses ??= deps.readNodeAddresses(clusterId, range, signal)),
      head: async (metrics) => {
        const firstMs = before.length === 0 ? await deps.records.began(clusterId, signal) : undefined;
        const beganMs = firstMs !== undefined && firstMs > fromMs ? firstMs : undefined;
        return {
          cluster_id: clusterId,
          as_of: asOfMs === null ? null : toTimestamp(asOfMs),
          window: {
            from: toTimestamp(fromMs),
            to: toTimestamp(toMs),
            lookback_seconds: settings.lookbackMs / 1000,
          },
          completeness: toCompleteness({ record, metrics, before, beganMs, asOfMs, nowMs }),
        };
      },
    };
  };
}
