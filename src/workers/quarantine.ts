import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";

interface Suspicion {
  /** What it did, in words. */
  deed: string;
  /** Workers that ended under it since one of its calls ended. */
  ends: number;
  /** Those of them that it had for itself. */
  strikes: number;
  /** It must be tried alone. */
  isSuspect: boolean;
  /** It is not tried before this time, ms since the epoch. */
  untilMs: number;
}

export interface QuarantineSettings {
  /** After the first strike; doubles with each further one. */
  firstMs: number;
  maxMs: number;
}

/** Suspicions kept at all: beyond them the oldest is forgotten. */
const SUSPICIONS_MAX = 10_000;

/** From this many ends on a cluster is alone until its call ends, not only for a trial. */
const ENDS_MANY = 3;

/**
 * Which clusters were under way when a worker ended. Such a cluster is tried alone; when it ends that worker as well, it is put aside for a time
 * that doubles with each strike, and tried beside others after that. A call that ends clears it. All of this is forgotten with the process.
 */
export class Quarantine {
  readonly #clock: Clock;
  readonly #settings: QuarantineSettings;
  readonly #suspicions = new Map<string, Suspicion>();

  constructor(clock: Clock, settings: QuarantineSettings) {
    this.#clock = clock;
    this.#settings = settings;
  }

  /** no: it may work beside others. trial: it must begin alone. alone: it must be alone until its call ends. */
  suspicion(clusterId: string): "no" | "trial" | "alone" {
    const known = this.#suspicions.get(clusterId);
    if (known?.isSuspect !== true) return "no";
    return known.ends < ENDS_MANY ? "trial" : "alone";
  }

  /** Throws cluster_quarantined while the cluster is put aside. */
  check(clusterId: string): void {
    const suspicion = this.#suspicions.get(clusterId);
    if (suspicion && suspicion.untilMs > this.#clock.now()) throw quarantined(suspicion);
  }

  /** The worker of this cluster ended. `wasAlone`: it had the worker for itself. */
  ended(clusterId: string, deed: string, wasAlone: boolean): void {
    const known = this.#suspicions.get(clusterId);
    const ends = (known?.ends ?? 0) + 1;
    const strikes = (known?.strikes ?? 0) + Number(wasAlone);
    const { firstMs, maxMs } = this.#settings;
    const pauseMs = wasAlone ? Math.min(maxMs, firstMs * 2 ** (strikes - 1)) : 0;
    this.#suspicions.delete(clusterId);
    const untilMs = this.#clock.now() + pauseMs;
    this.#suspicions.set(clusterId, { deed, ends, strikes, isSuspect: !wasAlone, untilMs });
    for (const oldest of this.#suspicions.keys()) {
      if (this.#suspicions.size <= SUSPICIONS_MAX) break;
      this.#suspicions.delete(oldest);
    }
  }

  /** One of its calls ended, or the cluster was deleted. */
  clear(clusterId: string): void {
    this.#suspicions.delete(clusterId);
  }

  /** Clusters that are put aside now. */
  count(): number {
    const nowMs = this.#clock.now();
    return [...this.#suspicions.values()].filter(({ untilMs }) => untilMs > nowMs).length;
  }
}

function quarantined({ deed, strikes, untilMs }: Suspicion): BridgeError {
  const until = new Date(untilMs).toISOString();
  const times = strikes === 1 ? "once" : `${strikes} times`;
  return new BridgeError(
    "cluster_quarantined",
    `the collection of this cluster ended a worker that it had for itself ${times}: ${deed}; it is tried again after ${until}`,
    { details: { deed, strikes, retry_at: until } },
  );
}
