import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import { ANSWER_TOO_LARGE, type KubeClient } from "./kube-client.ts";

/** A list of objects that is read by pages. */
export interface KubeList<T> {
  path: string;
  query?: Readonly<Record<string, string>>;
  /** For messages: "list nodes". */
  what: string;
  /** The part of an item that is used. */
  schema: z.ZodType<T>;
  /** Objects of the first page; halved as often as an answer is too large. */
  pageItems: number;
  /** Objects of all pages together. Further ones are left out. */
  itemsMax: number;
}

const restSchema = z.object({ metadata: z.object({ continue: z.string().nullish() }).nullish() });

/** A list that changes so fast that its pages expire again and again is given up. */
const RESTARTS_MAX = 2;
/** Pages less than half full that announce another page: servers fill their pages, so a list with more of these may never end. */
const POOR_PAGES_MAX = 20;

/**
 * Reads a list page by page (`limit` and `continue`), each item handed over as it comes. A page that is too large is asked for again with
 * half as many items. The server forgets a list after some minutes (410 Gone): then it is read from the beginning, for which `begin` is
 * called again. Answers how many items there were and whether these were all.
 * Throws the client's cluster_* errors (also when one object alone is too large), or the signal's reason.
 */
export async function listByPages<T>(
  kube: Pick<KubeClient, "get">,
  list: KubeList<T>,
  begin: () => (item: T) => void,
  signal: AbortSignal,
): Promise<PagesRead> {
  for (let restarts = 0; ; restarts++) {
    try {
      return await readPages(kube, list, begin(), signal);
    } catch (error) {
      if (signal.aborted || restarts === RESTARTS_MAX || !isExpired(error)) throw error;
    }
  }
}

export interface PagesRead {
  items: number;
  /** False: there are more than `itemsMax`, or the list has no end. */
  isWhole: boolean;
}

async function readPages<T>(
  kube: Pick<KubeClient, "get">,
  list: KubeList<T>,
  take: (item: T) => void,
  signal: AbortSignal,
): Promise<PagesRead> {
  let limit = list.pageItems;
  let items = 0;
  let poorPages = 0;
  let next = "";
  while (items < list.itemsMax) {
    const query = { ...list.query, limit: String(limit), ...(next === "" ? {} : { continue: next }) };
    let page: Awaited<ReturnType<typeof readPage<T>>>;
    try {
      page = await readPage(kube, list, query, signal);
    } catch (error) {
      if (signal.aborted || limit === 1 || !isTooLarge(error)) throw error;
      limit = Math.ceil(limit / 2);
      continue;
    }
    for (const item of page.items) take(item);
    items += page.items.length;
    next = page.next;
    if (next === "") return { items, isWhole: true };
    if (page.items.length < limit / 2 && ++poorPages > POOR_PAGES_MAX) break;
  }
  return { items, isWhole: false };
}

/** The items of a page are handed over when it is whole: it may have to be read again. */
async function readPage<T>(
  kube: Pick<KubeClient, "get">,
  list: KubeList<T>,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<{ items: T[]; next: string }> {
  const { path, what, schema, itemsMax } = list;
  const items: T[] = [];
  const take = (item: unknown): void => {
    // A server that ignores `limit` gets as far as any other, but no further.
    if (items.length >= itemsMax) {
      const text = `the API server's answer to ${what} has more than ${itemsMax} items`;
      throw new BridgeError("cluster_api_error", text);
    }
    items.push(item as T);
  };
  const wanted = { path, query, what, schema: restSchema, items: { schema, take } };
  const { metadata } = await kube.get(wanted, signal);
  return { items, next: metadata?.continue ?? "" };
}

function isTooLarge(error: unknown): boolean {
  return error instanceof BridgeError && error.details?.["problem"] === ANSWER_TOO_LARGE;
}

function isExpired(error: unknown): boolean {
  return error instanceof BridgeError && error.details?.["status"] === 410;
}
