import type { CollectClusterDeps } from "#collect/collect-cluster.ts";

/** A bridge process that crashes (kill -9) at one of its calls to the state store, the Collector or Prometheus. */
export interface CrashingProcess {
  deps: CollectClusterDeps;
  /** Resolves when it has crashed; from then on no call reaches the outside. */
  crashed: Promise<"crashed">;
}

/**
 * `crashAt` counts reads, state writes, and batches that are compressed or sent (undefined: never crashes). With `isDone` the fatal call still takes effect, but its
 * answer does not arrive.
 */
export function createCrashingProcess(
  deps: CollectClusterDeps,
  crashAt: number | undefined,
  isDone: boolean,
): CrashingProcess {
  const { promise: crashed, resolve: crash } = Promise.withResolvers<"crashed">();
  let calls = 0;
  let isCrashed = false;

  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    const isFatal = ++calls === crashAt;
    if (isCrashed || (isFatal && !isDone)) {
      isCrashed = true;
      crash("crashed");
      return await new Promise<never>(() => {});
    }
    if (!isFatal) return await work();
    isCrashed = true;
    await work().catch(() => {});
    crash("crashed");
    return await new Promise<never>(() => {});
  };

  return {
    crashed,
    deps: {
      ...deps,
      store: {
        ...deps.store,
        get: (key) => call(() => deps.store.get(key)),
        put: (key, value, etag) => {
          // The store has its own copy of the value from the moment of the call.
          const copy: unknown = structuredClone(value);
          return call(() => deps.store.put(key, copy, etag));
        },
      },
      exporter: {
        ...deps.exporter,
        pack: (batch) => call(() => deps.exporter.pack(batch)),
        send: (batch, probe, signal) => call(() => deps.exporter.send(batch, probe, signal)),
      },
      openPrometheus: async (cluster, uid, signal) => {
        const connection = await call(() => deps.openPrometheus(cluster, uid, signal));
        const { client } = connection;
        const read: typeof client.read = (...input) => call(() => client.read(...input));
        return { ...connection, client: { ...client, read } };
      },
    },
  };
}
