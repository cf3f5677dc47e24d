import { parseFloatText } from "#promql/go-numbers.ts";
import { PromqlError } from "#promql/error.ts";

/** The parameters of a request to Prometheus' API: those of a form before those of the URL, as Prometheus reads them. */
export interface Parameters {
  /** The first one of the name; "" when there is none. */
  get(name: string): string;
  all(name: string): readonly string[];
}

type Fields = Readonly<Record<string, unknown>>;

export function toParameters(query: unknown, body: unknown): Parameters {
  const all = (name: string): readonly string[] =>
    [body, query].flatMap((fields) => {
      const value = typeof fields === "object" && fields !== null ? (fields as Fields)[name] : undefined;
      if (Array.isArray(value)) return value.filter((each) => typeof each === "string");
      return typeof value === "string" ? [value] : [];
    });
  return { get: (name) => all(name)[0] ?? "", all };
}

/** An error of a parameter, in Prometheus' words. */
export function refuseParameter(name: string, problem: string): PromqlError {
  return new PromqlError("bad_data", `invalid parameter ${JSON.stringify(name)}: ${problem}`);
}

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;
/** What Prometheus takes as the earliest and the latest time. */
const ENDS: Record<string, number> = {
  "-292273086-05-16T16:47:06Z": -Number.MAX_SAFE_INTEGER,
  "+292277025-08-18T07:12:54.999999999Z": Number.MAX_SAFE_INTEGER,
};
const SECONDS_MAX = Number.MAX_SAFE_INTEGER / 1000;

/** ms since 1970 of Unix seconds or RFC 3339; `otherwise`: when there is none. */
export function toTimeMs(parameters: Parameters, name: string, otherwise?: number): number {
  const text = parameters.get(name);
  if (text === "" && otherwise !== undefined) return otherwise;
  const seconds = parseFloatText(text);
  if (seconds !== undefined && Math.abs(seconds) <= SECONDS_MAX) return Math.round(seconds * 1000);
  const end = ENDS[text];
  if (end !== undefined) return end;
  const ms = RFC3339.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms))
    throw refuseParameter(name, `cannot parse ${JSON.stringify(text)} to a valid timestamp`);
  return ms;
}

const DURATION = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;
const UNITS_MS = [31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1000, 1];
/** Of 64 bits of nanoseconds. */
const DURATION_MS_MAX = 2 ** 63 / 1e6;

/** ms of seconds or of a duration like 1h30m. */
export function toDurationMs(text: string): number {
  const refuse = (more = ""): PromqlError =>
    new PromqlError("bad_data", `cannot parse ${JSON.stringify(text)} to a valid duration${more}`);
  const seconds = parseFloatText(text);
  if (seconds !== undefined) {
    if (!(Math.abs(seconds * 1000) < DURATION_MS_MAX)) throw refuse(". It overflows int64");
    return Math.trunc(seconds * 1000);
  }
  const parts = text === "" ? null : DURATION.exec(text);
  if (parts === null) throw refuse();
  const ms = UNITS_MS.reduce((sum, unit, i) => sum + unit * Number(parts[i + 1] ?? 0), 0);
  if (ms >= DURATION_MS_MAX) throw refuse(". It overflows int64");
  return ms;
}

/** The same of a parameter, whose name the error has; undefined when there is none. */
export function toOptionalDurationMs(parameters: Parameters, name: string): number | undefined {
  const text = parameters.get(name);
  if (text === "") return undefined;
  try {
    return toDurationMs(text);
  } catch (error) {
    throw error instanceof PromqlError ? refuseParameter(name, error.message) : error;
  }
}

const INTEGER = /^[+-]?\d{1,18}$/;

/** How many results at most; undefined: no limit was given. */
export function toLimit(parameters: Parameters, name = "limit"): number | undefined {
  const text = parameters.get(name);
  if (text === "") return undefined;
  if (!INTEGER.test(text))
    throw refuseParameter(name, `strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  const limit = Number(text);
  if (limit < 0) throw refuseParameter(name, "limit must be non-negative");
  return limit === 0 ? undefined : limit;
}

/** What Prometheus takes as points of a series. */
const POINTS_MAX = 11_000;

export function toRange(parameters: Parameters): { startMs: number; endMs: number; stepMs: number } {
  const startMs = toTimeMs(parameters, "start");
  const endMs = toTimeMs(parameters, "end");
  if (endMs < startMs) throw refuseParameter("end", "end timestamp must not be before start time");
  const stepMs = toOptionalDurationMs(parameters, "step");
  if (stepMs === undefined) throw refuseParameter("step", 'cannot parse "" to a valid duration');
  if (stepMs <= 0) {
    const problem = "zero or negative query resolution step widths are not accepted. Try a positive integer";
    throw refuseParameter("step", problem);
  }
  if ((endMs - startMs) / stepMs > POINTS_MAX) {
    throw new PromqlError(
      "bad_data",
      "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    );
  }
  return { startMs, endMs, stepMs };
}
