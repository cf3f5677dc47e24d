/** A permission that a collection uses. */
export interface NeededRight {
  verb: "get" | "list" | "create";
  /** "" is the core group. */
  group: string;
  resource: string;
  subresource?: string;
  /** In Prometheus' namespace, or of the whole cluster. */
  where: "namespace" | "cluster";
  /** The loss without it, when the rest still works. */
  optional?: string;
}

/** Every permission that src/tunnel uses, and no other. docs/rbac/managed-cluster.yaml grants exactly these. */
export const NEEDED_RIGHTS: readonly NeededRight[] = [
  { verb: "get", group: "", resource: "services", where: "namespace" },
  { verb: "list", group: "discovery.k8s.io", resource: "endpointslices", where: "namespace" },
  { verb: "get", group: "", resource: "pods", subresource: "portforward", where: "namespace" },
  { verb: "create", group: "", resource: "pods", subresource: "portforward", where: "namespace" },
  {
    verb: "list",
    group: "",
    resource: "nodes",
    where: "cluster",
    optional: "nodes are not found by their addresses (k8s.node.name)",
  },
];

/** "get services", "create pods/portforward". */
export function nameOfRight({ verb, resource, subresource }: NeededRight): string {
  return `${verb} ${resource}${subresource === undefined ? "" : `/${subresource}`}`;
}

/** The right as a rule of a Role, in one line of YAML. */
export function ruleOfRight({ verb, group, resource, subresource }: NeededRight): string {
  const full = subresource === undefined ? resource : `${resource}/${subresource}`;
  return `{apiGroups: [${group === "" ? '""' : group}], resources: [${full}], verbs: [${verb}]}`;
}
