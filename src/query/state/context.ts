import type { Clock } from "#lib/clock.ts";
import type { CollectionRecords } from "#query/collection-record.ts";
import { relevantQueries, storedUntil, toCompleteness, type Completeness } from "#query/completeness.ts";
import { checkClusterId } from "#query/limits.ts";
import type { NodeAddresses, ReadNodeAddresses } from "#query/node-addresses.ts";
import type { NodeEvidence, NodeNames, NodeQuestion, NodeResolver } from "#query/node-resolver.ts";
import { toTimestamp } from "#query/range.ts";
import { checkRequestedRange, toStateWindow, type RequestedRange, type WindowRules } from "./window.ts";

export interface StateRequest extends RequestedRange {
  clusterId: string;
  signal?: AbortSignal | undefined;
}

/** The first fields of every answer about the state of a cluster. */
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

/** What every state answer is computed from: the checked request, and what is known about the cluster's collection. */
export interface StateContext {
  clusterId: string;
  fromMs: number;
  toMs: number;
  /** null: there is nothing to read. */
  asOfMs: number | null;
  nowMs: number;
  /** Expiry of the credentials that the last collection used; null: none is known. */
  credentialsExpireMs: number | null;
  /** Does a query of the catalogue collect this metric? */
  collects(metric: string): boolean;
  /** Which node had which address from fromMs to asOfMs. Read once, at the first call. */
  nodeAddresses(): Promise<NodeAddresses>;
  /** Finds the nodes of series; `read`: what the answer itself has read about nodes. */
  nodeNames(
    questions: readonly NodeQuestion[],
    read?: Pick<NodeEvidence, "listed" | "hosts">,
  ): Promise<NodeNames>;
  /** Reads the rest of the head. Run it at the same time as the answer's own queries. */
  head(metrics: readonly string[]): Promise<StateHead>;
}

/**
 * Checks the request and finds the cluster. Throws `request_invalid`, `query_too_large` (the range) and `cluster_not_found`; what a
 * LimitedDatabase throws.
 */
export type CreateContext = (
  request: StateRequest,
  metrics: readonly string[],
  rules: WindowRules,
) => Promise<StateContext>;

export function createContextFactory(
  deps: {
    records: CollectionRecords;
    readNodeAddresses: ReadNodeAddresses;
    resolveNodes: NodeResolver;
    clock: Clock;
  },
  settings: { staleAfterMs: number; lookbackMs: number },
): CreateContext {
  return async (request, needed, rules) => {
    const { clusterId, signal } = request;
    checkClusterId(clusterId);
    const nowMs = deps.clock.now();
    checkRequestedRange(request, nowMs, rules);
    // The report from a window's length ago is about what was stored when the window began.
    const baseMs = request.fromMs ?? (request.toMs ?? nowMs) - rules.defaultMs;
    const known = await deps.records.read(clusterId, { nowMs, baseMs }, signal);
    const { record } = known;
    const stored = storedUntil(relevantQueries(record, needed), settings.staleAfterMs);
    const { fromMs, toMs, asOfMs } = toStateWindow(request, stored, nowMs, rules);
    const collected = new Set(record.queries.map(({ query }) => query));
    const range = { fromMs, toMs: asOfMs ?? toMs };
    let read: Promise<NodeAddresses> | undefined;
    const nodeAddresses = (): Promise<NodeAddresses> =>
      (read ??= deps.readNodeAddresses(clusterId, range, signal));
    return {
      clusterId,
      fromMs,
      toMs,
      asOfMs,
      nowMs,
      credentialsExpireMs: record.credentialsExpireMs,
      collects: (metric) => collected.has(metric),
      nodeAddresses,
      nodeNames: async (questions, { listed, hosts } = { listed: [], hosts: [] }) => {
        const addresses = await nodeAddresses();
        return await deps.resolveNodes(
          { addresses, listed, hosts },
          questions,
          { clusterId, ...range },
          signal,
        );
      },
      head: async (metrics) => {
        const answered = { clusterId, metrics, fromMs, asOfMs, nowMs };
        return {
          cluster_id: clusterId,
          as_of: asOfMs === null ? null : toTimestamp(asOfMs),
          window: {
            from: toTimestamp(fromMs),
            to: toTimestamp(toMs),
            lookback_seconds: settings.lookbackMs / 1000,
          },
          completeness: await toCompleteness(deps.records, known, answered, signal),
        };
      },
    };
  };
}
