import { createHash } from "node:crypto";

const KNOWN_MAX = 20_000;

/**
 * The replica that should own the cluster: rendezvous hashing. Each replica gets an even share, and a replica that comes or goes moves only its own
 * share. Undefined without replicas.
 */
export function preferredOwner(replicas: readonly string[], clusterId: string): string | undefined {
  let best: { name: string; score: string } | undefined;
  for (const name of replicas) {
    const score = scoreOf(name, clusterId);
    if (!best || score > best.score || (score === best.score && name < best.name)) best = { name, score };
  }
  return best?.name;
}

function scoreOf(replica: string, clusterId: string): string {
  return createHash("sha1").update(`${replica}\0${clusterId}`).digest("hex");
}

/** Remembers what it found as long as the replicas are the same. */
export class PreferredOwners {
  #replicas = "";
  readonly #known = new Map<string, string | undefined>();

  of(replicas: readonly string[], clusterId: string): string | undefined {
    const names = replicas.join();
    if (names !== this.#replicas || this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#replicas = names;
    if (!this.#known.has(clusterId)) this.#known.set(clusterId, preferredOwner(replicas, clusterId));
    return this.#known.get(clusterId);
  }
}
