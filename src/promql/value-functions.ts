import { log, log10, log2 } from "./go-math.ts";

/** Functions of one number; native histograms are left out. sinh and cosh halve what Go's exp gives, which is infinite earlier. */
export const VALUE_FUNCTIONS: ReadonlyMap<string, (value: number) => number> = new Map<
  string,
  (value: number) => number
>([
  ["abs", Math.abs],
  ["ceil", Math.ceil],
  ["floor", Math.floor],
  ["exp", Math.exp],
  ["sqrt", Math.sqrt],
  ["ln", log],
  ["log2", log2],
  ["log10", log10],
  ["sin", Math.sin],
  ["cos", Math.cos],
  ["tan", Math.tan],
  ["asin", Math.asin],
  ["acos", Math.acos],
  ["atan", Math.atan],
  [
    "sinh",
    (value) => (Math.exp(Math.abs(value)) === Infinity ? Math.sign(value) * Infinity : Math.sinh(value)),
  ],
  ["cosh", (value) => (Math.exp(Math.abs(value)) === Infinity ? Infinity : Math.cosh(value))],
  ["tanh", Math.tanh],
  ["asinh", Math.asinh],
  ["acosh", Math.acosh],
  ["atanh", Math.atanh],
  ["rad", (value) => (value * Math.PI) / 180],
  ["deg", (value) => (value * 180) / Math.PI],
  ["sgn", (value) => (value < 0 ? -1 : value > 0 ? 1 : value)],
  ["days_in_month", ofDate((date) => daysInMonth(date.year, date.month))],
  ["day_of_month", ofDate((date) => date.day)],
  ["day_of_week", ofDate((date) => date.weekday)],
  ["day_of_year", ofDate((date) => date.yearDay)],
  ["hour", ofDate((date) => date.hour)],
  ["minute", ofDate((date) => date.minute)],
  ["month", ofDate((date) => date.month)],
  ["year", ofDate((date) => date.year)],
]);

/** Functions of a date: without an argument of the time of evaluation. */
export const DATE_FUNCTIONS: ReadonlySet<string> = new Set([
  "days_in_month",
  "day_of_month",
  "day_of_week",
  "day_of_year",
  "hour",
  "minute",
  "month",
  "year",
]);

/** In UTC, of the proleptic Gregorian calendar; months and days from 1, weekdays from Sunday = 0. */
interface CalendarDate {
  year: number;
  month: number;
  day: number;
  weekday: number;
  yearDay: number;
  hour: number;
  minute: number;
}

const DAY_SECONDS = 86_400;
/** What Go's calendar makes of a number that is none, or that no 64-bit integer holds: the least integer, which is before its first year. */
const NO_INTEGER = 2n ** 63n;
/** The first second that Go's calendar knows; those before it are taken to be 2^64 later. */
const FIRST_SECOND = -9_223_372_028_741_760_000n;

function ofDate(read: (date: CalendarDate) => number): (seconds: number) => number {
  return (seconds) => read(toDate(seconds));
}

/** Also of years that a Date can't hold. */
function toDate(value: number): CalendarDate {
  const isInteger = Math.abs(value) < 2 ** 63;
  let seconds = isInteger ? BigInt(Math.trunc(value)) : NO_INTEGER;
  if (seconds < FIRST_SECOND) seconds += 2n ** 64n;
  const days = floorDiv(seconds, BigInt(DAY_SECONDS));
  const secondOfDay = Number(seconds - days * BigInt(DAY_SECONDS));
  const date = civil(days);
  return {
    ...date,
    weekday: Number((((days + 4n) % 7n) + 7n) % 7n),
    hour: Math.floor(secondOfDay / 3600),
    minute: Math.floor((secondOfDay % 3600) / 60),
  };
}

function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}

/** Of days since 1970: by eras of 400 years (http://howardhinnant.github.io/date_algorithms.html). */
function civil(days: bigint): Pick<CalendarDate, "year" | "month" | "day" | "yearDay"> {
  const shifted = days + 719_468n;
  const era = floorDiv(shifted, 146_097n);
  const dayOfEra = Number(shifted - era * 146_097n);
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfMarchYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfMarchYear + 2) / 153);
  const day = dayOfMarchYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  const year = Number(era * 400n) + yearOfEra + (month <= 2 ? 1 : 0);
  let yearDay = day;
  for (let before = 1; before < month; before++) yearDay += daysInMonth(year, before);
  return { year, month, day, yearDay };
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return isLeap(year) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}
