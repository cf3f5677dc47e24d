import { z } from "zod";

const HEADERS_MAX = 20;
const HEADERS_BYTES_MAX = 8 * 1024;
/** RFC 9110 section 5.6.2: a token. */
const NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/;
/** RFC 9110 section 5.5, without obs-text: no control characters, no space at its ends. */
const VALUE = /^[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?$/;

/** Headers of the connection and of the message, which the program or HTTP itself decides (RFC 9110 section 7.6.1, RFC 9112). */
const RESERVED: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

export const headerName = z.string().regex(NAME, "has a name that is no header name, such as X-Scope-OrgID");
export const headerValue = z
  .string("must be a text")
  .max(HEADERS_BYTES_MAX, `must have at most ${HEADERS_BYTES_MAX} characters`)
  .regex(VALUE, "must be printable ASCII, not empty, without spaces at its ends");

/** Why headers can't be sent together, as the end of a sentence about them; undefined when they can. */
export function headersProblem(headers: Readonly<Record<string, unknown>>): string | undefined {
  const names = Object.keys(headers);
  if (names.length > HEADERS_MAX) return `has more than ${HEADERS_MAX} entries`;
  if (!names.every((name) => NAME.test(name)))
    return "has a name that is no header name, such as X-Scope-OrgID";
  const lower = names.map((name) => name.toLowerCase());
  const reserved = lower.find((name) => RESERVED.has(name));
  if (reserved !== undefined) return `can't set ${reserved}: the program sets it, or HTTP does`;
  const twice = lower.find((name, i) => lower.indexOf(name) !== i);
  if (twice !== undefined) return `has ${twice} twice: upper and lower case are the same`;
  const bytes = Object.entries(headers).reduce(
    (sum, [name, value]) => sum + name.length + lengthOf(value),
    0,
  );
  return bytes > HEADERS_BYTES_MAX ? `has more than ${HEADERS_BYTES_MAX} characters in total` : undefined;
}

function lengthOf(value: unknown): number {
  return typeof value === "string" ? value.length : 0;
}

/** The headers with the patch's: null removes one, and upper and lower case are the same. */
export function mergedHeaders(
  headers: Readonly<Record<string, string>>,
  patch: Readonly<Record<string, string | null>>,
): Record<string, string> {
  const patched = new Set(Object.keys(patch).map((name) => name.toLowerCase()));
  const kept = Object.entries(headers).filter(([name]) => !patched.has(name.toLowerCase()));
  const given = Object.entries(patch).filter((entry): entry is [string, string] => entry[1] !== null);
  return Object.fromEntries([...kept, ...given]);
}

export function hasAuthorization(headers: Readonly<Record<string, unknown>> = {}): boolean {
  return Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
}
