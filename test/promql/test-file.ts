import { parseDuration } from "#promql/durations.ts";
import { parseNumber } from "#promql/literals.ts";
import { parseSeriesLine, type SeriesLine } from "./series-notation.ts";

export interface Load {
  kind: "load";
  stepMs: number;
  series: SeriesLine[];
  /** Native histograms with custom buckets are made of the classic ones, too. */
  withCustomBuckets: boolean;
  /** Some samples have start timestamps: a feature behind a flag. */
  hasStartTimes: boolean;
}

/** What a message must be; without either: any. */
export interface Expectation {
  message?: string;
  pattern?: RegExp;
}

export interface Evaluation {
  kind: "eval";
  line: number;
  query: string;
  /** Of an instant query both are its time. */
  startMs: number;
  endMs: number;
  /** Absent: an instant query. */
  stepMs?: number;
  isOrdered: boolean;
  fail?: Expectation;
  warnings: Expectation[];
  infos: Expectation[];
  noWarnings: boolean;
  noInfos: boolean;
  expected:
    | { kind: "scalar"; value: number }
    | { kind: "string"; value: string }
    /** In the order of the file; the points of an instant query are one each. */
    | { kind: "series"; series: SeriesLine[] }
    /** The answer of an instant query is a matrix, with points at these times. */
    | { kind: "matrix"; series: SeriesLine[]; startMs: number; endMs: number; stepMs: number };
}

export type Command = { kind: "clear" } | Load | Evaluation;

/** The commands of one of Prometheus' `.test` files, in order. Throws an Error that names the line. */
export function parseTestFile(text: string): Command[] {
  const lines = text.split("\n").map((line) => (/^\s*#/.test(line) ? "" : line.trim()));
  const commands: Command[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    if (line === "") continue;
    const first = at + 1;
    const block: string[] = [];
    if (!/^clear/i.test(line)) while (at + 1 < lines.length && lines[at + 1] !== "") block.push(lines[++at]!);
    try {
      if (/^clear/i.test(line)) commands.push({ kind: "clear" });
      else commands.push(/^load/i.test(line) ? parseLoad(line, block) : parseEval(line, block, first));
    } catch (error) {
      throw new Error(`line ${first}: ${line}: ${String(error)}`, { cause: error });
    }
  }
  return commands;
}

const START_TIMES = /^\S+@st\s/;

function parseLoad(line: string, block: string[]): Load {
  const [, nhcb, step] = /^load(_with_nhcb)?\s+(\S+)$/.exec(line)!;
  return {
    kind: "load",
    stepMs: toMs(step!),
    series: block.filter((each) => !START_TIMES.test(each)).map(parseSeriesLine),
    withCustomBuckets: nhcb !== undefined,
    hasStartTimes: block.some((each) => START_TIMES.test(each)),
  };
}

function parseEval(line: string, block: string[], number: number): Evaluation {
  const instant = /^eval(?:_(\w+))?\s+instant\s+at\s+(\S+)\s+(.+)$/.exec(line);
  const range = /^eval(?:_(\w+))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$/.exec(line);
  const mode = instant?.[1] ?? range?.[1];
  const evaluation: Evaluation = {
    kind: "eval",
    line: number,
    query: (instant?.[3] ?? range?.[5])!,
    startMs: toMs((instant?.[2] ?? range?.[2])!),
    endMs: toMs((instant?.[2] ?? range?.[3])!),
    ...(range && { stepMs: toMs(range[4]!) }),
    isOrdered: mode === "ordered",
    ...(mode === "fail" && { fail: {} }),
    warnings: mode === "warn" ? [{}] : [],
    infos: mode === "info" ? [{}] : [],
    noWarnings: false,
    noInfos: false,
    expected: { kind: "series", series: [] },
  };
  for (const each of block) expectation(evaluation, each);
  return evaluation;
}

function expectation(evaluation: Evaluation, line: string): void {
  const { expected } = evaluation;
  const matrix = /^expect range vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)$/.exec(line);
  if (matrix) {
    const [startMs, endMs, stepMs] = matrix.slice(1).map(toMs) as [number, number, number];
    evaluation.expected = { kind: "matrix", series: [], startMs, endMs, stepMs };
    return;
  }
  const text = /^expect string (.*)$/.exec(line);
  if (text) {
    evaluation.expected = { kind: "string", value: unquoteGo(text[1]!) };
    return;
  }
  const old = /^expected_fail_(message|regexp)\s+(.*)$/.exec(line);
  if (old) {
    evaluation.fail = old[1] === "message" ? { message: old[2]! } : { pattern: new RegExp(old[2]!) };
    return;
  }
  if (/^expect\s/.test(line)) {
    annotation(evaluation, line);
    return;
  }
  const number = /^[+-]?[\w.]+$/.test(line) ? parseNumber(line.replace(/^[+-]/, "")) : undefined;
  if (number && "value" in number) {
    const value = line.startsWith("-") ? -number.value : number.value;
    evaluation.expected = { kind: "scalar", value };
    return;
  }
  if (expected.kind !== "series" && expected.kind !== "matrix")
    throw new Error(`no series expected: ${line}`);
  expected.series.push(parseSeriesLine(line));
}

function annotation(evaluation: Evaluation, line: string): void {
  const [, what, how, text] = /^expect\s+(\w+)(?:\s+(regex|msg):(.+))?$/.exec(line)!;
  const wanted: Expectation =
    how === "msg" ? { message: text!.trim() } : how === "regex" ? { pattern: new RegExp(text!.trim()) } : {};
  switch (what!) {
    case "ordered":
      evaluation.isOrdered = true;
      break;
    case "fail":
      evaluation.fail = wanted;
      break;
    case "warn":
      evaluation.warnings.push(wanted);
      break;
    case "info":
      evaluation.infos.push(wanted);
      break;
    case "no_warn":
      evaluation.noWarnings = true;
      break;
    case "no_info":
      evaluation.noInfos = true;
      break;
    default:
      throw new Error(`unknown expectation: ${line}`);
  }
}

function toMs(text: string): number {
  const duration = parseDuration(text);
  if ("problem" in duration) throw new Error(duration.problem);
  return duration.ms;
}

/** A text in Go's notation. */
function unquoteGo(text: string): string {
  return text.startsWith("`") ? text.slice(1, -1) : (JSON.parse(text) as string);
}
