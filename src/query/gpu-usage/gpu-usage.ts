import type { LimitedDatabase } from "#query/limits.ts";
import { refuseSize } from "#query/limits.ts";
import { expectedMetrics } from "#query/gpu-metrics.ts";
import type { CreateContext, StateContext, StateHead, StateRequest } from "#query/state/context.ts";
import { IDLE_MS } from "#query/state/rows.ts";
import type { WindowRules } from "#query/state/window.ts";
import type { DeviceReader } from "./devices.ts";
import { addRow, createTotals, toTotals, type GpuUsageTotals, type Totals } from "./totals.ts";
import { GPU_USAGE_METRICS, toUsageSql, type UsageRow } from "./usage-sql.ts";

export const USAGE_GROUPS = ["namespace", "pod", "node"] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];

/** What one namespace, Pod or node did with GPUs. null: by no Pod, or not what was asked for. */
export interface GpuUsageOf extends GpuUsageTotals {
  namespace: string | null;
  pod: string | null;
  node: string | null;
}

export interface GpuUsageAnswer extends StateHead {
  by: UsageGroup;
  total: GpuUsageTotals;
  /** The most GPU-hours first. They add up to the total. */
  usage: GpuUsageOf[];
}

interface GpuUsageRequest extends StateRequest {
  by?: UsageGroup | undefined;
}

export type GpuUsage = (request: GpuUsageRequest) => Promise<GpuUsageAnswer>;

const ROWS_MAX = 100_000;
const GROUPS_MAX = 20_000;
/** A statement reads at most a day, so that its memory does not grow with the range. */
const CHUNK_MS = 86_400_000;

export function createGpuUsage(
  deps: { createContext: CreateContext; database: LimitedDatabase; readDevices: DeviceReader },
  settings: { databaseName: string; lookbackMs: number; hotCelsius: number; window: WindowRules },
): GpuUsage {
  const sql = toUsageSql(settings.databaseName);
  const { lookbackMs, hotCelsius } = settings;
  const readChunk = async (
    clusterId: string,
    range: { fromMs: number; toMs: number; endMs: number },
    signal: AbortSignal | undefined,
  ): Promise<UsageRow[]> => {
    const marginMs = IDLE_MS + lookbackMs;
    const rows = await deps.database.query<UsageRow>(
      sql,
      {
        cluster: clusterId,
        names: GPU_USAGE_METRICS,
        from: range.fromMs,
        to: range.toMs,
        read_from: range.fromMs - marginMs,
        read_to: Math.min(range.toMs + marginMs, range.endMs),
        lookback: lookbackMs,
        idle: IDLE_MS,
        hot: hotCelsius,
        rows: ROWS_MAX,
      },
      signal,
    );
    if (rows.length < ROWS_MAX) return rows;
    throw tooMany(ROWS_MAX);
  };
  return async (request) => {
    const { by = "namespace", signal } = request;
    const context = await deps.createContext(request, GPU_USAGE_METRICS, settings.window);
    const { clusterId, fromMs, asOfMs } = context;
    const metrics = expectedMetrics(GPU_USAGE_METRICS, (metric) => context.collects(metric));
    const groups = createGroups(by);
    const [head] = await Promise.all([
      context.head(metrics),
      asOfMs === null ? undefined : read({ ...context, asOfMs }),
    ]);
    return { ...head, by, ...groups.answer() };

    async function read(known: StateContext & { asOfMs: number }): Promise<void> {
      const nodeOf = await readNodes(deps.readDevices, known, signal);
      if (nodeOf.size === 0) return;
      for (let startMs = fromMs; startMs < known.asOfMs; startMs += CHUNK_MS) {
        const range = {
          fromMs: startMs,
          toMs: Math.min(startMs + CHUNK_MS, known.asOfMs),
          endMs: known.asOfMs,
        };
        groups.add(await readChunk(clusterId, range, signal), nodeOf);
      }
    }
  };
}

/** The node of each GPU that has samples in the range. */
async function readNodes(
  readDevices: DeviceReader,
  context: StateContext & { asOfMs: number },
  signal: AbortSignal | undefined,
): Promise<Map<string, string | null>> {
  const range = { fromMs: context.fromMs, toMs: context.asOfMs, metrics: GPU_USAGE_METRICS };
  const devices = await readDevices(context.clusterId, range, signal);
  const nameOf = await context.nodeNames(devices.map(({ question }) => question));
  return new Map(devices.map(({ device, question }) => [device, nameOf(question).node || null]));
}

/** Adds rows up by what was asked for. What several Pods shared is divided equally among them; a partitioned GPU among its parts. */
function createGroups(by: UsageGroup) {
  const total = createTotals();
  const groups = new Map<string, { of: Pick<GpuUsageOf, UsageGroup>; totals: Totals }>();
  const addTo = (of: Pick<GpuUsageOf, UsageGroup>, row: UsageRow, share: number): void => {
    const key = JSON.stringify([of.namespace, of.pod, of.node]);
    const group = groups.get(key) ?? { of, totals: createTotals() };
    groups.set(key, group);
    if (groups.size > GROUPS_MAX) throw tooMany(GROUPS_MAX);
    addRow(group.totals, row, share);
  };
  return {
    /** `rows`: of one stretch of time. */
    add: (rows: readonly UsageRow[], nodeOf: ReadonlyMap<string, string | null>): void => {
      for (const own of Map.groupBy(rows, ({ device }) => device).values()) {
        const parts = new Set(own.map(({ part }) => part)).size;
        for (const row of own) {
          addRow(total, row, 1 / parts);
          const of = toGroups(by, row, nodeOf.get(row.device) ?? null);
          for (const each of of) addTo(each, row, 1 / (parts * of.length));
        }
      }
    },
    answer: (): Pick<GpuUsageAnswer, "total" | "usage"> => {
      const usage = [...groups.values()].map(({ of, totals }) => ({ ...of, ...toTotals(totals) }));
      return {
        total: toTotals(total),
        usage: usage.sort((a, b) => b.gpu_hours - a.gpu_hours || compare(a, b)),
      };
    },
  };
}

function toGroups(by: UsageGroup, row: UsageRow, node: string | null): Pick<GpuUsageOf, UsageGroup>[] {
  if (by === "node") return [{ namespace: null, pod: null, node }];
  if (row.holders.length === 0) return [{ namespace: null, pod: null, node: null }];
  return row.holders.map((holder) => {
    const end = holder.indexOf("/");
    return { namespace: holder.slice(0, end), pod: by === "pod" ? holder.slice(end + 1) : null, node: null };
  });
}

function tooMany(most: number): Error {
  return refuseSize("series", `more than ${most} Pods used GPUs`, "Ask for a shorter range.");
}

function compare(a: GpuUsageOf, b: GpuUsageOf): number {
  const text = (of: GpuUsageOf): string => JSON.stringify([of.namespace, of.pod, of.node]);
  return text(a) < text(b) ? -1 : 1;
}
