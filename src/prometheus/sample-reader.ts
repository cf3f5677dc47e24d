import { createAnswerForms } from "./answer-forms.ts";
import type { ReadHooks, StreamDeps } from "./answer-stream.ts";
import { BridgeError } from "#errors/error.ts";
import type { Query } from "./catalogue.ts";
import type { PrometheusClient } from "./client.ts";
import { LabelsContradict, type ExternalLabel } from "./external-labels.ts";
import { streamMatrix, type StreamSettings } from "./matrix-stream.ts";
import type { AnswerForm } from "./remote-read/request.ts";
import { streamRemoteRead, UndecodableAnswer } from "./remote-read-stream.ts";
import { RemoteReadRefused, requestWhole } from "./requests.ts";
import { toCounts, toSeriesCountForm } from "./sample-counts.ts";
import type { Decision, KnownTransport, SampleTransport } from "./sample-transport.ts";
import { toReadMatchers } from "./selector-matchers.ts";
import { readConfiguration } from "./small-answers.ts";
import {
  decideTransport,
  hashSelectors,
  readableSelectors,
  reasonOfRefusal,
  type ReadableSelector,
  type TransportQuestions,
} from "./transport-decision.ts";
import type { Window } from "./window.ts";

/** Of a question about the source: a source that hangs must not use up the round's time. */
const QUESTION_MS = 10_000;
const EXPRESSIONS_AT_ONCE = 100;
/** Answers that contradict a decision: the first one leads to another decision, further ones to exceptions, and more of them say that no decision holds. */
const CONTRADICTIONS_MAX = 6;
/** After so many failures in a row the query API is tried. */
const FAILURES_MAX = 3;

type SampleReader = Pick<PrometheusClient, "read" | "prepareReads">;

/** Reads samples by remote read where the source answers it, by the query API otherwise. */
export function createSampleReader(
  deps: StreamDeps,
  settings: StreamSettings,
  samples: { transport: SampleTransport; queries: readonly Query[] } | undefined,
  countsOf: (form: Record<string, string>, signal: AbortSignal) => Promise<unknown>,
): SampleReader {
  const byQueryApi: SampleReader["read"] = async (query, window, hooks, signal) =>
    await streamMatrix(deps, settings, query, window, hooks, signal);
  if (!samples) return { read: byQueryApi, prepareReads: () => Promise.resolve(undefined) };
  const { transport } = samples;
  const selectors = readableSelectors(samples.queries);
  const byName = new Map(selectors.map((selector) => [selector.name, selector]));
  const hash = hashSelectors(selectors);
  const ask = createQuestions(deps, settings, countsOf);
  const forms = createAnswerForms();
  const decideAgain = async (signal: AbortSignal): Promise<void> => {
    const decision = fixedDecision(transport, settings) ?? (await decideTransport(ask, selectors, signal));
    transport.decide(decision, hash);
  };
  /** Contradictions that were answered by another decision. */
  let contradictions = 0;
  let failuresInARow = 0;

  /** What follows from a failure of remote read: true when the read is to begin again. */
  const learn = async (error: unknown, read: PlannedRead, signal: AbortSignal): Promise<boolean> => {
    if (error instanceof RemoteReadRefused) {
      transport.decide({ transport: "query_api", reason: reasonOfRefusal(error) }, hash);
    } else if (error instanceof LabelsContradict) {
      if (contradictions++ === 0) await decideAgain(signal);
      else if (contradictions <= CONTRADICTIONS_MAX) transport.noteMixed(read.selector.name);
      else transport.decide({ transport: "query_api", reason: "external_labels_unclear" }, hash);
    } else if (error instanceof UndecodableAnswer && error.reason === "unknown_encoding") {
      transport.decide({ transport: "query_api", reason: "unknown_format" }, hash);
    } else if (isTooLargeAsSamples(error, read)) {
      transport.noteLarge(read.selector.name);
    } else if (isFailing(error) && ++failuresInARow >= FAILURES_MAX) {
      transport.decide({ transport: "query_api", reason: "no_answer" }, hash);
    } else return false;
    return true;
  };

  return {
    prepareReads: async (signal) => {
      if (transport.isDue(hash)) await decideAgain(signal);
      return transport.known();
    },
    read: async (query, window, hooks, signal) => {
      const selector = byName.get(query.name);
      // Each turn rules out what the turn before tried.
      for (let turn = 0; turn < TURNS_MAX && hooks.restart; turn++) {
        const read = planRead(selector, window, transport.known(), forms.formOf(query.name, window));
        if (!read) break;
        try {
          const result = await streamRemoteRead(deps, settings, read, hooks, signal);
          failuresInARow = 0;
          forms.learn(query.name, window, result);
          return result;
        } catch (error) {
          if (signal.aborted || !(await learn(error, read, signal))) throw error;
          await hooks.restart();
        }
      }
      return await byQueryApi(query, window, hooks, signal);
    },
  };
}

/** Is it a failure that a proxy on the path can cause for remote read alone, for good? Not one that smaller windows mend. */
function isFailing(error: unknown): boolean {
  return (
    error instanceof BridgeError &&
    error.code.startsWith("prometheus_") &&
    !/^prometheus_(too_many_samples|answer_too_large)$/.test(error.code)
  );
}

/** A refusal, two contradictions, and the other form of answer. */
const TURNS_MAX = 4;

interface PlannedRead {
  selector: ReadableSelector;
  matchers: ReadableSelector["matchers"];
  window: Window;
  form: AnswerForm;
  added: ExternalLabel[];
  own: ExternalLabel[];
}

/** How remote read is asked; undefined: the query API is. */
function planRead(
  selector: ReadableSelector | undefined,
  window: Window,
  known: KnownTransport | undefined,
  form: AnswerForm,
): PlannedRead | undefined {
  if (!selector || known?.transport !== "remote_read") return undefined;
  const { external_labels: labels = [], large } = known;
  const { name } = selector;
  if (labels.some(({ mixed }) => mixed?.includes(name))) return undefined;
  return {
    selector,
    matchers: toReadMatchers(selector.matchers),
    window,
    form: large?.includes(name) ? "chunks" : form,
    added: labels.filter(({ kept }) => kept?.includes(name) !== true),
    own: labels.filter(({ kept }) => kept?.includes(name) === true),
  };
}

function isTooLargeAsSamples(error: unknown, { form }: PlannedRead): boolean {
  return form === "samples" && error instanceof UndecodableAnswer && error.reason === "too_large";
}

/** What is decided without asking the source. */
function fixedDecision({ mode }: SampleTransport, { authorization }: StreamSettings): Decision | undefined {
  if (mode === "off") return { transport: "query_api", reason: "switched_off" };
  if (authorization?.sign) return { transport: "query_api", reason: "signed_requests" };
  return undefined;
}

function createQuestions(
  deps: StreamDeps,
  settings: StreamSettings,
  countsOf: (form: Record<string, string>, signal: AbortSignal) => Promise<unknown>,
): TransportQuestions {
  const timed = { ...settings, timeoutMs: Math.min(settings.timeoutMs, QUESTION_MS) };
  return {
    probe: async (signal) => {
      const nowMs = deps.clock.now();
      const window = { fromMs: nowMs - 1, toMs: nowMs };
      const matchers = [{ name: "__name__", type: "=", value: "up" } as const];
      const hooks: ReadHooks = { sink: { series: () => undefined }, pause: () => undefined };
      await streamRemoteRead(
        deps,
        timed,
        { matchers, window, form: "samples", added: [], own: [] },
        hooks,
        signal,
      );
    },
    configuration: async (signal) => {
      const take = async (body: AsyncIterable<Uint8Array>) => await readConfiguration(body, deps.turns);
      return await requestWhole(deps, timed, { path: "/api/v1/status/config", form: {} }, take, signal);
    },
    countSeries: async (expressions, signal) => {
      const counts: number[] = [];
      for (let at = 0; at < expressions.length; at += EXPRESSIONS_AT_ONCE) {
        const part = expressions.slice(at, at + EXPRESSIONS_AT_ONCE);
        counts.push(...toCounts(await countsOf(toSeriesCountForm(part), signal), part.length));
      }
      return counts;
    },
  };
}
