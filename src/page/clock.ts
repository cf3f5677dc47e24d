import { signal } from "@preact/signals";

const TICK_MS = 1000;

/** The browser's clock, in ms since 1970; it ticks each second while the page is seen. Ages of what is shown follow it. */
export const now = signal(Date.now());

/** The only place of the page that knows time. Browsers slow timers of hidden pages down, so the time is set again when it is seen. */
export function startClock(): void {
  const tick = (): void => {
    if (document.visibilityState === "visible") now.value = Date.now();
  };
  setInterval(tick, TICK_MS);
  document.addEventListener("visibilitychange", tick);
}

/** The time now, also between two ticks. */
export function nowMs(): number {
  return Date.now();
}

/** Runs once after `ms`; the answer cancels it. */
export function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}
