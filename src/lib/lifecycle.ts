/** Remembers how each started part ends, so that a start that fails half-way and a stop take the same way back. */
export interface Lifecycle {
  /**
   * Registers the end of a part that is started. Throws after `stop` was called, so that a start that is still under way ends there; the next
   * `stop` ends this part as well.
   */
  onStop(name: string, stop: () => Promise<void> | void): void;
  /** Ends the parts in reverse order, each once; a part that fails is reported and does not keep the others. */
  stop(): Promise<void>;
}

export function createLifecycle(onError: (part: string, error: unknown) => void): Lifecycle {
  const parts: { name: string; stop: () => Promise<void> | void }[] = [];
  let isStopping = false;
  return {
    onStop: (name, stop) => {
      parts.push({ name, stop });
      if (isStopping) throw new Error(`${name} started after the end had begun`);
    },
    stop: async () => {
      isStopping = true;
      for (let part = parts.pop(); part; part = parts.pop()) {
        try {
          await part.stop();
        } catch (error) {
          onError(part.name, error);
        }
      }
    },
  };
}
