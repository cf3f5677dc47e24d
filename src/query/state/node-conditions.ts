/** The status of a condition of a node, as kube_node_status_condition has it: "true", "false" or "unknown". */
export interface NodeCondition {
  node: string;
  condition: string;
  status: string;
}

/**
 * Conditions that are good when true. All others of the table are problems when true. Ready is Kubernetes' own and judged by itself.
 */
const GOOD_WHEN_TRUE = [
  "Ready",
  // EKS node monitoring agent (docs.aws.amazon.com/eks/latest/userguide/node-health.html).
  "KernelReady",
  "NetworkingReady",
  "StorageReady",
  "ContainerRuntimeReady",
  "AcceleratedHardwareReady",
  // Dynamic kubelet configuration, Kubernetes 1.11 to 1.23.
  "ConfigOK",
  "KubeletConfigOk",
  // k3s and RKE2: a member of etcd that votes (k3s-io/k3s#8033, #8997; k8sgpt-ai/k8sgpt#1166).
  "EtcdIsVoter",
  // Alibaba's network plug-in has addresses for Pods (types/k8s.go of AliyunContainerService/terway).
  "SufficientIP",
];
/** The ends of names of other conditions that are good when true. */
const GOOD_ENDS = ["Ready", "Healthy"];

const GOOD_WHEN_FALSE = [
  // Kubernetes (kubernetes.io/docs/reference/node/node-status).
  "MemoryPressure DiskPressure PIDPressure NetworkUnavailable OutOfDisk",
  // node-problem-detector, the files in its folder config; GKE and Google Distributed Cloud run it with these.
  "KernelDeadlock ReadonlyFilesystem XfsShutdown CperHardwareErrorFatal NTPProblem CorruptDockerOverlay2",
  "FrequentKubeletRestart FrequentDockerRestart FrequentContainerdRestart FrequentUnregisterNetDevice",
  "KubeletUnhealthy ContainerRuntimeUnhealthy",
  // AKS (learn.microsoft.com/azure/aks/node-problem-detector).
  "FilesystemCorruptionProblem KubeletProblem ContainerRuntimeProblem VMEventScheduled FreezeScheduled",
  "RebootScheduled RedeployScheduled TerminateScheduled PreemptScheduled GPUMissing NVLinkStatusInactive",
  "XIDErrors IBLinkFlapping UnhealthyNvidiaDevicePlugin UnhealthyNvidiaDCGMServices",
  // Tencent TKE (cloud.tencent.com/document/product/457/38784).
  "FDPressure ThreadPressure InodesPressure",
].flatMap((names) => names.split(" "));

const GOOD_STATUS = new Map([
  ...GOOD_WHEN_TRUE.map((condition) => [condition, "true"] as const),
  ...GOOD_WHEN_FALSE.map((condition) => [condition, "false"] as const),
]);
const LEAST_NODES = 3;

/**
 * The conditions that are problems: true or false, and not what is good. A condition that the table does not have is good when true if its name ends in "Ready" or "Healthy", else
 * when it is as on more than half of at least three nodes, else when false. "unknown" is none: then nothing reports the condition any more, and Ready says what that means.
 */
export function findProblems(conditions: readonly NodeCondition[]): NodeCondition[] {
  const byName = Map.groupBy(conditions, ({ condition }) => condition);
  const good = new Map([...byName].map(([name, all]) => [name, goodStatus(name, all)]));
  return conditions.filter(({ condition, status }) => status !== "unknown" && status !== good.get(condition));
}

function goodStatus(condition: string, all: readonly NodeCondition[]): string {
  const known =
    GOOD_STATUS.get(condition) ?? (GOOD_ENDS.some((end) => condition.endsWith(end)) ? "true" : undefined);
  if (known !== undefined) return known;
  const whenTrue = all.filter(({ status }) => status === "true").length;
  return all.length >= LEAST_NODES && whenTrue > all.length / 2 ? "true" : "false";
}

/**
 * May node_exporter run on the node? Not on a Fargate node (its name and provider ID), a virtual kubelet (Azure Container Instances, Alibaba's and Tencent's serverless nodes), and
 * Windows, where it does not exist.
 */
export function canBeMeasured(node: string, info: Readonly<Record<string, string>>): boolean {
  const { os_image = "", kubelet_version = "", provider_id = "" } = info;
  return !(
    /^(fargate-|virtual-kubelet|virtual-node|eklet-)/.test(node) ||
    /\/fargate-/.test(provider_id) ||
    /-vk\b|virtual-kubelet|eklet/.test(kubelet_version) ||
    os_image.startsWith("Windows")
  );
}
