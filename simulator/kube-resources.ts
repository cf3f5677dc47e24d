import { endpointSlices, namespaceObject, nodeObject, podObject, serviceObject } from "./kube-objects.ts";
import type { KubeObject } from "./kube-objects.ts";
import { kubeStatus, notFound } from "./kube-rights.ts";
import type { Access } from "./kube-rights.ts";
import type { KubeState } from "./kube-state.ts";

const KINDS: Record<string, { kind: string; apiVersion: string }> = {
  services: { kind: "Service", apiVersion: "v1" },
  pods: { kind: "Pod", apiVersion: "v1" },
  nodes: { kind: "Node", apiVersion: "v1" },
  namespaces: { kind: "Namespace", apiVersion: "v1" },
  endpointslices: { kind: "EndpointSlice", apiVersion: "discovery.k8s.io/v1" },
};

/** The object or list that a permitted GET asks for, or a Status. */
export function answerResource(state: KubeState, access: Access, url: URL): Record<string, unknown> {
  const type = KINDS[access.resource];
  if (!type) return { ...kubeStatus(404, "the server could not find the requested resource") };
  const all = objectsOf(state, access.resource).filter(
    ({ metadata }) =>
      metadata.namespace === undefined ||
      access.namespace === undefined ||
      metadata.namespace === access.namespace,
  );
  if (access.name !== undefined) {
    const found = all.find(({ metadata }) => metadata.name === access.name);
    return found ? { ...type, ...found } : { ...notFound(access) };
  }
  const chosen = all.filter((object) => matchesLabels(object, url.searchParams.get("labelSelector") ?? ""));
  return toList(type, chosen, url);
}

function objectsOf(state: KubeState, resource: string): KubeObject[] {
  switch (resource) {
    case "services":
      return state.services.map(serviceObject);
    case "pods":
      return state.pods.map(podObject);
    case "nodes":
      return state.nodes.map(nodeObject);
    case "endpointslices":
      return state.services.flatMap((service) => endpointSlices(state, service));
    default:
      return [...state.namespaces].map(namespaceObject);
  }
}

/** `a=b,c!=d,e`: equality and existence, which is all that the bridge and kubectl's usual calls need. */
function matchesLabels({ metadata }: KubeObject, selector: string): boolean {
  return selector
    .split(",")
    .filter((term) => term !== "")
    .every((term) => {
      const [, name = "", operator = "", value = ""] = /^([^=!]+)(==|=|!=)?(.*)$/.exec(term) ?? [];
      const actual = metadata.labels?.[name];
      if (operator === "") return actual !== undefined;
      return operator === "!=" ? actual !== value : actual === value;
    });
}

/** One page: `limit` and `continue` as the API server has them, the token being an offset. */
function toList(
  { kind, apiVersion }: { kind: string; apiVersion: string },
  objects: KubeObject[],
  url: URL,
): Record<string, unknown> {
  const limit = Number(url.searchParams.get("limit") ?? 0) || objects.length;
  const from = Number(url.searchParams.get("continue") ?? 0) || 0;
  const items = objects.slice(from, from + limit);
  const left = objects.length - from - items.length;
  const more = left > 0 ? { continue: String(from + items.length), remainingItemCount: left } : {};
  return { kind: `${kind}List`, apiVersion, metadata: { resourceVersion: "1", ...more }, items };
}
