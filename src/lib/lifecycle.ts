/** A part of the program with a beginning and an end. */
export interface Part {
  name: string;
  start?(): Promise<void> | void;
  stop?(): Promise<void> | void;
}

export interface Lifecycle {
  /** Starts the parts in order; when one fails, stops those already started and throws its error. */
  start(): Promise<void>;
  /** Stops the started parts in reverse order, each exactly once; errors are given to `onError` and do not stop the rest. */
  stop(): Promise<void>;
}

export function createLifecycle(
  parts: readonly Part[],
  onError: (part: string, error: unknown) => void,
): Lifecycle {
  const started: Part[] = [];
  const stop = async (): Promise<void> => {
    for (let part = started.pop(); part; part = started.pop()) {
      try {
        await part.stop?.();
      } catch (error) {
        onError(part.name, error);
      }
    }
  };
  return {
    stop,
    start: async () => {
      for (const part of parts) {
        started.push(part);
        try {
          await part.start?.();
        } catch (error) {
          started.pop();
          await stop();
          throw error;
        }
      }
    },
  };
}
