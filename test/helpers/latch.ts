/** A promise and the function that resolves it. */
export function createLatch(): { opened: Promise<void>; open: () => undefined } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const open = (): undefined => {
    resolve();
    return undefined;
  };
  return { opened: promise, open };
}
