import type { ServerResponse } from "node:http";
import { GONE } from "./answer-body.ts";

/** Lets so many requests run at the same time; the others wait for their turn. */
export interface RequestGate {
  /** Throws GONE when nobody waits for the answer any more. */
  pass(response: ServerResponse, run: () => Promise<void>): Promise<void>;
}

export function createGate(places: number): RequestGate {
  let taken = 0;
  const waiting: (() => void)[] = [];
  const enter = async (response: ServerResponse): Promise<void> => {
    if (taken < places) {
      taken++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        waiting.splice(waiting.indexOf(go), 1);
        reject(GONE);
      };
      const go = (): void => {
        response.off("close", leave);
        resolve();
      };
      waiting.push(go);
      response.once("close", leave);
    });
  };
  return {
    pass: async (response, run) => {
      await enter(response);
      try {
        await run();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else taken--;
      }
    },
  };
}
