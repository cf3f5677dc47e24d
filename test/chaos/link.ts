import type { VirtualHost, VirtualHosts } from "./virtual-hosts.ts";

/** The way from a replica to a service, in virtual time. Faults change it; each calls `struck` of theirs when it hits something. */
export interface Link {
  /** Requests get lost; some of them arrive when the link is whole again. */
  requests: Fault | undefined;
  /** What was asked for happens, and the answer gets lost. */
  answers: Fault | undefined;
  /** Each request takes so much longer. */
  slow: (Fault & { ms: number }) | undefined;
  /** Requests arrive twice, a moment later. */
  twice: Fault | undefined;
  /** Half of the requests, or their answers, get lost. */
  lossy: Fault | undefined;
  /** Ends a fault of the link. */
  heal(kind: LinkFault): void;
  /**
   * Asks the service: `serve` runs when the request arrives. Settles as `serve` does when the answer is back at the host, or never. A request of a
   * host that was killed meanwhile may arrive or not.
   */
  call<T>(host: VirtualHost, serve: () => T): Promise<T>;
}

export type LinkFault = "requests" | "answers" | "slow" | "twice" | "lossy";

/** A fault that is on. */
export interface Fault {
  struck(): void;
}

export interface LinkTimes {
  /** Of one way. */
  minMs: number;
  maxMs: number;
}

/** Of requests that were lost on a link: that many arrive once it is whole again. */
const LATE_SHARE = 0.3;
const LATE_MS = 5000;
const TWICE_MS = 300;

export function createLink(world: VirtualHosts, random: () => number, times: LinkTimes): Link {
  let late: (() => void)[] = [];
  const wayMs = (): number => Math.round(times.minMs + random() * (times.maxMs - times.minMs));

  const isLost = (): boolean => {
    if (!link.lossy || random() < 0.75) return false;
    link.lossy.struck();
    return true;
  };

  const link: Link = {
    requests: undefined,
    answers: undefined,
    slow: undefined,
    twice: undefined,
    lossy: undefined,
    heal: (kind) => {
      link[kind] = undefined;
      if (kind !== "requests") return;
      for (const arrive of late) world.pass(world.now() + random() * LATE_MS, arrive);
      late = [];
    },
    call: <T>(host: VirtualHost, serve: () => T): Promise<T> => {
      const { promise, resolve, reject } = Promise.withResolvers<T>();
      promise.catch(() => {});
      const answer = (settle: () => void): void => {
        if (link.answers) return link.answers.struck();
        if (isLost()) return;
        world.at(world.now() + wayMs(), settle, host);
      };
      const arrive = (): void => {
        if (link.requests) {
          link.requests.struck();
          if (random() < LATE_SHARE) late.push(arrive);
          return;
        }
        if (isLost() || (!host.isAlive() && random() < 0.5)) return;
        try {
          const value = serve();
          answer(() => resolve(value));
        } catch (error) {
          answer(() => reject(error));
        }
      };
      link.slow?.struck();
      const arrivesMs = world.now() + wayMs() + (link.slow?.ms ?? 0);
      world.pass(arrivesMs, arrive);
      if (link.twice) {
        link.twice.struck();
        world.pass(arrivesMs + random() * TWICE_MS, arrive);
      }
      return promise;
    },
  };
  return link;
}
