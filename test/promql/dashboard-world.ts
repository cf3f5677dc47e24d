import type { SyntaxNode } from "@lezer/common";
import { parsePromqlTree } from "#lib/promql-tree.ts";
import { matchersOfSelector } from "#prometheus/selector-matchers.ts";
import type { LabelMatcher } from "#prometheus/remote-read/request.ts";
import { CLUSTER } from "./dashboard-expressions.ts";

/** A series that an exporter of the test has. */
export interface WorldSeries {
  metric: string;
  labels: Readonly<Record<string, string>>;
  /** 0, 1 or 2: the Pod, node and so on that it is of. */
  part: number;
}

const PARTS = [0, 1, 2];
const BUCKETS = ["0.1", "1", "10", "+Inf"];
/** Values that the expressions' regular expressions want. */
const COMMON = ["eth0", "sda", "/data", "ext4", "200", "404", "500", "GET", "POST", "LIST", "Running", "x"];
/** Beyond them Prometheus' first scrapes take too long. */
const SERIES_MAX = 20_000;

/**
 * Series for everything that the expressions select: three of each selector, with the labels that the expressions join and group by. Those of one part have the
 * same Pod, node and so on.
 */
export function worldOf(expressions: readonly string[]): WorldSeries[] {
  const selectors = new Map<string, LabelMatcher[]>();
  const wanted = new Map<string, Set<string>>();
  for (const expr of expressions) {
    const { selectors: own, groupings } = partsOf(expr);
    for (const selector of own) {
      const matchers = matchersOfSelector(selector)!;
      selectors.set(selector, matchers);
      const metric = matchers.find(({ name }) => name === "__name__")!.value;
      const labels = wanted.get(metric) ?? new Set(["cluster", "instance", "job"]);
      for (const label of [...groupings, ...matchers.map(({ name }) => name)]) labels.add(label);
      wanted.set(metric, labels);
    }
  }
  const world = new Map<string, WorldSeries>();
  for (const matchers of selectors.values()) {
    const metric = matchers.find(({ name }) => name === "__name__")!.value;
    for (const part of PARTS)
      for (const le of metric.endsWith("_bucket") ? BUCKETS : [undefined]) {
        const labels = toLabels(matchers, wanted.get(metric)!, part);
        if (!labels) continue;
        if (le === undefined) delete labels["le"];
        else labels["le"] = le;
        const key = toText(metric, labels);
        if (!world.has(key)) world.set(key, { metric, labels, part });
      }
  }
  if (world.size > SERIES_MAX) throw new Error(`${world.size} series are too many`);
  return [...world.values()];
}

function partsOf(expr: string): { selectors: string[]; groupings: string[] } {
  const selectors: string[] = [];
  const groupings: string[] = [];
  parsePromqlTree(expr).iterate({
    enter: ({ node }) => {
      if (node.type.name === "VectorSelector") selectors.push(expr.slice(node.from, node.to));
      if (node.type.name === "GroupingLabels")
        groupings.push(...childrenOf(node).map(({ from, to }) => expr.slice(from, to)));
    },
  });
  return { selectors, groupings };
}

function childrenOf(node: SyntaxNode): SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling)
    if (child.type.name === "LabelName") children.push(child);
  return children;
}

/** Undefined: the selector is about part 0 alone. */
function toLabels(
  matchers: readonly LabelMatcher[],
  wanted: ReadonlySet<string>,
  part: number,
): Record<string, string> | undefined {
  const labels: Record<string, string> = {};
  for (const label of wanted) {
    if (label === "__name__") continue;
    const own = matchers.filter(({ name }) => name === label);
    const usual = label === "cluster" ? CLUSTER : `${label}-${part}`;
    const literals = own.flatMap(({ type, value }) =>
      type.startsWith("!") ? [] : value.split(/[()|]/).filter((each) => each !== ""),
    );
    const isOf = (text: string): boolean => own.every((matcher) => matches(matcher, text));
    if (!isOf(usual) && isOf(`${label}-0`)) return undefined;
    const candidates = [usual, ...literals, ...COMMON, ""];
    const value = candidates.find(isOf);
    if (value === undefined) throw new Error(`no value of ${label} for ${JSON.stringify(own)}`);
    if (value !== "") labels[label] = value;
  }
  return labels;
}

function matches({ type, value }: LabelMatcher, text: string): boolean {
  const isEqual = type.endsWith("~") ? new RegExp(`^(?:${value})$`).test(text) : text === value;
  return isEqual === !type.startsWith("!");
}

function toText(metric: string, labels: Readonly<Record<string, string>>): string {
  const texts = Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `${metric}{${texts.toSorted().join()}}`;
}

/** The exposition of the series at a time in seconds since the start, without those of the parts that are gone. */
export function expose(world: readonly WorldSeries[], seconds: number, gone: ReadonlySet<number>): string {
  const byMetric = Map.groupBy(
    world.filter(({ part }) => !gone.has(part)),
    ({ metric }) => metric,
  );
  const lines: string[] = [];
  for (const [metric, series] of byMetric) {
    if (!/_(bucket|sum|count)$/.test(metric)) lines.push(`# TYPE ${metric} ${kindOf(metric)}`);
    for (const each of series) lines.push(`${toText(metric, each.labels)} ${valueAt(each, seconds)}`);
  }
  return `${lines.join("\n")}\n`;
}

function kindOf(metric: string): "counter" | "gauge" {
  return metric.endsWith("_total") ? "counter" : "gauge";
}

const RESET_SECONDS = 47;

/** Counters rise, those of part 1 begin again sometimes; gauges go up and down. */
function valueAt({ metric, labels, part }: WorldSeries, seconds: number): number {
  const seed = Buffer.from(toText(metric, { ...labels, le: "" })).reduce(
    (hash, byte) => (hash * 31 + byte) % 997,
    7,
  );
  if (!/_(total|bucket|sum|count)$/.test(metric))
    return 20 + (seed % 50) + 10 * Math.sin(seconds / 13 + seed);
  const since = part === 1 ? seconds % RESET_SECONDS : seconds + 1000;
  const share = labels["le"] === undefined ? 1 : (BUCKETS.indexOf(labels["le"]) + 1) / BUCKETS.length;
  return Math.floor(since * (1 + (seed % 17)) * share);
}
