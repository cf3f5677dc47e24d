import { stringify } from "yaml";
import { NEEDED_RIGHTS, type NeededRight } from "#clusters/needed-rights.ts";

export interface ManifestSettings {
  /** Of the ServiceAccount, which must exist. */
  namespace: string;
  serviceAccount: string;
  /** Where Prometheus runs, which must exist. */
  prometheusNamespace: string;
}

/** A Kubernetes object of the manifest. */
export interface ManifestObject {
  apiVersion: string;
  kind: "ServiceAccount" | "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding";
  metadata: { name: string; namespace?: string; labels: Record<string, string> };
  [field: string]: unknown;
}

/** No name of the Helm chart, whose bridge runs as `budcluster`: a cluster may be both the bridge's home and a managed one. */
export const DEFAULT_SERVICE_ACCOUNT = "budcluster-metrics-reader";

const RBAC = "rbac.authorization.k8s.io";
const LABELS = { "app.kubernetes.io/name": "budcluster", "app.kubernetes.io/component": "managed-cluster" };

/** A ServiceAccount with exactly the rights of NEEDED_RIGHTS, in the order in which to apply the objects. */
export function managedClusterManifest(settings: ManifestSettings): ManifestObject[] {
  const { namespace, serviceAccount, prometheusNamespace } = settings;
  const subjects = [{ kind: "ServiceAccount", name: serviceAccount, namespace }];
  const local = { name: serviceAccount, namespace: prometheusNamespace, labels: LABELS };
  const wide = { name: `${serviceAccount}-nodes`, labels: LABELS };
  const rbac = { apiVersion: `${RBAC}/v1` };
  const roleRef = (kind: string, name: string) => ({ apiGroup: RBAC, kind, name });
  return [
    {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name: serviceAccount, namespace, labels: LABELS },
      // It is for the bridge outside; no Pod needs its token.
      automountServiceAccountToken: false,
    },
    { ...rbac, kind: "Role", metadata: local, rules: rulesOf("namespace") },
    { ...rbac, kind: "RoleBinding", metadata: local, roleRef: roleRef("Role", local.name), subjects },
    { ...rbac, kind: "ClusterRole", metadata: wide, rules: rulesOf("cluster") },
    {
      ...rbac,
      kind: "ClusterRoleBinding",
      metadata: wide,
      roleRef: roleRef("ClusterRole", wide.name),
      subjects,
    },
  ];
}

interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
}

/** One rule for each resource. */
function rulesOf(where: NeededRight["where"]): Rule[] {
  const rules = new Map<string, Rule>();
  for (const { group, resource, subresource, verb } of NEEDED_RIGHTS.filter((each) => each.where === where)) {
    const name = subresource === undefined ? resource : `${resource}/${subresource}`;
    const rule = rules.get(name) ?? { apiGroups: [group], resources: [name], verbs: [] };
    rule.verbs.push(verb);
    rules.set(name, rule);
  }
  return [...rules.values()];
}

/** As `kubectl apply -f` takes it. */
export function toManifestText(objects: readonly ManifestObject[]): string {
  const options = { aliasDuplicateObjects: false, lineWidth: 0 };
  return objects.map((object) => stringify(object, options)).join("---\n");
}
