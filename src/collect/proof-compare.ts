import { toBridgeError, type BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import { partialAnswer } from "#prometheus/remarks.ts";
import { selectorsByName } from "#prometheus/selector-matchers.ts";
import type { ScannedSeries, SeriesSink } from "#prometheus/series-sink.ts";
import type { Window } from "#prometheus/window.ts";

/** One query in one stretch, whose samples are to be counted at the source. */
export interface CountTask {
  query: Query & { kind: "selector" };
  window: Window;
  /** Longest window of the query that the source can answer. */
  windowMsMax: number;
  done(samples: number): void;
  failed(error: BridgeError): void;
}

export interface CountLimits {
  signal: AbortSignal;
  isStopping: () => boolean;
  /** No request begins after this time; one that is under way ends. */
  shareMs: number;
}

/** One request has as many selectors, and their text is short enough for a URL where only GET is accepted. */
const SELECTORS_MAX = 16;
const SELECTOR_CHARS_MAX = 2000;
const FAILURES_MAX = 3;

/** What was found out about the source in this collection. */
interface Ability {
  /** Several counts in one request. */
  joins: boolean;
  /** At all: otherwise the samples are read, and counted here. */
  counts: boolean;
}

/**
 * Counts samples at the source, one request at a time, until the share of time is used up, the cluster can't be reached, or three counts
 * have failed. Tasks that were not done by then are left to the next collection. Never throws.
 */
export async function countAtSource(
  deps: { client: PrometheusClient; clock: Clock },
  tasks: readonly CountTask[],
  limits: CountLimits,
): Promise<void> {
  const startedAt = deps.clock.monotonic();
  const ability: Ability = { joins: true, counts: true };
  let failures = 0;
  const mayBegin = (): boolean =>
    failures < FAILURES_MAX &&
    !limits.signal.aborted &&
    !limits.isStopping() &&
    deps.clock.monotonic() - startedAt < limits.shareMs;

  /** Undefined of `count`: the source can't count. Returns whether the tasks are settled. */
  const settle = async (
    of: readonly CountTask[],
    count: () => Promise<number[] | undefined>,
  ): Promise<boolean> => {
    try {
      const samples = await count();
      if (samples) of.forEach((task, i) => task.done(samples[i]!));
      return samples !== undefined;
    } catch (thrown) {
      const error = toBridgeError(thrown);
      if (isUnreachable(error) || limits.signal.aborted) {
        failures = FAILURES_MAX;
        return false;
      }
      failures++;
      for (const task of of) task.failed(error);
      return true;
    }
  };

  const left = new Set(tasks);
  for (const joint of toJoint(tasks.flatMap(toListed))) {
    if (!mayBegin() || !ability.counts) break;
    if (ability.joins && (joint.length > 1 || joint[0]!.selectors.length > 1)) {
      const samples = await countJointly(deps.client, joint, limits.signal, mayBegin);
      if (samples === "late") break;
      if (samples !== "failed") {
        joint.forEach(({ task }, i) => task.done(samples[i]!));
        for (const { task } of joint) left.delete(task);
        continue;
      }
      ability.joins = false;
    }
    for (const listed of joint) {
      if (!mayBegin() || !ability.counts) break;
      const { task } = listed;
      if (await settle([task], () => countOne(deps.client, listed, ability, { ...limits, mayBegin })))
        left.delete(task);
    }
  }
  const toRead = [...left].filter((task) => !ability.counts || toListed(task).length === 0);
  for (const span of toSpans(toRead)) {
    if (!mayBegin()) return;
    await settle(span, () => countByReading(deps.client, span, limits.signal));
  }
}

/** A task whose selector lists its names: only then can the source count. */
interface ListedTask {
  task: CountTask;
  /** One for each name. */
  selectors: readonly string[];
}

function toListed(task: CountTask): ListedTask[] {
  const selectors = selectorsByName(task.query.selector);
  return selectors ? [{ task, selectors }] : [];
}

/** `failed`: each of them is then counted alone. `late`: the time is used up. */
async function countJointly(
  client: PrometheusClient,
  joint: readonly ListedTask[],
  signal: AbortSignal,
  mayBegin: () => boolean,
): Promise<number[] | "failed" | "late"> {
  const counts: number[] = [];
  const { window } = joint[0]!.task;
  for (const part of toRequests(joint.flatMap(({ selectors }) => selectors))) {
    if (counts.length > 0 && !mayBegin()) return "late";
    const some = await client.countSamples(part, window, signal).catch(() => undefined);
    if (!some) return "failed";
    counts.push(...some);
  }
  let at = 0;
  return joint.map(({ selectors }) => {
    const own = counts.slice(at, (at += selectors.length));
    return own.reduce((sum, count) => sum + count, 0);
  });
}

/** Undefined: the source can't count, or the time is used up. */
async function countOne(
  client: PrometheusClient,
  { task, selectors }: ListedTask,
  ability: Ability,
  limits: { signal: AbortSignal; mayBegin: () => boolean },
): Promise<number[] | undefined> {
  let sum = 0;
  try {
    for (const [i, selector] of selectors.entries()) {
      if (i > 0 && !limits.mayBegin()) return undefined;
      sum += (await client.countSamples([selector], task.window, limits.signal))[0]!;
    }
  } catch (thrown) {
    if (!isUnableToCount(toBridgeError(thrown))) throw thrown;
    ability.counts = false;
    return undefined;
  }
  return [sum];
}

/**
 * For a source that answers with samples alone: a proxy, or a program that has not all of PromQL. Reads neighbouring stretches of one query
 * at once.
 */
async function countByReading(
  client: PrometheusClient,
  span: readonly CountTask[],
  signal: AbortSignal,
): Promise<number[]> {
  const [first, last] = [span[0]!, span.at(-1)!];
  const ends = span.map(({ window }) => window.toMs);
  const counts = span.map(() => 0);
  const countAt = (ms: number): void => void counts[ends.findIndex((end) => ms <= end)]!++;
  const series = ({ timestamps, sampleCount }: ScannedSeries): void => {
    for (let i = 0; i < sampleCount; i++) countAt(timestamps[i]!);
  };
  const histogram: SeriesSink["histogram"] = (_series, { timestampMs }) => countAt(timestampMs);
  const hooks = { sink: { series, histogram }, pause: () => undefined };
  const { query, windowMsMax } = first;
  const { toMs } = last.window;
  for (let { fromMs } = first.window; fromMs < toMs; fromMs += windowMsMax) {
    const window = { fromMs, toMs: Math.min(toMs, fromMs + windowMsMax) };
    const result = await client.read(query, window, hooks, signal);
    if (result.noStores) throw partialAnswer("no store has data of this time");
    const others = result.refused.reduce((sum, { samples }) => sum + samples, 0);
    // Their times are not known: each stretch is read alone.
    if (others > 0 && span.length > 1) {
      const alone = [];
      for (const task of span) alone.push(...(await countByReading(client, [task], signal)));
      return alone;
    }
    counts[0]! += others;
  }
  return counts;
}

/** Neighbouring stretches of the same query, up to its longest window. */
function toSpans(tasks: readonly CountTask[]): CountTask[][] {
  const spans: CountTask[][] = [];
  for (const same of Map.groupBy(tasks, ({ query }) => query.name).values()) {
    for (const task of same.toSorted((a, b) => a.window.fromMs - b.window.fromMs)) {
      const last = spans.at(-1);
      const { query, window } = last?.at(-1) ?? {};
      const isNext = query?.name === task.query.name && window?.toMs === task.window.fromMs;
      if (last && isNext && task.window.toMs - last[0]!.window.fromMs <= task.windowMsMax) last.push(task);
      else spans.push([task]);
    }
  }
  return spans;
}

/** Tasks about the same time, as many as one request has. One with more selectors than that is alone. */
function toJoint(tasks: readonly ListedTask[]): ListedTask[][] {
  const joints: ListedTask[][] = [];
  for (const same of Map.groupBy(tasks, ({ task: { window } }) => `${window.fromMs}-${window.toMs}`).values())
    joints.push(...inRequests(same, ({ selectors }) => selectors));
  return joints;
}

/** The selectors of each request. */
function toRequests(selectors: readonly string[]): string[][] {
  return inRequests(selectors, (selector) => [selector]);
}

function inRequests<Item>(items: readonly Item[], selectorsOf: (item: Item) => readonly string[]): Item[][] {
  const requests: Item[][] = [];
  let count = Infinity;
  let chars = Infinity;
  for (const item of items) {
    const selectors = selectorsOf(item);
    const length = selectors.reduce((sum, selector) => sum + selector.length, 0);
    if (count + selectors.length <= SELECTORS_MAX && chars + length <= SELECTOR_CHARS_MAX) {
      requests.at(-1)!.push(item);
      count += selectors.length;
      chars += length;
    } else {
      requests.push([item]);
      count = selectors.length;
      chars = length;
    }
  }
  return requests;
}

function isUnableToCount({ code }: BridgeError): boolean {
  return (
    code === "prometheus_query_failed" ||
    code === "prometheus_unexpected_answer" ||
    code === "prometheus_answer_invalid"
  );
}

function isUnreachable({ code }: BridgeError): boolean {
  return /^(cluster|tunnel)_/.test(code);
}
