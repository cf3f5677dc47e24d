import { boundList, boundText } from "#lib/bounds.ts";
import { isConflict } from "#state/retry-on-conflict.ts";
import type { StateStore } from "#state/store.ts";
import type { ClusterResult, RoundResult } from "./status.ts";

/** Of one replica's part: the counts are always whole. */
const RESULTS_BYTES_MAX = 256 << 10;
const MESSAGE_BYTES_MAX = 512;

const partKey = (replica: string): string => `round-part:${replica}`;

/** What each replica tells the others of its last round, in `round-part:<replica>`. */
export class RoundParts {
  readonly #store: StateStore;
  readonly #replica: string;
  #etag: string | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(store: StateStore, replica: string) {
    this.#store = store;
    this.#replica = replica;
  }

  /** Writes this replica's part, one after the other. Throws state_*. */
  async write(round: RoundResult): Promise<void> {
    const part = toPart(round);
    this.#writing = this.#writing.catch(() => {}).then(() => this.#put(part));
    await this.#writing;
  }

  /** The last parts of these replicas, by name. Throws state_unavailable. */
  async read(replicas: readonly string[]): Promise<Map<string, RoundResult>> {
    const found = await this.#store.getMany(replicas.map(partKey));
    return new Map(
      replicas.flatMap((name) => {
        const value = found.get(partKey(name))?.value;
        return isPart(value) ? [[name, value] as const] : [];
      }),
    );
  }

  /** Nobody else writes it, but an earlier process of the same name did. */
  async #put(part: RoundResult): Promise<void> {
    const key = partKey(this.#replica);
    try {
      this.#etag = await this.#store.put(key, part, this.#etag);
    } catch (error) {
      if (!isConflict(error)) throw error;
      const found = await this.#store.get<unknown>(key);
      this.#etag = await this.#store.put(key, part, found?.etag);
    }
  }
}

function toPart(round: RoundResult): RoundResult {
  return { ...round, clusters: boundList(round.clusters.map(toShort), RESULTS_BYTES_MAX).kept };
}

function toShort(result: ClusterResult): ClusterResult {
  if (!result.error) return result;
  const { code, message, hint } = result.error;
  return {
    ...result,
    error: { code, message: boundText(message, MESSAGE_BYTES_MAX), hint: boundText(hint, MESSAGE_BYTES_MAX) },
  };
}

/** Checks the frame only: the program itself wrote the record. */
function isPart(value: unknown): value is RoundResult {
  const { id, started_at, clusters, total } = (value ?? {}) as Partial<RoundResult>;
  return (
    typeof id === "string" &&
    typeof started_at === "string" &&
    Array.isArray(clusters) &&
    typeof total === "number"
  );
}
