import { isIPv6 } from "node:net";
import type { Clock } from "#lib/clock.ts";

/** Failed logins that are answered before callers must wait. */
export interface FailedLoginLimits {
  /** Of one address: at once, and how long until one more. */
  perAddress: { burst: number; refillMs: number };
  /** Of all addresses together. */
  together: { burst: number; refillMs: number };
  /** Addresses remembered at once; the one that failed longest ago is forgotten first. */
  addressesMax: number;
}

export const FAILED_LOGIN_LIMITS: FailedLoginLimits = {
  perAddress: { burst: 10, refillMs: 6000 },
  together: { burst: 200, refillMs: 100 },
  addressesMax: 10_000,
};

/** The result of a failed login. `first`: the first one over the limit since this address (or all together) was last within it. */
type FailedLogin =
  | { limited: false }
  | { limited: true; retryAfterMs: number; who: "address" | "together"; first: boolean };

export interface FailedLogins {
  /** Counts one failure of a client address. */
  count(address: string): FailedLogin;
}

interface Bucket {
  left: number;
  /** Monotonic ms of `left`. */
  at: number;
  /** A caller was refused, and the log has it. */
  isOver: boolean;
}

/** Token buckets for failed logins: one for each client address (IPv6: each /64, which one host may own whole) and one for all together. */
export function createFailedLogins(clock: Clock, limits: FailedLoginLimits): FailedLogins {
  const buckets = new Map<string, Bucket>();
  const together = newBucket(limits.together.burst, clock.monotonic());

  const bucketOf = (address: string, now: number): Bucket => {
    const key = toAddressKey(address);
    const bucket = buckets.get(key) ?? newBucket(limits.perAddress.burst, now);
    // Last in the map's order: the first entry failed longest ago.
    buckets.delete(key);
    buckets.set(key, bucket);
    const [oldest] = buckets.keys();
    if (buckets.size > limits.addressesMax && oldest !== undefined) buckets.delete(oldest);
    return bucket;
  };

  return {
    count: (address) => {
      const now = clock.monotonic();
      // First: an address over the common limit must not evict other addresses.
      const all = take(together, limits.together, now);
      if (all.limited) return { ...all, who: "together" };
      const one = take(bucketOf(address, now), limits.perAddress, now);
      return one.limited ? { ...one, who: "address" } : one;
    },
  };
}

function newBucket(burst: number, now: number): Bucket {
  return { left: burst, at: now, isOver: false };
}

function take(
  bucket: Bucket,
  { burst, refillMs }: { burst: number; refillMs: number },
  now: number,
): { limited: false } | { limited: true; retryAfterMs: number; first: boolean } {
  bucket.left = Math.min(burst, bucket.left + (now - bucket.at) / refillMs);
  bucket.at = now;
  if (bucket.left >= 1) {
    bucket.left--;
    // Full again: the attempts stopped, so the next ones are worth a log line.
    if (bucket.left >= burst - 1) bucket.isOver = false;
    return { limited: false };
  }
  const first = !bucket.isOver;
  bucket.isOver = true;
  return { limited: true, retryAfterMs: (1 - bucket.left) * refillMs, first };
}

/** The address, or the /64 of an IPv6 one, which one host may own whole. */
export function toAddressKey(address: string): string {
  const v4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (v4 !== undefined || !isIPv6(address)) return v4 ?? address;
  const [head = "", tail] = (address.split("%")[0] ?? "").toLowerCase().split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - before.length - after.length }, () => "0");
  return `${[...before, ...zeros, ...after].slice(0, 4).join(":")}::/64`;
}
