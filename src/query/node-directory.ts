/** What a series of a node says about which node that is; "" where it says nothing. */
export interface NodeIdentity {
  /** The label `node`. */
  node: string;
  /** The attribute that the bridge derives from `instance`. */
  k8s_node: string;
  instance: string;
}

/**
 * The node of a series: the label `node`, else `k8s.node.name`, else the node that uname names for the same `instance` or that has its
 * address, else `instance` as it is. Undefined for what is no node of the cluster: Kubernetes lists some of the measured machines, but not this.
 */
export type NodeDirectory = (identity: NodeIdentity) => string | undefined;

export function createNodeDirectory(known: {
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
    byInstance.get(identity.instance) ||
    byAddress.get(addressOf(identity.instance)) ||
    identity.instance;
  const listsMeasured = known.measured.some((identity) => names.has(nameOf(identity)));
  return (identity) => {
    const name = nameOf(identity);
    return name === "" || (listsMeasured && !names.has(name)) ? undefined : name;
  };
}

/** "10.0.0.1:9100" and "[fd00::1]:9100" without port and brackets. */
function addressOf(instance: string): string {
  return instance.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
}
