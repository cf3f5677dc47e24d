import { useEffect, useState } from "preact/hooks";
import { ApiError } from "./api.ts";
import { after, nowMs } from "./clock.ts";

/** An answer, when it came, and the error of the last try: an old answer stays, with its age, while newer ones fail. */
export interface Loaded<T> {
  value: T | null;
  /** When `value` came, ms since 1970. */
  at: number | null;
  error: ApiError | null;
  loading: boolean;
}

export const NOTHING: Loaded<never> = { value: null, at: null, error: null, loading: false };

export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError(0, {
    code: "page_error",
    message: error instanceof Error ? error.message : String(error),
    hint: "Load the page again. If it happens again, report it with this message.",
  });
}

/**
 * Runs `load` now and then every `everyMs` after each answer (0: once), until the component goes or `key` changes. `key` null: waits.
 * An answer of another key never stays. A change of `again` loads at once.
 */
export function useLoaded<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
  everyMs: number,
  again = 0,
): Loaded<T> {
  const [state, setState] = useState<{ key: string | null; loaded: Loaded<T> }>({ key, loaded: NOTHING });
  useEffect(() => {
    if (key === null) return undefined;
    const ended = new AbortController();
    let cancel = (): void => {};
    const set = (change: (before: Loaded<T>) => Loaded<T>): void => {
      if (ended.signal.aborted) return;
      setState((before) => ({ key, loaded: change(before.key === key ? before.loaded : NOTHING) }));
    };
    const run = async (): Promise<void> => {
      set((before) => ({ ...before, loading: true }));
      try {
        const value = await load(ended.signal);
        set(() => ({ value, at: nowMs(), error: null, loading: false }));
      } catch (error) {
        set((before) => ({ ...before, error: toApiError(error), loading: false }));
      }
      if (everyMs > 0 && !ended.signal.aborted) cancel = after(everyMs, () => void run());
    };
    void run();
    return () => {
      cancel();
      ended.abort();
    };
  }, [key, everyMs, again]);
  return state.key === key ? state.loaded : NOTHING;
}
