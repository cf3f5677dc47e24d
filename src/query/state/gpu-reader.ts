import { plainHolder, type ScrapeTargets } from "#query/gpu-holders.ts";
import { NODE_NAME } from "#query/node-addresses.ts";
import { nodeLabelsOf, type NodeNames, type NodeQuestion } from "#query/node-resolver.ts";
import { toRequested } from "./gpu-requests.ts";
import type { GpuRow, GpuRowReader } from "./gpu-rows.ts";
import { toGpuState } from "./gpu-state.ts";
import type { GpuTargetReader } from "./gpu-targets.ts";
import { busiest } from "./gpu-use.ts";
import { toGpuView, type GpuView } from "./gpu-view.ts";
import type { FoundGpu, GpuReader, GpuState } from "./gpus.ts";

/** XID errors count from the whole window, the rest from the lookback. */
export function createGpuReader(
  deps: { readRows: GpuRowReader; readTargets: GpuTargetReader },
  settings: { lookbackMs: number },
): GpuReader {
  const { lookbackMs } = settings;
  return async (context, { withRequests }, signal) => {
    const { clusterId, fromMs, asOfMs } = context;
    if (asOfMs === null) return { found: [], requested: null };
    const { gpus, requests } = await deps.readRows(clusterId, { fromMs, asOfMs, withRequests }, signal);
    const requested = toRequested(requests);
    if (gpus.length === 0) return { found: [], requested };
    const [targets] = await Promise.all([
      deps.readTargets(gpus, { clusterId, fromMs: fromMs - lookbackMs, asOfMs }, signal),
      context.nodeAddresses(),
    ]);
    const devices = [...Map.groupBy(gpus, ({ device }) => device).values()].map((rows) =>
      toViews(rows, targets, lookbackMs),
    );
    const questions = new Map(devices.flat().map((view) => [view, toQuestion(view, targets)]));
    const names = await context.nodeNames([...questions.values()]);
    const found = devices
      .flatMap((views) => toFound(views, questions, names, { fromMs, asOfMs, lookbackMs }))
      .sort((a, b) => byPlace(a.state, b.state));
    return { found, requested };
  };
}

/** The GPU itself and its parts. */
function toViews(rows: readonly GpuRow[], targets: ScrapeTargets, lookbackMs: number): GpuView[] {
  const isWhole = rows.every(({ part }) => part === "");
  return [...Map.groupBy(rows, ({ part }) => part).values()].map((own) =>
    toGpuView(own, targets, { isWhole, lookbackMs }),
  );
}

/** The node of a GPU is that of its exporter, which may have it as a label of its target, by its own name or by its Pod. */
function toQuestion({ labels, exporter, newestMs }: GpuView, targets: ScrapeTargets): NodeQuestion {
  const own = [...exporter.labels.nodes, NODE_NAME].map((name) => labels[name] ?? "");
  const target = targets.of(labels);
  // A plain `pod` that cannot be the one that uses the GPU is the target's.
  const from = target ?? (plainHolder(exporter, labels) === undefined ? labels : {});
  const [namespace, pod] = [from["namespace"] ?? "", from["pod"] ?? ""];
  return {
    names: [...nodeLabelsOf(labels), ...own.filter((name) => name !== "")],
    instance: labels["instance"] ?? "",
    pods: pod === "" ? [] : [{ namespace, pod }],
    newestMs,
  };
}

interface Times {
  fromMs: number;
  asOfMs: number;
  lookbackMs: number;
}

/** The row of the GPU itself has the Pods of its parts too, and is used as they are. */
function toFound(
  views: readonly GpuView[],
  questions: ReadonlyMap<GpuView, NodeQuestion>,
  names: NodeNames,
  times: Times,
): FoundGpu[] {
  const states = views.map((view) => toGpuState(view, names(questions.get(view)!).node, times));
  const parts = states.filter(({ mig_instance }) => mig_instance !== null);
  return states.map((state, i) => {
    const ofParts =
      state.mig_instance === null && parts.length > 0
        ? {
            pods: [...state.pods, ...parts.flatMap(({ pods }) => pods)],
            use: busiest([state.use, ...parts.map(({ use }) => use)]),
          }
        : {};
    const { isEnded, newestMs } = views[i]!;
    const present = !isEnded && newestMs > times.asOfMs - times.lookbackMs;
    return { present, state: { ...state, ...ofParts } };
  });
}

function byPlace(a: GpuState, b: GpuState): number {
  const text = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);
  return (
    text(a.node, b.node) ||
    (Number(a.gpu) || 0) - (Number(b.gpu) || 0) ||
    text(a.uuid, b.uuid) ||
    text(a.mig_instance ?? "", b.mig_instance ?? "")
  );
}
