import { get } from "./api.ts";
import type { FleetUsage, GpuUsage, UsageTotals, Xid } from "./api-types.ts";
import { RangeChoice, RANGES } from "./charts.ts";
import { nowMs } from "./clock.ts";
import { csvOf } from "./csv.ts";
import { shareOf } from "./figures.ts";
import { count, number, percent, UNMEASURED } from "./format.ts";
import { GpusNow, SaveCsv } from "./gpus-now.ts";
import { useLoaded } from "./loaded.ts";
import { hrefOf, route, setQuery } from "./route.ts";
import { saveFile } from "./save-file.ts";
import { Age, Badge, html, LoadState, Table, Value, type Column, type Html } from "./ui.ts";

const REFRESH_MS = 300_000;
const GROUPS = ["namespace", "pod", "node"] as const;
const ROWS_MAX = 500;

const value = (text: string): Html => html`<${Value} text=${text} />`;
const hours = (amount: number | null): Html => value(amount === null ? UNMEASURED : number(amount, "h"));

/** What all GPUs did, by whom they were held. */
export function FleetGpus(): Html {
  const { query } = route.value;
  const by = GROUPS.find((each) => each === query.get("by")) ?? "namespace";
  const asked = query.get("range") ?? "";
  const range = asked in RANGES ? asked : "24h";
  const load = (signal: AbortSignal): Promise<FleetUsage> => {
    const from = String(Math.floor(nowMs() / 1000) - (RANGES[range] ?? 0));
    return get<FleetUsage>(
      `/cluster-metrics/gpus/usage?${new URLSearchParams({ by, from }).toString()}`,
      signal,
    );
  };
  const loaded = useLoaded(`${by} ${range}`, load, REFRESH_MS);
  const answer = loaded.value;
  return html`<section aria-labelledby="title">
    <h1 id="title">GPUs</h1>
    <${RangeChoice} chosen=${range} />
    <${LoadState} loaded=${loaded} what="the use of the GPUs" />
    ${answer ? html`<${Usage} answer=${answer} by=${by} range=${range} />` : ""}
  </section>`;
}

function Usage({ answer, by, range }: { answer: FleetUsage; by: string; range: string }): Html {
  if (answer.clusters.length === 0) return html`<p>No GPU was measured in this range.</p>`;
  const totals = answer.clusters.map((cluster) => cluster.total);
  return html`<${Totals} totals=${totals} />
    <${GpusNow} clusters=${answer.clusters.filter(({ total }) => total.gpus > 0)} />
    <h2>Clusters</h2>
    <${Table}
      caption="Clusters with GPUs"
      rows=${answer.clusters}
      keyOf=${(row: ClusterUsage) => row.cluster_id}
      columns=${CLUSTER_COLUMNS}
    />
    <${SaveCsv}
      what="the clusters"
      name=${`gpus-by-cluster-${range}`}
      head=${["cluster_id", "name", "as_of", ...NUMBERS]}
      rows=${() => answer.clusters.map(({ cluster_id: id, name, as_of: asOf, total }) => [id, name, asOf, ...NUMBERS.map((number) => total[number])])}
    />
    <h2>Who held them</h2>
    <${By} by=${by} rows=${answer.usage} range=${range} />
    <${Xids} answer=${answer} range=${range} />`;
}

type ClusterUsage = FleetUsage["clusters"][number];

/** The sum of what was measured; null when nothing was. */
function sum(values: readonly (number | null)[]): number | null {
  const known = values.filter((each) => each !== null);
  return known.length === 0 ? null : known.reduce((total, each) => total + each, 0);
}

function Totals({ totals }: { totals: readonly UsageTotals[] }): Html {
  const all = (pick: (each: UsageTotals) => number | null): number | null => sum(totals.map(pick));
  const [gpu, held, active, idle] = [
    all((each) => each.gpu_hours),
    all((each) => each.held_gpu_hours),
    all((each) => each.active_gpu_hours),
    all((each) => each.idle_held_gpu_hours),
  ];
  const figures: [string, string, string][] = [
    ["GPUs", count(all((each) => each.gpus)), "that had samples"],
    ["GPU-hours", number(gpu, "h"), "measured"],
    ["Held", number(held, "h"), `${percent(shareOf(held, gpu))} of the GPU-hours`],
    ["Active", number(active, "h"), `${percent(shareOf(active, gpu))}: utilisation of 1 % or more`],
    [
      "Idle-held",
      number(idle, "h"),
      `${percent(shareOf(idle, held))} of the held hours: held with memory, below 1 % for 15 minutes`,
    ],
    [
      "Energy",
      number(
        all((each) => each.energy_kwh),
        "kWh",
      ),
      "",
    ],
  ];
  return html`<dl class="totals" aria-label="All GPUs together">
    ${figures.map(
      ([name, text, more]) =>
        html`<div>
          <dt>${name}</dt>
          <dd><strong>${value(text)}</strong><span class="quiet">${more}</span></dd>
        </div>`,
    )}
  </dl>`;
}

const share = ({ idle_held_gpu_hours: idle, held_gpu_hours: held }: UsageTotals): Html =>
  value(percent(shareOf(idle, held)));

const USAGE_COLUMNS: Column<UsageTotals>[] = [
  { head: "GPUs", numeric: true, cell: (row) => value(count(row.gpus)) },
  { head: "GPU-hours", numeric: true, cell: (row) => hours(row.gpu_hours) },
  { head: "Held", numeric: true, cell: (row) => hours(row.held_gpu_hours) },
  { head: "Active", numeric: true, cell: (row) => hours(row.active_gpu_hours) },
  { head: "Idle-held", numeric: true, cell: (row) => hours(row.idle_held_gpu_hours) },
  { head: "Idle share", title: "idle-held hours of the held ones", numeric: true, cell: share },
  {
    head: "Throttled",
    title: "hours with a lower clock because of heat or power",
    numeric: true,
    cell: (row) => hours(row.throttled_gpu_hours),
  },
  { head: "Hot", numeric: true, cell: (row) => hours(row.hot_gpu_hours) },
  {
    head: "Energy",
    numeric: true,
    cell: (row) => value(row.energy_kwh === null ? UNMEASURED : number(row.energy_kwh, "kWh")),
  },
];

const CLUSTER_COLUMNS: Column<ClusterUsage>[] = [
  {
    head: "Cluster",
    cell: (row) =>
      html`<a href=${hrefOf(["clusters", row.cluster_id, "gpus"])}>${row.name ?? row.cluster_id}</a>`,
  },
  ...USAGE_COLUMNS.map(({ cell, ...column }) => ({
    ...column,
    cell: (row: ClusterUsage) => cell(row.total),
  })),
  {
    head: "Values until",
    cell: (row) =>
      html`<${Age} time=${row.as_of} />${row.complete ? "" : html` <${Badge} tone="warn">not complete<//>`}`,
  },
];

function holderOf({ namespace, pod, node }: GpuUsage): Html | string {
  const parts = [node, namespace, pod].filter((part) => part !== null);
  return parts.length === 0 ? html`<span class="quiet">nobody</span>` : parts.join("/");
}

function By({ by, rows, range }: { by: string; rows: readonly GpuUsage[]; range: string }): Html {
  const shown = rows.slice(0, ROWS_MAX);
  return html`<div class="ranges" role="group" aria-label="List by">
      ${GROUPS.map((name) => html`<button type="button" aria-pressed=${name === by ? "true" : "false"} onClick=${() => setQuery({ by: name })}>by ${name}</button>`)}
      <button type="button" onClick=${() => saveFile(`gpus-by-${by}-${range}.csv`, toCsv(rows))}>
        Save as CSV
      </button>
    </div>
    <${Table}
      caption=${`GPU-hours by ${by}`}
      rows=${shown}
      keyOf=${(row: GpuUsage) => [row.cluster_id, row.node, row.namespace, row.pod].join("/")}
      columns=${[{ head: "Cluster", cell: (row: GpuUsage) => row.cluster_id }, { head: "Held by", cell: holderOf }, ...USAGE_COLUMNS]}
    />
    ${rows.length > shown.length ? html`<p class="quiet">${`The first ${shown.length} of ${rows.length} rows; the CSV has all.`}</p>` : ""}`;
}

const NUMBERS = [
  "gpus",
  "gpu_hours",
  "held_gpu_hours",
  "active_gpu_hours",
  "idle_held_gpu_hours",
  "throttled_gpu_hours",
  "hot_gpu_hours",
  "energy_kwh",
] as const;

function toCsv(rows: readonly GpuUsage[]): string {
  const names = ["cluster_id", "node", "namespace", "pod", ...NUMBERS] as const;
  return csvOf([[...names], ...rows.map((row) => names.map((name) => row[name]))]);
}

function Xids({ answer, range }: { answer: FleetUsage; range: string }): Html {
  const rows = answer.clusters.flatMap(({ cluster_id, total }) =>
    total.xids.map((xid) => ({ cluster_id, ...xid })),
  );
  type Row = (typeof rows)[number];
  if (rows.length === 0)
    return html`<h2>XID errors</h2>
      <p class="quiet">None in this range.</p>`;
  return html`<h2>XID errors</h2>
    <${Table}
      caption="XID errors with NVIDIA's action"
      rows=${rows}
      keyOf=${(row: Row) => `${row.cluster_id} ${row.code}`}
      columns=${[
        {
          head: "Cluster",
          cell: (row: Row) =>
            html`<a href=${hrefOf(["clusters", row.cluster_id, "gpus"])}>${row.cluster_id}</a>`,
        },
        { head: "XID", numeric: true, cell: (row: Xid) => String(row.code) },
        { head: "What", cell: (row: Xid) => value(row.description ?? UNMEASURED) },
        { head: "NVIDIA's action", cell: (row: Xid) => row.action },
        { head: "Times", numeric: true, cell: (row: Xid) => count(row.count) },
        { head: "Last", cell: (row: Xid) => html`<${Age} time=${row.last} />` },
      ]}
    />
    <${SaveCsv}
      what="the XID errors"
      name=${`gpus-xid-${range}`}
      head=${["cluster_id", "code", "description", "action", "count", "last"]}
      rows=${() => rows.map((row) => [row.cluster_id, row.code, row.description, row.action, row.count, row.last])}
    />`;
}
