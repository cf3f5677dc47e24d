import { BridgeError, toBridgeError } from "#errors/error.ts";

/** EMFILE is the process' limit, ENFILE the whole system's; ClickHouse's engine writes the number. */
const CODES = new Set<unknown>(["EMFILE", "ENFILE"]);
const TEXT = /\b(?:EMFILE|ENFILE)\b|Too many open files|errno: (?:23|24)\b/;
const CAUSES_MAX = 8;

/**
 * The error of a failed start. When the file descriptors ran out, during whatever step (listening, opening a file, loading a module), the limit is
 * what has to change, so the error names that.
 */
export function toStartError(thrown: unknown): BridgeError {
  const error = toBridgeError(thrown);
  if (error.code === "file_descriptors_exhausted" || !isOutOfDescriptors(error)) return error;
  return new BridgeError(
    "file_descriptors_exhausted",
    `the limit of open files (ulimit -n) is used up: ${error.message}`,
    { cause: thrown },
  );
}

function isOutOfDescriptors(error: Error): boolean {
  let current: unknown = error;
  for (let depth = 0; current instanceof Error && depth < CAUSES_MAX; depth++) {
    if (("code" in current && CODES.has(current.code)) || TEXT.test(current.message)) return true;
    current = current.cause;
  }
  return false;
}
