/** One kind of failure: its cause, its remedy, and how the program treats it. */
export interface ErrorKind {
  /** The cause, for docs/troubleshooting.md. */
  cause: string;
  /** The action to take, for the person who reads the log at night: the error's `hint` unless it has a more precise one. */
  remedy: string;
  /** True when a later attempt may succeed without anybody's action. */
  retryable: boolean;
  httpStatus: number;
}
