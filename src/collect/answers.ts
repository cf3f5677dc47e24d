import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { MemoryAccount } from "#lib/memory-budget.ts";
import {
  answerBytesMax,
  createKeptAnswer,
  type KeptAnswer,
  type KeptAnswerDeps,
  type KeptAnswerSettings,
} from "#otlp/kept-answer.ts";
import { FIRST_BYTES } from "#otlp/request-encoder.ts";
import type { PointsOwner, WindowRead } from "./window-ledger.ts";

/** Where the answers of one collection are kept until they are whole. */
export interface Answers {
  /**
   * Begins to keep an answer as soon as there is memory for it. `size`: usual answers take more as they grow, and may run out of it; one of the largest
   * size never does. Throws the signal's reason, naming the wait.
   */
  open(read: WindowRead, size: "usual" | "largest"): Promise<KeptAnswer>;
  /** Time that reads waited for memory, ms. */
  waitedMs(): number;
}

export interface AnswersDeps extends KeptAnswerDeps<PointsOwner> {
  clock: Clock;
  memory: Pick<MemoryAccount, "reserve">;
  signal: AbortSignal;
}

export function createAnswers(deps: AnswersDeps, settings: KeptAnswerSettings): Answers {
  const { clock, memory, signal } = deps;
  const bytesMax = answerBytesMax(settings);
  let waitedMs = 0;

  return {
    waitedMs: () => waitedMs,
    open: async (read, size) => {
      const startedAt = clock.monotonic();
      const took = (): number => clock.monotonic() - startedAt;
      const isLargest = size === "largest";
      try {
        const reservation = await memory.reserve(isLargest ? bytesMax : FIRST_BYTES, isLargest, signal);
        return createKeptAnswer(deps, settings, read, reservation, read.markers);
      } catch (thrown) {
        throw afterWait(toBridgeError(thrown), took());
      } finally {
        waitedMs += took();
      }
    },
  };
}

/** A deadline that ended a wait for memory says so: the cluster itself was not slow. */
function afterWait(error: BridgeError, waitedMs: number): BridgeError {
  if (waitedMs < 1000) return error;
  const seconds = Math.round(waitedMs / 1000);
  return new BridgeError(
    error.code,
    `${error.message}: it waited ${seconds} s for memory, because the answers of all clusters use up MEMORY_BUDGET`,
    { cause: error },
  );
}
