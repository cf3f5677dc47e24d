import type { IncomingMessage } from "node:http";
import type { PrometheusVersion } from "./answer-format.ts";
import { durationMs } from "./promql.ts";
import { QueryError } from "./query-error.ts";

export type Parameters = Pick<URLSearchParams, "get" | "getAll">;

const BODY_BYTES_MAX = 1 << 20;

/**
 * Parameters of the URL and of a form in the body; the body's come first, as in Go. Throws QueryError when
 * the body is too large.
 */
export async function readParameters(request: IncomingMessage, url: URL): Promise<Parameters> {
  const body = await readBody(request, BODY_BYTES_MAX);
  const form = new URLSearchParams(body.toString("utf8"));
  for (const [name, value] of url.searchParams) form.append(name, value);
  return form;
}

/** Throws QueryError when the body is longer. */
export async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > bytesMax) throw new QueryError(400, "bad_data", "http: request body too large");
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** A time parameter (seconds or RFC 3339) in ms. Throws QueryError. */
export function toTimeMs(
  parameters: Parameters,
  name: string,
  fallbackMs: number | undefined,
  version: PrometheusVersion,
): number {
  const text = parameters.get(name) ?? "";
  if (text === "" && fallbackMs !== undefined) return fallbackMs;
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Math.round(Number(text) * 1000);
  const ms = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  const lead = version === 3 ? "invalid" : "Invalid";
  const where = name === "time" ? `${lead} time value for 'time': ` : "";
  throw new QueryError(
    400,
    "bad_data",
    `invalid parameter "${name}": ${where}cannot parse "${text}" to a valid timestamp`,
  );
}

/** A duration parameter (seconds or `1m30s`) in ms. Throws QueryError. */
export function toDurationMs(parameters: Parameters, name: string): number {
  const text = parameters.get(name) ?? "";
  if (/^[+-]?\d+(\.\d+)?$/.test(text)) return Math.round(Number(text) * 1000);
  try {
    return durationMs(text);
  } catch {
    throw new QueryError(
      400,
      "bad_data",
      `invalid parameter "${name}": cannot parse "${text}" to a valid duration`,
    );
  }
}
