import { BridgeError } from "#errors/error.ts";

/** Resolves to the BridgeError that `work` throws; anything else fails the test. */
export async function bridgeErrorOf(work: Promise<unknown> | (() => unknown)): Promise<BridgeError> {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (error instanceof BridgeError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
