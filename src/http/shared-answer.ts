/**
 * An answer that many callers may ask for at once. It is loaded once for all that wait, and given to one of them in each turn of the event loop:
 * each then has its copy serialized and sent, and a thousand of these in one turn would hold the loop.
 */
export function createSharedAnswer<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  return async () => {
    loading ??= load().finally(() => (loading = undefined));
    const answer = await loading;
    const own = turn.then(() => new Promise((resolve) => setImmediate(resolve)));
    turn = own;
    await own;
    return answer;
  };
}
