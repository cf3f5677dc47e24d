import { isIPv4, isIPv6 } from "node:net";
import { resolve } from "node:path";
import { z } from "zod";
import { parseDuration } from "#lib/duration.ts";
import { createRecord } from "#lib/records.ts";
import { createSecret, type Secret } from "#lib/secret.ts";

// The kinds of values that variables have: each takes the variable's text, and says what is allowed when it can't use it.

export const SECONDS = 1000;
export const HOURS = 3_600_000;
export const DAYS = 24 * HOURS;

/** Seconds ("30", "1.5") or a number with a unit ("250ms", "15m", "24h"); as ms. */
export const duration = (minMs: number, maxMs: number) =>
  z.string().transform((text, context) => {
    const ms = parseDuration(text);
    if (!(ms >= minMs && ms <= maxMs)) {
      context.addIssue({
        code: "custom",
        message: `must be seconds or a duration like 90s, 15m, 24h, from ${minMs / 1000} s to ${maxMs / 1000} s`,
      });
      return z.NEVER;
    }
    return ms;
  });

const STRETCH_MS_MIN = 60 * SECONDS;
/** Stretches begin at multiples of their length since midnight UTC, every day at the same times. 0: off. */
export const stretch = duration(0, DAYS).transform((ms, context) => {
  if (ms === 0 || (ms >= STRETCH_MS_MIN && DAYS % ms === 0)) return ms;
  const message =
    "must be 0 (off), or at least 60 s and divide a day into equal parts: use 1m, 15m, 1h or 6h";
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

/** A duration of whole days, as ms: ClickHouse's TTL is kept in days. */
export const wholeDays = (daysMax: number) =>
  duration(SECONDS, daysMax * DAYS).transform((ms, context) => {
    if (ms % DAYS === 0) return ms;
    const days = Math.floor(ms / DAYS);
    const nearest = days === 0 ? "1d" : `${days}d or ${days + 1}d`;
    context.addIssue({ code: "custom", message: `must be a whole number of days: use ${nearest}` });
    return z.NEVER;
  });

export const integer = (min: number, max: number) =>
  z.string().transform((text, context) => {
    const value = /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      context.addIssue({ code: "custom", message: `must be a whole number from ${min} to ${max}` });
      return z.NEVER;
    }
    return value;
  });

export const boolean = z.string().transform((text, context) => {
  if (text === "true") return true;
  if (text === "false") return false;
  context.addIssue({ code: "custom", message: "must be true or false" });
  return z.NEVER;
});

export const oneOf = <const T extends readonly [string, ...string[]]>(...values: T) =>
  z.enum(values, { error: () => `must be one of ${values.join(", ")}` });

const toHttpUrl = (text: string): URL | undefined => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url && /^https?:$/.test(url.protocol) && url.username === "" && url.password === ""
    ? url
    : undefined;
};
export const httpUrl = z.string().transform((text, context) => {
  const url = toHttpUrl(text);
  if (url) return url;
  context.addIssue({ code: "custom", message: "must be an http:// or https:// URL without user info" });
  return z.NEVER;
});
export const httpUrls = z.string().transform((text, context) => {
  const urls = text.split(",").flatMap((each) => toHttpUrl(each.trim()) ?? []);
  if (urls.length === text.split(",").length) return urls;
  const message = "must be http:// or https:// URLs without user info, with commas between them";
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

export const text = (pattern: RegExp, allowed: string) =>
  z.string().regex(pattern, { error: () => `must be ${allowed}` });
export const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
export const dnsLabel = text(
  /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
  "a Kubernetes name (lower case letters, digits, -)",
);
export const path = z
  .string()
  .min(1, "must be a path")
  .transform((value) => resolve(value));
/** `10.0.0.0/8,fd00::/8`; an address without a length is that one address. */
export const cidrs = z.string().transform((value, context) => {
  const list = value.split(",").map((part) => part.trim());
  const isCidr = (text: string): boolean => {
    const [address = "", length, ...more] = text.split("/");
    const bits = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;
    const isLength = length === undefined || (/^\d{1,3}$/.test(length) && Number(length) <= bits);
    return bits > 0 && isLength && more.length === 0;
  };
  if (list.every(isCidr)) return list;
  context.addIssue({ code: "custom", message: "must be networks such as 10.0.0.0/8,fd00::/8" });
  return z.NEVER;
});
/** Shorter tokens can be guessed, and the log's scrubber can't tell them from ordinary words. */
const TOKEN_CHARS_MIN = 8;
export const token = z
  .string()
  .min(TOKEN_CHARS_MIN, `must have at least ${TOKEN_CHARS_MIN} characters`)
  .transform((value) => createSecret(value));

/** `warning/critical`. */
export const threshold = (max: number) =>
  z.string().transform((value, context) => {
    const [, warning, critical] = /^(\d+(?:\.\d+)?)\/(\d+(?:\.\d+)?)$/.exec(value.trim()) ?? [];
    const pair = { warning: Number(warning), critical: Number(critical) };
    if (pair.warning <= pair.critical && pair.critical <= max) return pair;
    context.addIssue({
      code: "custom",
      message: `must be WARNING/CRITICAL, two numbers up to ${max}, the first not above the second`,
    });
    return z.NEVER;
  });

/** `a=b,c=d` as in OTEL_EXPORTER_OTLP_HEADERS: values may be percent-encoded. */
export const headers = z.string().transform((value, context) => {
  const result = createRecord<Secret>();
  for (const pair of value.split(",").filter((part) => part.trim() !== "")) {
    const [, name, encoded] = /^\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? [];
    const decoded = decodeHeader(encoded);
    if (name === undefined || decoded === undefined) {
      context.addIssue({ code: "custom", message: "must be name=value pairs separated by commas" });
      return z.NEVER;
    }
    result[name.toLowerCase()] = createSecret(decoded);
  }
  return result;
});

function decodeHeader(encoded: string | undefined): string | undefined {
  try {
    const value = decodeURIComponent(encoded ?? "");
    return /^[\t\x20-\x7e]+$/.test(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
