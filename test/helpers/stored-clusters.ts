import type { ClusterRecord } from "#clusters/cluster-record.ts";
import type { ClusterDefaults } from "#clusters/clusters-file.ts";
import { createStoredClusters, type StoredClusters } from "#clusters/stored-clusters.ts";
import type { StateStore } from "#state/store.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import { createSilentLogger } from "./silent-logger.ts";

const DEFAULTS: ClusterDefaults = {
  prometheus: { namespace: "bud-system", service: "prometheus", port: 9090, scheme: "http", pathPrefix: "" },
  validateCerts: true,
};

export function clusterRecord(id: string, change: Partial<ClusterRecord> = {}): ClusterRecord {
  return {
    id,
    name: `name of ${id}`,
    platform: "kind",
    enabled: true,
    labels: {},
    prometheus: {},
    validate_certs: null,
    jwe: `jwe of ${id}`,
    facts: {
      server: "https://api.example.org:6443",
      user: "token",
      certificate_expires_at: null,
      token_expires_at: null,
      ca_sha256: [],
      prometheus_auth: null,
    },
    created_at: "2025-06-01T12:00:00.000Z",
    updated_at: "2025-06-01T12:00:00.000Z",
    ...change,
  };
}

export interface StoredClustersBench {
  clusters: StoredClusters;
  clock: ManualClock;
  /** Ids whose work was ended, in order. */
  forgotten: string[];
}

/** One process' view of the clusters in a store. */
export function openStoredClusters(
  store: StateStore,
  options: { clustersMax?: number; clock?: ManualClock; forget?: (id: string) => Promise<void> } = {},
): StoredClustersBench {
  const clock = options.clock ?? createManualClock(1_700_000_000_000);
  const forgotten: string[] = [];
  const clusters = createStoredClusters(
    {
      store,
      clock,
      logger: createSilentLogger(),
      forget: async (id) => {
        await store.delete(`progress:${id}`);
        forgotten.push(id);
        await options.forget?.(id);
      },
    },
    {
      defaults: DEFAULTS,
      ...(options.clustersMax === undefined ? {} : { clustersMax: options.clustersMax }),
    },
  );
  return { clusters, clock, forgotten };
}

/** A store whose process crashes (kill -9) at call number `crashAt`; with `isDone` that call still takes effect. */
export function createCrashingStore(
  store: StateStore,
  crashAt: number,
  isDone: boolean,
): { store: StateStore; crashed: Promise<"crashed"> } {
  const { promise: crashed, resolve: crash } = Promise.withResolvers<"crashed">();
  let calls = 0;
  let isCrashed = false;
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    const isFatal = ++calls === crashAt;
    if (!isCrashed && !isFatal) return await work();
    if (!isCrashed && isDone) await work().catch(() => {});
    isCrashed = true;
    crash("crashed");
    return await new Promise<never>(() => {});
  };
  return {
    crashed,
    store: {
      ...store,
      get: (key) => call(() => store.get(key)),
      put: (key, value, etag) => call(() => store.put(key, value, etag)),
      delete: (key) => call(() => store.delete(key)),
    },
  };
}
