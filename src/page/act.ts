import { useEffect, useRef, useState } from "preact/hooks";
import { nowMs } from "./clock.ts";
import { NOTHING, toApiError, type Loaded } from "./loaded.ts";

interface Action<T> extends Loaded<T> {
  /** Runs it anew: an earlier run is given up, and its answer goes. Resolves to null when it failed or was given up. */
  run(load: (signal: AbortSignal) => Promise<T>): Promise<T | null>;
  /** Forgets the answer, and gives a run under way up. */
  clear(): void;
}

/** What a person starts by a button. Given up when the component goes. */
export function useAction<T>(): Action<T> {
  const [state, setState] = useState<Loaded<T>>(NOTHING);
  const current = useRef(new AbortController());
  useEffect(() => () => current.current.abort(), []);
  const run = async (load: (signal: AbortSignal) => Promise<T>): Promise<T | null> => {
    current.current.abort();
    const mine = new AbortController();
    current.current = mine;
    setState({ ...NOTHING, loading: true });
    try {
      const value = await load(mine.signal);
      if (mine.signal.aborted) return null;
      setState({ value, at: nowMs(), error: null, loading: false });
      return value;
    } catch (error) {
      if (!mine.signal.aborted) setState({ ...NOTHING, error: toApiError(error) });
      return null;
    }
  };
  const clear = (): void => {
    current.current.abort();
    setState(NOTHING);
  };
  return { ...state, run, clear };
}
