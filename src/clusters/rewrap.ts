import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { retryOnConflict } from "#state/retry-on-conflict.ts";
import type { Logger } from "#telemetry/logger.ts";
import { resealed, type DirectoryKeyring } from "./keyring.ts";
import type { StoredClusters } from "./stored-clusters.ts";

export interface RewrapDeps {
  clusters: Pick<StoredClusters, "list" | "read" | "replace">;
  keyring: Pick<DirectoryKeyring, "keys" | "open" | "seal" | "isNewest">;
  clock: Clock;
  logger: Logger;
}

const ATTEMPTS_MAX = 5;

/**
 * Re-seals every record that was not sealed with the newest key, now and after each change of the keys, which it looks for every
 * `intervalMs`. The returned function stops it and resolves when nothing is written any more. A record that changes in the meantime is read
 * again: no change is lost. Credentials that can't be opened stay as they are; a warning names the cluster.
 */
export function startRewrap(deps: RewrapDeps, intervalMs: number): () => Promise<void> {
  const { keyring, clock, logger } = deps;
  const ended = new AbortController();
  let done: string | undefined;
  let running: Promise<void> = Promise.resolve();
  let cancel = (): void => {};

  const look = async (): Promise<void> => {
    const kids = keyring.keys().map(({ kid }) => kid);
    const newest = kids.at(-1);
    // An older key that comes back may open credentials that could not be opened before.
    if (newest === undefined || kids.join() === done) return;
    const { count, isComplete } = await rewrapAll(deps, ended.signal);
    if (count > 0)
      logger.info({ clusters: count, kid: newest }, "sealed credentials anew with the newest key");
    if (isComplete) done = kids.join();
  };

  const run = (): void => {
    running = look()
      .catch((error: unknown) => {
        if (!ended.signal.aborted) logger.warn({ err: error }, "sealing credentials anew is tried again");
      })
      .then(() => {
        if (!ended.signal.aborted) cancel = clock.after(intervalMs, run);
      });
  };
  run();
  return async () => {
    ended.abort(new BridgeError("shutting_down", "the process is ending"));
    cancel();
    await running;
  };
}

/** `isComplete`: another try with the same keys would change nothing. */
async function rewrapAll(
  deps: RewrapDeps,
  signal: AbortSignal,
): Promise<{ count: number; isComplete: boolean }> {
  let count = 0;
  let isComplete = true;
  for (const { id, credentials, source } of await deps.clusters.list()) {
    signal.throwIfAborted();
    const isOld = credentials.kind === "sealed" && !deps.keyring.isNewest(credentials.jwe);
    if (source !== "api" || !isOld) continue;
    try {
      if (await rewrap(deps, id)) count++;
    } catch (error) {
      const isPermanent = error instanceof BridgeError && error.code.startsWith("credentials_");
      if (!isPermanent) isComplete = false;
      deps.logger.warn({ err: error, cluster_id: id }, "the credentials could not be sealed anew");
    }
  }
  return { count, isComplete };
}

function rewrap({ clusters, keyring }: RewrapDeps, id: string): Promise<boolean> {
  return retryOnConflict(ATTEMPTS_MAX, async () => {
    const current = await clusters.read(id);
    if (!current) return false;
    const jwe = await resealed(keyring, id, current.record.jwe);
    if (jwe === undefined) return false;
    await clusters.replace({ ...current.record, jwe }, current.etag);
    return true;
  });
}
