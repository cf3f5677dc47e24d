import type { DaprPackage, DaprStoreDeps } from "#state/dapr-store.ts";
import type { Link } from "./link.ts";
import type { VirtualHost } from "./virtual-hosts.ts";

export interface StoreRequest {
  kind: "read" | "save" | "delete";
  key: string;
}

/**
 * - fails: answers 500, and nothing was done.
 * - unheard: what was asked for is done, and the answer is 500.
 * - hangs: no answer, nothing is done. hangs-done: no answer, and it is done.
 * - stale: a bulk read of the records as they were so long ago.
 */
export type StoreFault =
  | { kind: "fails" | "unheard" | "hangs" | "hangs-done" }
  | { kind: "stale"; agoMs: number };

/** A write that the store took. */
export interface StoreWrite {
  atMs: number;
  key: string;
  /** The name of the replica whose sidecar it came from. */
  by: string;
  /** Undefined: deleted. */
  value: () => unknown;
}

/** The store that all sidecars share, in memory. */
export interface ChaosStore {
  /** How the request fails; undefined: it is done and answered as it should be. */
  onRequest: (request: StoreRequest) => StoreFault | undefined;
  /** A conflict is answered with 409, or with 500 as Dapr's Redis and PostgreSQL stores answer some. */
  conflictStatus: () => 409 | 500;
  /** Does another write of the same value come right before this one? */
  isOvertaken: () => boolean;
  onWrite: (write: StoreWrite) => void;
  requests: number;
  /** The value of the record now. */
  valueOf(key: string): unknown;
  keys(): string[];
  serve: StoreServer;
}

interface StoreServer {
  read(keys: readonly string[]): BulkRow[];
  save(item: SaveItem, by: string): void;
  remove(key: string, by: string): void;
}

interface BulkRow {
  key: string;
  data?: unknown;
  etag?: string;
}

interface SaveItem {
  key: string;
  value: unknown;
  etag?: string;
}

interface Version {
  atMs: number;
  /** Undefined: deleted. */
  json: string | undefined;
  etag: string;
}

const NEVER: unique symbol = Symbol("no answer");
const HISTORY_MS = 30_000;

/** As Dapr's Redis store: each key has versions from 1 on, and a write with an ETag to a key that is not there succeeds. */
export function createChaosStore(nowMs: () => number): ChaosStore {
  const records = new Map<string, Version[]>();

  const versionOf = (key: string, atMs: number): Version | undefined => {
    const found = records.get(key)?.findLast((version) => version.atMs <= atMs);
    return found?.json === undefined ? undefined : found;
  };

  const add = (key: string, json: string | undefined, etag: string): void => {
    const versions = (records.get(key) ?? []).filter(
      (_version, i, all) => all[i + 1] === undefined || all[i + 1]!.atMs > nowMs() - HISTORY_MS,
    );
    records.set(key, [...versions, { atMs: nowMs(), json, etag }]);
  };

  const rewrite = (key: string, { json, etag }: Version): void => {
    const envelope = { ...(JSON.parse(json!) as object), write: `another after ${etag} at ${nowMs()}` };
    add(key, JSON.stringify(envelope), String(Number(etag) + 1));
  };

  const valueOf = (key: string): unknown => toValue(versionOf(key, Infinity)?.json);

  const read = (keys: readonly string[], agoMs: number): BulkRow[] =>
    keys.map((key) => {
      const version = versionOf(key, nowMs() - agoMs);
      return version ? { key, data: JSON.parse(version.json!) as unknown, etag: version.etag } : { key };
    });

  const faulty = <T>(request: StoreRequest, work: () => T): T => {
    store.requests++;
    const fault = store.onRequest(request);
    if (!fault || fault.kind === "stale") return work();
    if (fault.kind === "unheard" || fault.kind === "hangs-done") {
      try {
        work();
      } catch {
        // A conflict changes nothing either.
      }
    }
    if (fault.kind === "fails" || fault.kind === "unheard") throw refusal(500);
    return NEVER as T;
  };

  const store: ChaosStore = {
    onRequest: () => undefined,
    conflictStatus: () => 409,
    isOvertaken: () => false,
    onWrite: () => {},
    requests: 0,
    valueOf,
    keys: () => [...records.keys()].filter((key) => versionOf(key, Infinity) !== undefined),
    serve: {
      read: (keys) => {
        const fault = store.onRequest({ kind: "read", key: keys[0] ?? "" });
        store.requests++;
        if (fault?.kind === "fails") throw refusal(500);
        if (fault?.kind === "hangs" || fault?.kind === "hangs-done") return NEVER as never;
        return read(keys, fault?.kind === "stale" ? fault.agoMs : 0);
      },
      save: ({ key, value, etag }, by) =>
        faulty({ kind: "save", key }, () => {
          const stored = versionOf(key, Infinity);
          if (stored && store.isOvertaken()) rewrite(key, stored);
          else if (!stored || stored.etag === etag) {
            const json = JSON.stringify(value);
            add(key, json, String(Number(stored?.etag ?? 0) + 1));
            let parsed: unknown;
            store.onWrite({ atMs: nowMs(), key, by, value: () => (parsed ??= toValue(json)) });
            return;
          }
          throw refusal(store.conflictStatus());
        }),
      remove: (key, by) =>
        faulty({ kind: "delete", key }, () => {
          add(key, undefined, "0");
          store.onWrite({ atMs: nowMs(), key, by, value: () => undefined });
        }),
    },
  };
  return store;
}

/** The value that the program put: what is stored is its envelope. */
function toValue(json: string | undefined): unknown {
  if (json === undefined) return undefined;
  return JSON.parse((JSON.parse(json) as { json: string }).json);
}

function refusal(status: number): Error {
  const message = JSON.stringify({ errorCode: "ERR_STATE_SAVE", message: "failed saving state" });
  return new Error(JSON.stringify({ error: "Error", error_msg: message, status }));
}

/** A sidecar: the store, and the way to it. */
interface Sidecar {
  store: ChaosStore;
  link: Link;
  host: VirtualHost;
}

/** Never settles when the store gives no answer. */
async function ask<T>({ link, host }: Sidecar, serve: () => T): Promise<T> {
  const value = await link.call(host, serve);
  return (value as unknown) === NEVER ? await new Promise<never>(() => {}) : value;
}

/** What `createDaprStore` needs: a client of this sidecar without a network, and the answer to the one request that it sends without the client. */
export function fakeDapr(sidecar: Sidecar): Required<Pick<DaprStoreDeps, "loadDapr" | "fetch">> {
  const { store, host } = sidecar;
  class DaprClient {
    readonly daprClient = { getClient: () => Promise.resolve(undefined), setIsInitialized: () => {} };

    readonly state = {
      getBulk: (_store: string, keys: string[]) => ask(sidecar, () => store.serve.read(keys)),
      save: async (_store: string, [item]: [SaveItem]) => {
        try {
          await ask(sidecar, () => store.serve.save(item, host.name));
          return {};
        } catch (error) {
          return { error };
        }
      },
      delete: async (_store: string, key: string) => {
        try {
          await ask(sidecar, () => store.serve.remove(decodeURIComponent(key), host.name));
          return {};
        } catch (error) {
          return { error };
        }
      },
    };

    stop(): Promise<void> {
      return Promise.resolve();
    }
  }
  const fake = {
    DaprClient,
    StateConcurrencyEnum: { CONCURRENCY_FIRST_WRITE: "first-write" },
    StateConsistencyEnum: { CONSISTENCY_STRONG: "strong" },
    CommunicationProtocolEnum: { HTTP: "http" },
    LogLevel: { Error: "error" },
  };
  return {
    loadDapr: () => Promise.resolve(fake as unknown as DaprPackage),
    fetch: () => Promise.resolve(new Response("{}")),
  };
}
