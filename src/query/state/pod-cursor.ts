import { refuseField } from "#query/limits.ts";
import type { TimeRange } from "#query/range.ts";
import type { PodSort } from "./pod-state.ts";

/** The end of a page, and the request that it belongs to. */
export interface PodCursor {
  sort: PodSort;
  /** The requested namespace; "": all. */
  asked: string;
  /** The last Pod: its sort key as a whole number, and its name. */
  key: string;
  namespace: string;
  pod: string;
  /** Every page describes the same time. */
  range: TimeRange;
}

const CURSOR_CHARS_MAX = 4096;
const TEXT_CHARS_MAX = 512;
const REMEDY = "Send next_cursor of the answer before as it is, with the same sort and namespace.";

/** The text is opaque to callers. */
export function toPodCursor(cursor: PodCursor): string {
  const { sort, asked, key, namespace, pod, range } = cursor;
  const times = [range.fromMs, range.toMs].map((ms) => String(ms / 1000));
  return Buffer.from(JSON.stringify([sort, asked, key, namespace, pod, ...times])).toString("base64url");
}

/** Throws `request_invalid` for a text that is no cursor of this sort and namespace. */
export function parsePodCursor(text: string, sort: PodSort, asked: string): PodCursor {
  const parts = text.length <= CURSOR_CHARS_MAX ? decode(text) : undefined;
  if (!Array.isArray(parts) || parts.length !== 7 || !parts.every(isShortText)) {
    throw refuseField("cursor", "is not a cursor of this API", REMEDY);
  }
  const [ownSort, ownAsked, key, namespace, pod, from, to] = parts as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const toMs = (seconds: string): number => Math.round(Number(seconds) * 1000);
  const isTime = (value: string): boolean => /^\d{1,11}(\.\d{1,3})?$/.test(value);
  if (!/^\d{1,19}$/.test(key) || !isTime(from) || !isTime(to)) {
    throw refuseField("cursor", "is not a cursor of this API", REMEDY);
  }
  if (ownSort !== sort || ownAsked !== asked) {
    throw refuseField("cursor", "belongs to another sort or namespace", REMEDY);
  }
  return { sort, asked, key, namespace, pod, range: { fromMs: toMs(from), toMs: toMs(to) } };
}

function isShortText(value: unknown): boolean {
  return typeof value === "string" && value.length <= TEXT_CHARS_MAX;
}

function decode(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
}
