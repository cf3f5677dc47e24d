/** One kind of failure: what makes it happen, what to do about it, and how the program treats it. */
export interface ErrorKind {
  /** What makes it happen, for docs/troubleshooting.md. */
  cause: string;
  /** What to do, for the person who reads the log at night: the `hint` of the error where nothing more precise is known. */
  remedy: string;
  /** May the same thing succeed when it is tried again later without anybody doing something? */
  retryable: boolean;
  httpStatus: number;
}
