/** A rule as in a Role: verbs on resources of one API group. */
export interface Right {
  verbs: readonly string[];
  /** Plural, with a subresource after a slash: "pods/portforward". */
  resources: readonly string[];
  /** "" is the core group. Default "". */
  group?: string;
  /** Default: every namespace and the cluster itself. */
  namespace?: string;
}

/** The action of a request. */
export interface Access {
  verb: string;
  group: string;
  /** With a subresource after a slash. */
  resource: string;
  namespace: string | undefined;
  name: string | undefined;
}

export interface KubeUser {
  name: string;
  token: string;
  rights: readonly Right[];
}

export function isAllowed(user: Pick<KubeUser, "rights">, access: Access): boolean {
  return user.rights.some(
    (right) =>
      right.verbs.includes(access.verb) &&
      right.resources.includes(access.resource) &&
      (right.group ?? "") === access.group &&
      (right.namespace === undefined || right.namespace === access.namespace),
  );
}

/** The least that the bridge needs. */
export function bridgeRights(namespace: string): Right[] {
  return [
    { verbs: ["get"], resources: ["services"], namespace },
    { verbs: ["list"], resources: ["endpointslices"], group: "discovery.k8s.io", namespace },
    { verbs: ["get", "create"], resources: ["pods/portforward"], namespace },
    { verbs: ["list"], resources: ["nodes"] },
  ];
}

const REASONS: Record<number, string> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  409: "Conflict",
  410: "Expired",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** The body of a failed Kubernetes API call (metav1.Status), as the real API server words it. */
export interface KubeStatus {
  kind: "Status";
  apiVersion: "v1";
  metadata: Record<string, never>;
  status: "Failure";
  message: string;
  reason: string;
  details?: { name?: string; group?: string; kind?: string };
  code: number;
}

export function kubeStatus(code: number, message: string, details?: KubeStatus["details"]): KubeStatus {
  const reason = REASONS[code] ?? "Unknown";
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason,
    ...(details ? { details } : {}),
    code,
  };
}

export function unauthorized(): KubeStatus {
  return kubeStatus(401, "Unauthorized");
}

export function forbidden(user: string, access: Access): KubeStatus {
  const [kind = ""] = access.resource.split("/");
  const group = access.group === "" ? "" : `.${access.group}`;
  const what =
    access.name === undefined ? `${kind}${group}` : `${kind}${group} ${JSON.stringify(access.name)}`;
  const where =
    access.namespace === undefined ? "at the cluster scope" : `in the namespace "${access.namespace}"`;
  const resource = `resource "${access.resource}" in API group "${access.group}"`;
  const can = `User "${user}" cannot ${access.verb} ${resource} ${where}`;
  return kubeStatus(403, `${what} is forbidden: ${can}`, detailsOf(access));
}

export function notFound(access: Access): KubeStatus {
  const [kind = ""] = access.resource.split("/");
  const group = access.group === "" ? "" : `.${access.group}`;
  return kubeStatus(404, `${kind}${group} ${JSON.stringify(access.name ?? "")} not found`, detailsOf(access));
}

function detailsOf({ name, group, resource }: Access): NonNullable<KubeStatus["details"]> {
  return {
    ...(name === undefined ? {} : { name }),
    ...(group === "" ? {} : { group }),
    kind: resource.split("/")[0] ?? "",
  };
}
