import type { FormTable } from "./form.ts";
import { during, gpu, node, pod, type FormSeries } from "./series.ts";

type Value = FormSeries["value"];
const holder = { namespace: "ml", pod: "notebook", container: "main" };
/** A GPU that is held, and as busy as given, with so many MiB of 16,384 used. */
const held = (busy: Value, used: number) =>
  gpu("GPU-1", holder, { DEV_GPU_UTIL: busy, DEV_FB_USED: used, DEV_FB_FREE: 16_384 - used });
const free = (busy: Value, used: number) =>
  gpu("GPU-1", {}, { DEV_GPU_UTIL: busy, DEV_FB_USED: used, DEV_FB_FREE: 16_384 - used });
const cluster = (...gpus: FormSeries[]) => [
  ...node("a", "10.0.0.1"),
  ...pod("ml", "notebook", { node: "a", requests: { main: { cpu: 1, nvidia_com_gpu: 1 } } }),
  ...gpus,
];
const used = (use: string) => ({ "GPU-1": { use } });

/** Allocated, in use, idle-held, free, unattributed. */
export const WHO_HOLDS_WHAT: FormTable = {
  rule: "who holds what",
  switches: {
    "below 1 % is idle": [["const IDLE_PERCENT = 1;", "const IDLE_PERCENT = 0;"]],
    "the last 15 minutes": [["(peak ?? 0) >= IDLE_PERCENT", "false"]],
    "held for 15 minutes": [["wasIdle && heldLong &&", "wasIdle &&"]],
    "memory is held": [['hasMemory === true ? "idle_held"', 'true ? "idle_held"']],
    "used by nobody": [
      ['hasMemory === true ? "unattributed" : "free"', 'hasMemory === true ? "free" : "free"'],
    ],
    "a little memory": [["const MEMORY_HELD_PERCENT = 1;", "const MEMORY_HELD_PERCENT = 0;"]],
  },
  forms: [
    {
      name: "a notebook that nobody uses, with its model in memory",
      source: "https://github.com/StatCan/aaw/issues/228",
      why: "held, below 1 % for 15 minutes, and memory is held",
      needs: "below 1 % is idle",
      series: cluster(...held(0, 9000)),
      gpus: used("idle_held"),
    },
    {
      name: "a server that gets a request now and then",
      source: "https://github.com/mulgadc/spinifex/pull/744",
      why: "it computed nine minutes ago: not idle",
      needs: "the last 15 minutes",
      series: cluster(...held((ago) => (ago === 9 ? 40 : 0), 9000)),
      gpus: used("in_use"),
    },
    {
      name: "a Pod that started eight minutes ago",
      source: "https://github.com/mulgadc/spinifex/pull/744",
      why: "nothing is idle before 15 minutes have passed; the GPU was free before",
      needs: "held for 15 minutes",
      series: cluster(...during((ago) => ago > 8, free(0, 0)), ...during((ago) => ago <= 8, held(0, 9000))),
      gpus: used("allocated"),
    },
    {
      name: "a Pod that holds a GPU and has never touched it",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/127",
      why: "without memory it is allocated only: the Pod may not have begun",
      needs: "memory is held",
      series: cluster(...held(0, 0)),
      gpus: used("allocated"),
    },
    {
      name: "a Pod without a GPU request, whose process uses one",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/138",
      why: "dcgm-exporter names Pods with limits alone: somebody uses it, nobody is named",
      needs: "used by nobody",
      series: [...node("a", "10.0.0.1"), ...free(60, 9000)],
      gpus: { "GPU-1": { use: "unattributed", pods: [] } },
    },
    {
      name: "memory that dead processes left behind",
      source: "https://github.com/vllm-project/vllm-dashboard/pull/182",
      why: "nothing computes and no Pod holds it, but 9,000 MiB are gone",
      needs: "used by nobody",
      series: [...node("a", "10.0.0.1"), ...free(0, 9000)],
      gpus: { "GPU-1": { use: "unattributed" } },
    },
    {
      name: "a GPU of which the driver keeps a little memory",
      source: "https://github.com/AMD-AGI/TraceLens/pull/809",
      why: "some MiB are on every GPU: it is free",
      needs: "a little memory",
      series: [...node("a", "10.0.0.1"), ...free(0, 4)],
      gpus: { "GPU-1": { use: "free", pods: [] } },
    },
    {
      name: "an idle GPU whose profiling metric says 0.4 %",
      source: "https://github.com/NVIDIA/DCGM/issues/80",
      why: "below 1 % of the multiprocessors is idle, whatever GPU_UTIL says",
      needs: "below 1 % is idle",
      series: cluster(
        ...gpu("GPU-1", holder, {
          DEV_GPU_UTIL: 3,
          PROF_SM_ACTIVE: 0.004,
          DEV_FB_USED: 9000,
          DEV_FB_FREE: 7384,
        }),
      ),
      gpus: used("idle_held"),
    },
  ],
};
