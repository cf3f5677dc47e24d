import { BridgeError } from "#errors/error.ts";
import { isConflict } from "#state/retry-on-conflict.ts";
import { clusterRecord } from "../helpers/stored-clusters.ts";
import { startReplica, type Replica, type ReplicaOptions } from "./replica.ts";
import { createSource } from "./source.ts";
import { METRICS, SECOND, type ChaosWorld } from "./world.ts";

/** The replicas that run, their callers, and the clusters that should be there. */
export interface Cast {
  /** By machine; undefined: none runs there now. */
  replicas: (Replica | undefined)[];
  /** All processes, those that ended among them. */
  started: Replica[];
  /** The clusters that are registered, with their names. */
  clusters: Map<string, string>;
  /** When the deletion of a cluster was confirmed. */
  deleted: Map<string, number>;
  start(machine: number): Promise<void>;
  /** Asks any replica, again until one has done it. */
  add(id: string): Promise<void>;
  rename(id: string, name: string): Promise<void>;
  remove(id: string): Promise<void>;
}

const CALL_MS = 40 * SECOND;
const PAUSE_MS = 3 * SECOND;

export function createCast(world: ChaosWorld, machines: number, options: ReplicaOptions): Cast {
  const { hosts, random } = world;
  let begun = 0;

  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => void hosts.at(hosts.now() + ms, resolve));

  /** A caller of the API: it gives up one replica after a while and asks another. */
  const call = async (work: (replica: Replica) => Promise<void>): Promise<void> => {
    for (;;) {
      const running = cast.replicas.filter((replica) => replica !== undefined);
      const replica = running[Math.floor(random() * running.length)];
      const { promise: late, resolve } = Promise.withResolvers<false>();
      hosts.at(hosts.now() + CALL_MS, () => resolve(false));
      if (replica && !replica.host.isPaused()) {
        const done = work(replica).then(
          () => true,
          (error: unknown) => {
            if (error instanceof BridgeError) return false;
            throw error;
          },
        );
        if (await Promise.race([done, late])) return;
      }
      await wait(PAUSE_MS);
    }
  };

  const cast: Cast = {
    replicas: Array.from({ length: machines }, () => undefined),
    started: [],
    clusters: new Map(),
    deleted: new Map(),
    start: async (machine) => {
      const count = ++begun;
      const replica = await startReplica(
        world,
        { name: `bridge-${machine}`, process: `bridge-${machine}#${count}`, machine },
        options,
      );
      cast.started.push(replica);
      cast.replicas[machine] = replica;
    },
    add: async (id) => {
      world.sources.set(id, createSource(id, hosts.now(), METRICS));
      await call(async ({ clusters }) => {
        // A read that is stale hides an earlier attempt's work, and its own.
        await clusters.create(clusterRecord(id)).catch(unless("cluster_exists"));
        if (!(await clusters.read(id))) throw new BridgeError("cluster_not_found", "not registered yet");
      });
      cast.clusters.set(id, clusterRecord(id).name);
    },
    rename: async (id, name) => {
      await call(async ({ clusters }) => {
        const found = await clusters.read(id);
        if (!found) return;
        if (found.record.name === name) return;
        await clusters.replace({ ...found.record, name }, found.etag).catch((error: unknown) => {
          if (!isConflict(error)) throw error;
          throw new BridgeError("state_conflict", "again");
        });
      });
      if (cast.clusters.has(id)) cast.clusters.set(id, name);
    },
    remove: async (id) => {
      cast.clusters.delete(id);
      await call(async ({ clusters }) => {
        await clusters.remove(id).catch(unless("cluster_not_found"));
      });
      cast.deleted.set(id, hosts.now());
    },
  };
  return cast;
}

function unless(code: BridgeError["code"]): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof BridgeError) || error.code !== code) throw error;
  };
}
