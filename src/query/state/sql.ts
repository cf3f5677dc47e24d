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

/** A label of a Pod's series. Prometheus renames it to `exported_*` where its own target label has the name (honor_labels: false). */
export function podLabel(name: "namespace" | "pod" | "container"): string {
  return `if(labels['exported_pod'] != '', labels['exported_${name}'], labels['${name}'])`;
}

/** [namespace, pod] of such a series, from its column of labels. */
export function podOf(labels: string): string {
  return `arrayMap(name -> ${labels}[if(${labels}['exported_pod'] = '', name, concat('exported_', name))], ['namespace', 'pod'])`;
}

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
