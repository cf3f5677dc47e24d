import { createRandom } from "../helpers/random.ts";
import type { QueryCase } from "./query-case.ts";

export interface RandomQuery extends QueryCase {
  /** topk or bottomk outside: which of equal ones is taken is not defined. */
  ties: boolean;
  /** sort outside. */
  ordered: boolean;
}

interface Generator {
  next(): number;
  pick<T>(from: readonly T[]): T;
  chance(part: number): boolean;
}

const METRICS = [
  "up",
  "cpu_seconds_total",
  "memory_bytes",
  "temperature",
  "requests_total",
  "limit_bytes",
  "build_info",
  "edge",
  "rare",
  "latency_seconds_bucket",
  "missing",
];
const MATCHERS = [
  'job="api"',
  'job!="api"',
  'job=~"a.*|db"',
  'instance=~"[ab]:.*"',
  'instance!~"a.*"',
  'mode="idle"',
  'mode=~".+"',
  'mode!~"idle|user"',
  'kind=~"nan|zero|mixed"',
  'kind!="huge"',
  'missing=""',
  'le="+Inf"',
];
const LABELS = ["job", "instance", "mode", "kind", "le", "version", "missing", '"k8s.pod"'];
const RANGES = ["30s", "1m", "2m", "5m", "7m13s", "20m"];
const VECTOR_FUNCTIONS =
  "abs ceil floor exp sqrt ln log2 log10 round sgn deg rad sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh timestamp day_of_month day_of_week day_of_year days_in_month hour minute month year absent".split(
    " ",
  );
const RANGE_FUNCTIONS =
  "rate increase delta irate idelta deriv changes resets avg_over_time min_over_time max_over_time sum_over_time count_over_time last_over_time first_over_time present_over_time stddev_over_time stdvar_over_time absent_over_time".split(
    " ",
  );
const AGGREGATIONS = "sum avg min max count group stddev stdvar".split(" ");
const ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS = ["==", "!=", "<", ">", "<=", ">="];
const NUMBERS = ["0", "1", "2", "0.5", "-1", "1e9", "-0.1", "Inf", "-Inf", "NaN", "1e-300", "3"];

/** Random queries of the whole stable language over `oddSeries`, at times between startMs and endMs. */
export function randomQueries(seed: number, count: number, startMs: number, endMs: number): RandomQuery[] {
  const next = createRandom(seed);
  const generator: Generator = {
    next,
    pick: (from) => from[Math.floor(next() * from.length)]!,
    chance: (part) => next() < part,
  };
  return Array.from({ length: count }, () => randomQuery(generator, startMs, endMs));
}

function randomQuery(g: Generator, startMs: number, endMs: number): RandomQuery {
  const kind = g.next();
  const ties = kind < 0.05;
  const ordered = kind >= 0.05 && kind < 0.08;
  const isMatrix = kind >= 0.08 && kind < 0.11;
  let query: string;
  if (ties)
    query = `${g.pick(["topk", "bottomk"])}${grouping(g)} (${g.pick(["0", "1", "2", "5", "-1", "2.7"])}, ${vector(g, 2)})`;
  else if (ordered) query = `${g.pick(["sort", "sort_desc"])}(${vector(g, 2)})`;
  else if (isMatrix) query = matrix(g, 1);
  else query = g.chance(0.08) ? scalar(g, 3) : vector(g, 4);
  const at = startMs + Math.floor((g.next() * (endMs - startMs)) / 1000) * 1000;
  const isInstant = isMatrix || ordered || g.chance(0.5);
  if (isInstant) return { query, times: { startMs: at, endMs: at }, ties, ordered };
  const stepMs = g.pick([1000, 10_000, 15_000, 60_000, 97_000]);
  return {
    query,
    times: { startMs: at, endMs: at + stepMs * Math.floor(g.next() * 25), stepMs },
    ties,
    ordered,
  };
}

function vector(g: Generator, depth: number): string {
  if (depth <= 0 || g.chance(0.12)) return selector(g) + timing(g);
  const inner = depth - 1;
  const kind = g.next();
  if (kind < 0.16) return `${g.pick(VECTOR_FUNCTIONS)}(${vector(g, inner)})`;
  if (kind < 0.38) return rangeCall(g, inner);
  if (kind < 0.56) return aggregation(g, inner);
  if (kind < 0.66) return vectorScalar(g, inner);
  if (kind < 0.84) return vectorVector(g, inner);
  if (kind < 0.87) return `-${vector(g, inner)}`;
  if (kind < 0.9) return `(${vector(g, inner)})`;
  return otherCall(g, inner);
}

function otherCall(g: Generator, depth: number): string {
  switch (Math.floor(g.next() * 8)) {
    case 0:
      return `clamp(${vector(g, depth)}, ${scalar(g, 1)}, ${scalar(g, 1)})`;
    case 1:
      return `${g.pick(["clamp_min", "clamp_max", "round"])}(${vector(g, depth)}, ${scalar(g, 1)})`;
    case 2:
      return `label_replace(${vector(g, depth)}, "${g.pick(["job", "new", "__name__", "k8s.x"])}", "${g.pick(["$1", "x-$1-${1}", "", "v"])}", "${g.pick(["instance", "job", "missing"])}", "${g.pick(["(.*)", "(a|b).*", "([a-z]+):(.*)", "x"])}")`;
    case 3:
      return `label_join(${vector(g, depth)}, "${g.pick(["job", "new"])}", "${g.pick(["-", ""])}", "job", "instance")`;
    case 4:
      return `vector(${scalar(g, depth)})`;
    case 5:
      return `histogram_quantile(${scalar(g, 1)}, ${g.pick(["rate(latency_seconds_bucket[5m])", "sum by (le) (rate(latency_seconds_bucket[5m]))", "latency_seconds_bucket", "sum by (job, le) (latency_seconds_bucket)"])})`;
    case 6:
      return `histogram_fraction(${scalar(g, 1)}, ${scalar(g, 1)}, ${g.pick(["rate(latency_seconds_bucket[2m])", "latency_seconds_bucket"])})`;
    default:
      return `count_values("${g.pick(["value", "job", "k8s.v"])}", ${g.pick(["up", "build_info", "edge", "floor(temperature)"])})`;
  }
}

function rangeCall(g: Generator, depth: number): string {
  const kind = g.next();
  if (kind < 0.08) return `quantile_over_time(${scalar(g, 1)}, ${matrix(g, depth)})`;
  if (kind < 0.14) return `predict_linear(${matrix(g, depth)}, ${g.pick(["60", "3600", "-10"])})`;
  return `${g.pick(RANGE_FUNCTIONS)}(${matrix(g, depth)})`;
}

function matrix(g: Generator, depth: number): string {
  if (depth <= 0 || g.chance(0.75)) return `${selector(g)}[${g.pick(RANGES)}]${timing(g)}`;
  const inner = vector(g, depth - 1);
  const expr = /^[a-z_]+(?:\{[^{}]*\})?$|^\w+\(.*\)$/.test(inner) ? inner : `(${inner})`;
  const step = g.pick(["", "10s", "1m", "37s"]);
  return `${/^\w+\(.*\) /.test(inner) ? `(${inner})` : expr}[${g.pick(RANGES)}:${step}]${timing(g)}`;
}

function aggregation(g: Generator, depth: number): string {
  if (g.chance(0.12)) return `quantile${grouping(g)} (${scalar(g, 1)}, ${vector(g, depth)})`;
  return `${g.pick(AGGREGATIONS)}${grouping(g)} (${vector(g, depth)})`;
}

function grouping(g: Generator): string {
  if (g.chance(0.3)) return "";
  return ` ${g.pick(["by", "without"])} (${labels(g)})`;
}

function labels(g: Generator): string {
  const count = Math.floor(g.next() * 3);
  return Array.from({ length: count }, () => g.pick(LABELS)).join(", ");
}

function vectorScalar(g: Generator, depth: number): string {
  const operands = [operand(g, depth), scalar(g, 1)];
  if (g.chance(0.4)) operands.reverse();
  const op = g.chance(0.6) ? g.pick(ARITHMETIC) : g.pick(COMPARISONS) + (g.chance(0.5) ? " bool" : "");
  return operands.join(` ${op} `);
}

function vectorVector(g: Generator, depth: number): string {
  const [left, right] = [operand(g, depth), operand(g, depth)];
  const kind = g.next();
  const on = g.chance(0.6) ? ` ${g.pick(["on", "ignoring"])} (${labels(g)})` : "";
  if (kind < 0.3) return `${left} ${g.pick(["and", "or", "unless"])}${on} ${right}`;
  const op = kind < 0.7 ? g.pick(ARITHMETIC) : g.pick(COMPARISONS) + (g.chance(0.4) ? " bool" : "");
  const group =
    on !== "" && g.chance(0.5)
      ? ` ${g.pick(["group_left", "group_right"])} (${g.chance(0.5) ? "" : "version"})`
      : "";
  return `${left} ${op}${on}${group} ${right}`;
}

/** In parentheses, or something that needs none. */
function operand(g: Generator, depth: number): string {
  return g.chance(0.4) ? selector(g) : `(${vector(g, depth)})`;
}

function scalar(g: Generator, depth: number): string {
  if (depth <= 0 || g.chance(0.6)) return g.pick(NUMBERS);
  switch (Math.floor(g.next() * 5)) {
    case 0:
      return "time()";
    case 1:
      return `scalar(${vector(g, depth - 1)})`;
    case 2:
      return `(${scalar(g, depth - 1)} ${g.pick(ARITHMETIC)} ${scalar(g, depth - 1)})`;
    case 3:
      return `(${scalar(g, depth - 1)} ${g.pick(COMPARISONS)} bool ${scalar(g, depth - 1)})`;
    default:
      return "pi()";
  }
}

function selector(g: Generator): string {
  if (g.chance(0.04)) return '{"http.status", "k8s.pod"=~"p-.*"}';
  // Two metrics with the same labels.
  if (g.chance(0.04)) return '{__name__=~"temperature|memory_bytes"}';
  const metric = g.pick(METRICS);
  if (g.chance(0.5)) return metric;
  const matchers = Array.from({ length: 1 + Math.floor(g.next() * 2) }, () => g.pick(MATCHERS));
  return `${metric}{${matchers.join(",")}}`;
}

function timing(g: Generator): string {
  const kind = g.next();
  if (kind < 0.82) return "";
  if (kind < 0.9) return ` offset ${g.pick(["1m", "-1m", "7s", "15m"])}`;
  return ` @ ${g.pick(["start()", "end()"])}`;
}
