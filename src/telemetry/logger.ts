import { pino, stdTimeFunctions, type Logger as PinoLogger } from "pino";
import { BridgeError } from "#errors/error.ts";
import { createHider, type Secret } from "#lib/secret.ts";
import { scrubText, scrubValue } from "./scrub.ts";

export type Logger = Pick<PinoLogger, "trace" | "debug" | "info" | "warn" | "error" | "fatal"> & {
  /** `level`: of the child's own lines, also below the program's. */
  child(bindings: Record<string, unknown>, options?: { level: LogLevel }): Logger;
};

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

export interface LoggerSettings {
  level: LogLevel;
  /** Takes whole lines with their line break; standard output when absent. */
  destination?: { write(line: string): void };
  /** Known secrets (tokens, passwords of the configuration): hidden wherever they appear, as createHider finds them. */
  secrets?: readonly Secret[];
}

const CAUSES_MAX = 5;
const SEARCHED_CHARS_MAX = 1 << 16;

/**
 * The program's logger: one JSON object a line, `time` in ISO 8601 UTC, `level` as a word. Errors under any top-level field become
 * {name, code, message, hint, details, cause, stack}; the stack is left out at info and warn unless the code is `internal`.
 * Each finished line is scrubbed (see scrub.ts), so it does not matter which field, message, error or child binding a secret came in by.
 */
export function createLogger(settings: LoggerSettings): Logger {
  const known = (settings.secrets ?? []).map((secret) => secret.expose());
  const hide = createHider(known, "[redacted]");
  // This cut is far beyond the length that scrubText leaves.
  const scrub = (text: string): string => scrubText(hide(text.slice(0, SEARCHED_CHARS_MAX)));
  return pino(
    {
      level: settings.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) =>
          Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, toLogValue(value)])),
      },
      serializers: { err: (value: unknown) => value },
      hooks: { streamWrite: (line) => scrubLine(line, scrub) },
    },
    settings.destination ?? standardOutput(),
  );
}

function standardOutput(): ReturnType<typeof pino.destination> {
  const destination = pino.destination({ fd: 1, sync: true });
  // A closed or full pipe must not end the program.
  destination.on("error", () => {});
  return destination;
}

function toLogValue(value: unknown): unknown {
  return value instanceof Error ? toLogError(value) : value;
}

/** An error and its causes as log fields; at most five levels, each with what it knows. */
export function toLogError(error: Error, depth = 0): Record<string, unknown> {
  const code = error instanceof BridgeError ? error.code : (error as { code?: unknown }).code;
  const known = error instanceof BridgeError ? { hint: error.hint, details: error.details } : {};
  const { cause } = error;
  const nested = error instanceof AggregateError ? error.errors : [];
  const deeper = depth + 1 < CAUSES_MAX;
  return {
    name: error.name,
    ...(code === undefined ? {} : { code }),
    message: error.message,
    ...known,
    ...(deeper && cause !== undefined
      ? { cause: cause instanceof Error ? toLogError(cause, depth + 1) : inWords(cause) }
      : {}),
    ...(deeper && nested.length > 0
      ? {
          errors: nested
            .slice(0, CAUSES_MAX)
            .map((each) => (each instanceof Error ? each.message : inWords(each))),
        }
      : {}),
    ...(error.stack === undefined ? {} : { stack: error.stack }),
  };
}

/** Only plain values: an object thrown by a library may hold its whole request with the credentials. */
function inWords(value: unknown): string {
  return typeof value === "object" && value !== null
    ? `(${value.constructor?.name ?? "object"})`
    : String(value);
}

function scrubLine(line: string, scrub: (text: string) => string): string {
  let fields: unknown;
  try {
    fields = JSON.parse(line);
  } catch {
    return `${JSON.stringify({ level: "error", msg: "a log line was not JSON and is left out" })}\n`;
  }
  const scrubbed = scrubValue(fields, scrub) as Record<string, unknown>;
  if (scrubbed["level"] === "info" || scrubbed["level"] === "warn") {
    for (const value of Object.values(scrubbed)) dropStack(value);
  }
  return `${JSON.stringify(scrubbed)}\n`;
}

function dropStack(value: unknown): void {
  if (typeof value !== "object" || value === null || !("stack" in value)) return;
  const error = value as { code?: unknown; cause?: unknown; stack?: unknown };
  if (error.code === "internal") return;
  delete error.stack;
  dropStack(error.cause);
}
