import { signal } from "@preact/signals";

/** The page's place: behind `#`, so that it never reaches a server. `#/clusters/edge-1/pods?search=web`. */
export interface Route {
  path: readonly string[];
  query: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter((part) => part !== "");
  return { path: parts.map(decode), query: new URLSearchParams(query) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = signal<Route>(read());

export function startRouter(): void {
  addEventListener("hashchange", () => {
    route.value = read();
  });
}

export function hrefOf(path: readonly string[], query: Record<string, string> = {}): string {
  const kept = Object.entries(query).filter(([, value]) => value !== "");
  const text = new URLSearchParams(kept).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/** Changes the query string of the place, without a step in the browser's history. Empty values go. */
export function setQuery(changes: Record<string, string>): void {
  const { path, query } = route.peek();
  const next = hrefOf(path, { ...Object.fromEntries(query), ...changes });
  history.replaceState(null, "", next);
  route.value = read();
}
