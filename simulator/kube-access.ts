import type { IncomingMessage } from "node:http";
import type { ApiFault } from "./fault-kinds.ts";
import type { FaultSource } from "./faults.ts";
import { forbidden, isAllowed, kubeStatus, notFound, unauthorized } from "./kube-rights.ts";
import type { Access, KubeStatus, KubeUser } from "./kube-rights.ts";
import type { KubeState } from "./kube-state.ts";

/** The decision on a request before its resource is looked up. */
interface Verdict {
  /** The request is refused with this. */
  status: KubeStatus | undefined;
  /** hang, slow, reset or answer. */
  fault: ApiFault | undefined;
  /** Whose token it is; undefined without one that is known. */
  user: KubeUser | undefined;
}

const ANONYMOUS = "system:anonymous";

export type Authorize = (request: IncomingMessage, access: Access) => Verdict;

/** Reads verb, group, resource, namespace and name from a request, as the API server's RequestInfo does. */
export function parseAccess(request: IncomingMessage): { access: Access; url: URL } {
  const url = new URL(request.url ?? "/", "https://api.invalid");
  const parts = url.pathname.split("/").filter(Boolean).map(decode);
  const isCore = parts[0] === "api";
  const group = isCore ? "" : (parts[1] ?? "");
  const rest = parts.slice(isCore ? 2 : 3);
  const isNamespaced = rest[0] === "namespaces" && rest.length > 2;
  const namespace = rest[0] === "namespaces" ? rest[1] : undefined;
  const [resource = "", name, subresource] = isNamespaced ? rest.slice(2) : rest;
  const verbs: Record<string, string> = {
    GET: name === undefined ? "list" : "get",
    POST: "create",
    DELETE: "delete",
  };
  return {
    url,
    access: {
      verb: verbs[request.method ?? ""] ?? "update",
      group,
      resource: subresource === undefined ? resource : `${resource}/${subresource}`,
      namespace,
      name,
    },
  };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Finds the user behind a token and decides what the request may do; counts it, and lets faults have their
 * say.
 */
export function createAuthorizer(state: KubeState, faults: FaultSource): Authorize {
  return (request, access) => {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    const known = token === undefined ? undefined : state.users.find((user) => user.token === token);
    const user = known ?? (token === undefined ? { name: ANONYMOUS, rights: [] } : undefined);
    const isTunnel = access.resource === "pods/portforward";
    faults.saw({
      layer: isTunnel ? "tunnel" : "api",
      what: isTunnel ? "connect" : `${access.verb} ${access.resource}`,
      user: user?.name ?? null,
    });
    const fault = faults.ofApi(access.resource);
    if (fault?.kind === "status") {
      const status = faultStatus(fault.status, fault.message, user?.name ?? "", access);
      return { user: known, fault: undefined, status };
    }
    if (!user) return { user: known, fault, status: unauthorized() };
    return { user: known, fault, status: refusalFor(user, access) };
  };
}

function refusalFor(user: Pick<KubeUser, "name" | "rights">, access: Access): KubeStatus | undefined {
  if (user.name !== ANONYMOUS && (isAccessReview(access) || isSelfReview(access))) return undefined;
  if (!isAllowed(user, access)) return forbidden(user.name, access);
  // Since 1.35 a WebSocket also needs `create`; the real server gives no more words than these.
  if (access.resource === "pods/portforward" && !isAllowed(user, { ...access, verb: "create" })) {
    const name = access.name ?? "";
    return kubeStatus(403, `pods ${JSON.stringify(name)} is forbidden: `, { name, kind: "pods" });
  }
  return undefined;
}

function faultStatus(code: number, message: string | undefined, user: string, access: Access): KubeStatus {
  if (message !== undefined) return kubeStatus(code, message);
  if (code === 401) return unauthorized();
  if (code === 403) return forbidden(user, access);
  if (code === 404) return notFound(access);
  return kubeStatus(code, `simulated failure (${code})`);
}

export function isSelfReview({ verb, group, resource }: Access): boolean {
  return verb === "create" && group === "authentication.k8s.io" && resource === "selfsubjectreviews";
}

/** Answers a SelfSubjectReview: who is this? */
export function reviewSelf(user: KubeUser): Record<string, unknown> {
  return {
    kind: "SelfSubjectReview",
    apiVersion: "authentication.k8s.io/v1",
    metadata: {},
    status: { userInfo: { username: user.name, groups: ["system:authenticated"] } },
  };
}

export function isAccessReview({ verb, group, resource }: Access): boolean {
  return verb === "create" && group === "authorization.k8s.io" && resource === "selfsubjectaccessreviews";
}

/** Answers a SelfSubjectAccessReview: may this user do what the body asks about? */
export function reviewAccess(user: KubeUser, body: string): Record<string, unknown> {
  const review = JSON.parse(body) as { spec?: { resourceAttributes?: Record<string, string> } };
  const asked = review.spec?.resourceAttributes ?? {};
  const { verb = "", group = "", resource = "", subresource = "", namespace, name } = asked;
  const full = subresource === "" ? resource : `${resource}/${subresource}`;
  const allowed = isAllowed(user, { verb, group, resource: full, namespace, name });
  return {
    kind: "SelfSubjectAccessReview",
    apiVersion: "authorization.k8s.io/v1",
    metadata: {},
    spec: review.spec ?? {},
    status: { allowed },
  };
}
