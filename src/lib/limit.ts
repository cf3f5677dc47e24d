/** Runs at most `concurrency` of the given functions at once, first come first served. */
export type Limiter = <T>(run: () => Promise<T>) => Promise<T>;

export function createLimiter(concurrency: number): Limiter {
  let free = concurrency;
  const waiting: (() => void)[] = [];
  return async (run) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await run();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}
