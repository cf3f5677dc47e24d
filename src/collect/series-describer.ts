import type { MetricDescription } from "#otlp/request-encoder.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { ReadTask } from "./read-plan.ts";

/** Looks a metric's description up once a name, not once a series: the names of one query's series are nearly always the same. */
export function createSeriesDescriber(
  task: ReadTask,
  describe: (task: ReadTask, metric: string) => MetricDescription,
): (series: ScannedSeries) => MetricDescription {
  // The result of an expression is another metric than the one whose name it may have kept.
  if (task.query.kind === "expression") {
    const description = describe(task, task.query.name);
    return () => description;
  }
  const known = new Map<string, MetricDescription>();
  let lastName: Buffer | undefined;
  let last: MetricDescription | undefined;
  return ({ bytes, nameStart, nameEnd }) => {
    if (last && lastName && lastName.length === nameEnd - nameStart && isSame(lastName, bytes, nameStart))
      return last;
    lastName = Buffer.from(bytes.subarray(nameStart, nameEnd));
    const name = lastName.length === 0 ? task.query.name : lastName.toString("utf8");
    last = known.get(name);
    if (!last) {
      last = describe(task, name);
      known.set(name, last);
    }
    return last;
  };
}

function isSame(text: Buffer, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < text.length; i++) if (text[i] !== bytes[at + i]) return false;
  return true;
}
