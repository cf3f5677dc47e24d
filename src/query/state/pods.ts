import { refuseField, type LimitedDatabase } from "#query/limits.ts";
import { createPodSql, POD_RESTART_METRICS, POD_SORTS, POD_STATE_METRICS, type PodSort } from "./pod-sql.ts";
import { parsePodCursor, toPodCursor } from "./pod-cursor.ts";
import type { StateContext, CreateContext, StateHead, StateRequest } from "./context.ts";
import type { WindowRules } from "./window.ts";

/** A Pod as of the answer's `as_of`; null where nothing is known. */
interface PodState {
  namespace: string;
  pod: string;
  node: string | null;
  /** "Running", "Pending", "Succeeded", "Failed" or "Unknown". */
  phase: string | null;
  /** Of all its containers since its creation. */
  restarts_total: number | null;
  /** In the window: whole restarts as counted, not extrapolated. */
  restarts: number;
  /** Over the whole window: the rate of its containers' CPU time. */
  cpu_usage_cores: number | null;
  memory_working_set_bytes: number | null;
  cpu_request_cores: number | null;
  cpu_limit_cores: number | null;
  memory_request_bytes: number | null;
  memory_limit_bytes: number | null;
  /** GPUs, and parts of GPUs, that it requests. */
  gpu_request: number | null;
}

export interface PodsAnswer extends StateHead {
  /** Of the cluster, or of the namespace that was asked for. */
  pod_count: number;
  pods: PodState[];
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

type Row = {
  [Field in keyof Omit<PodState, "namespace" | "pod" | "node" | "phase">]: number | string | null;
} & Pick<PodState, "namespace" | "pod"> & { node: string; phase: string; sort_key: string; total: string };

export function createPods(
  deps: { createContext: CreateContext; database: LimitedDatabase },
  settings: { databaseName: string; lookbackMs: number; window: WindowRules },
): Pods {
  const sql = createPodSql(settings.databaseName);
  return async (request) => {
    const { sort = "name", limit = PODS_DEFAULT, namespace = "" } = request;
    checkRequest(sort, limit, namespace);
    const cursor = request.cursor === undefined ? undefined : parsePodCursor(request.cursor, sort, namespace);
    const { clusterId, signal } = request;
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
    const [head, rows] = await Promise.all([
      context.head(POD_STATE_METRICS),
      deps.database.query<Row>(
        sql.page(sort),
        {
          ...toParameters({ clusterId, fromMs, asOfMs }, settings.lookbackMs),
          names: POD_STATE_METRICS,
          namespace,
          after_key: cursor?.key ?? "0",
          after: cursor === undefined ? 0 : 1,
          after_namespace: cursor?.namespace ?? "",
          after_pod: cursor?.pod ?? "",
          limit: limit + 1,
        },
        signal,
      ),
    ]);
    const page = rows.slice(0, limit);
    const last = rows.length > limit ? page.at(-1) : undefined;
    return {
      ...head,
      pod_count: rows.length > 0 ? Number(rows[0]!.total) : 0,
      pods: page.map(toPodState),
      next_cursor: last === undefined ? null : toCursor(last, { sort, namespace }, { fromMs, asOfMs }),
    };
  };
}

/** A Pod whose containers were restarted in the window. */
export interface RestartedPod {
  namespace: string;
  pod: string;
  node: string;
  restarts: number;
}

/** The Pods with at least `least` restarts, at most 100, sorted by restarts. */
export type RestartReader = (
  context: StateContext,
  least: number,
  signal: AbortSignal | undefined,
) => Promise<RestartedPod[]>;

export function createRestartReader(
  database: LimitedDatabase,
  settings: { databaseName: string; lookbackMs: number },
): RestartReader {
  const sql = createPodSql(settings.databaseName);
  return async ({ clusterId, fromMs, asOfMs }, least, signal) =>
    asOfMs === null
      ? []
      : await database.query<RestartedPod>(
          sql.restarted,
          {
            ...toParameters({ clusterId, fromMs, asOfMs }, settings.lookbackMs),
            names: POD_RESTART_METRICS,
            namespace: "",
            least,
          },
          signal,
        );
}

function toParameters(
  { clusterId, fromMs, asOfMs }: { clusterId: string; fromMs: number; asOfMs: number },
  lookbackMs: number,
) {
  const rateSeconds = Math.max(lookbackMs, asOfMs - fromMs) / 1000;
  return {
    cluster: clusterId,
    as_of: asOfMs,
    since: asOfMs - lookbackMs,
    window_from: fromMs,
    restarts_from: fromMs - lookbackMs,
    rate_from: asOfMs - Math.round(rateSeconds) * 1000,
    rate_window: Math.round(rateSeconds),
  };
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

function toCursor(
  last: Row,
  asked: { sort: PodSort; namespace: string },
  window: { fromMs: number; asOfMs: number },
): string {
  return toPodCursor({
    sort: asked.sort,
    asked: asked.namespace,
    key: last.sort_key,
    namespace: last.namespace,
    pod: last.pod,
    range: { fromMs: window.fromMs, toMs: window.asOfMs },
  });
}

function toPodState(row: Row): PodState {
  const number = (value: number | string | null): number | null => (value === null ? null : Number(value));
  return {
    namespace: row.namespace,
    pod: row.pod,
    node: row.node === "" ? null : row.node,
    phase: row.phase === "" ? null : row.phase,
    restarts_total: number(row.restarts_total),
    restarts: Number(row.restarts),
    cpu_usage_cores: number(row.cpu_usage_cores),
    memory_working_set_bytes: number(row.memory_working_set_bytes),
    cpu_request_cores: number(row.cpu_request_cores),
    cpu_limit_cores: number(row.cpu_limit_cores),
    memory_request_bytes: number(row.memory_request_bytes),
    memory_limit_bytes: number(row.memory_limit_bytes),
    gpu_request: number(row.gpu_request),
  };
}
