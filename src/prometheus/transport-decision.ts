import { createHash } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import type { TransportReason } from "#lib/transport-reasons.ts";
import type { Query } from "./catalogue.ts";
import { CONFIG_BYTES_MAX, readExternalLabels, type ExternalLabel } from "./external-labels.ts";
import { RemoteReadRefused } from "./requests.ts";
import type { Decision, KnownLabel } from "./sample-transport.ts";
import { matchersOfSelector, withLabel } from "./selector-matchers.ts";
import type { LabelMatcher } from "./remote-read/request.ts";

/** Queries that are named in a decision. */
const EXCEPTIONS_MAX = 200;

/** What a decision asks the source. Each throws BridgeError. */
export interface TransportQuestions {
  /** A small remote read. Throws RemoteReadRefused as well. */
  probe(signal: AbortSignal): Promise<void>;
  /** The beginning of the text of /api/v1/status/config, up to CONFIG_BYTES_MAX; undefined: the answer has none. */
  configuration(signal: AbortSignal): Promise<string | undefined>;
  /** The number of series of each expression at present: 0 for one without. */
  countSeries(expressions: readonly string[], signal: AbortSignal): Promise<number[]>;
}

/** A plain selector, as remote read is asked for it. */
export interface ReadableSelector {
  name: string;
  selector: string;
  matchers: readonly LabelMatcher[];
}

/** The selectors among the queries that remote read can be asked for. */
export function readableSelectors(queries: readonly Query[]): ReadableSelector[] {
  return queries.flatMap((query) => {
    if (query.kind !== "selector") return [];
    const matchers = matchersOfSelector(query.selector);
    return matchers ? [{ name: query.name, selector: query.selector, matchers }] : [];
  });
}

export function hashSelectors(selectors: readonly ReadableSelector[]): string {
  const text = JSON.stringify(selectors.map(({ name, selector }) => [name, selector]));
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** Decides how the samples of the selectors are read. Throws the signal's reason alone. */
export async function decideTransport(
  ask: TransportQuestions,
  selectors: readonly ReadableSelector[],
  signal: AbortSignal,
): Promise<Decision> {
  try {
    const refusal = await refusalOf(ask, signal);
    if (refusal) return byQueryApi(refusal);
    const configuration = await configurationOf(ask, signal);
    if (configuration === undefined) return byQueryApi("configuration_closed");
    const labels = readExternalLabels(configuration);
    if (!labels) return byQueryApi("configuration_unreadable");
    const known = await compareLabels(ask, selectors, labels, signal);
    if (known.flatMap(({ kept = [], mixed = [] }) => [...kept, ...mixed]).length > EXCEPTIONS_MAX)
      return byQueryApi("external_labels_unclear");
    const remoteRead = { transport: "remote_read", reason: "remote_read_answers" } as const;
    return { ...remoteRead, ...(known.length > 0 ? { external_labels: known } : {}) };
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (!(error instanceof BridgeError)) throw error;
    return byQueryApi("no_answer");
  }
}

function byQueryApi(reason: TransportReason): Decision {
  return { transport: "query_api", reason };
}

/** What a refusal says about the source. */
export function reasonOfRefusal({ status }: RemoteReadRefused): TransportReason {
  return status === 401 || status === 403 ? "forbidden" : "not_served";
}

async function refusalOf(ask: TransportQuestions, signal: AbortSignal): Promise<TransportReason | undefined> {
  try {
    await ask.probe(signal);
    return undefined;
  } catch (error) {
    if (error instanceof RemoteReadRefused) return reasonOfRefusal(error);
    throw error;
  }
}

/** Undefined: it is closed. A failure that may pass is thrown. */
async function configurationOf(ask: TransportQuestions, signal: AbortSignal): Promise<string | undefined> {
  try {
    const text = await ask.configuration(signal);
    return text === undefined ? "" : text.slice(0, CONFIG_BYTES_MAX);
  } catch (error) {
    if (!signal.aborted && error instanceof BridgeError && isClosed(error)) return undefined;
    throw error;
  }
}

function isClosed({ code, details }: BridgeError): boolean {
  const status = details?.["status"];
  if (typeof status === "number" && status >= 500 && status !== 501) return false;
  return /^prometheus_(unauthorized|login_required|unexpected_answer|query_failed)$/.test(code);
}

/** Finds out which selectors have series with a label of their own that has the name of an external one. */
async function compareLabels(
  ask: TransportQuestions,
  selectors: readonly ReadableSelector[],
  labels: readonly ExternalLabel[],
  signal: AbortSignal,
): Promise<KnownLabel[]> {
  const pairs = labels.flatMap((label) => selectors.map((each) => ({ label, each })));
  if (pairs.length === 0) return labels.map((label) => ({ ...label }));
  const having = await ask.countSeries(
    pairs.map(({ label, each }) => withLabel(each.matchers, label.name)),
    signal,
  );
  const doubtful = pairs
    .map((pair, i) => ({ ...pair, having: having[i]! }))
    .filter((pair) => pair.having > 0);
  const counts =
    doubtful.length === 0
      ? []
      : await ask.countSeries(
          doubtful.flatMap(({ each, label }) => [
            each.selector,
            withLabel(each.matchers, label.name, label.value),
          ]),
          signal,
        );
  return labels.map((label) => {
    const own = doubtful
      .map((pair, i) => ({ ...pair, all: counts[2 * i]!, same: counts[2 * i + 1]! }))
      .filter((pair) => pair.label === label);
    const namesOf = (pairsOf: typeof own): string[] => pairsOf.map(({ each }) => each.name);
    const isKept = ({ having, all, same }: (typeof own)[number]): boolean => having === all && same === 0;
    const kept = namesOf(own.filter(isKept));
    const mixed = namesOf(own.filter((pair) => !isKept(pair)));
    return { ...label, ...(kept.length > 0 ? { kept } : {}), ...(mixed.length > 0 ? { mixed } : {}) };
  });
}
