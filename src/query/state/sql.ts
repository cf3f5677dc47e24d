import { refuseSize } from "#query/limits.ts";

/**
 * File systems that are a disk of the node: with a device, and a type (fstype) that is not `excluded`, an RE2 expression. The others are memory, layers or images over another file system, or a server's that every node
 * would count again.
 */
export const REAL_FILE_SYSTEM = {
  excluded: `^(${[
    "tmpfs|devtmpfs|ramfs|rootfs|overlay|overlayfs|aufs|unionfs|squashfs|erofs|iso9660|udf|cramfs|autofs|nsfs|mqueue|none",
    "proc|sysfs|cgroup2?|cgroupfs|bpf|debugfs|tracefs|configfs|securityfs|pstore|efivarfs|hugetlbfs|fusectl|binfmt_misc|devpts|rpc_pipefs|selinuxfs|fuse",
    "nfs.*|cifs|smb.*|ceph|glusterfs|lustre|9p|afs|beegfs.*|gpfs|fuse[.].*|virtiofs",
  ].join("|")})$`,
} as const;

/**
 * Network interfaces by which a node talks to others: those whose name is not `excluded`, an RE2 expression. The others repeat their traffic: the loopback, the host's ends of
 * Pods' interfaces (kube-prometheus' and OpenShift's lists for node_exporter, and the names of AWS', GKE's and Azure's CNI), bridges, tunnels, VLANs, bonds (their members
 * count), and Azure's virtual functions, whose traffic is in the interface above them.
 */
export const PHYSICAL_INTERFACE = {
  excluded: `^(${[
    "lo|veth.*|cali.*|cilium.*|lxc.*|lxd.*|eni[0-9a-f]+|gke[0-9a-f]+|azv[0-9a-f]+|[a-f0-9]{15}|tap.*|vnet.*|ifb.*|dummy.*|kube-.*|nodelocaldns",
    "docker.*|podman.*|cni.*|cbr.*|br.*|virbr.*|vmbr.*|weave|datapath|ovs-.*|ovn-.*",
    "flannel.*|vxlan.*|genev.*|gre.*|erspan.*|sit.*|ipip.*|tunl.*|ip6.*|ip_vti.*|tun.*|wg.*|tailscale.*",
    "bond.*|team.*|.*[.][0-9]+|enP[0-9]+s[0-9]+",
  ].join("|")})$`,
} as const;

/** Limit on the rows of one statement of a state answer. */
export const STATE_ROWS_MAX = 100_000;

/** The rows. Throws `query_too_large` when the statement's LIMIT cut them: an answer from a part of the cluster would be wrong. */
export function allRows<Row>(rows: Row[]): Row[] {
  if (rows.length < STATE_ROWS_MAX) return rows;
  throw refuseSize(
    "series",
    `the answer needs more than ${STATE_ROWS_MAX} series`,
    "Ask for single metrics with POST /cluster-metrics/query and filters.",
  );
}
