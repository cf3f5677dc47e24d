import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { ChartData } from "./chart-data.ts";
import { now } from "./clock.ts";
import { clockTime } from "./format.ts";
import { toRuns, type StepRun, type StepState } from "./step-states.ts";
import { theme } from "./theme.ts";
import { html, type Html } from "./ui.ts";

const HEIGHT = 180;
/** Told apart by people who see few colours (Okabe and Ito, 2008), a darker yellow in the light. */
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const DASHES = [[], [8, 4], [2, 3]];
/** The same in the legend. */
const BORDERS = ["solid", "dashed", "dotted"];
const ROWS_MAX = 200;

interface ChartProps {
  title: string;
  data: ChartData;
  /** A value in words. */
  format: (value: number | null) => string;
  /** The scale begins at 0. */
  fromZero?: boolean;
  /** Bytes: the scale has marks at powers of two. */
  binary?: boolean;
  /** What became of the samples of each time; null: not known. */
  states?: StepState[] | null;
}

const POWERS_OF_TWO = Array.from({ length: 60 }, (_, power) => 2 ** power);

function borderOf(place: number): string {
  return BORDERS[Math.floor(place / COLOURS.length) % BORDERS.length] ?? "solid";
}

function colour(place: number): string {
  return `var(${COLOURS[place % COLOURS.length]})`;
}

/** "user: 3.1 at the end, 2.9 to 3.4". */
function describe({ name, values }: ChartData["lines"][number], format: ChartProps["format"]): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `${name}: no samples`;
  const gaps = values
    .slice(values.findIndex((value) => value !== null))
    .filter((value) => value === null).length;
  const span = `${format(known.reduce((a, b) => Math.min(a, b)))} to ${format(known.reduce((a, b) => Math.max(a, b)))}`;
  return `${name}: last ${format(known.at(-1) ?? null)}, ${span}${gaps > 0 ? `, ${gaps} steps without samples` : ""}`;
}

/** A colour of the style sheet as the canvas takes it: light-dark() is resolved for the theme. */
function resolveColour(place: HTMLElement, name: string): string {
  place.style.color = `var(${name})`;
  const { color } = getComputedStyle(place);
  place.style.color = "";
  return color;
}

const DAY = 86_400;

/** The reader's times: of days for long ranges. */
function timeLabel(seconds: number, range: number): string {
  const at = new Date(seconds * 1000);
  if (range > 2 * DAY) return at.toLocaleDateString(undefined, { month: "short", day: "numeric" });
  return at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}

function toOptions(place: HTMLElement, width: number, props: ChartProps): uPlot.Options {
  const { times, lines } = props.data;
  const pick = (name: string): string => resolveColour(place, name);
  const range = (times.at(-1) ?? 0) - (times[0] ?? 0);
  const axis = {
    stroke: pick("--quiet"),
    grid: { stroke: pick("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: HEIGHT,
    // The band below has the same ends (style.css).
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { y: { range: (_chart, min, max) => toScale(min, max, props.fromZero ?? false) } },
    axes: [
      { ...axis, size: 30, values: (_chart, marks) => marks.map((mark) => timeLabel(mark, range)) },
      {
        ...axis,
        size: 78,
        ...(props.binary ? { incrs: POWERS_OF_TWO } : {}),
        values: (_chart, marks) => marks.map((mark) => props.format(mark)),
      },
    ],
    series: [
      {},
      ...lines.map((_line, place) => ({
        stroke: pick(COLOURS[place % COLOURS.length] ?? "--line-1"),
        width: 1.5,
        dash: DASHES[Math.floor(place / COLOURS.length) % DASHES.length] ?? [],
        spanGaps: false,
        points: { show: false },
      })),
    ],
  };
}

function toScale(min: number | null, max: number | null, fromZero: boolean): [number, number] {
  const low = fromZero ? Math.min(0, min ?? 0) : (min ?? 0);
  const high = max ?? 1;
  const room = (high - low || Math.abs(high) || 1) * 0.05;
  return [fromZero && low === 0 ? 0 : low - room, high + room];
}

/** Draws into `place`, and again for another width or theme. Its library is read with the first chart. */
function useDrawing(props: ChartProps, onPlace: (index: number | null) => void) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [library, setLibrary] = useState<typeof uPlot | null>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    void import("uplot").then((module) => setLibrary(() => module.default));
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    if (place.current) observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (!library || !place.current || width === 0) return undefined;
    const { times, lines } = props.data;
    const options = toOptions(place.current, width, props);
    options.hooks = { setCursor: [(drawn) => onPlace(drawn.cursor.idx ?? null)] };
    chart.current = new library(options, [times, ...lines.map((line) => line.values)], place.current);
    return () => chart.current?.destroy();
  }, [library, width, props.data, theme.value]);
  return { place, chart };
}

/** In place of a chart without a line: why there is none. */
export function NoSamples({ title, data, states }: Pick<ChartProps, "title" | "data" | "states">): Html {
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <p class="quiet">No samples in this range.</p>
    ${states ? html`<${Band} times=${data.times} states=${states} />` : ""}
  </figure>`;
}

/** Lines over time with their gaps; the arrow keys move the cursor, and the same numbers are in a table. */
export function Chart(props: ChartProps): Html {
  const { title, data, format } = props;
  const [index, setIndex] = useState<number | null>(null);
  const { place, chart } = useDrawing(props, setIndex);
  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined || !chart.current) return;
    event.preventDefault();
    const next = Math.min(data.times.length - 1, Math.max(0, (index ?? data.times.length) + step));
    const left = chart.current.valToPos(data.times[next] ?? 0, "x");
    chart.current.setCursor({ left, top: 10 });
  };
  const text = data.lines.map((line) => describe(line, format)).join("; ");
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <div
      class="drawing"
      ref=${place}
      tabindex="0"
      role="img"
      aria-label=${`${title}. ${text}. The arrow keys show single values.`}
      onKeyDown=${onKey}
    ></div>
    ${props.states ? html`<${Band} times=${data.times} states=${props.states} />` : ""}
    <${Legend} data=${data} format=${format} index=${index} />
    <details>
      <summary>Table</summary>
      <${Numbers} title=${title} data=${data} format=${format} states=${props.states ?? null} />
    </details>
  </figure>`;
}

/** The lines with their values at the cursor, or their last ones. */
function Legend({
  data,
  format,
  index,
}: {
  data: ChartData;
  format: ChartProps["format"];
  index: number | null;
}): Html {
  const time = index === null ? undefined : data.times[index];
  return html`<ul class="lines" aria-live="polite">
    <li class="quiet">${time === undefined ? "last values" : clockTime(time * 1000, now.peek())}</li>
    ${data.lines.map(({ name, values }, place) => {
      const value =
        index === null ? (values.findLast((each) => each !== null) ?? null) : (values[index] ?? null);
      return html`<li>
        <span
          class="mark"
          aria-hidden="true"
          style=${{ borderTop: `3px ${borderOf(place)} ${colour(place)}` }}
        ></span
        >${name}
        <strong>${format(value)}</strong>
      </li>`;
    })}
  </ul>`;
}

const RUNS_MAX = 4;

/** What became of the samples, under the time that it is about; what is missing also in words, with the reason. */
function Band({ times, states }: { times: readonly number[]; states: readonly StepState[] }): Html {
  const runs = toRuns(states);
  const time = (place: number): string => clockTime((times[place] ?? 0) * 1000, now.peek());
  const textOf = ({ from, to, text }: StepRun): string =>
    `${time(from)}${to > from ? ` to ${time(to)}` : ""}: ${text}`;
  const missing = runs.filter(({ text }) => text !== "").toReversed();
  const more = missing.length - RUNS_MAX;
  return html`<span class="strip band" aria-hidden="true">
      ${runs.map((run) => html`<span class=${`run ${run.state ?? "nothing"}`} style=${{ flexGrow: run.to - run.from + 1 }} title=${run.text === "" ? (run.state ?? "") : textOf(run)}></span>`)}
    </span>
    <ul class="gaps" aria-label="What is missing and why">
      ${missing
        .slice(0, RUNS_MAX)
        .map(
          (run) =>
            html`<li>
              <span class=${`swatch ${run.state ?? "nothing"}`} aria-hidden="true"></span>${textOf(run)}
            </li>`,
        )}
      ${more > 0 ? html`<li>${`and ${more} older; the table has all`}</li>` : ""}
    </ul>`;
}

function Numbers({
  title,
  data,
  format,
  states,
}: {
  title: string;
  data: ChartData;
  format: ChartProps["format"];
  states: readonly StepState[] | null;
}): Html {
  const places = data.times
    .map((_, i) => i)
    .toReversed()
    .slice(0, ROWS_MAX);
  const more = data.times.length - places.length;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${`${title} as a table`}>
    <table>
      <thead>
        <tr>
          <th scope="col">Time</th>
          ${data.lines.map(({ name }) => html`<th scope="col" class="number">${name}</th>`)}
          ${states ? html`<th scope="col">Completeness</th>` : ""}
        </tr>
      </thead>
      <tbody>
        ${places.map(
          (i) =>
            html`<tr>
              <td>${clockTime((data.times[i] ?? 0) * 1000, now.peek())}</td>
              ${data.lines.map(({ values }) => html`<td class="number">${format(values[i] ?? null)}</td>`)}
              ${states ? html`<td>${states[i]?.text || (states[i]?.state ?? "")}</td>` : ""}
            </tr>`,
        )}
      </tbody>
    </table>
    ${more > 0 ? html`<p class="quiet">${more} older times are not listed; choose a shorter range.</p>` : ""}
  </div>`;
}
