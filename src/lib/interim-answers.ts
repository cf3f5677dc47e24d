/** A server that answers at all sends a few (100 Continue, 103 Early Hints) before its answer. */
const INTERIM_ANSWERS_MAX = 100;

/**
 * Counts the interim answers (1xx; RFC 9110, 15.2) of one request; true from the first one too many on. A server may send as many as it likes, and a
 * client reads a hundred thousand of them in one turn of the event loop.
 */
export function createInterimCounter(): () => boolean {
  let count = 0;
  return () => ++count > INTERIM_ANSWERS_MAX;
}
