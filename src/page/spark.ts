import { query } from "./api.ts";
import type { QueryAnswer, Series } from "./api-types.ts";
import { toChartData } from "./chart-data.ts";
import { nowMs } from "./clock.ts";
import { useLoaded } from "./loaded.ts";
import { html, type Html } from "./ui.ts";

const RANGE_SECONDS = 3600;
const STEP = "5m";
const REFRESH_MS = 300_000;
const HEIGHT = 18;
const SERIES_MAX = 1000;
const FILTER_CHARS_MAX = 4000;

type Values = readonly (number | null)[];
type Points = readonly [place: number, value: number][];

export interface SparkQuery {
  metric: string;
  aggregation: string;
  group_by: string[];
  filters?: { label: string; op: string; value: string }[];
}

export type Sparks = ReadonlyMap<string, Values>;

interface SparkRules {
  /** Whose a series is. */
  keyOf: (series: Series, answer: QueryAnswer) => string | null;
  map?: (value: number, answer: QueryAnswer) => number | null;
  /** Of several series of one thing at one time. */
  merge: (a: number, b: number) => number;
}

/** The last hour of many things by few requests. */
export function useSparks(id: string, queries: readonly SparkQuery[], rules: SparkRules): Sparks {
  const load = async (signal: AbortSignal): Promise<QueryAnswer[]> => {
    const end = Math.floor(nowMs() / 1000);
    const range = { start_time: end - RANGE_SECONDS, end_time: end, step: STEP, limit: SERIES_MAX };
    return await Promise.all(
      queries.map(({ metric, ...asked }) => {
        const body = { cluster_id: id, metric_name: metric, ...asked, ...range };
        return query<QueryAnswer>("/cluster-metrics/query", body, signal);
      }),
    );
  };
  const key = queries.length === 0 ? null : JSON.stringify([id, queries]);
  const answers = useLoaded(key, load, REFRESH_MS).value ?? [];
  const nameOf = (answer: QueryAnswer, series: Series): string => rules.keyOf(series, answer) ?? "";
  const merged = new Map<string, Values>();
  for (const { name, values } of toChartData(answers, nameOf, rules.map).lines) {
    const before = merged.get(name);
    const merge = (value: number | null, i: number): number | null => {
      const other = before?.[i] ?? null;
      return value === null || other === null ? (value ?? other) : rules.merge(value, other);
    };
    merged.set(name, values.map(merge));
  }
  return merged;
}

/** A filter for these values of a label; none if it were too long: then the answer has more than is shown. */
export function oneOf(label: string, values: readonly string[]): NonNullable<SparkQuery["filters"]> {
  const value = [...new Set(values)].map((text) => text.replaceAll(/[^\w-]/g, "\\$&")).join("|");
  return value === "" || value.length > FILTER_CHARS_MAX ? [] : [{ label, op: "=~", value }];
}

/** Neighbouring values: where one is missing, the line has a gap. */
function piecesOf(values: Values): Points[] {
  const pieces: [number, number][][] = [[]];
  for (const [place, value] of values.entries()) {
    if (value === null) pieces.push([]);
    else pieces.at(-1)?.push([place, value]);
  }
  return pieces.filter((piece) => piece.length > 0);
}

/** A small line of the last hour, from 0 up. What it shows is also its text. */
export function Spark({
  values,
  format,
  max = 0,
}: {
  values: Values | undefined;
  format: (value: number) => string;
  /** The scale ends there at least. */
  max?: number;
}): Html | string {
  const known = (values ?? []).filter((value) => value !== null);
  if (values === undefined || known.length === 0) return "";
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const top = Math.max(max, high) || 1;
  const at = ([place, value]: readonly [number, number]): string =>
    `${place} ${(HEIGHT - 1 - ((HEIGHT - 2) * Math.max(0, value)) / top).toFixed(1)}`;
  // A value without neighbours is a dot.
  const path = piecesOf(values)
    .map((piece) => `M${piece.map(at).join("L")}${piece.length === 1 ? "h0.01" : ""}`)
    .join("");
  const text = `Last hour: ${format(low)} to ${format(high)}`;
  return html`<svg
    class="spark"
    role="img"
    aria-label=${text}
    viewBox=${`0 0 ${values.length - 1} ${HEIGHT}`}
    preserveAspectRatio="none"
  >
    <title>${text}</title>
    <path d=${path} />
  </svg>`;
}
