/** Shown where nothing was measured: never 0. */
export const UNMEASURED = "–";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** 45 s, 12 min, 3.5 h, 2 d. */
export function duration(seconds: number): string {
  const value = Math.max(0, seconds);
  if (value < 2 * MINUTE) return `${Math.round(value)} s`;
  if (value < 2 * HOUR) return `${Math.round(value / MINUTE)} min`;
  if (value < 2 * DAY) return `${trim(value / HOUR, 1)} h`;
  return `${trim(value / DAY, 1)} d`;
}

/** Seconds from a time of the API to `nowMs`; null without a time. */
export function ageOf(time: string | null | undefined, nowMs: number): number | null {
  return time === null || time === undefined ? null : (nowMs - Date.parse(time)) / 1000;
}

/** The reader's own time, with the date when it is not today. */
export function clockTime(time: string | number, nowMs: number): string {
  const at = new Date(time);
  const isToday = at.toDateString() === new Date(nowMs).toDateString();
  const text = at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  return isToday ? text : `${at.toLocaleDateString(undefined, { month: "short", day: "numeric" })} ${text}`;
}

function trim(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)));
}

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? UNMEASURED : `${value.toFixed(1)} %`;
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined
    ? UNMEASURED
    : value.toLocaleString("en-US").replaceAll(",", " ");
}

/** At most three significant digits, and k, M, G, T for large numbers. */
export function number(value: number | null | undefined, unit = ""): string {
  if (value === null || value === undefined || Number.isNaN(value)) return UNMEASURED;
  const size = Math.abs(value);
  const step = size < 10_000 ? 0 : Math.min(4, Math.floor(Math.log10(size) / 3));
  const scaled = value / 1000 ** step;
  const text = Math.abs(scaled) >= 1000 ? String(Math.round(scaled)) : String(Number(scaled.toPrecision(3)));
  return `${text}${["", " k", " M", " G", " T"][step] ?? ""}${unit === "" ? "" : ` ${unit}`}`;
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNMEASURED;
  const step = value < 1 ? 0 : Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(Math.abs(value)) / 10));
  return `${Number((value / 1024 ** step).toPrecision(3))} ${BYTE_UNITS[step] ?? ""}`;
}

/** "1 node", "2 nodes". */
export function plural(amount: number, one: string, many = `${one}s`): string {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}
