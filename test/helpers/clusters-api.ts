import { join } from "node:path";
import { rsaPem, writeFiles } from "./keys.ts";

interface ErrorAnswer {
  code: string;
  message: string;
  hint: string;
  details?: Record<string, unknown>;
}

interface ClusterAnswer {
  id: string;
  warnings: string[];
  [field: string]: unknown;
}

/** An answer of /clusters. */
interface Answered {
  status: number;
  location: string | null;
  /** The whole body as it came. */
  text: string;
  cluster: ClusterAnswer;
  error: ErrorAnswer;
}

/** Calls of /clusters of a running program. */
export interface ClustersApi {
  create(body: unknown, query?: string, signal?: AbortSignal): Promise<Answered>;
  get(id: string): Promise<Answered>;
  list(): Promise<ClusterAnswer[]>;
  patch(id: string, body: unknown, query?: string): Promise<Answered>;
  remove(id: string): Promise<Answered>;
}

export function createClustersApi(
  url: () => string,
  headers: Readonly<Record<string, string>> = {},
): ClustersApi {
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    signal?: AbortSignal,
  ): Promise<Answered> => {
    const answer = await fetch(`${url()}/clusters${path}`, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
    const text = await answer.text();
    const json = (text === "" ? {} : JSON.parse(text)) as ClusterAnswer & { error: ErrorAnswer };
    const location = answer.headers.get("location");
    return { status: answer.status, location, text, cluster: json, error: json.error };
  };
  return {
    create: (body, query = "", signal) => call("POST", query, body, signal),
    get: (id) => call("GET", `/${id}`),
    list: async () => {
      const { text } = await call("GET", "");
      return (JSON.parse(text) as { clusters: ClusterAnswer[] }).clusters;
    },
    patch: (id, body, query = "") => call("PATCH", `/${id}${query}`, body),
    remove: (id) => call("DELETE", `/${id}`),
  };
}

/** Environment of a bridge without CLUSTERS_FILE and with its own key in the folder. */
export function apiEnvironment(folder: string): Record<string, string> {
  return {
    CLUSTERS_FILE: "",
    CREDENTIALS_KEYS_DIR: writeFiles(join(folder, "keys"), { "2025.pem": rsaPem() }),
  };
}
