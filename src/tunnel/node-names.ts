import { z } from "zod";
import { toBridgeError } from "#errors/error.ts";
import type { KubeClient } from "./kube-client.ts";
import { listByPages } from "./kube-pages.ts";

export interface NodeNames {
  /** Node name by each of its addresses (without port) and by the name itself. */
  names: ReadonlyMap<string, string>;
  /** Why there are none, or not all. */
  warning?: string;
}

/** A DNS subdomain, as Kubernetes has it. */
const NAME_CHARS_MAX = 253;

const nodeSchema = z.object({
  metadata: z.object({ name: z.string().max(NAME_CHARS_MAX) }),
  status: z
    .object({
      addresses: z.array(z.object({ type: z.string(), address: z.string().max(NAME_CHARS_MAX) })).nullish(),
    })
    .nullish(),
});
type Node = z.infer<typeof nodeSchema>;

const ADDRESS_TYPES = new Set(["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"]);
/** A Node is up to 50 KB of JSON (images, labels): a page is about 5 MB. */
const PAGE_NODES = 100;
/** Kubernetes promises to work with 5,000. */
const NODES_MAX = 10_000;
/** A Node has a handful. */
const ADDRESSES_MAX = 32;
/** Of all nodes together, beside their own names. */
const ALL_ADDRESSES_MAX = 40_000;

/**
 * Lists the nodes for their addresses. Node names only enrich the samples, so a listing that fails gives the names so far and a
 * warning, no error; only an aborted signal throws its reason.
 */
export async function listNodeNames(kube: KubeClient, signal: AbortSignal): Promise<NodeNames> {
  const list = {
    path: "/api/v1/nodes",
    what: "list nodes",
    schema: nodeSchema,
    pageItems: PAGE_NODES,
    itemsMax: NODES_MAX,
  };
  let directory = createDirectory();
  const begin = (): ((node: Node) => void) => {
    directory = createDirectory();
    return directory.add;
  };
  try {
    const { items, isWhole } = await listByPages(kube, list, begin, signal);
    const names = directory.names();
    if (!isWhole) return { names, warning: `node names: only the first ${items} nodes were read` };
    if (!directory.isWhole())
      return { names, warning: `node names: only the first ${ALL_ADDRESSES_MAX} addresses were read` };
    return { names };
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const { code, message } = toBridgeError(error);
    return { names: new Map(), warning: `node names are not known: ${message} (${code})` };
  }
}

/** An address that two nodes claim (a shared gateway) says nothing and is left out; a node's own name always stands. */
function createDirectory(): {
  add: (node: Node) => void;
  names: () => Map<string, string>;
  isWhole: () => boolean;
} {
  const byAddress = new Map<string, string>();
  const ambiguous = new Set<string>();
  const nodeNames: string[] = [];
  let isWhole = true;
  return {
    isWhole: () => isWhole,
    add: ({ metadata: { name }, status }) => {
      nodeNames.push(name);
      for (const { type, address } of status?.addresses?.slice(0, ADDRESSES_MAX) ?? []) {
        if (!ADDRESS_TYPES.has(type) || address === "") continue;
        const known = byAddress.get(address);
        if (known !== undefined && known !== name) ambiguous.add(address);
        if (known === undefined && byAddress.size >= ALL_ADDRESSES_MAX) isWhole = false;
        else byAddress.set(address, name);
      }
    },
    names: () => {
      for (const address of ambiguous) byAddress.delete(address);
      for (const name of nodeNames) byAddress.set(name, name);
      return byAddress;
    },
  };
}
