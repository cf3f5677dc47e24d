import { hostOf, type NodeAddresses } from "#query/node-addresses.ts";

/** The labels of a series that identify its node; "" where there is none. */
export interface NodeIdentity {
  /** The label `node`. */
  node: string;
  /** The label `k8s.node.name`: the source's own, or of rows that an older version of the bridge sent. */
  k8s_node: string;
  instance: string;
  /** Time of the newest sample. */
  newestMs: number;
}

/**
 * The node of a series: the label `node`, else `k8s.node.name`, else the node that had the address of `instance`, or that uname names for the same `instance`,
 * or whose internal address kube-state-metrics has, else `instance` as it is. Undefined for what is no node of the cluster: Kubernetes lists some of the measured machines, but not this.
 */
export type NodeDirectory = (identity: NodeIdentity) => string | undefined;

export function createNodeDirectory(known: {
  addresses: NodeAddresses;
  /** kube_node_info. */
  listed: readonly { node: string; internal_ip: string }[];
  /** node_uname_info. */
  hosts: readonly { instance: string; nodename: string }[];
  /** Everything that node_exporter measured. */
  measured: readonly NodeIdentity[];
}): NodeDirectory {
  const names = new Set(known.listed.map(({ node }) => node));
  const byAddress = new Map(known.listed.map(({ internal_ip, node }) => [internal_ip, node]));
  const byInstance = new Map(
    known.hosts
      .filter(({ nodename }) => names.has(nodename))
      .map(({ instance, nodename }) => [instance, nodename]),
  );
  const nameOf = (identity: NodeIdentity): string =>
    identity.node ||
    identity.k8s_node ||
    known.addresses.nodeOf(hostOf(identity.instance), identity.newestMs) ||
    byInstance.get(identity.instance) ||
    byAddress.get(hostOf(identity.instance)) ||
    identity.instance;
  const listsMeasured = known.measured.some((identity) => names.has(nameOf(identity)));
  return (identity) => {
    const name = nameOf(identity);
    return name === "" || (listsMeasured && !names.has(name)) ? undefined : name;
  };
}
