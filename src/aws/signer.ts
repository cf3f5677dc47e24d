import { createHash } from "node:crypto";
import { abortable, type Clock } from "#lib/clock.ts";
import { keysOfRole, ownKeys, type AwsIdentityDeps, type TemporaryKeys } from "./identity.ts";
import { signRequest, type AwsKeys, type RequestToSign } from "./sign.ts";

/** How requests to one Prometheus are signed. */
export interface AwsSigning {
  region: string;
  service: string;
  /** Absent: the identity of this program. */
  keys?: AwsKeys;
  /** ARN of a role that these keys assume. */
  role?: string;
}

/** The headers that sign a request. Throws BridgeError aws_credentials_unavailable, or the signal's reason. */
export type Sign = (request: RequestToSign, signal: AbortSignal) => Promise<Record<string, string>>;

/** Keys are renewed this long before they end, as AWS' SDKs do. */
const RENEW_BEFORE_MS = 5 * 60_000;
/** Keys that can't be renewed serve until so shortly before they end. */
const USABLE_MS = 10_000;
/** Temporary keys that are kept, the newest: one for each role of a cluster, and one for each region. */
const KEPT_MAX = 1000;

/** Gives a signer for each collection. Temporary keys are kept in memory between collections, given ones are not. */
export function createAwsSigners(deps: AwsIdentityDeps): (signing: AwsSigning) => Sign {
  const { clock } = deps;
  const kept = new Map<string, KeptKeys>();
  const keptAs = (...parts: (string | undefined)[]): KeptKeys => {
    const name = createHash("sha256").update(JSON.stringify(parts)).digest("hex");
    const found = kept.get(name) ?? createKeptKeys(clock);
    kept.delete(name);
    kept.set(name, found);
    const [oldest] = kept.keys();
    if (kept.size > KEPT_MAX && oldest !== undefined) kept.delete(oldest);
    return found;
  };
  return ({ region, service, keys, role }) => {
    const base = async (signal: AbortSignal): Promise<AwsKeys> =>
      keys ?? (await keptAs(region).get((ended) => ownKeys(deps, region, ended), signal));
    const source = async (signal: AbortSignal): Promise<AwsKeys> => {
      if (role === undefined) return await base(signal);
      const assume = async (ended: AbortSignal): Promise<TemporaryKeys> =>
        await keysOfRole(deps, region, role, await base(ended), ended);
      return await keptAs(region, role, ...namesOf(keys)).get(assume, signal);
    };
    return async (request, signal) =>
      signRequest(request, { region, service, keys: await source(signal), atMs: clock.now() });
  };
}

/** A changed key must not get what an older one was given. */
function namesOf(keys: AwsKeys | undefined): string[] {
  if (!keys) return [];
  return [keys.accessKeyId, keys.secretAccessKey.expose(), keys.sessionToken?.expose() ?? ""];
}

interface KeptKeys {
  get(fetch: (signal: AbortSignal) => Promise<TemporaryKeys>, signal: AbortSignal): Promise<AwsKeys>;
}

/** Fetches once for all who wait. A failed renewal hurts nobody while the older keys are still good. */
function createKeptKeys(clock: Clock): KeptKeys {
  let current: TemporaryKeys | undefined;
  let fetching: Promise<TemporaryKeys> | undefined;
  const leftMs = (): number => (current ? current.expiresAtMs - clock.now() : 0);
  return {
    get: async (fetch, signal) => {
      if (current && leftMs() > RENEW_BEFORE_MS) return current.keys;
      // Not with the caller's signal: others may wait for the same keys, and a fetch has a time limit of its own.
      fetching ??= fetch(new AbortController().signal).finally(() => (fetching = undefined));
      try {
        current = await abortable(fetching, signal);
      } catch (error) {
        if (signal.aborted || !current || leftMs() < USABLE_MS) throw error;
      }
      return current.keys;
    },
  };
}
