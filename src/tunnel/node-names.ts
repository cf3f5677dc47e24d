import { z } from "zod";
import { toBridgeError } from "#errors.ts";
import type { KubeClient } from "./kube-client.ts";

export interface NodeNames {
  /** Node name by each of its addresses (without port) and by the name itself. */
  names: ReadonlyMap<string, string>;
  /** Why there are none, or not all. */
  warning?: string;
}

const nodeListSchema = z.object({
  metadata: z.object({ continue: z.string().nullish() }).nullish(),
  items: z
    .array(
      z.object({
        metadata: z.object({ name: z.string() }),
        status: z
          .object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })).nullish() })
          .nullish(),
      }),
    )
    .nullish(),
});
type Node = NonNullable<z.infer<typeof nodeListSchema>["items"]>[number];

const ADDRESS_TYPES = new Set(["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"]);
/** A Node is up to 50 KB of JSON (images, labels); a page stays well below the limit of an answer. */
const PAGE = "250";
const PAGES_MAX = 40;

/**
 * Lists the nodes for their addresses. Node names only enrich the samples, so a listing that fails gives what there is and a
 * warning, no error; only an aborted signal throws its reason.
 */
export async function listNodeNames(kube: KubeClient, signal: AbortSignal): Promise<NodeNames> {
  const nodes: Node[] = [];
  let next = "";
  try {
    for (let page = 0; page < PAGES_MAX; page++) {
      const query: Record<string, string> = { limit: PAGE, ...(next === "" ? {} : { continue: next }) };
      const list = await kube.get(
        { path: "/api/v1/nodes", query, what: "list nodes", schema: nodeListSchema },
        signal,
      );
      nodes.push(...(list.items ?? []));
      next = list.metadata?.continue ?? "";
      if (next === "") return { names: toNames(nodes) };
    }
    return { names: toNames(nodes), warning: `node names: only the first ${nodes.length} nodes were read` };
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const { code, message } = toBridgeError(error);
    return { names: new Map(), warning: `node names are not known: ${message} (${code})` };
  }
}

/** An address that two nodes claim (a shared gateway) says nothing and is left out; a node's own name always stands. */
function toNames(nodes: readonly Node[]): Map<string, string> {
  const names = new Map<string, string>();
  const ambiguous = new Set<string>();
  for (const { metadata, status } of nodes) {
    for (const { type, address } of status?.addresses ?? []) {
      if (!ADDRESS_TYPES.has(type) || address === "") continue;
      if (names.has(address) && names.get(address) !== metadata.name) ambiguous.add(address);
      names.set(address, metadata.name);
    }
  }
  for (const address of ambiguous) names.delete(address);
  for (const { metadata } of nodes) names.set(metadata.name, metadata.name);
  return names;
}
