import { clusterPath, get } from "./api.ts";
import type { Gpus, GpuState, Health, HealthIssue } from "./api-types.ts";
import { csvOf, type CsvCell } from "./csv.ts";
import { bytes, percent, plural, UNMEASURED } from "./format.ts";
import { toApiError, useLoaded } from "./loaded.ts";
import { hrefOf } from "./route.ts";
import { saveFile } from "./save-file.ts";
import { Age, Badge, html, LoadState, OLD_SECONDS, Table, Value, type Column, type Html } from "./ui.ts";

const REFRESH_MS = 120_000;
const ROWS_MAX = 200;
const MIB = 1024 * 1024;

export interface NamedCluster {
  cluster_id: string;
  name: string | null;
}

interface Now {
  cluster: NamedCluster;
  gpus: Gpus;
  health: Health;
}

interface NowOfAll {
  read: Now[];
  failed: { cluster: NamedCluster; message: string }[];
}

async function readNow(clusters: readonly NamedCluster[], signal: AbortSignal): Promise<NowOfAll> {
  const all: NowOfAll = { read: [], failed: [] };
  const one = async (cluster: NamedCluster): Promise<void> => {
    const id = cluster.cluster_id;
    try {
      const [gpus, health] = await Promise.all([
        get<Gpus>(clusterPath(id, "gpus"), signal),
        get<Health>(clusterPath(id, "health"), signal),
      ]);
      all.read.push({ cluster, gpus, health });
    } catch (error) {
      signal.throwIfAborted();
      all.failed.push({ cluster, message: toApiError(error).message });
    }
  };
  await Promise.all(clusters.map(one));
  const place = new Map(clusters.map(({ cluster_id: id }, i) => [id, i]));
  const placeOf = ({ cluster }: Now): number => place.get(cluster.cluster_id) ?? 0;
  all.read.sort((a, b) => placeOf(a) - placeOf(b));
  return all;
}

interface Row {
  cluster: NamedCluster;
  /** Time of the values. */
  asOf: string | null;
  old: number;
}

interface IdleRow extends Row {
  gpu: GpuState;
}

interface IssueRow extends Row {
  issue: HealthIssue;
  /** The GPU that it is about. */
  gpu: GpuState | undefined;
}

function rowsOf({ read }: NowOfAll): { idle: IdleRow[]; issues: IssueRow[] } {
  const headOf = ({ cluster, gpus, health }: Now): Row => ({
    cluster,
    asOf: gpus.as_of,
    old: health.stale_after_seconds || OLD_SECONDS,
  });
  return {
    idle: read.flatMap((now) =>
      now.gpus.gpus.filter(({ use }) => use === "idle_held").map((gpu) => ({ ...headOf(now), gpu })),
    ),
    issues: read.flatMap((now) =>
      now.health.issues
        .filter(({ metric }) => metric.startsWith("gpu_"))
        .map((issue) => ({
          ...headOf(now),
          issue,
          gpu: now.gpus.gpus.find(({ uuid }) => uuid === issue.object),
        })),
    ),
  };
}

const partOf = ({ gpu, mig_instance: part }: GpuState): string =>
  part === null ? gpu : `${gpu}, part ${part}`;

const holders = ({ gpu }: IdleRow | IssueRow): Html =>
  html`<span
    >${(gpu?.pods ?? []).map(({ namespace, pod }) => html`<span class="line name">${`${namespace}/${pod}`}</span>`)}</span
  >`;

const CLUSTER: Column<Row> = {
  head: "Cluster",
  cell: ({ cluster: { cluster_id: id, name } }) =>
    html`<a href=${hrefOf(["clusters", id, "gpus"])}>${name ?? id}</a>`,
};
const VALUES_OF: Column<Row> = {
  head: "Values of",
  cell: ({ asOf, old }) => html`<${Age} time=${asOf} old=${old} />`,
};

const IDLE_COLUMNS: Column<IdleRow>[] = [
  CLUSTER,
  { head: "Node", cell: ({ gpu }) => gpu.node },
  { head: "GPU", cell: ({ gpu }) => partOf(gpu) },
  { head: "Held by", cell: holders },
  { head: "Model", cell: ({ gpu }) => gpu.model },
  {
    head: "Utilisation",
    numeric: true,
    cell: ({ gpu }) => html`<${Value} text=${percent(gpu.utilization_percent)} />`,
  },
  {
    head: "Memory in use",
    numeric: true,
    cell: ({ gpu: { memory_used_mib: used } }) =>
      html`<${Value} text=${used === null ? UNMEASURED : bytes(used * MIB)} />`,
  },
  VALUES_OF,
];

const ISSUE_COLUMNS: Column<IssueRow>[] = [
  {
    head: "Severity",
    cell: ({ issue: { severity } }) =>
      html`<${Badge} tone=${severity === "critical" ? "bad" : "warn"}>${severity}<//>`,
  },
  CLUSTER,
  { head: "Node", cell: ({ issue }) => issue.node ?? UNMEASURED },
  { head: "What", cell: ({ issue }) => issue.message },
  { head: "Held by", cell: holders },
  VALUES_OF,
];

/** A table as a file. */
export function SaveCsv({
  what,
  name,
  head,
  rows,
}: {
  what: string;
  name: string;
  head: readonly string[];
  rows: () => CsvCell[][];
}): Html {
  const save = (): void => saveFile(`${name}.csv`, csvOf([[...head], ...rows()]));
  return html`<button type="button" onClick=${save}>${`Save ${what} as CSV`}</button>`;
}

const HELD_BY = ["namespace", "pod"];

/** A line for each Pod that holds the GPU. */
function byPod({ gpu }: IdleRow | IssueRow, cells: readonly CsvCell[]): CsvCell[][] {
  const pods = gpu?.pods ?? [];
  if (pods.length === 0) return [[...cells, null, null]];
  return pods.map(({ namespace, pod }) => [...cells, namespace, pod]);
}

function idleLines(rows: readonly IdleRow[]): CsvCell[][] {
  return rows.flatMap((row) => {
    const { cluster, gpu, asOf } = row;
    return byPod(row, [
      cluster.cluster_id,
      asOf,
      gpu.node,
      gpu.gpu,
      gpu.mig_instance,
      gpu.uuid,
      gpu.model,
      gpu.utilization_percent,
      gpu.memory_used_mib,
    ]);
  });
}

function issueLines(rows: readonly IssueRow[]): CsvCell[][] {
  return rows.flatMap((row) => {
    const { cluster, issue, asOf } = row;
    const { severity, metric, node, object, value, threshold, message } = issue;
    return byPod(row, [cluster.cluster_id, asOf, severity, metric, node, object, value, threshold, message]);
  });
}

/** Who holds idle GPUs now, and which GPUs are hot, throttled or failing now, of all clusters. */
export function GpusNow({ clusters }: { clusters: readonly NamedCluster[] }): Html {
  const key = clusters.map((cluster) => cluster.cluster_id).join(" ");
  const loaded = useLoaded(key === "" ? null : key, (signal) => readNow(clusters, signal), REFRESH_MS);
  const { value } = loaded;
  return html`<div>
    <h2>Idle now, and who holds them</h2>
    <${LoadState} loaded=${loaded} what=${`the GPUs of ${plural(clusters.length, "cluster")}`} />
    ${value ? html`<${Tables} ...${rowsOf(value)} failed=${value.failed} />` : ""}
  </div>`;
}

function Tables({ idle, issues, failed }: ReturnType<typeof rowsOf> & Pick<NowOfAll, "failed">): Html {
  return html`${failed.map(({ cluster, message }) => html`<p class="warning">▲ ${`${cluster.name ?? cluster.cluster_id} is missing here: ${message}`}</p>`)}
    <p class="quiet">
      ${plural(idle.length, "GPU")}: held by a Pod for 15 minutes or longer, with memory in use and a
      utilisation below 1 % all the time.
    </p>
    ${
      idle.length === 0
        ? ""
        : html`<${Shown}
            caption="Idle GPUs and who holds them"
            rows=${idle}
            keyOf=${({ cluster, gpu }: IdleRow) => [cluster.cluster_id, gpu.uuid, gpu.mig_instance].join(" ")}
            columns=${IDLE_COLUMNS}
          />`
    }
    <${SaveCsv}
      what="the idle GPUs"
      name="gpus-idle-now"
      head=${["cluster_id", "as_of", "node", "gpu", "mig_instance", "uuid", "model", "utilization_percent", "memory_used_mib", ...HELD_BY]}
      rows=${() => idleLines(idle)}
    />
    <h2>Hot, throttled or failing now</h2>
    ${
      issues.length === 0
        ? html`<p class="quiet">None.</p>`
        : html`<${Shown}
            caption="Hot, throttled or failing GPUs"
            rows=${issues}
            keyOf=${({ cluster, issue }: IssueRow) => [cluster.cluster_id, issue.node, issue.object, issue.metric].join(" ")}
            columns=${ISSUE_COLUMNS}
          />`
    }
    <${SaveCsv}
      what="the hot, throttled or failing GPUs"
      name="gpus-issues-now"
      head=${["cluster_id", "as_of", "severity", "metric", "node", "uuid", "value", "threshold", "message", ...HELD_BY]}
      rows=${() => issueLines(issues)}
    />`;
}

function Shown<R>({
  rows,
  ...table
}: {
  caption: string;
  rows: readonly R[];
  keyOf: (row: R) => string;
  columns: readonly Column<R>[];
}): Html {
  return html`<${Table} ...${table} rows=${rows.slice(0, ROWS_MAX)} />
    ${rows.length > ROWS_MAX ? html`<p class="quiet">${`The first ${ROWS_MAX} of ${rows.length} rows; the CSV has all.`}</p>` : ""}`;
}
