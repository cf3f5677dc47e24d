import { BridgeError, toBridgeError } from "#errors.ts";
import type { Delivery } from "#otlp/delivery.ts";
import type { PartOutcome } from "#otlp/exporter.ts";
import type { MetricDescription, OtlpWriter } from "#otlp/writer.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import { halve, type ReadTask } from "./plan.ts";

/** A window that is being read and sent. It is settled when it was read to the end and every point of it has its fate. */
export interface WindowRead {
  task: ReadTask;
  /** Points handed to the writer. */
  read: number;
  acknowledged: number;
  refused: { reason: string; points: number }[];
  refusedPoints: number;
  whole: boolean;
  failure: BridgeError | undefined;
}

export interface ReadTotals {
  series: number;
  /** Acknowledged. */
  points: number;
  refusedPoints: number;
  bytes: number;
  /** Windows that were settled. */
  windows: number;
  histogramSamples: number;
  warnings: Set<string>;
  /** Groups of the catalogue of which samples were read. */
  groupsSeen: Set<string>;
  /** Groups of the catalogue of which a window was read to its end. */
  groupsRead: Set<string>;
  failures: { query: string; error: BridgeError }[];
}

export interface ReadDeps {
  client: PrometheusClient;
  writer: OtlpWriter<WindowRead>;
  delivery: Delivery<WindowRead>;
  describe(task: ReadTask, metric: string): MetricDescription;
  /** Called once for each window that is settled without a failure. */
  onSettled(read: WindowRead): void;
  /** Aborts reading at once. */
  signal: AbortSignal;
  /** Lets the windows that are being read end, and begins no new ones. */
  isStopping: () => boolean;
}

/** Failures of the way to the cluster: when several queries in a row have one, the others are spared the wait. */
const WAY_BROKEN_MAX = 3;
/** A window that took too long is halved down to this. */
const SLOW_WINDOW_MS_MIN = 60_000;

export interface WindowReads {
  /** Reads the tasks in a few lanes; resolves when each is read or failed. */
  run(tasks: readonly ReadTask[], lanes: number): Promise<void>;
  /** The exporter's word on some points. */
  settle(parts: readonly PartOutcome<WindowRead>[], bytes: number): void;
  readonly totals: ReadTotals;
}

export function createWindowReads(deps: ReadDeps): WindowReads {
  const totals: ReadTotals = {
    series: 0,
    points: 0,
    refusedPoints: 0,
    bytes: 0,
    windows: 0,
    histogramSamples: 0,
    warnings: new Set(),
    groupsSeen: new Set(),
    groupsRead: new Set(),
    failures: [],
  };
  let wayFailures = 0;
  let broken: BridgeError | undefined;

  const fail = (read: WindowRead, error: BridgeError): void => {
    if (read.failure) return;
    read.failure = error;
    totals.failures.push({ query: read.task.query.name, error });
  };

  const check = (read: WindowRead): void => {
    if (!read.whole || read.failure || read.acknowledged + read.refusedPoints < read.read) return;
    totals.windows++;
    deps.onSettled(read);
  };

  const readOne = async (task: ReadTask): Promise<ReadTask[]> => {
    const read: WindowRead = {
      task,
      read: 0,
      acknowledged: 0,
      refused: [],
      refusedPoints: 0,
      whole: false,
      failure: undefined,
    };
    const describe = createDescriber(task, deps);
    const sink = {
      series: (series: ScannedSeries): void => {
        deps.writer.series(series, describe(series), read);
        read.read += series.sampleCount;
        totals.series++;
        totals.groupsSeen.add(task.query.group);
      },
    };
    try {
      const result = await deps.client.read(task.query, task.window, { sink, pause }, deps.signal);
      totals.histogramSamples += result.histogramSamples;
      for (const warning of result.warnings) totals.warnings.add(`${task.query.name}: ${warning}`);
      wayFailures = 0;
      read.whole = true;
      totals.groupsRead.add(task.query.group);
      check(read);
      return [];
    } catch (thrown) {
      const error = toBridgeError(thrown);
      const halves = isTooMuch(error, task) ? halve(task.window) : undefined;
      if (isWayFailure(error) && ++wayFailures >= WAY_BROKEN_MAX) broken ??= error;
      if (halves && !broken) {
        read.failure = error;
        return halves.map((window) => ({ query: task.query, window }));
      }
      fail(read, error);
      return [];
    }
  };

  const pause = (): Promise<void> | undefined => {
    const stopped = deps.delivery.stopped();
    if (stopped) throw stopped;
    return deps.delivery.room();
  };

  return {
    totals,
    run: async (tasks, lanes) => {
      const queue = [...tasks];
      const lane = async (): Promise<void> => {
        for (let task = queue.shift(); task; task = queue.shift()) {
          const stop = broken ?? deps.delivery.stopped() ?? stoppedBy(deps);
          if (stop) totals.failures.push({ query: task.query.name, error: stop });
          else queue.unshift(...(await readOne(task)));
        }
      };
      await Promise.all(Array.from({ length: lanes }, lane));
    },
    settle: (parts, bytes) => {
      totals.bytes += bytes;
      for (const { owner, points, fate } of parts) {
        if (fate.state === "acknowledged") {
          owner.acknowledged += points;
          totals.points += points;
        } else if (fate.state === "refused") {
          owner.refused.push({ reason: fate.reason, points });
          owner.refusedPoints += points;
          totals.refusedPoints += points;
        } else fail(owner, fate.error);
      }
      for (const read of new Set(parts.map((part) => part.owner))) check(read);
    },
  };
}

/** Looks a metric's description up once a name, not once a series: the names of one query's series are nearly always the same. */
function createDescriber(
  task: ReadTask,
  deps: Pick<ReadDeps, "describe">,
): (series: ScannedSeries) => MetricDescription {
  const known = new Map<string, MetricDescription>();
  let lastName: Buffer | undefined;
  let last: MetricDescription | undefined;
  // What an expression computes is another metric than the one whose name it may have kept.
  if (task.query.kind === "expression") {
    const description = deps.describe(task, task.query.name);
    return () => description;
  }
  return ({ bytes, nameStart, nameEnd }) => {
    if (last && lastName && lastName.length === nameEnd - nameStart && sameBytes(lastName, bytes, nameStart))
      return last;
    lastName = Buffer.from(bytes.subarray(nameStart, nameEnd));
    const name = lastName.length === 0 ? task.query.name : lastName.toString("utf8");
    last = known.get(name);
    if (!last) {
      last = deps.describe(task, name);
      known.set(name, last);
    }
    return last;
  };
}

function sameBytes(text: Buffer, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < text.length; i++) if (text[i] !== bytes[at + i]) return false;
  return true;
}

function stoppedBy(deps: ReadDeps): BridgeError | undefined {
  if (deps.signal.aborted) return toBridgeError(deps.signal.reason);
  return deps.isStopping()
    ? new BridgeError("shutting_down", "the process is ending; the window was not begun")
    : undefined;
}

/** Would a smaller window help? A slow one is made smaller too, or a long back-fill would never succeed; but not below a minute. */
function isTooMuch(error: BridgeError, { window }: ReadTask): boolean {
  if (error.code === "prometheus_too_many_samples" || error.code === "prometheus_answer_too_large")
    return true;
  return isSlow(error) && window.toMs - window.fromMs >= 2 * SLOW_WINDOW_MS_MIN;
}

function isSlow(error: BridgeError): boolean {
  return (
    error.code === "prometheus_timeout" ||
    (error.code === "prometheus_overloaded" && /timed out|timeout/i.test(error.message))
  );
}

function isWayFailure(error: BridgeError): boolean {
  return (
    /^(cluster|tunnel)_/.test(error.code) ||
    error.code === "prometheus_unreachable" ||
    error.code === "prometheus_pod_not_ready" ||
    isSlow(error)
  );
}
