import { describe, expect, test } from "vitest";
import { canBeMeasured, findProblems } from "#query/state/node-conditions.ts";

/** The problems of nodes called a, b, c ..., each with its conditions. */
const problems = (...nodes: Record<string, string>[]) =>
  findProblems(
    nodes.flatMap((conditions, i) =>
      Object.entries(conditions).map(([condition, status]) => ({
        node: String.fromCodePoint(97 + i),
        condition,
        status,
      })),
    ),
  ).map(({ node, condition }) => `${node} ${condition}`);

describe("a condition is a problem", () => {
  test.each([
    [
      "of Kubernetes when it is true",
      { MemoryPressure: "true", DiskPressure: "false" },
      ["a MemoryPressure"],
    ],
    // eks-node-monitoring-agent#179, #215: four conditions that are good when true.
    [
      "of the EKS node monitoring agent when it is false",
      {
        KernelReady: "true",
        NetworkingReady: "true",
        StorageReady: "false",
        AcceleratedHardwareReady: "true",
      },
      ["a StorageReady"],
    ],
    // node-problem-detector's config/kernel-monitor.json.
    [
      "of node-problem-detector when it is true",
      { KernelDeadlock: "true", ReadonlyFilesystem: "false" },
      ["a KernelDeadlock"],
    ],
    // AKS: scheduled maintenance and a GPU that fell off the bus.
    ["of AKS when it is true", { VMEventScheduled: "true", GPUMissing: "false" }, ["a VMEventScheduled"]],
    // GKE's node-problem-detector counts restarts of containerd.
    ["of GKE when it is true", { FrequentContainerdRestart: "true" }, ["a FrequentContainerdRestart"]],
    // sriov-network-operator and others name theirs so.
    [
      "of any name that ends in Ready when it is false",
      { SriovReady: "false", VpcReady: "true" },
      ["a SriovReady"],
    ],
    // k8sgpt#1166: one k3s server is a voting member of its own etcd; False is a member that is still learning.
    ["of k3s and RKE2 when it is false", { EtcdIsVoter: "true" }, []],
    // AliyunContainerService/terway sets it to False when the node is out of addresses.
    ["of Alibaba's network plug-in when it is false", { SufficientIP: "false" }, ["a SufficientIP"]],
    // NVIDIA's infrastructure controller sets NicoHealthy to False when a machine has open faults.
    [
      "of any name that ends in Healthy when it is false",
      { NicoHealthy: "true", DiskHealthy: "false", KubeletUnhealthy: "true" },
      ["a DiskHealthy", "a KubeletUnhealthy"],
    ],
    ["of an unknown name when it is true", { Haunted: "true", Blessed: "false" }, ["a Haunted"]],
    ["never when nobody reports it any more", { MemoryPressure: "unknown", KernelReady: "unknown" }, []],
  ] as const)("%s", (_, conditions, expected) => {
    expect(problems(conditions)).toEqual(expected);
  });

  test("of an unknown name when it is not as on most nodes", () => {
    expect(problems({ Licensed: "true" }, { Licensed: "true" }, { Licensed: "false" })).toEqual([
      "c Licensed",
    ]);
    expect(problems({ Broken: "false" }, { Broken: "true" }, { Broken: "false" })).toEqual(["b Broken"]);
    // Two nodes are no majority against a name that says nothing.
    expect(problems({ Broken: "true" }, { Broken: "true" })).toEqual(["a Broken", "b Broken"]);
  });

  test("of the table even if most nodes have it", () => {
    expect(
      problems({ DiskPressure: "true" }, { DiskPressure: "true" }, { DiskPressure: "true" }),
    ).toHaveLength(3);
  });
});

describe("node_exporter can't run on", () => {
  test.each([
    // helm-charts#4735: AWS names Fargate nodes so.
    ["Fargate, by its name", "fargate-ip-10-0-0-1.ec2.internal", {}],
    [
      "Fargate, by its provider ID",
      "n",
      { provider_id: "aws:///eu-west-1a/1a2b/fargate-ip-10-0-0-1.ec2.internal" },
    ],
    ["Azure Container Instances", "virtual-node-aci-linux", {}],
    ["a virtual kubelet, by its version", "n", { kubelet_version: "v1.25.0-vk-azure-aci-1.6.1" }],
    ["Alibaba's serverless nodes", "virtual-kubelet-cn-hangzhou-b", {}],
    ["Tencent's super nodes", "eklet-subnet-1", { kubelet_version: "v2.11.0-eklet" }],
    ["Windows", "akswin000000", { os_image: "Windows Server 2022 Datacenter" }],
  ])("%s", (_, node, info) => {
    expect(canBeMeasured(node, info)).toBe(false);
  });

  test("but on others", () => {
    const info = {
      os_image: "Bottlerocket OS 1.20",
      kubelet_version: "v1.31.4-eks-a737599",
      provider_id: "aws:///eu-west-1a/i-1",
    };
    expect(canBeMeasured("ip-10-0-0-1.ec2.internal", info)).toBe(true);
    expect(canBeMeasured("win-build-agent", {})).toBe(true);
  });
});
