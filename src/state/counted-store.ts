import { isConflict } from "./retry-on-conflict.ts";
import type { StateStore } from "./store.ts";

/** ok; conflict: another writer was faster; failed: the store did not do it. */
type StateOutcome = "ok" | "conflict" | "failed";
type StateOperation = "get" | "get_many" | "put" | "delete" | "check";

interface StateRequestCount {
  operation: StateOperation;
  outcome: StateOutcome;
  count: number;
}

/** The store, and how often each of its functions was called. */
export function countRequests(store: StateStore): { store: StateStore; counts: () => StateRequestCount[] } {
  const counts = new Map<string, StateRequestCount>();
  const count = (operation: StateOperation, outcome: StateOutcome): void => {
    const key = `${operation} ${outcome}`;
    const known = counts.get(key);
    if (known) known.count++;
    else counts.set(key, { operation, outcome, count: 1 });
  };
  const counted = async <T>(operation: StateOperation, run: () => Promise<T>): Promise<T> => {
    try {
      const value = await run();
      count(operation, "ok");
      return value;
    } catch (error) {
      count(operation, isConflict(error) ? "conflict" : "failed");
      throw error;
    }
  };
  return {
    counts: () => [...counts.values()],
    store: {
      get: (key) => counted("get", () => store.get(key)),
      getMany: (keys) => counted("get_many", () => store.getMany(keys)),
      put: (key, value, etag) => counted("put", () => store.put(key, value, etag)),
      delete: (key) => counted("delete", () => store.delete(key)),
      check: () => counted("check", () => store.check()),
      close: () => store.close(),
    },
  };
}
