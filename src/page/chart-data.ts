import type { QueryAnswer, SampleValue, Series } from "./api-types.ts";

interface Line {
  name: string;
  /** One for each time; null: there is no sample, and the line has a gap. */
  values: (number | null)[];
}

export interface ChartData {
  /** Seconds since 1970, every step of the range. */
  times: number[];
  lines: Line[];
}

/** NaN and infinities can't be drawn: they are gaps too. */
function toNumber(value: SampleValue | undefined): number | null {
  return typeof value === "number" ? value : null;
}

/** Later points do not have all samples of their window yet (docs/querying.md): they would show a fall that is none. */
function isWhole(answer: QueryAnswer, timestamp: string): boolean {
  return answer.as_of !== null && Date.parse(timestamp) <= Date.parse(answer.as_of);
}

/** The times of all answers, without holes: where a series has no point, its line has a gap. */
function timesOf(answers: readonly QueryAnswer[]): number[] {
  const [first] = answers;
  if (!first) return [];
  const step = first.step_seconds;
  const start = Math.min(...answers.map((answer) => Date.parse(answer.first_point) / 1000));
  const end = Math.max(...answers.map((answer) => Date.parse(answer.last_point) / 1000));
  return Array.from({ length: Math.floor((end - start) / step) + 1 }, (_, i) => start + i * step);
}

/** {mode="user"} as "mode user"; without labels the name of the metric. */
export function seriesName(labels: Readonly<Record<string, string>>, fallback: string): string {
  const text = Object.entries(labels)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
  return text === "" ? fallback : text;
}

/** Answers of one step as one chart; `nameOf` names a line, `map` changes each value. */
export function toChartData(
  answers: readonly QueryAnswer[],
  nameOf: (answer: QueryAnswer, series: Series, place: number) => string,
  map: (value: number, answer: QueryAnswer) => number | null = (value) => value,
): ChartData {
  const times = timesOf(answers);
  const lines = answers.flatMap((answer, place) =>
    answer.series.map((series): Line => {
      const points = series.points.filter(({ timestamp }) => isWhole(answer, timestamp));
      const byTime = new Map(points.map(({ timestamp, value }) => [Date.parse(timestamp) / 1000, value]));
      const values = times.map((time) => {
        const value = toNumber(byTime.get(time));
        return value === null ? null : map(value, answer);
      });
      return { name: nameOf(answer, series, place), values };
    }),
  );
  return { times, lines };
}
