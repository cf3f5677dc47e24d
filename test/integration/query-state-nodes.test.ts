import { describe, expect, test } from "vitest";
import { useEngine } from "../helpers/engine.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import {
  AS_OF_MS,
  createStateCases,
  gauge,
  MINUTE_MS,
  node,
  now,
  toMetrics,
} from "../helpers/state-cases.ts";
import { point } from "../helpers/stored-world.ts";

const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);

type Labels = Record<string, string>;
const HEALTHY = toMetrics([node("a", {}), node("b", {})]);

/** The answers about a healthy cluster of two nodes and some more metrics. */
async function ask(...more: TestMetric[]) {
  const clusterId = await cluster([...HEALTHY, ...more]);
  const [nodes, health] = await Promise.all([state().nodes({ clusterId }), state().health({ clusterId })]);
  const issues = health.issues.map(({ metric, node: name, object }) => [metric, name, object]);
  return { nodes: nodes.nodes, issues, status: health.status, clusterId };
}

const condition = (name: string, type: string, status: "true" | "false" | "unknown") =>
  ["true", "false", "unknown"].map((each) =>
    now({ node: name, instance: "ksm:8080", condition: type, status: each }, each === status ? 1 : 0),
  );

describe("conditions", () => {
  test("are problems by what is good for each (eks-node-monitoring-agent#215)", async () => {
    const { nodes, issues } = await ask(
      gauge("kube_node_status_condition", [
        ...["KernelReady", "NetworkingReady", "StorageReady"].flatMap((type) => condition("a", type, "true")),
        ...condition("b", "StorageReady", "false"),
        ...condition("b", "MemoryPressure", "unknown"),
      ]),
    );
    expect(issues).toEqual([["node_condition", "b", "StorageReady"]]);
    expect(nodes.map((each) => each.problems)).toEqual([
      [],
      [{ condition: "StorageReady", status: "false" }],
    ]);
  });
});

describe("disks", () => {
  const at = { instance: "a:9100", "k8s.node.name": "a" };
  const disks = (...mounts: [labels: Labels, size: number, available: number, readonly?: number][]) => [
    gauge(
      "node_filesystem_size_bytes",
      mounts.map(([labels, size]) => now({ ...at, ...labels }, size)),
    ),
    gauge(
      "node_filesystem_avail_bytes",
      mounts.map(([labels, , free]) => now({ ...at, ...labels }, free)),
    ),
    gauge(
      "node_filesystem_readonly",
      mounts.map(([labels, , , readonly = 0]) => now({ ...at, ...labels }, readonly)),
    ),
  ];
  const ext4 = (device: string, mountpoint: string) => ({ device, mountpoint, fstype: "ext4" });

  test("that nobody can write to are full by design (bottlerocket#4557, node_exporter#3309)", async () => {
    const { status, nodes } = await ask(...disks([ext4("/dev/dm-0", "/"), 1000, 0, 1]));
    expect(status).toBe("healthy");
    // The disk of 1,000 bytes of which 100 are used.
    expect(nodes[0]).toMatchObject({ disk_total_bytes: 1000, disk_used_bytes: 100 });
  });

  test("with one mount that can write count (a read-only bind mount of /)", async () => {
    const { issues } = await ask(
      ...disks([ext4("/dev/sdb", "/data"), 1000, 10, 0], [ext4("/dev/sdb", "/readonly"), 1000, 10, 1]),
    );
    expect(issues).toEqual([["disk_usage_percent", "a", "/dev/sdb"]]);
  });

  test.each(["tmpfs", "overlay", "squashfs", "erofs", "iso9660", "udf", "ramfs"])(
    "of %s are none",
    async (fstype) => {
      const { status } = await ask(
        ...disks([{ device: "/dev/loop3", mountpoint: "/snap", fstype }, 1000, 0]),
      );
      expect(status).toBe("healthy");
    },
  );

  test("of a ZFS pool count once: each dataset has what the pool has left", async () => {
    const zfs = (device: string) => ({ device, mountpoint: `/${device}`, fstype: "zfs" });
    const { nodes } = await ask(
      // 300 used and 700 left; a dataset with a quota has less left.
      ...disks([zfs("tank"), 750, 700], [zfs("tank/home"), 900, 700], [zfs("tank/quota"), 150, 100]),
    );
    expect(nodes[0]).toMatchObject({ disk_total_bytes: 1000 + 1000, disk_used_bytes: 100 + 300 });
  });

  test("of btrfs count once, however many subvolumes are mounted", async () => {
    const btrfs = (mountpoint: string) => ({ device: "/dev/sdc", mountpoint, fstype: "btrfs" });
    const { nodes } = await ask(...disks([btrfs("/"), 1000, 400], [btrfs("/home"), 1000, 400]));
    expect(nodes[0]).toMatchObject({ disk_total_bytes: 2000, disk_used_bytes: 700 });
  });
});

describe("nodes that node_exporter does not measure", () => {
  const listed = (name: string, info: Labels = {}) => [
    gauge("kube_node_info", [
      now({ node: name, instance: "ksm:8080", internal_ip: `ip-${name}`, ...info }, 1),
    ]),
    gauge("kube_node_status_condition", condition(name, "Ready", "true")),
  ];

  test("are warnings only where it could (helm-charts#4735)", async () => {
    const { issues, nodes } = await ask(
      ...listed("fargate-ip-10-0-0-9.ec2.internal"),
      ...listed("win", { os_image: "Windows Server 2022 Datacenter" }),
      ...listed("forgotten", { os_image: "Ubuntu 24.04" }),
    );
    expect(nodes).toHaveLength(5);
    expect(issues).toEqual([["node_metrics", "forgotten", null]]);
  });
});

describe("network", () => {
  const counter = (labels: Labels, perSecond: number) =>
    [15, 10, 5, 0].map((minutes) =>
      point(
        { instance: "a:9100", "k8s.node.name": "a", ...labels },
        AS_OF_MS - minutes * MINUTE_MS - 1000,
        (15 - minutes) * 60 * perSecond,
      ),
    );
  const received = (...points: ReturnType<typeof counter>[]): TestMetric => ({
    name: "node_network_receive_bytes_total",
    kind: "sum",
    points: points.flat(),
  });

  test("is the traffic of physical interfaces: others repeat it", async () => {
    const devices = [
      "lo",
      "veth1a2b",
      "cali0123",
      "cni0",
      "docker0",
      "flannel.1",
      "bond0",
      "eth0.100",
      "br-lan",
      "eni0a1b2c",
    ];
    const { nodes } = await ask(
      received(
        counter({ device: "eth0" }, 1000),
        counter({ device: "ens5f1np1" }, 500),
        ...devices.map((device) => counter({ device }, 77)),
      ),
    );
    expect(nodes.map((each) => each.network_receive_bytes_per_second)).toEqual([
      expect.closeTo(1500, 6),
      null,
    ]);
    expect(nodes[0]!.network_transmit_bytes_per_second).toBeNull();
  });

  test("of two exporters counts once", async () => {
    const { nodes } = await ask(
      received(
        counter({ device: "eth0" }, 1000),
        counter({ device: "eth0", job: "again", instance: "a:9796" }, 1000),
      ),
    );
    expect(nodes[0]!.network_receive_bytes_per_second).toBeCloseTo(1000, 6);
  });
});

test("requests are compared with what a node has for Pods; a node without Pods holds nothing", async () => {
  const ksm = { instance: "ksm:8080" };
  const resource = (name: string, value: number) => now({ ...ksm, node: "a", resource: name }, value);
  const pod = (name: string, phase: string, cpu: number) => {
    const own = { ...ksm, namespace: "app", pod: name };
    return {
      info: now({ ...own, node: "a" }, 1),
      phase: now({ ...own, phase }, 1),
      requests: [
        now({ ...own, node: "a", container: "main", resource: "cpu" }, cpu),
        now({ ...own, node: "a", container: "main", resource: "nvidia_com_gpu" }, 1),
      ],
    };
  };
  const pods = [pod("web", "Running", 1), pod("job", "Succeeded", 2)];
  const { nodes } = await ask(
    gauge("kube_node_status_allocatable", [
      resource("cpu", 4),
      resource("memory", 1e9),
      resource("nvidia_com_gpu", 2),
    ]),
    gauge(
      "kube_pod_info",
      pods.map(({ info }) => info),
    ),
    gauge(
      "kube_pod_status_phase",
      pods.map(({ phase }) => phase),
    ),
    gauge(
      "kube_pod_container_resource_requests",
      pods.flatMap(({ requests }) => requests),
    ),
  );
  expect(nodes[0]).toMatchObject({
    cpu_allocatable_cores: 4,
    cpu_request_cores: 1,
    cpu_request_percent: 25,
    memory_allocatable_bytes: 1e9,
    gpu_allocatable: 2,
    gpu_request: 1,
    pod_count: 2,
  });
  expect(nodes[1]).toMatchObject({
    cpu_allocatable_cores: null,
    cpu_request_cores: 0,
    cpu_request_percent: null,
  });
});

test("each node says how old its values are", async () => {
  const old = AS_OF_MS - 4 * MINUTE_MS;
  const clusterId = await cluster([
    gauge("node_load1", [point({ instance: "a:9100", node: "a" }, old, 1)]),
    gauge("kube_node_info", [now({ node: "a", instance: "ksm:8080", internal_ip: "ip" }, 1)]),
  ]);
  const iso = (timeMs: number): string => new Date(timeMs).toISOString();
  expect((await state().nodes({ clusterId })).nodes).toMatchObject([
    { node: "a", last_sample: iso(old), state_last_sample: iso(AS_OF_MS - 1000) },
  ]);
  expect(await state().summary({ clusterId })).toMatchObject({
    node_last_sample: iso(old),
    kubernetes_last_sample: iso(AS_OF_MS - 1000),
  });
});
