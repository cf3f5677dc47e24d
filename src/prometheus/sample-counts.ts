import { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import { toSeconds } from "./query-forms.ts";
import { parseSampleValue } from "./sample-value.ts";
import { listOf } from "./small-answers.ts";
import type { Window } from "./window.ts";

/** Whether a sample at the very start of a range is in it: in Prometheus 2.x it is, in 3.x, Thanos of 2025 and VictoriaMetrics it is not. */
export type RangeStart = "closed" | "open";

/** Tells the two apart without any data: a range of one second has the points at both of its ends, or the one at its later end alone. */
const PROBE = "count_over_time(vector(1)[1s:1s])";

/** Label that names the selector in a joint answer. */
const SELECTOR_LABEL = "selector";

/** The result of an instant query: a vector. */
type Vector = ({ metric?: Record<string, unknown> | null; value?: unknown } | null)[];

/** Asks the source how its ranges begin, at a time that it has data of: Mimir answers nothing for one that is out of its reach. */
export function toRangeStartForm(atMs: number): Record<string, string> {
  return { query: PROBE, time: toSeconds(Math.floor(atMs / 1000) * 1000) };
}

/** How the source's ranges begin. Throws `prometheus_answer_invalid` when it has neither form. */
export function toRangeStart(result: unknown): RangeStart {
  const [series] = listOf(result) as Vector;
  const count = Number(listOf(series?.value)[1]);
  if (count === 1) return "open";
  if (count === 2) return "closed";
  throw invalidCount(`${PROBE} is neither 1 nor 2`);
}

/** The form of one request for the number of samples of each selector in (fromMs, toMs]. A window has at least 2 ms. */
export function toCountForm(
  selectors: readonly string[],
  { fromMs, toMs }: Window,
  start: RangeStart,
): Record<string, string> {
  const rangeMs = toMs - fromMs - (start === "closed" ? 1 : 0);
  assert(rangeMs > 0, "samples are counted in a range that is not empty");
  const counts = selectors.map((selector) => `sum(count_over_time(${selector}[${rangeMs}ms]))`);
  return { query: joined(counts), time: toSeconds(toMs) };
}

/** The form of one request for the number of series that each selector has at present. */
export function toSeriesCountForm(selectors: readonly string[]): Record<string, string> {
  return { query: joined(selectors.map((selector) => `count(${selector})`)) };
}

/** One expression for several numbers, each with its index as a label. */
function joined(counts: readonly string[]): string {
  if (counts.length === 1) return counts[0]!;
  return counts.map((count, i) => `label_replace(${count},"${SELECTOR_LABEL}","${i}","","")`).join(" or ");
}

/** The number of samples of each of `count` selectors, in their order: 0 for one that has no series. Throws `prometheus_answer_invalid`. */
export function toCounts(result: unknown, count: number): number[] {
  const counts = Array.from({ length: count }, () => 0);
  for (const series of listOf(result) as Vector) {
    const at = count === 1 ? 0 : Number(series?.metric?.[SELECTOR_LABEL]);
    const text = listOf(series?.value)[1];
    const samples = parseSampleValue(typeof text === "string" ? text : "");
    if (!(at in counts)) throw invalidCount("a count is of no selector that was asked for");
    if (!(Number.isSafeInteger(samples) && samples >= 0)) throw invalidCount("a count is no whole number");
    counts[at] = samples;
  }
  return counts;
}

function invalidCount(problem: string): BridgeError {
  return new BridgeError("prometheus_answer_invalid", `the answer has no number of samples: ${problem}`);
}
