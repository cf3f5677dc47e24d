/** A query and when it is evaluated; without a step: once, at startMs. */
export interface QueryCase {
  query: string;
  times: { startMs: number; endMs: number; stepMs?: number };
}

/** For people: the query and its times. */
export function describeCase({ query, times }: QueryCase): string {
  const { startMs, endMs, stepMs } = times;
  return stepMs === undefined
    ? `${query} at ${startMs}`
    : `${query} from ${startMs} to ${endMs} by ${stepMs}`;
}
