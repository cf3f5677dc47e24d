import type { CollectClusterDeps } from "#collect/collect-cluster.ts";

/** A process that dies (kill -9) at one of its dealings with the outside. */
export interface Mortal {
  deps: CollectClusterDeps;
  /** Resolves when it has died; nothing that it does reaches the outside from then on. */
  died: Promise<"died">;
}

/**
 * `dieAt` counts reads, writes of state and batches sent; with `isDone` the fatal one still takes effect, but its answer does not arrive.
 * undefined: it never dies.
 */
export function createMortal(deps: CollectClusterDeps, dieAt: number | undefined, isDone: boolean): Mortal {
  const { promise: died, resolve: die } = Promise.withResolvers<"died">();
  let dealings = 0;
  let isDead = false;

  const deal = async <T>(work: () => Promise<T>): Promise<T> => {
    const isFatal = ++dealings === dieAt;
    if (isDead || (isFatal && !isDone)) {
      isDead = true;
      die("died");
      return await new Promise<never>(() => {});
    }
    if (!isFatal) return await work();
    isDead = true;
    await work().catch(() => {});
    die("died");
    return await new Promise<never>(() => {});
  };

  return {
    died,
    deps: {
      ...deps,
      store: {
        ...deps.store,
        get: (key) => deal(() => deps.store.get(key)),
        put: (key, value, etag) => {
          // The store has its own copy of the value from the moment of the call.
          const copy: unknown = structuredClone(value);
          return deal(() => deps.store.put(key, copy, etag));
        },
      },
      exporter: {
        ...deps.exporter,
        send: (batch, probe, signal) => deal(() => deps.exporter.send(batch, probe, signal)),
      },
      openPrometheus: async (cluster, uid, signal) => {
        const connection = await deal(() => deps.openPrometheus(cluster, uid, signal));
        const { client } = connection;
        const read: typeof client.read = (...input) => deal(() => client.read(...input));
        return { ...connection, client: { ...client, read } };
      },
    },
  };
}
