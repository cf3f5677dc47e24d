import { BridgeError } from "#errors/error.ts";

/** True for the error of a StateStore when the record no longer has the ETag that a write named. */
export function isConflict(error: unknown): boolean {
  return error instanceof BridgeError && error.code === "state_conflict";
}

/**
 * Runs `attempt`, which reads a record and writes it with the ETag that it read, again from its start whenever another writer was faster.
 * Throws `state_conflict` after `attemptsMax` attempts, and what `attempt` throws otherwise.
 */
export async function retryOnConflict<T>(attemptsMax: number, attempt: () => Promise<T>): Promise<T> {
  for (let left = attemptsMax; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (!isConflict(error) || left <= 1) throw error;
    }
  }
}
