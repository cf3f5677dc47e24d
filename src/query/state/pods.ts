import { refuseField, type LimitedDatabase } from "#query/limits.ts";
import type { QueryParameters } from "#storage/database.ts";
import type { CreateContext, StateHead, StateRequest } from "./context.ts";
import { parsePodCursor, toPodCursor, type PodCursor } from "./pod-cursor.ts";
import type { GpuReader } from "./gpus.ts";
import { toPodGpus, type PodGpus } from "./pod-gpus.ts";
import { createPodSql, toPodParameters, toPodSeries, type PodRow } from "./pod-sql.ts";
import {
  POD_SORTS,
  POD_STATE_METRICS,
  rankMetrics,
  rankOf,
  toMeasures,
  toPodState,
  type PodMeasures,
  type PodSort,
  type PodState,
} from "./pod-state.ts";
import { allRows } from "./sql.ts";
import type { WindowRules } from "./window.ts";

export interface PodsAnswer extends StateHead {
  /** Of the cluster, or of the namespace that was asked for. */
  pod_count: number;
  pods: (PodState & PodGpus)[];
  /** For the next page; null: this is the last one. */
  next_cursor: string | null;
}

interface PodsRequest extends StateRequest {
  namespace?: string | undefined;
  /** Default name: by namespace and name. The others: the largest first. */
  sort?: PodSort;
  /** 1 to 1,000. Default 100. */
  limit?: number;
  /** From the previous answer; the other fields must be as they were, `fromMs` and `toMs` are taken from it. */
  cursor?: string | undefined;
}

export type Pods = (request: PodsRequest) => Promise<PodsAnswer>;

export const PODS_MAX = 1000;
export const PODS_DEFAULT = 100;
const NAMESPACE_CHARS_MAX = 253;

export function createPods(
  deps: { createContext: CreateContext; database: LimitedDatabase; readGpus: GpuReader },
  settings: { databaseName: string; lookbackMs: number; window: WindowRules },
): Pods {
  const { database } = deps;
  const sql = createPodSql(settings.databaseName);
  return async (request) => {
    const { sort = "name", limit = PODS_DEFAULT, namespace = "", clusterId, signal } = request;
    checkRequest(sort, limit, namespace);
    const cursor = request.cursor === undefined ? undefined : parsePodCursor(request.cursor, sort, namespace);
    const range = cursor?.range ?? request;
    const context = await deps.createContext(
      { clusterId, signal, fromMs: range.fromMs, toMs: range.toMs },
      POD_STATE_METRICS,
      settings.window,
    );
    const { asOfMs, fromMs } = context;
    if (asOfMs === null) {
      return { ...(await context.head(POD_STATE_METRICS)), pod_count: 0, pods: [], next_cursor: null };
    }
    const window = { clusterId, fromMs, asOfMs };
    const times = { windowFromMs: fromMs, sinceMs: asOfMs - settings.lookbackMs };
    const read: ReadPods = async (statement, { wanted, ...parameters }) => {
      const common = {
        ...toPodParameters(POD_STATE_METRICS, window, settings.lookbackMs, wanted),
        namespace,
      };
      const rows = await database.query<PodRow>(sql[statement], { ...common, ...parameters }, signal);
      return { rows, pods: rows.map((row) => toMeasures(row.pod_key, toPodSeries(row.series), times)) };
    };
    const [head, page] = await Promise.all([
      context.head(POD_STATE_METRICS),
      sort === "name" ? pageByName(read, cursor, limit) : pageByRank(read, sort, cursor, limit),
    ]);
    const { last } = page;
    const pods = page.pods.map(toPodState);
    // Of a page without such Pods nobody asks for the GPUs, which takes another statement.
    const gpus = pods.some(({ gpu_request }) => gpu_request !== null)
      ? await deps.readGpus(context, { withRequests: false }, signal)
      : undefined;
    const present = (gpus?.found ?? []).filter((gpu) => gpu.present).map(({ state }) => state);
    const asked = { sort, asked: namespace, range: { fromMs, toMs: asOfMs } };
    return {
      ...head,
      pod_count: page.total,
      pods: pods.map((pod) => ({ ...pod, ...toPodGpus(pod, present) })),
      next_cursor: last === undefined ? null : toPodCursor({ ...asked, ...last }),
    };
  };
}

type ReadPods = (
  statement: "byName" | "all" | "some",
  parameters: QueryParameters & { wanted?: readonly string[] },
) => Promise<{ rows: PodRow[]; pods: PodMeasures[] }>;

interface Page {
  total: number;
  pods: PodMeasures[];
  /** The last Pod of a page that is not the last one. */
  last: Pick<PodCursor, "key" | "namespace" | "pod"> | undefined;
}

async function pageByName(read: ReadPods, after: PodCursor | undefined, limit: number): Promise<Page> {
  const { rows, pods } = await read("byName", {
    after: after === undefined ? 0 : 1,
    after_namespace: after?.namespace ?? "",
    after_pod: after?.pod ?? "",
    limit: limit + 1,
  });
  const page = pods.slice(0, limit);
  const [namespace, pod] = page.at(-1)?.key ?? ["", ""];
  const last = pods.length > limit ? { key: "0", namespace, pod } : undefined;
  return { total: Number(rows[0]?.total ?? 0), pods: page, last };
}

/** Two statements: the order of all Pods from what decides it, then all of a page's. */
async function pageByRank(
  read: ReadPods,
  sort: Exclude<PodSort, "name">,
  after: PodCursor | undefined,
  limit: number,
): Promise<Page> {
  const all = await read("all", { wanted: rankMetrics(sort) });
  allRows(all.rows);
  const ranked = all.pods
    .map((pod, i) => ({
      rank: rankOf(pod, sort),
      namespace: pod.key[0],
      pod: pod.key[1],
      ids: all.rows[i]!.ids ?? [],
    }))
    .sort(byRank);
  const key = after && { rank: Number(after.key), namespace: after.namespace, pod: after.pod };
  const rest = key === undefined ? ranked : ranked.filter((pod) => byRank(key, pod) < 0);
  const page = rest.slice(0, limit);
  const end = page.at(-1);
  if (end === undefined) return { total: ranked.length, pods: [], last: undefined };
  const { pods } = await read("some", { ids: page.flatMap(({ ids }) => ids) });
  const places = new Map(page.map(({ namespace, pod }, i) => [JSON.stringify([namespace, pod]), i]));
  const placeOf = ({ key: [namespace, pod] }: PodMeasures): number =>
    places.get(JSON.stringify([namespace, pod])) ?? places.size;
  const last =
    rest.length > limit ? { key: String(end.rank), namespace: end.namespace, pod: end.pod } : undefined;
  return { total: ranked.length, pods: pods.sort((a, b) => placeOf(a) - placeOf(b)), last };
}

interface Ranked {
  rank: number;
  namespace: string;
  pod: string;
}

function byRank(a: Ranked, b: Ranked): number {
  return b.rank - a.rank || byText(a.namespace, b.namespace) || byText(a.pod, b.pod);
}

function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function checkRequest(sort: string, limit: number, namespace: string): void {
  if (!(POD_SORTS as readonly string[]).includes(sort)) {
    throw refuseField("sort", "is not known", `Use one of: ${POD_SORTS.join(", ")}.`);
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > PODS_MAX) {
    throw refuseField("limit", "is out of range", `Send a whole number from 1 to ${PODS_MAX}.`);
  }
  if (namespace.length > NAMESPACE_CHARS_MAX) {
    throw refuseField("namespace", "is too long", `Send at most ${NAMESPACE_CHARS_MAX} characters.`);
  }
}
