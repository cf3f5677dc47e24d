import { boundObject, boundText } from "#lib/bounds.ts";
import { ERRORS, type ErrorCode } from "./codes.ts";

export { ERRORS, type ErrorCode };

export interface ErrorOptions {
  cause?: unknown;
  /** Facts for the reader: never a secret, never an internal address. */
  details?: Record<string, unknown>;
  /** A more precise remedy than the table's. */
  hint?: string;
  /** Overrides the table's status where this failure means something else to the caller. */
  httpStatus?: number;
}

/** An error has at most 8 KiB as JSON; each part has its own limit, because each can contain remote text. */
const MESSAGE_BYTES_MAX = 2560;
const HINT_BYTES_MAX = 1536;
const DETAILS_BYTES_MAX = 3840;

/**
 * The only error that crosses folders. `message` says what happened and is safe to log and to send to a caller. Message, hint and details
 * are truncated so that the error has at most 8 KiB as JSON, wherever it is logged, sent or stored.
 */
export class BridgeError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly details: Record<string, unknown> | undefined;
  readonly httpStatus: number;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(
      boundText(message, MESSAGE_BYTES_MAX),
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = "BridgeError";
    this.code = code;
    this.hint = options.hint === undefined ? ERRORS[code].remedy : boundText(options.hint, HINT_BYTES_MAX);
    this.details = options.details && boundObject(options.details, DETAILS_BYTES_MAX);
    this.httpStatus = options.httpStatus ?? ERRORS[code].httpStatus;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

/** Converts any thrown value to a BridgeError: with the code `fallback` and its message, or as `internal` without the message. */
export function toBridgeError(error: unknown, fallback: ErrorCode = "internal"): BridgeError {
  if (error instanceof BridgeError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new BridgeError(fallback, fallback === "internal" ? "unexpected error" : text, { cause: error });
}

/** An error as HTTP bodies and the status show it. */
export interface ErrorBody {
  code: ErrorCode;
  message: string;
  hint: string;
  details?: Record<string, unknown>;
}

export function toErrorBody(error: BridgeError): ErrorBody {
  return {
    code: error.code,
    message: error.message,
    hint: error.hint,
    ...(error.details ? { details: error.details } : {}),
  };
}
