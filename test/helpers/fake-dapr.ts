import { startHttpServer, type ReceivedRequest, type TestServer } from "./http-server.ts";

/** Behaviour for a request. `kind`: the kind of request of the state API. */
export type DaprRequestKind = "metadata" | "read" | "save" | "delete";

export interface FakeDapr {
  port: number;
  requests: TestServer["requests"];
  /** How a conflict is answered: Redis and PostgreSQL answer a create of what exists with 500, SQLite with 409. */
  createConflictStatus: 409 | 500;
  /** Called before each request is answered; `true`: the test answers (or does not). */
  intercept: (
    kind: DaprRequestKind,
    response: Parameters<TestServer["respond"]>[0],
    request: ReceivedRequest,
  ) => boolean;
  /** Called when a save was done: `true` swallows its answer. */
  afterSave: (response: Parameters<TestServer["respond"]>[0]) => boolean;
  /** The stored records by the key as the sidecar got it. */
  records: Map<string, { data: unknown; etag: string }>;
  /** Resolves at the next request. */
  nextRequest(): Promise<ReceivedRequest>;
  close(): Promise<void>;
}

export const FAKE_STORE = "statestore";

interface SaveItem {
  key: string;
  value: unknown;
  etag?: string;
  options?: { concurrency?: string; consistency?: string };
}

/** Dapr's state API over HTTP as daprd answers it with a Redis store behind it, in memory. */
export async function startFakeDapr(apiToken?: string): Promise<FakeDapr> {
  const server = await startHttpServer();
  const fake: FakeDapr = {
    port: Number(new URL(server.origin).port),
    requests: server.requests,
    createConflictStatus: 500,
    intercept: () => false,
    afterSave: () => false,
    records: new Map(),
    nextRequest: () => server.nextRequest(),
    close: () => server.close(),
  };

  server.respond = (response, request) => {
    const [path = ""] = request.path.split("?");
    const kind = kindOf(request, path);
    if (fake.intercept(kind, response, request)) return;
    const answer = (status: number, body?: unknown): void => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    };
    if (apiToken !== undefined && request.headers["dapr-api-token"] !== apiToken) {
      return answer(401, { errorCode: "ERR_API_TOKEN", message: "invalid api token" });
    }
    if (kind === "metadata") return answer(200, { id: "budcluster" });
    const [, , , store = "", key = ""] = path.split("/");
    if (store !== FAKE_STORE) {
      return answer(400, {
        errorCode: "ERR_STATE_STORE_NOT_FOUND",
        message: `state store ${store} is not found`,
      });
    }
    if (kind === "delete") {
      fake.records.delete(decodeURIComponent(key));
      return answer(204);
    }
    if (kind === "read") {
      const { keys } = JSON.parse(request.body.toString()) as { keys: string[] };
      return answer(
        200,
        keys.map((each) => ({ key: each, ...fake.records.get(each) })),
      );
    }
    const status = save(fake, JSON.parse(request.body.toString()) as SaveItem[]);
    if (status === 204 && fake.afterSave(response)) return;
    return answer(
      status,
      status === 204 ? undefined : { errorCode: "ERR_STATE_SAVE", message: "failed saving state" },
    );
  };
  return fake;
}

function kindOf({ method }: ReceivedRequest, path: string): DaprRequestKind {
  if (path.endsWith("/metadata")) return "metadata";
  if (method === "DELETE") return "delete";
  return path.endsWith("/bulk") ? "read" : "save";
}

/** As the script of Dapr's Redis store does it: a write with an ETag to a key that is not there succeeds, and versions begin at 1 again. */
function save(fake: FakeDapr, items: SaveItem[]): number {
  for (const { key, value, etag, options } of items) {
    if (options?.concurrency !== "first-write" || options.consistency !== "strong") return 400;
    const stored = fake.records.get(key);
    if (stored && stored.etag !== etag) return etag === undefined ? fake.createConflictStatus : 409;
    fake.records.set(key, { data: value, etag: String(Number(stored?.etag ?? 0) + 1) });
  }
  return 204;
}
