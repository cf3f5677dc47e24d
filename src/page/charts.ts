import { clusterPath, get, query } from "./api.ts";
import type { Gpus, QueryAnswer, Stretch } from "./api-types.ts";
import { Chart, NoSamples } from "./chart.ts";
import { seriesName, toChartData } from "./chart-data.ts";
import { now, nowMs } from "./clock.ts";
import { bytes, clockTime, number, percent, plural, UNMEASURED } from "./format.ts";
import { useLoaded, type Loaded } from "./loaded.ts";
import { setQuery } from "./route.ts";
import { toStepStates } from "./step-states.ts";
import { readStretches } from "./stretches.ts";
import { Age, html, LoadState, type Html } from "./ui.ts";

const REFRESH_MS = 60_000;
const LINES_MAX = 12;
const GPU_SOURCES_MAX = 3;
/** Rounding may exceed 100. */
const PERCENT_MAX = 101;

/** Seconds. */
export const RANGES: Record<string, number> = {
  "1h": 3600,
  "6h": 21_600,
  "24h": 86_400,
  "7d": 604_800,
  "30d": 2_592_000,
};

/** Devices that are no network of the node: of containers and bridges. */
const NO_DEVICES = "lo|veth.*|cali.*|cni.*|flannel.*|docker.*|br-.*|tunl.*|kube-ipvs.*|nodelocaldns|dummy.*";
const NO_FILES = "tmpfs|ramfs|devtmpfs|overlay|squashfs|erofs|iso9660|nsfs|fuse.lxcfs|autofs";

interface LineQuery {
  name: string;
  metric: string;
  aggregation: string;
  filters?: { label: string; op: string; value: string }[];
}

interface ChartQuery {
  title: string;
  /** null: the cluster's exporters decide. */
  lines: LineQuery[] | null;
  format: (value: number | null) => string;
  map?: (value: number, answer: QueryAnswer) => number | null;
}

const perSecond = (value: number | null): string => (value === null ? UNMEASURED : `${bytes(value)}/s`);
const device = { label: "device", op: "!~", value: NO_DEVICES };
const files = { label: "fstype", op: "!~", value: NO_FILES };

const CHARTS: ChartQuery[] = [
  {
    title: "CPU usage of all nodes",
    // The mean of all CPUs' idle rates.
    lines: [
      {
        name: "CPU",
        metric: "node_cpu_seconds_total",
        aggregation: "avg",
        filters: [{ label: "mode", op: "=", value: "idle" }],
      },
    ],
    map: (idle) => Math.max(0, 100 * (1 - idle)),
    format: percent,
  },
  {
    title: "Memory of all nodes",
    lines: [
      { name: "total", metric: "node_memory_MemTotal_bytes", aggregation: "sum" },
      { name: "available", metric: "node_memory_MemAvailable_bytes", aggregation: "sum" },
    ],
    format: bytes,
  },
  {
    title: "Real file systems of all nodes, the smallest free space",
    lines: [{ name: "free", metric: "node_filesystem_avail_bytes", aggregation: "min", filters: [files] }],
    format: bytes,
  },
  {
    title: "Network of all nodes",
    lines: [
      {
        name: "received",
        metric: "node_network_receive_bytes_total",
        aggregation: "rate",
        filters: [device],
      },
      { name: "sent", metric: "node_network_transmit_bytes_total", aggregation: "rate", filters: [device] },
    ],
    format: perSecond,
  },
  {
    title: "GPU utilisation",
    lines: null,
    map: toPercent,
    format: percent,
  },
  {
    title: "Load of a node, mean",
    lines: [{ name: "load, 1 min", metric: "node_load1", aggregation: "avg" }],
    format: number,
  },
];

/** The metrics that the cluster's exporters have for the utilisation of its GPUs: the API says which it uses of each. */
async function gpuLines(id: string, signal: AbortSignal): Promise<LineQuery[]> {
  const { gpus } = await get<Gpus>(clusterPath(id, "gpus"), signal);
  const sources = [...new Set(gpus.flatMap(({ utilization_source: source }) => source ?? []))];
  return sources.slice(0, GPU_SOURCES_MAX).flatMap((metric) => {
    const of = sources.length > 1 ? `${metric}, ` : "";
    return [
      { name: `${of}mean`, metric, aggregation: "avg" },
      { name: `${of}busiest`, metric, aggregation: "max" },
    ];
  });
}

/** Exporters say fractions or percent; a larger number is none. */
export function toPercent(value: number, { unit }: Pick<QueryAnswer, "unit">): number | null {
  const part = unit === "1" ? 100 * value : value;
  return part <= PERCENT_MAX ? part : null;
}

interface ChartAnswers {
  lines: LineQuery[];
  answers: QueryAnswer[];
  stretches: Stretch[] | null;
}

async function readLines(
  id: string,
  chart: ChartQuery,
  seconds: number,
  signal: AbortSignal,
): Promise<ChartAnswers> {
  const lines = chart.lines ?? (await gpuLines(id, signal));
  const end = Math.floor(nowMs() / 1000);
  const range = { from: end - seconds, to: end };
  const [stretches, ...answers] = await Promise.all([
    readStretches(
      id,
      lines.map(({ metric }) => metric),
      range,
      signal,
    ),
    ...lines.map(({ metric, aggregation, filters = [] }) => {
      const body = {
        cluster_id: id,
        metric_name: metric,
        aggregation,
        filters,
        start_time: range.from,
        end_time: range.to,
      };
      return query<QueryAnswer>("/cluster-metrics/query", body, signal);
    }),
  ]);
  return { lines, answers, stretches };
}

/** The end of what all answers have whole, ms since 1970. */
export function asOf(answers: readonly QueryAnswer[]): number {
  return Math.min(
    ...answers.map((answer) => Date.parse(answer.as_of ?? "")).filter((at) => !Number.isNaN(at)),
  );
}

/** Why an answer is not complete, as far as it says so itself. */
function lacks(known: NonNullable<QueryAnswer["completeness"]>): string {
  const { collected_since: since, open_gaps: open, lost_gaps: lost, behind, not_collected: none } = known;
  const parts = [
    since === null ? "" : `first collected ${clockTime(since, now.peek())}`,
    open === 0 ? "" : plural(open, "open gap"),
    lost === 0 ? "" : plural(lost, "lost gap"),
    behind.length === 0 ? "" : `${plural(behind.length, "query", "queries")} behind`,
    none.length === 0 ? "" : `${plural(none.length, "query", "queries")} not collected`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}

/** Where the numbers are from. */
export function Source({ answer }: { answer: QueryAnswer }): Html {
  const from = answer.storage === "raw" ? "from samples" : "from hourly roll-ups";
  const { completeness } = answer;
  const whole =
    completeness === null
      ? ""
      : completeness.complete
        ? ", complete"
        : `, not complete${lacks(completeness)}`;
  return html`<p class="quiet">
    ${from}${whole}, newest sample <${Age} time=${answer.as_of} />; <code>${answer.promql}</code>
  </p>`;
}

export function Charts({ id, range }: { id: string; range: string }): Html {
  const chosen = range in RANGES ? range : "1h";
  return html`<div>
    <${RangeChoice} chosen=${chosen} />
    <div class="charts">
      ${CHARTS.map((chart) => html`<${MetricChart} key=${chart.title} id=${id} chart=${chart} range=${chosen} />`)}
    </div>
  </div>`;
}

export function RangeChoice({ chosen }: { chosen: string }): Html {
  return html`<div class="ranges" role="group" aria-label="Range">
    ${Object.keys(RANGES).map((name) => html`<button type="button" aria-pressed=${name === chosen ? "true" : "false"} onClick=${() => setQuery({ range: name })}>${name}</button>`)}
  </div>`;
}

function MetricChart({ id, chart, range }: { id: string; chart: ChartQuery; range: string }): Html {
  const seconds = RANGES[range] ?? 3600;
  const loaded = useLoaded(`${id} ${range}`, (signal) => readLines(id, chart, seconds, signal), REFRESH_MS);
  const { value } = loaded;
  const missing = notMeasured(chart, loaded);
  if (missing !== null) {
    return html`<figure class="chart">
      <figcaption>${chart.title}</figcaption>
      <p class="quiet">${missing}</p>
    </figure>`;
  }
  return html`<div>
    <${LoadState} loaded=${loaded} what=${chart.title} />
    ${value ? html`<${Drawn} chart=${chart} shown=${value} />` : ""}
  </div>`;
}

function notMeasured({ lines }: ChartQuery, { value, error }: Loaded<ChartAnswers>): string | null {
  if (error?.code === "metric_not_found")
    return `Not measured: no sample of ${lines?.[0]?.metric ?? "a GPU"} is stored.`;
  return value?.lines.length === 0 ? "Not measured: no GPU with a utilisation is stored." : null;
}

function Drawn({ chart, shown }: { chart: ChartQuery; shown: ChartAnswers }): Html {
  const { lines, answers, stretches } = shown;
  const data = toChartData(
    answers,
    (_answer, { labels }, place) => seriesName(labels, lines[place]?.name ?? ""),
    chart.map,
  );
  const [first] = answers;
  const states = stretches && toStepStates(data, stretches, asOf(answers));
  if (data.lines.length === 0)
    return html`<${NoSamples} title=${chart.title} data=${data} states=${states} />`;
  return html`<${Chart}
      title=${chart.title}
      data=${{ ...data, lines: data.lines.slice(0, LINES_MAX) }}
      states=${states}
      format=${chart.format}
      fromZero=${chart.format === percent}
      binary=${chart.format === bytes || chart.format === perSecond}
    />
    ${first ? html`<${Source} answer=${first} />` : ""}`;
}
