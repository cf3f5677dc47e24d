import { clusterPath, get } from "./api.ts";
import type {
  Gpus,
  GpuState,
  GpuUse,
  Nodes,
  NodeState,
  Pods,
  PodState,
  Series,
  StateHead,
} from "./api-types.ts";
import { toPercent } from "./charts.ts";
import { now } from "./clock.ts";
import { bytes, clockTime, count, number, percent, plural, UNMEASURED } from "./format.ts";
import { useLoaded } from "./loaded.ts";
import { hrefOf, setQuery } from "./route.ts";
import { oneOf, Spark, useSparks, type SparkQuery, type Sparks } from "./spark.ts";
import { Age, Badge, Bar, html, LoadState, Table, Value, type Column, type Html, type Tone } from "./ui.ts";

const REFRESH_MS = 60_000;
const MIB = 1024 * 1024;
const PODS_SHOWN = 100;

const value = (text: string): Html => html`<${Value} text=${text} />`;
const bar = (part: number | null): Html => html`<${Bar} value=${part} text=${percent(part)} />`;

/** A part of 100 with its last hour. */
const barOver = (part: number | null, values: ReturnType<Sparks["get"]>): Html =>
  html`${bar(part)}<${Spark} values=${values} format=${percent} max=${100} />`;

/** The time that a table describes, and what is missing from it. */
function Head({ answer, what }: { answer: StateHead; what: string }): Html {
  const {
    complete,
    open_gaps: open,
    lost_gaps: lost,
    behind,
    collected_since: since,
    not_collected: absent,
  } = answer.completeness;
  const missing = [
    ...(open > 0 ? [plural(open, "open gap")] : []),
    ...(lost > 0 ? [plural(lost, "lost gap")] : []),
    ...(since === null ? [] : [`collected only since ${clockTime(since, now.peek())}`]),
    ...(absent.length > 0 ? [`${plural(absent.length, "metric")} not collected`] : []),
    ...(behind.length > 0 ? [`${plural(behind.length, "query", "queries")} behind`] : []),
  ];
  const text = complete ? "complete up to then" : `not complete: ${missing.join(", ") || "see Collection"}`;
  return html`<p class="quiet" role="status">${what}, values of <${Age} time=${answer.as_of} />; ${text}</p>`;
}

function ready({ ready: isReady, conditions }: NodeState): Html {
  const also = conditions.length > 0 ? ` (${conditions.join(", ")})` : "";
  if (isReady === null) return value(UNMEASURED);
  if (!isReady) return html`<${Badge} tone="bad">not ready${also}<//>`;
  return html`<${Badge} tone=${also === "" ? "good" : "warn"}>ready${also}<//>`;
}

const nodeColumns = (sparks: Sparks): Column<NodeState>[] => [
  { head: "Node", cell: (node: NodeState) => node.node },
  { head: "State", cell: ready },
  {
    head: "CPU",
    title: "now, and the last hour",
    cell: (node: NodeState) => barOver(node.cpu_usage_percent, sparks.get(node.node)),
  },
  { head: "Cores", numeric: true, cell: (node: NodeState) => value(count(node.cpu_cores)) },
  { head: "Memory", cell: (node: NodeState) => bar(node.memory_usage_percent) },
  { head: "of", numeric: true, cell: (node: NodeState) => value(bytes(node.memory_total_bytes)) },
  { head: "Disk", cell: (node: NodeState) => bar(node.disk_usage_percent) },
  {
    head: "Fullest disk",
    cell: ({ fullest_disk: disk }: NodeState) =>
      value(disk ? `${percent(disk.usage_percent)} ${disk.device}` : UNMEASURED),
  },
  {
    head: "Load",
    title: "mean of one minute",
    numeric: true,
    cell: (node: NodeState) => value(number(node.load_1)),
  },
  { head: "Pods", numeric: true, cell: (node: NodeState) => value(count(node.pod_count)) },
];

const IDLE_OF_NODES = [
  {
    metric: "node_cpu_seconds_total",
    aggregation: "avg",
    group_by: ["k8s.node.name"],
    filters: [{ label: "mode", op: "=", value: "idle" }],
  },
];

export function NodeTable({ id }: { id: string }): Html {
  const loaded = useLoaded(id, (signal) => get<Nodes>(clusterPath(id, "nodes"), signal), REFRESH_MS);
  const sparks = useSparks(id, IDLE_OF_NODES, {
    keyOf: ({ labels }) => labels["k8s.node.name"] ?? null,
    map: (idle) => Math.max(0, 100 * (1 - idle)),
    merge: Math.max,
  });
  const answer = loaded.value;
  return html`<div>
    <${LoadState} loaded=${loaded} what="the nodes" />
    ${
      answer
        ? html`<${Head} answer=${answer} what=${plural(answer.node_count, "node")} />
            <${Table}
              caption="Nodes"
              rows=${answer.nodes}
              keyOf=${(node: NodeState) => node.node}
              columns=${nodeColumns(sparks)}
            />`
        : ""
    }
  </div>`;
}

/** "0.5 of 2": what is used, of what was asked for. */
function ofRequest(used: string, request: string): Html {
  if (used === UNMEASURED) return value(UNMEASURED);
  return html`${value(used)}
    <span class="of">${request === UNMEASURED ? "no request" : `of ${request}`}</span>`;
}

const podColumns = (sparks: Sparks): Column<PodState>[] => [
  { head: "Namespace", cell: (pod: PodState) => pod.namespace },
  { head: "Pod", cell: (pod: PodState) => pod.pod },
  { head: "Node", cell: (pod: PodState) => value(pod.node ?? UNMEASURED) },
  { head: "Phase", cell: (pod: PodState) => value(pod.phase ?? UNMEASURED) },
  {
    head: "Restarts",
    title: "in the window",
    numeric: true,
    cell: (pod: PodState) => value(count(pod.restarts)),
  },
  {
    head: "CPU, of request",
    numeric: true,
    title: "cores now, and the last hour",
    cell: (pod: PodState) =>
      html`${ofRequest(number(pod.cpu_usage_cores), number(pod.cpu_request_cores))}<${Spark}
          values=${sparks.get(`${pod.namespace}/${pod.pod}`)}
          format=${(cores: number) => number(cores, "cores")}
        />`,
  },
  {
    head: "Memory, of request",
    numeric: true,
    cell: (pod: PodState) => ofRequest(bytes(pod.memory_working_set_bytes), bytes(pod.memory_request_bytes)),
  },
  {
    head: "GPUs",
    title: "requested",
    numeric: true,
    cell: (pod: PodState) => value(number(pod.gpu_request)),
  },
];

/** CPU of the containers of the rows in view. A mean of each container's series counts a kubelet once that is scraped twice. */
function cpuOf(pods: readonly PodState[]): SparkQuery[] {
  if (pods.length === 0) return [];
  return [
    {
      metric: "container_cpu_usage_seconds_total",
      aggregation: "avg",
      group_by: ["namespace", "pod", "container"],
      filters: [
        { label: "container", op: "!~", value: "|POD" },
        ...oneOf("pod", pods.map(({ pod }) => pod).toSorted()),
      ],
    },
  ];
}

const SORTS = { name: "name", cpu: "CPU", memory: "memory", restarts: "restarts" };

export function PodTable({ id, query }: { id: string; query: URLSearchParams }): Html {
  const namespace = query.get("namespace") ?? "";
  const sort = query.get("sort") ?? "cpu";
  const cursor = query.get("cursor") ?? "";
  const asked = {
    sort,
    limit: String(PODS_SHOWN),
    ...(namespace === "" ? {} : { namespace }),
    ...(cursor === "" ? {} : { cursor }),
  };
  const path = clusterPath(id, "pods", asked);
  const loaded = useLoaded(path, (signal) => get<Pods>(path, signal), REFRESH_MS);
  const answer = loaded.value;
  const sparks = useSparks(id, cpuOf(answer?.pods ?? []), {
    keyOf: ({ labels }) => `${labels["namespace"]}/${labels["pod"]}`,
    merge: (a, b) => a + b,
  });
  const set = (name: string) => (event: Event) =>
    setQuery({ [name]: (event.target as HTMLInputElement).value, cursor: "" });
  return html`<div>
    <form class="filter" onSubmit=${(event: Event) => event.preventDefault()}>
      <label
        >Namespace <input type="search" value=${namespace} onChange=${set("namespace")} placeholder="all"
      /></label>
      <label
        >Sort by
        <select value=${sort} onChange=${set("sort")}>
          ${Object.entries(SORTS).map(([name, text]) => html`<option value=${name}>${text}</option>`)}
        </select></label
      >
    </form>
    <${LoadState} loaded=${loaded} what="the Pods" />
    ${
      answer
        ? html`<${Head}
              answer=${answer}
              what=${`${count(answer.pods.length)} of ${plural(answer.pod_count, "Pod")}`}
            />
            <${Table}
              caption="Pods"
              rows=${answer.pods}
              keyOf=${(pod: PodState) => `${pod.namespace}/${pod.pod}`}
              columns=${podColumns(sparks)}
            />
            <p>
              ${cursor === "" ? "" : html`<button type="button" onClick=${() => setQuery({ cursor: "" })}>First page</button> `}
              ${answer.next_cursor === null ? "" : html`<button type="button" onClick=${() => setQuery({ cursor: answer.next_cursor ?? "" })}>Next page</button>`}
            </p>`
        : ""
    }
  </div>`;
}

const USES: Record<GpuUse, { tone: Tone; text: string }> = {
  in_use: { tone: "good", text: "in use" },
  idle_held: { tone: "warn", text: "idle-held" },
  allocated: { tone: "wait", text: "held" },
  unattributed: { tone: "unknown", text: "used by nobody known" },
  free: { tone: "off", text: "free" },
};

function use({ use: how }: GpuState): Html {
  if (how === null) return value(UNMEASURED);
  return html`<${Badge} tone=${USES[how].tone}>${USES[how].text}<//>`;
}

function holders({ pods }: GpuState): Html {
  return html`<span
    >${pods.map(({ namespace, pod }) => html`<span class="line name">${`${namespace}/${pod}`}</span>`)}</span
  >`;
}

/** An error that did not change in the window is history. */
function xid({ xid: error }: GpuState): Html {
  if (error === null) return html`<span class="quiet">none</span>`;
  const { code, description, action, is_new: isNew, since } = error;
  const text = `${code}${description === null ? "" : `, ${description}`}`;
  const tail = html`<span class="line">${`NVIDIA's action: ${action}`}</span
    ><span class="line quiet"
      ><${Age} time=${since} old=${Infinity} before=${isNew ? "" : "there since before "}
    /></span>`;
  return isNew ? html`<${Badge} tone="bad">${text}<//>${tail}` : html`<span>${text}</span>${tail}`;
}

function memory({ memory_used_mib: used, memory_total_mib: total }: GpuState): Html {
  if (used === null) return value(UNMEASURED);
  return html`${value(bytes(used * MIB))}
    <span class="of">of ${bytes(total === null ? null : total * MIB)}</span>`;
}

const gpuColumns = (sparks: Sparks): Column<GpuState>[] => [
  { head: "Node", cell: (gpu: GpuState) => gpu.node },
  {
    head: "GPU",
    title: "number on the node, and part",
    cell: (gpu: GpuState) => `${gpu.gpu}${gpu.mig_instance === null ? "" : `, part ${gpu.mig_instance}`}`,
  },
  { head: "Model", cell: (gpu: GpuState) => gpu.model },
  { head: "Use", cell: use },
  { head: "Held by", cell: holders },
  {
    head: "Utilisation",
    title: "now, and the last hour",
    cell: (gpu: GpuState) => barOver(gpu.utilization_percent, sparks.get(gpuKey(gpu.uuid, gpu.mig_instance))),
  },
  { head: "Memory", numeric: true, cell: memory },
  {
    head: "°C",
    title: "temperature",
    numeric: true,
    cell: (gpu: GpuState) => value(number(gpu.temperature_celsius)),
  },
  { head: "Power", numeric: true, cell: (gpu: GpuState) => value(number(gpu.power_watts, "W")) },
  { head: "XID", title: "the last error in the window", cell: xid },
  { head: "Measured", cell: (gpu: GpuState) => html`<${Age} time=${gpu.last_sample} />` },
];

const gpuKey = (uuid: string, part: string | null): string => `${uuid} ${part ?? ""}`;

/** The exporters' names of a part of a GPU. */
const PART_LABELS = ["GPU_I_ID", "gpu_partition_id"];

/** Whose a series is: each exporter has another label for the UUID, but none for two of them. */
function findGpu(labels: Series["labels"], gpus: ReadonlySet<string>): string | null {
  const part = PART_LABELS.map((name) => labels[name]).find((text) => text !== undefined && text !== "");
  const keys = Object.values(labels).flatMap((uuid) => [
    ...(part === undefined ? [] : [gpuKey(uuid, part)]),
    gpuKey(uuid, null),
  ]);
  return keys.find((key) => gpus.has(key)) ?? null;
}

export function GpuTable({ id }: { id: string }): Html {
  const loaded = useLoaded(id, (signal) => get<Gpus>(clusterPath(id, "gpus"), signal), REFRESH_MS);
  const answer = loaded.value;
  const rows = answer?.gpus ?? [];
  const bySource = Map.groupBy(rows, (gpu) => gpu.utilization_source ?? "");
  bySource.delete("");
  const keysOf = new Map(
    [...bySource].map(([source, gpus]) => [
      source,
      new Set(gpus.map((gpu) => gpuKey(gpu.uuid, gpu.mig_instance))),
    ]),
  );
  const sparks = useSparks(
    id,
    [...bySource.keys()].map((metric) => ({ metric, aggregation: "avg", group_by: ["*"] })),
    {
      keyOf: ({ labels }, answer) => findGpu(labels, keysOf.get(answer.metric_name) ?? new Set()),
      map: toPercent,
      // One GPU has another series with each Pod.
      merge: Math.max,
    },
  );
  const link = html`<a href=${hrefOf(["clusters", id, "collection"])}>its collection</a>`;
  const text =
    answer?.as_of === null
      ? "Nothing is stored of the last 15 minutes; see "
      : "No GPU is measured: no series of a GPU exporter are stored; see ";
  const none = answer?.gpu_count === 0 ? html`<p>${text}${link}.</p>` : "";
  return html`<div>
    <${LoadState} loaded=${loaded} what="the GPUs" />
    ${
      answer && answer.gpu_count > 0
        ? html`<${Head} answer=${answer} what=${plural(answer.gpu_count, "GPU")} />
            <${Table}
              caption="GPUs"
              rows=${answer.gpus}
              keyOf=${(gpu: GpuState) => gpuKey(gpu.uuid, gpu.mig_instance)}
              columns=${gpuColumns(sparks)}
            />`
        : none
    }
  </div>`;
}
