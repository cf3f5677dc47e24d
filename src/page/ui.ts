import htm from "htm";
import { h, type ComponentChildren, type VNode } from "preact";
import type { ApiError } from "./api.ts";
import { now } from "./clock.ts";
import { ageOf, clockTime, duration, UNMEASURED } from "./format.ts";
import type { Loaded } from "./loaded.ts";

export type Html = VNode | VNode[];

/** Templates of elements: text in them is always text. */
export const html = htm.bind(h) as (strings: TemplateStringsArray, ...values: unknown[]) => Html;

/** A sample older than this is not now (docs/querying.md). */
export const OLD_SECONDS = 900;

/** "2 min ago", and the time in the title. Grows with the clock; `old` marks what is not now any more. */
export function Age({
  time,
  old = OLD_SECONDS,
  before = "",
}: {
  time: string | number | null;
  old?: number;
  before?: string;
}): Html {
  if (time === null) return html`<span class="none" title="not known">${UNMEASURED}</span>`;
  const at = typeof time === "number" ? new Date(time).toISOString() : time;
  const age = ageOf(at, now.value) ?? 0;
  const isOld = age > old;
  return html`<time class=${isOld ? "age old" : "age"} datetime=${at} title=${clockTime(at, now.value)}
    >${before}${duration(age)} ago${isOld ? " (old)" : ""}</time
  >`;
}

/** A value; what was not measured looks different from any number. `old`: the value is not now any more. */
export function Value({ text, old = false, title }: { text: string; old?: boolean; title?: string }): Html {
  if (text === UNMEASURED)
    return html`<span class="none" title=${title ?? "not measured"}
      >${UNMEASURED}<span class="hidden"> not measured</span></span
    >`;
  return html`<span class=${old ? "value old" : "value"} title=${old ? "an old value" : title}
    >${text}${old ? html`<span class="hidden"> (old)</span>` : ""}</span
  >`;
}

const SIGNS: Record<string, string> = {
  bad: "✖",
  warn: "▲",
  old: "◷",
  wait: "…",
  good: "✔",
  off: "○",
  unknown: "?",
};

export type Tone = "bad" | "warn" | "old" | "wait" | "good" | "off" | "unknown";

/** A state in words, with a sign and a colour. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }): Html {
  return html`<span class=${`badge ${tone}`}
    ><span aria-hidden="true">${SIGNS[tone]}</span> ${children}</span
  >`;
}

/** A part of 100 as a number with a bar. */
export function Bar({
  value,
  text,
  old = false,
}: {
  value: number | null;
  text: string;
  old?: boolean;
}): Html {
  if (value === null) return Value({ text: UNMEASURED });
  const width = `${Math.min(100, Math.max(0, value))}%`;
  return html`<span class=${old ? "bar old" : "bar"}
    ><span class="fill" style=${{ width }}></span
    ><span class="text">${text}${old ? html`<span class="hidden"> (old)</span>` : ""}</span></span
  >`;
}

/** What a token lacks, in words. */
function missingScope(error: ApiError): string {
  const needed = error.details["required_scope"];
  const scopes = error.details["scopes"];
  if (typeof needed !== "string") return "";
  const has = Array.isArray(scopes) ? ` It has: ${scopes.join(", ")}.` : "";
  return `This token lacks the scope ${needed}.${has} Sign in with a token that has it.`;
}

/** The API's message with its remedy. `what`: what could not be done. */
export function Problem({ error, what = "" }: { error: ApiError; what?: string }): Html {
  const missing = error.status === 403 ? missingScope(error) : "";
  return html`<div class="problem" role="alert">
    <p><strong>${what}${what === "" ? "" : ": "}${error.message}</strong> <code>${error.code}</code></p>
    <p>${missing === "" ? error.hint : missing}</p>
  </div>`;
}

/** The state of an answer: the error of the last try, and how old what is shown is then. */
export function LoadState({ loaded, what }: { loaded: Loaded<unknown>; what: string }): Html {
  if (loaded.error) {
    return html`<div>
      <${Problem} error=${loaded.error} what=${what} />
      ${loaded.at === null ? "" : html`<p class="quiet">Shown is the last answer, <${Age} time=${loaded.at} old=${60} />.</p>`}
    </div>`;
  }
  if (loaded.value === null) return html`<p class="quiet" role="status">Loading ${what} ...</p>`;
  return html`<span></span>`;
}

export interface Column<Row> {
  head: string;
  /** Of the head. */
  title?: string;
  cell: (row: Row) => unknown;
  numeric?: boolean;
}

/** A table in a frame that scrolls sideways on narrow screens, which the keyboard reaches. */
export function Table<Row>({
  caption,
  columns,
  rows,
  keyOf,
}: {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
}): Html {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="hidden">
        ${caption}
      </caption>
      <thead>
        <tr>
          ${columns.map(({ head, title, numeric }) => html`<th scope="col" class=${numeric ? "number" : ""} title=${title}>${head}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr key=${keyOf(row)}>
              ${columns.map(({ cell, numeric }) => html`<td class=${numeric ? "number" : ""}>${cell(row)}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
