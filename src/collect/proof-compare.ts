import { toBridgeError, type BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import { partialAnswer } from "#prometheus/remarks.ts";
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

  const countOne = async (task: CountTask): Promise<void> => {
    try {
      task.done(await count(deps.client, task, ability, limits.signal));
    } catch (thrown) {
      const error = toBridgeError(thrown);
      if (isUnreachable(error) || limits.signal.aborted) {
        failures = FAILURES_MAX;
        return;
      }
      failures++;
      task.failed(error);
    }
  };

  for (const joint of toJoint(tasks)) {
    if (!mayBegin()) return;
    if (joint.length > 1 && ability.joins && ability.counts) {
      const samples = await countJointly(deps.client, joint, limits.signal);
      if (samples) {
        joint.forEach((task, i) => task.done(samples[i]!));
        continue;
      }
      ability.joins = false;
    }
    for (const task of joint) if (mayBegin()) await countOne(task);
  }
}

/** Undefined when it failed: each of them is then counted alone. */
async function countJointly(
  client: PrometheusClient,
  joint: readonly CountTask[],
  signal: AbortSignal,
): Promise<number[] | undefined> {
  const selectors = joint.map(({ query }) => query.selector);
  return await client.countSamples(selectors, joint[0]!.window, signal).catch(() => undefined);
}

async function count(
  client: PrometheusClient,
  task: CountTask,
  ability: Ability,
  signal: AbortSignal,
): Promise<number> {
  if (ability.counts) {
    try {
      const [samples] = await client.countSamples([task.query.selector], task.window, signal);
      return samples!;
    } catch (thrown) {
      if (!isUnableToCount(toBridgeError(thrown))) throw thrown;
      ability.counts = false;
    }
  }
  return await countByReading(client, task, signal);
}

/** For a source that answers with samples alone: a proxy, or a program that has not all of PromQL. */
async function countByReading(
  client: PrometheusClient,
  { query, window, windowMsMax }: CountTask,
  signal: AbortSignal,
): Promise<number> {
  const hooks = { sink: { series: () => undefined }, pause: () => undefined };
  let count = 0;
  for (let { fromMs } = window; fromMs < window.toMs; fromMs += windowMsMax) {
    const toMs = Math.min(window.toMs, fromMs + windowMsMax);
    const result = await client.read(query, { fromMs, toMs }, hooks, signal);
    if (result.noStores) throw partialAnswer("no store has data of this time");
    count += result.samples + result.histogramSamples;
    for (const { samples } of result.refused) count += samples;
  }
  return count;
}

/** Tasks about the same time, as many as one request has. */
function toJoint(tasks: readonly CountTask[]): CountTask[][] {
  const joints: CountTask[][] = [];
  for (const same of Map.groupBy(tasks, ({ window }) => `${window.fromMs}-${window.toMs}`).values()) {
    let chars = Infinity;
    for (const task of same) {
      const { length } = task.query.selector;
      const last = joints.at(-1);
      if (last && last.length < SELECTORS_MAX && chars + length <= SELECTOR_CHARS_MAX) {
        last.push(task);
        chars += length;
      } else {
        joints.push([task]);
        chars = length;
      }
    }
  }
  return joints;
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
