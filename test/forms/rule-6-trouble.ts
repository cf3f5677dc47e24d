import type { FormTable } from "./form.ts";
import { condition, container, disk, GIB, listed, MIB, node, nodeExporter, pod, series } from "./series.ts";

const target = { job: "node-exporter", instance: "10.0.0.1:9100" };
const pressure = (name: string) =>
  ["MemoryPressure", "DiskPressure", "PIDPressure"].flatMap((type) => condition(name, type, "false"));
const withDisks = (...disks: Parameters<typeof disk>[1][]) => [
  ...listed("a", "10.0.0.1"),
  ...nodeExporter(target, "a", { disks: disks.flatMap((each) => disk(target, each)) }),
];

/** What is trouble, and what only looks like it. */
export const TROUBLE: FormTable = {
  rule: "types of trouble",
  switches: {
    "a table of problems": [["GOOD_STATUS.get(condition) ??", ""]],
    "usually true": [
      ['whenTrue > all.length / 2 ? "true" : "false"', 'whenTrue > all.length / 2 ? "false" : "false"'],
    ],
    "usually false": [
      ['whenTrue > all.length / 2 ? "true" : "false"', 'whenTrue > all.length / 2 ? "true" : "true"'],
    ],
    "called Ready": [
      ["GOOD_STATUS.get(condition) ??", ""],
      ['(GOOD_ENDS.some((end) => condition.endsWith(end)) ? "true" : undefined)', "undefined"],
    ],
    "file systems": [["squashfs|erofs|iso9660", "squashfs"]],
    readonly: [["locked.values[i] === 1 ? null : value", "value"]],
    pools: [['const ZFS = "zfs";', 'const ZFS = "none";']],
    "one size for a device": [["(of) => chosen(of, largestOf)", "(of) => chosen(of, sumOf)"]],
    exporterless: [["  return !(", "  return true || !("]],
    cgroup: [["own.length > 0 ? own : things", "own"]],
  },
  forms: [
    {
      name: "a voting member of k3s' etcd, and one that is still learning",
      source: "https://github.com/k3s-io/k3s/issues/8997",
      why: "EtcdIsVoter is good when True",
      needs: "a table of problems",
      series: ["a", "b"].flatMap((name, i) => [
        ...node(name, `10.0.0.${i + 1}`),
        ...pressure(name),
        ...condition(name, "EtcdIsVoter", name === "b" ? "false" : "true"),
      ]),
      nodes: { a: { conditions: [] }, b: { conditions: ["EtcdIsVoter"] } },
      health: ["warning node_condition b EtcdIsVoter"],
    },
    {
      name: "the one node of a k3s cluster, a voting member of its etcd",
      source: "https://github.com/k8sgpt-ai/k8sgpt/issues/1166",
      why: "EtcdIsVoter is good when True, and one node says nothing about what is usual",
      needs: "a table of problems",
      series: [...node("a", "10.0.0.1"), ...pressure("a"), ...condition("a", "EtcdIsVoter", "true")],
      nodes: { a: { conditions: [] } },
      health: [],
    },
    {
      name: "a node without the address that a database's network daemon gives the others",
      source: "https://github.com/ApsaraDB/PolarDB-Stack-Daemon",
      why: "no table has NodeClientIP: it is True on most nodes, so that is good",
      needs: "usually true",
      series: ["a", "b", "c"].flatMap((name, i) => [
        ...node(name, `10.0.0.${i + 1}`),
        ...condition(name, "NodeClientIP", name === "c" ? "false" : "true"),
      ]),
      health: ["warning node_condition c NodeClientIP"],
    },
    {
      name: "a deadlock of the kernel that node-problem-detector reports on every node",
      source: "https://github.com/kubernetes/node-problem-detector/issues/499",
      why: "its conditions are problems: True is bad, however many nodes have it",
      needs: "a table of problems",
      series: ["a", "b", "c"].flatMap((name, i) => [
        ...node(name, `10.0.0.${i + 1}`),
        ...condition(name, "KernelDeadlock", "true"),
        ...condition(name, "ReadonlyFilesystem", "false"),
      ]),
      health: ["a", "b", "c"].map((name) => `warning node_condition ${name} KernelDeadlock`),
    },
    {
      name: "AKS' conditions: maintenance of the machine, and a GPU that is gone",
      source: "https://learn.microsoft.com/en-us/azure/aks/node-problem-detector",
      why: "all conditions of its table are problems",
      needs: "a table of problems",
      series: ["a", "b", "c"].flatMap((name, i) => [
        ...node(name, `10.0.0.${i + 1}`),
        ...condition(name, "VMEventScheduled", "true"),
        ...condition(name, "GPUMissing", name === "a" ? "true" : "false"),
        ...condition(name, "KubeletProblem", "false"),
      ]),
      health: [
        "warning node_condition a GPUMissing",
        ...["a", "b", "c"].map((name) => `warning node_condition ${name} VMEventScheduled`),
      ],
    },
    {
      name: "EKS: an accelerator that is not ready",
      source: "https://docs.aws.amazon.com/eks/latest/userguide/node-health.html",
      why: "AcceleratedHardwareReady is good when True",
      needs: "called Ready",
      series: ["a", "b"].flatMap((name, i) => [
        ...node(name, `10.0.0.${i + 1}`),
        ...condition(name, "AcceleratedHardwareReady", name === "b" ? "false" : "true"),
      ]),
      health: ["warning node_condition b AcceleratedHardwareReady"],
    },
    {
      name: "a condition of a readiness controller, with a domain",
      source: "https://github.com/kubernetes/website/pull/54112",
      why: "an unknown condition that is called Ready is good when True",
      needs: "called Ready",
      series: ["a", "b"].flatMap((name, i) => [
        ...node(name, `10.0.0.${i + 1}`),
        ...condition(name, "cniplugin.example.net/NetworkReady", name === "b" ? "false" : "true"),
      ]),
      health: ["warning node_condition b cniplugin.example.net/NetworkReady"],
    },
    {
      name: "Gardener's network problem detector",
      source: "https://github.com/gardener/machine-controller-manager/issues/604",
      why: "ClusterNetworkProblem is False on most nodes, and a problem by its name",
      needs: "usually false",
      series: ["a", "b", "c"].flatMap((name, i) => [
        ...node(name, `10.0.0.${i + 1}`),
        ...condition(name, "ClusterNetworkProblem", name === "b" ? "true" : "false"),
        ...condition(name, "HostNetworkProblem", "false"),
      ]),
      health: ["warning node_condition b ClusterNetworkProblem"],
    },
    {
      name: "Bottlerocket's root, a CD with the cloud's configuration, a snap and a tmpfs, all full",
      source: "https://github.com/prometheus/node_exporter/pull/3313",
      why: "erofs, iso9660 and squashfs never have free space; tmpfs is memory",
      needs: "file systems",
      series: withDisks(
        { device: "/dev/nvme1n1p1", fstype: "xfs" },
        {
          device: "/dev/root",
          fstype: "erofs",
          mountpoint: "/usr/local/bin/apiclient",
          size: GIB,
          available: 0,
        },
        { device: "/dev/sr0", fstype: "iso9660", mountpoint: "/mnt/config", size: GIB, available: 0 },
        { device: "/dev/loop0", fstype: "squashfs", mountpoint: "/snap/core", size: GIB, available: 0 },
        { device: "tmpfs", fstype: "tmpfs", mountpoint: "/run", size: GIB, available: 0 },
      ),
      nodes: {
        a: {
          disk_total_bytes: 100 * GIB,
          disk_usage_percent: 30,
          fullest_disk: { device: "/dev/nvme1n1p1" },
        },
      },
      health: [],
    },
    {
      name: "Container-Optimized OS: a read-only root of ext2",
      source: "https://github.com/prometheus/node_exporter/pull/3309",
      why: "node_filesystem_readonly says that nobody can fill it; node-mixin leaves it out",
      needs: "readonly",
      series: [
        ...withDisks(
          { device: "/dev/sda1", mountpoint: "/mnt/stateful_partition" },
          { device: "/dev/dm-0", fstype: "ext2", mountpoint: "/", size: 2 * GIB, available: 0.05 * GIB },
        ),
        series(
          "node_filesystem_readonly",
          { ...target, device: "/dev/dm-0", fstype: "ext2", mountpoint: "/" },
          1,
        ),
        series(
          "node_filesystem_readonly",
          { ...target, device: "/dev/sda1", fstype: "ext4", mountpoint: "/mnt/stateful_partition" },
          0,
        ),
        // Its bind mounts are read-only, the disk is not.
        series(
          "node_filesystem_readonly",
          { ...target, device: "/dev/sda1", fstype: "ext4", mountpoint: "/etc/ro" },
          1,
        ),
      ],
      nodes: { a: { disk_total_bytes: 100 * GIB, disk_usage_percent: 30 } },
      health: [],
    },
    {
      name: "a ZFS pool with its data sets",
      source: "https://github.com/prometheus/node_exporter/issues/3232",
      why: "each data set has the free space of the pool: the pool is what they use and that space, once",
      needs: "pools",
      series: withDisks(
        { device: "zpool", fstype: "zfs", mountpoint: "/mnt/zfs", size: 483 * GIB, available: 483 * GIB },
        {
          device: "zpool/archive",
          fstype: "zfs",
          mountpoint: "/mnt/zfs/archive",
          size: 1085 * GIB,
          available: 483 * GIB,
        },
        {
          device: "zpool/backups",
          fstype: "zfs",
          mountpoint: "/mnt/zfs/backups",
          size: 483 * GIB,
          available: 483 * GIB,
        },
      ),
      summary: { total_disk_gb: 1085, used_disk_gb: 602 },
      nodes: { a: { disk_total_bytes: 1085 * GIB, disk_used_bytes: 602 * GIB } },
    },
    {
      name: "btrfs subvolumes",
      source: "https://github.com/masonr/yet-another-bench-script/issues/40",
      why: "all subvolumes of a device have its size",
      needs: "one size for a device",
      series: withDisks(
        ...["/nix", "/persist", "/boot"].map((mountpoint) => ({
          device: "/dev/vda2",
          fstype: "btrfs",
          mountpoint,
          size: 20 * GIB,
          available: 8 * GIB,
        })),
      ),
      summary: { total_disk_gb: 20, used_disk_gb: 12 },
    },
    {
      name: "AKS' virtual node",
      source: "https://github.com/prometheus-operator/prometheus-operator/issues/3832",
      why: "nothing can be scraped there: no fault of the node",
      needs: "exporterless",
      series: [
        ...node("a", "10.0.0.1"),
        ...listed("virtual-node-aci-linux", "10.240.0.15", {
          kubelet_version: "v1.18.4-vk-azure-aci-v1.3.2",
        }),
      ],
      nodes: { a: { ready: true }, "virtual-node-aci-linux": { ready: true, cpu_cores: null } },
      health: [],
    },
    {
      name: "a Windows node beside a Linux node that lost its node_exporter",
      source: "https://github.com/lensapp/lens/issues/1218",
      why: "node_exporter does not run on Windows; on Linux it is missing",
      needs: "exporterless",
      series: [
        ...node("a", "10.0.0.1"),
        ...listed("b", "10.0.0.2", { os_image: "Ubuntu 24.04.3 LTS" }),
        ...listed("win", "10.0.0.3", {
          os_image: "Windows Server 2022 Datacenter",
          kernel_version: "10.0.20348.2849",
        }),
      ],
      health: ["warning node_metrics b -"],
    },
    {
      name: "Kata containers, of which cAdvisor sees the Pod's cgroup only, beside runc",
      source: "https://github.com/google/cadvisor/issues/2651",
      why: "where a Pod has no container rows, its own cgroup is its use; where it has them, they are",
      needs: "cgroup",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "kata", { node: "a" }),
        ...pod("app", "runc", { node: "a" }),
        ...container("app", "kata", "", {
          cores: 0.75,
          bytes: 512 * MIB,
          more: { id: "/kubepods/pod-of-kata", image: "", name: "" },
        }),
        ...container("app", "runc", "", {
          cores: 0.3,
          bytes: 210 * MIB,
          more: { id: "/kubepods/pod-of-runc", image: "", name: "" },
        }),
        ...container("app", "runc", "POD", { cores: 0.01, bytes: MIB }),
        ...container("app", "runc", "main"),
      ],
      pods: {
        "app/kata": { cpu_usage_cores: 0.75, memory_working_set_bytes: 512 * MIB },
        "app/runc": { cpu_usage_cores: 0.25, memory_working_set_bytes: 200 * MIB },
      },
    },
    {
      name: "k3s with a containerd that cAdvisor does not find: the Pod's cgroup and a nameless one for each container",
      source: "https://github.com/k3s-io/k3s/issues/6210",
      why: "the nameless cgroups are inside the Pod's, which counts",
      needs: "cgroup",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...container("app", "web", "", {
          cores: 0.5,
          bytes: 300 * MIB,
          more: { id: "/kubepods/besteffort/podb933", image: "", name: "" },
        }),
        ...container("app", "web", "", {
          cores: 0.01,
          bytes: MIB,
          more: {
            id: "/kubepods/besteffort/podb933/c47c1e",
            image: "docker.io/rancher/mirrored-pause:3.6",
            name: "c47c1e",
          },
        }),
      ],
      pods: { "app/web": { cpu_usage_cores: 0.5, memory_working_set_bytes: 300 * MIB } },
    },
  ],
};
