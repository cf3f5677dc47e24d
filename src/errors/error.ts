import { boundObject, boundText } from "#lib/bounds.ts";
import { ERRORS, type ErrorCode } from "./codes.ts";

export { ERRORS, type ErrorCode };

export interface ErrorOptions {
  cause?: unknown;
  /** Facts for the reader: never a secret, never an internal address. */
  details?: Record<string, unknown>;
  /** A remedy that knows more than the table's. */
  hint?: string;
  /** Where the same failure means something else to the caller than in the table. */
  httpStatus?: number;
}

/** Bytes of an error as JSON: 8 KiB with all its parts, because remote texts get into each of them. */
const MESSAGE_BYTES_MAX = 2560;
const HINT_BYTES_MAX = 1536;
const DETAILS_BYTES_MAX = 3840;

/**
 * The one error that crosses folders. `message` says what happened, in words safe to log and to answer. Message, hint and details are cut so
 * that the whole has at most 8 KiB as JSON, wherever it is logged, answered or stored.
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

/** Any thrown value as a BridgeError; what is none yet becomes `fallback` with its message, or `internal` without it. */
export function toBridgeError(error: unknown, fallback: ErrorCode = "internal"): BridgeError {
  if (error instanceof BridgeError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new BridgeError(fallback, fallback === "internal" ? "unexpected error" : text, { cause: error });
}

/** What an error looks like in an HTTP body and in the status. */
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
