import type { Hour, HourState } from "./api-types.ts";
import { now } from "./clock.ts";
import { clockTime, plural } from "./format.ts";
import { HOUR_TEXTS } from "./hour-states.ts";
import { html, type Html } from "./ui.ts";

interface Run {
  state: HourState | null;
  from: string;
  hours: number;
}

/** Neighbouring hours of one state are one piece. */
function toRuns(hours: readonly Hour[]): Run[] {
  const runs: Run[] = [];
  for (const { state, from } of hours) {
    const last = runs.at(-1);
    if (last && last.state === state) last.hours += 1;
    else runs.push({ state, from, hours: 1 });
  }
  return runs;
}

/** "22 hours proved, 1 hour pending, 1 hour without data", the worst first. */
export function describeHours(hours: readonly Hour[]): string {
  const states = [...(Object.keys(HOUR_TEXTS) as HourState[]), null];
  const parts = states.map((state) => {
    const amount = hours.filter((hour) => hour.state === state).length;
    return amount === 0 ? "" : `${plural(amount, "hour")} ${state ?? "without data"}`;
  });
  return parts.filter((part) => part !== "").join(", ");
}

/** The hours as a strip, the oldest left; what it shows is also its text. */
export function Strip({ hours }: { hours: readonly Hour[] }): Html {
  return html`<span
    class="strip"
    role="img"
    aria-label=${`The last ${hours.length} hours: ${describeHours(hours)}`}
  >
    ${toRuns(hours).map(({ state, from, hours: length }) => {
      const title = `${plural(length, "hour")} from ${clockTime(from, now.peek())}: ${state === null ? "nothing was collected" : HOUR_TEXTS[state]}`;
      return html`<span
        class=${`run ${state ?? "nothing"}`}
        style=${{ flexGrow: length }}
        title=${title}
      ></span>`;
    })}
  </span>`;
}

export function StripLegend(): Html {
  const states = (Object.keys(HOUR_TEXTS) as HourState[]).toReversed();
  return html`<ul class="legend" aria-label="What the strips mean">
    ${states.map((state) => html`<li><span class=${`swatch ${state}`} aria-hidden="true"></span>${HOUR_TEXTS[state]}</li>`)}
    <li><span class="swatch nothing" aria-hidden="true"></span>nothing was collected</li>
  </ul>`;
}
