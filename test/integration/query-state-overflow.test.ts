import { expect, test } from "vitest";
import { summaryAnswer } from "#http/state-schemas.ts";
import { useEngine } from "../helpers/engine.ts";
import { AS_OF_MS, createStateCases, gauge, MINUTE_MS, now } from "../helpers/state-cases.ts";
import { point } from "../helpers/stored-world.ts";

// A cluster's samples may be as large as a double can be. Nothing measures so much, and what they add up to is no number of an answer: it was a 500.

const HUGE = 1.7e308;
const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);

function metrics() {
  const nodes = ["a:9100", "b:9100"].map((instance) => ({ instance }));
  const gauges = ["node_load1", "node_load5", "node_load15", "node_memory_MemTotal_bytes"].map((name) =>
    gauge(
      name,
      nodes.map((labels) => now(labels, HUGE)),
    ),
  );
  const disks = ["node_filesystem_size_bytes", "node_filesystem_avail_bytes"].map((name, i) =>
    gauge(
      name,
      ["sda", "sdb"].map((device) =>
        now({ instance: "a:9100", device, fstype: "ext4" }, i === 0 ? HUGE : -HUGE),
      ),
    ),
  );
  const containers = ["c", "d"].map((container) => ({ namespace: "ns", pod: "p", container }));
  const gpus = ["0", "1"].map((part) => ({ UUID: "GPU-1", gpu: "0", Hostname: "a", GPU_I_ID: part }));
  return [
    ...gauges,
    ...disks,
    gauge(
      "node_memory_MemAvailable_bytes",
      nodes.map((labels) => now(labels, -HUGE)),
    ),
    gauge(
      "kube_node_info",
      ["a", "b"].map((node) => now({ node }, 1)),
    ),
    gauge("kube_pod_info", [now({ namespace: "ns", pod: "p", node: "a" }, 1)]),
    gauge(
      "container_memory_working_set_bytes",
      containers.map((labels) => now(labels, HUGE)),
    ),
    {
      name: "kube_pod_container_status_restarts_total",
      kind: "sum" as const,
      points: containers.flatMap((labels) =>
        [0, HUGE].map((count, i) => point(labels, AS_OF_MS - (2 - i) * MINUTE_MS, count)),
      ),
    },
    ...["DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_POWER_USAGE"].map((name) =>
      gauge(
        name,
        gpus.map((labels) => now(labels, HUGE)),
      ),
    ),
  ];
}

/** Every number of the answer that JSON does not have. */
function infinite(value: unknown, path = ""): string[] {
  if (typeof value === "number") return Number.isFinite(value) ? [] : [path];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, each]) => infinite(each, `${path}.${name}`));
}

test("numbers that nothing can have are no values", async () => {
  const id = await cluster(metrics());
  const summary = await state().summary({ clusterId: id });
  expect(summaryAnswer.safeParse(summary).error).toBeUndefined();
  expect(summary).toMatchObject({
    node_count: 2,
    avg_load_15: null,
    total_memory_gb: null,
    total_gpu_memory_gb: null,
  });
  const { nodes } = await state().nodes({ clusterId: id });
  expect(nodes[0]).toMatchObject({
    load_1: null,
    memory_total_bytes: null,
    memory_used_bytes: null,
    fullest_disk: null,
  });
  const { pods } = await state().pods({ clusterId: id });
  expect(pods).toMatchObject([{ pod: "p", memory_working_set_bytes: null, restarts: 0 }]);
  const answers = [
    summary,
    nodes,
    pods,
    await state().gpus({ clusterId: id }),
    await state().health({ clusterId: id }),
  ];
  expect(answers.flatMap((answer) => infinite(answer))).toEqual([]);
});
