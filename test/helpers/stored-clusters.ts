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

/** A store whose process dies (kill -9) at its call number `dieAt`; with `isDone` that call still takes effect. */
export function createMortalStore(
  store: StateStore,
  dieAt: number,
  isDone: boolean,
): { store: StateStore; died: Promise<"died"> } {
  const { promise: died, resolve: die } = Promise.withResolvers<"died">();
  let calls = 0;
  let isDead = false;
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    const isFatal = ++calls === dieAt;
    if (!isDead && !isFatal) return await work();
    if (!isDead && isDone) await work().catch(() => {});
    isDead = true;
    die("died");
    return await new Promise<never>(() => {});
  };
  return {
    died,
    store: {
      ...store,
      get: (key) => call(() => store.get(key)),
      put: (key, value, etag) => call(() => store.put(key, value, etag)),
      delete: (key) => call(() => store.delete(key)),
    },
  };
}
