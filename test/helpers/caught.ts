import { BridgeError } from "#errors/error.ts";

/** The BridgeError that `work` fails with; anything else fails the test. */
export async function caught(work: Promise<unknown> | (() => unknown)): Promise<BridgeError> {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (error instanceof BridgeError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
