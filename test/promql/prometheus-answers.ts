/** An answer of Prometheus' HTTP API. */
export interface Answer {
  status: "success" | "error";
  error?: string;
  errorType?: string;
  data?: unknown;
}

type Sample = [seconds: number, value: string];
interface Series {
  metric: Record<string, string>;
  value?: Sample;
  values?: Sample[];
}

const FORM_PATHS = /^(query|query_range|series|labels)$/;
/** Of the larger of two values. */
const TOLERANCE = 1e-12;

/** As Grafana asks: a form by POST where the API takes one. */
export async function ask(origin: string, path: string, form: Record<string, string>): Promise<Answer> {
  const parameters = new URLSearchParams(form);
  const answer = FORM_PATHS.test(path)
    ? await fetch(`${origin}/api/v1/${path}`, { method: "POST", body: parameters })
    : await fetch(`${origin}/api/v1/${path}?${parameters.toString()}`);
  return (await answer.json()) as Answer;
}

export function isEmpty({ data }: Answer): boolean {
  const result = Array.isArray(data) ? data : (data as { result?: unknown } | undefined)?.result;
  return !Array.isArray(result) || result.length === 0;
}

/** What differs between the answers, as text; undefined: nothing. The id of the cluster, which only the second one has, counts for nothing. */
export function differenceOf(expected: Answer, actual: Answer): string | undefined {
  if (expected.status !== actual.status || expected.status === "error") {
    const texts = [expected, actual].map(({ status, errorType, error }) =>
      status === "success" ? status : `${errorType}: ${error}`,
    );
    return texts[0] === texts[1] ? undefined : `${texts[0]} / ${texts[1]}`;
  }
  if (Array.isArray(expected.data)) return differenceOfTexts(expected.data, actual.data);
  const [there, here] = [expected, actual].map(({ data }) => data as { resultType: string; result: unknown });
  if (there!.resultType !== here!.resultType) return `${there!.resultType} / ${here!.resultType}`;
  if (there!.resultType !== "vector" && there!.resultType !== "matrix")
    return differenceOfSamples([there!.result as Sample], [here!.result as Sample]);
  return differenceOfSeries(there!.result as Series[], here!.result as Series[]);
}

function differenceOfTexts(expected: unknown, actual: unknown): string | undefined {
  const [there, here] = [JSON.stringify(expected), JSON.stringify(actual)];
  return there === here ? undefined : `${there} / ${here}`;
}

function differenceOfSeries(expected: readonly Series[], actual: readonly Series[]): string | undefined {
  const here = new Map(actual.map((series) => [keyOf(series), series]));
  if (here.size !== actual.length) return "the same labels twice";
  for (const series of expected) {
    const key = keyOf(series);
    const other = here.get(key);
    if (!other) return `missing ${key} of ${expected.length}, there are ${actual.length}`;
    here.delete(key);
    const difference = differenceOfSamples(samplesOf(series), samplesOf(other));
    if (difference !== undefined) return `${key}: ${difference}`;
  }
  const [extra] = here.keys();
  return extra === undefined ? undefined : `extra ${extra}`;
}

function keyOf({ metric }: Series): string {
  const labels = Object.entries(metric).filter(([name]) => name !== "cluster_id");
  return JSON.stringify(labels.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function samplesOf({ value, values }: Series): Sample[] {
  return values ?? (value ? [value] : []);
}

function differenceOfSamples(expected: readonly Sample[], actual: readonly Sample[]): string | undefined {
  for (const [i, [seconds, value]] of expected.entries()) {
    const other = actual[i];
    if (!other || other[0] !== seconds) return `${seconds} ${value} / ${other?.join(" ") ?? "nothing"}`;
    if (!isSame(value, other[1])) return `at ${seconds} ${value} / ${other[1]}`;
  }
  return actual.length === expected.length ? undefined : `${expected.length} samples / ${actual.length}`;
}

function isSame(a: string, b: string): boolean {
  if (a === b) return true;
  const [x, y] = [Number(a), Number(b)];
  return Math.abs(x - y) <= TOLERANCE * Math.max(Math.abs(x), Math.abs(y));
}
