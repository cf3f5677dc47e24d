import type { Clock } from "#lib/clock.ts";
import type { TransportReason } from "#lib/transport-reasons.ts";
import type { ExternalLabel } from "./external-labels.ts";

/** How the samples of plain selectors are read from a Pod; the names are those of the progress record. */
export interface KnownTransport {
  transport: "remote_read" | "query_api";
  reason: TransportReason;
  /** Since when it is so, and when that was last decided: ms by the bridge's clock. */
  since: number;
  decided_at: number;
  /** Of the selectors that the rest is about. */
  selectors: string;
  /** Labels that Prometheus adds to the answers of remote read; absent: none. */
  external_labels?: KnownLabel[];
  /** Queries whose answers in the form SAMPLES are too large; absent: none. */
  large?: string[];
}

export interface KnownLabel extends ExternalLabel {
  /** Queries all of whose series have a label of their own of that name, with another value. */
  kept?: string[];
  /** Queries of which some series have one, or one with the same value: they are read by the query API. */
  mixed?: string[];
}

/** What is decided anew; `external_labels` only for remote read. */
export type Decision = Pick<KnownTransport, "transport" | "reason" | "external_labels">;

/** Holds what is known of one connection. */
export interface SampleTransport {
  readonly mode: "auto" | "off";
  /** From the progress record. */
  recall(known: KnownTransport | undefined): void;
  /** For the progress record; undefined while nothing is decided. */
  known(): KnownTransport | undefined;
  /** Is it not decided yet, or so long ago that it is to be decided again? */
  isDue(selectors: string): boolean;
  decide(decision: Decision, selectors: string): void;
  /** The query's answer is too large for the form SAMPLES. */
  noteLarge(query: string): void;
  /** Whether the query's series have external labels of their own can't be told. */
  noteMixed(query: string): void;
}

const DECIDED_MS = 24 * 3_600_000;
/** After a failure that may pass. */
const NO_ANSWER_MS = 3_600_000;
/** Names of queries in the record. */
const LARGE_MAX = 200;

export function createSampleTransport(clock: Clock, mode: SampleTransport["mode"]): SampleTransport {
  let known: KnownTransport | undefined;
  return {
    mode,
    recall: (recalled) => void (known ??= recalled),
    known: () => known,
    isDue: (selectors) => {
      if (!known) return true;
      const { reason, decided_at, transport } = known;
      if ((reason === "switched_off") !== (mode === "off")) return true;
      const isOther = transport === "remote_read" && known.selectors !== selectors;
      const validMs = reason === "no_answer" ? NO_ANSWER_MS : DECIDED_MS;
      return isOther || Math.abs(clock.now() - decided_at) >= validMs;
    },
    decide: (decision, selectors) => {
      const nowMs = clock.now();
      const isSame = known?.transport === decision.transport && known.reason === decision.reason;
      known = { ...decision, since: isSame ? known!.since : nowMs, decided_at: nowMs, selectors };
    },
    noteMixed: (query) => {
      const [label, ...labels] = known?.external_labels ?? [];
      if (!known || !label) return;
      known.external_labels = [{ ...label, mixed: [...(label.mixed ?? []), query] }, ...labels];
    },
    noteLarge: (query) => {
      if (!known) return;
      const large = known.large ?? [];
      if (!large.includes(query) && large.length < LARGE_MAX) known.large = [...large, query];
    },
  };
}
