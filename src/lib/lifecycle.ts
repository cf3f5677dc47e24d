/** Remembers how each started part ends, so that a start that fails half-way and a stop take the same way back. */
export interface Lifecycle {
  /** Registers the end of a part that is started. */
  onStop(name: string, stop: () => Promise<void> | void): void;
  /** Ends the parts in reverse order, each once; a part that fails is reported and does not keep the others. */
  stop(): Promise<void>;
}

export function createLifecycle(onError: (part: string, error: unknown) => void): Lifecycle {
  const parts: { name: string; stop: () => Promise<void> | void }[] = [];
  return {
    onStop: (name, stop) => void parts.push({ name, stop }),
    stop: async () => {
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
