import type { BinaryExpr, BinaryOperator, VectorMatching } from "./ast.ts";
import { assert } from "#lib/assert.ts";
import { type Evaluation, failed, giveWay } from "./evaluation.ts";
import { addSeries, emptySeries, isEmpty, releaseSeries, type VectorSeries } from "./grid.ts";
import { mergeSameLabels } from "./same-labels.ts";
import { elementOperation, type ElementResult, leaveOutNumbers } from "./histogram-operators.ts";
import { Labels, METRIC_NAME } from "./labels.ts";
import {
  ARITHMETIC,
  changesMetric,
  COMPARISON,
  isComparison,
  isTrim,
  type SetOperator,
} from "./operators.ts";
import type { Grid } from "./source.ts";

/** The series of both sides that have the same matching labels. `many`: on the side that may have several. */
interface MatchGroup {
  many: VectorSeries[];
  one: VectorSeries[];
}

/** An operation of two vectors that is no set operation. */
export async function vectorVector(run: Evaluation, expr: BinaryExpr, grid: Grid): Promise<VectorSeries[]> {
  const matching = expr.matching;
  assert(matching !== undefined, "two vectors are matched");
  const lhs = await run.vector(expr.lhs, grid);
  const rhs = await run.vector(expr.rhs, grid);
  const isSwapped = matching.card === "one-to-many";
  const [many, one] = isSwapped ? [rhs, lhs] : [lhs, rhs];
  const join = new Join(run, expr, matching, isSwapped, grid.count);
  const results = await join.all(await matchGroups(run, matching, many, one));
  addSeries(run.budget, results);
  releaseSeries(run.budget, lhs);
  releaseSeries(run.budget, rhs);
  return results;
}

/** Where at least one of the series has a value. */
async function presenceOf(run: Evaluation, matches: Matches["order"], count: number): Promise<Uint8Array> {
  const any = new Uint8Array(count);
  for (const { series } of matches) {
    for (let i = 0; i < count; i++) any[i]! |= series.present[i]!;
    await giveWay(run);
  }
  return any;
}

/** The same for series whose matching labels are equal. */
export function signatureOf({ isOn, labels }: VectorMatching): (of: Labels) => string {
  if (isOn) {
    const sorted = [...new Set(labels)].sort();
    return (of) => of.keyOf(sorted);
  }
  const ignored = new Set([METRIC_NAME, ...labels]);
  return (of) => of.keyWithout(ignored);
}

interface Matches {
  groups: Map<string, MatchGroup>;
  /** The many side's series, in their order. */
  order: { series: VectorSeries; group: MatchGroup }[];
}

async function matchGroups(
  run: Evaluation,
  matching: VectorMatching,
  many: readonly VectorSeries[],
  one: readonly VectorSeries[],
): Promise<Matches> {
  const signature = signatureOf(matching);
  const groups = new Map<string, MatchGroup>();
  const groupOf = (series: VectorSeries): MatchGroup => {
    const key = signature(series.labels);
    let group = groups.get(key);
    if (!group) groups.set(key, (group = { many: [], one: [] }));
    return group;
  };
  for (const series of one) {
    groupOf(series).one.push(series);
    await giveWay(run);
  }
  const order: Matches["order"] = [];
  for (const series of many) {
    const group = groupOf(series);
    group.many.push(series);
    order.push({ series, group });
    await giveWay(run);
  }
  return { groups, order };
}

class Join {
  readonly #run: Evaluation;
  readonly #expr: BinaryExpr;
  readonly #matching: VectorMatching;
  readonly #isSwapped: boolean;
  readonly #count: number;

  constructor(
    run: Evaluation,
    expr: BinaryExpr,
    matching: VectorMatching,
    isSwapped: boolean,
    count: number,
  ) {
    this.#run = run;
    this.#expr = expr;
    this.#matching = matching;
    this.#isSwapped = isSwapped;
    this.#count = count;
  }

  async all({ groups, order }: Matches): Promise<VectorSeries[]> {
    // Where the many side has no value at all, nothing is matched, and nothing is wrong.
    let anyMany: Uint8Array | undefined;
    for (const { one } of groups.values()) {
      if (one.length > 1)
        this.#refuseRepeated(one, (anyMany ??= await presenceOf(this.#run, order, this.#count)));
      await giveWay(this.#run);
    }
    const matched = new Map<MatchGroup, Matched>();
    const results: VectorSeries[] = [];
    for (const { series, group } of order) {
      if (group.one.length === 0) continue;
      let before = matched.get(group);
      if (!before && group.many.length > 1) matched.set(group, (before = new Map()));
      for (const one of group.one) {
        const result = this.#join(series, one, before);
        if (result) results.push(result);
      }
      await giveWay(this.#run);
    }
    return mergeSameLabels(this.#run, results);
  }

  /** Two series of the one side with the same matching labels at the same time. */
  #refuseRepeated(one: readonly VectorSeries[], anyMany: Uint8Array): void {
    const count = this.#count;
    const holder = new Int32Array(count).fill(-1);
    one.forEach((series, index) => {
      for (let i = 0; i < count; i++) {
        if (series.present[i] === 0 || anyMany[i] === 0) continue;
        if (holder[i]! >= 0) throw this.#repeated(series.labels, one[holder[i]!]!.labels);
        holder[i] = index;
      }
    });
  }

  #repeated(labels: Labels, other: Labels): Error {
    const { isOn, labels: names } = this.#matching;
    const group = isOn ? labels.only(new Set(names)) : labels.without(new Set([METRIC_NAME, ...names]));
    const side = this.#isSwapped ? "left" : "right";
    const [first, second] = Labels.compare(labels, other) < 0 ? [labels, other] : [other, labels];
    return failed(
      `found duplicate series for the match group ${group.toString()} on the ${side} hand-side of the operation: [${first.toString()}, ${second.toString()}];` +
        "many-to-many matching not allowed: matching labels must be unique on one side",
    );
  }

  /** The operation of two series; undefined when it gives nothing. `before`: what was matched in the same group. */
  #join(many: VectorSeries, one: VectorSeries, before: Matched | undefined): VectorSeries | undefined {
    const count = this.#count;
    const labels = this.#resultLabels(many.labels, one.labels);
    const out = emptySeries(labels, count, this.#dropsName(many));
    const { present } = out;
    let isAny = false;
    for (let i = 0; i < count; i++) {
      present[i] = many.present[i]! & one.present[i]!;
      if (present[i] === 1) isAny = true;
    }
    if (!isAny) return undefined;
    const elements = this.#elements(many, one, out);
    if (before) this.#refuseRepeatedMatch(out, before);
    this.#operate(many, one, out, elements);
    return isEmpty(out) ? undefined : out;
  }

  #dropsName(many: VectorSeries): boolean {
    const { op, isBool } = this.#expr;
    if (!changesMetric(op) && !isBool) return this.#run.delayedNameRemoval && many.dropName;
    return isBool;
  }

  /** One to one, a second match is wrong; many to one, only one that gives the same labels. */
  #refuseRepeatedMatch(out: VectorSeries, before: Matched): void {
    const isOneToOne = this.#matching.card === "one-to-one";
    const key = isOneToOne ? "" : out.labels.key;
    const seen = before.get(key);
    if (!seen) {
      before.set(key, out.present.slice());
      return;
    }
    for (let i = 0; i < seen.length; i++) {
      if (out.present[i] === 0) continue;
      if (seen[i] === 1)
        throw failed(
          isOneToOne
            ? "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            : "multiple matches for labels: grouping labels must ensure unique matches",
        );
      seen[i] = 1;
    }
  }

  #resultLabels(many: Labels, one: Labels): Labels {
    const { card, isOn, labels: names, include } = this.#matching;
    const { op, isBool } = this.#expr;
    let labels = many;
    if (changesMetric(op)) labels = labels.withoutMetadata();
    if (card === "one-to-one") labels = isOn ? labels.only(new Set(names)) : labels.without(new Set(names));
    for (const name of include) labels = labels.with(name, one.get(name));
    return isBool && !this.#run.delayedNameRemoval ? labels.withoutMetadata() : labels;
  }

  #operate(many: VectorSeries, one: VectorSeries, out: VectorSeries, elements: Elements | undefined): void {
    const [lhs, rhs] = this.#isSwapped ? [one.values, many.values] : [many.values, one.values];
    const { values, present } = out;
    const { isBool } = this.#expr;
    const op = this.#expr.op as Exclude<BinaryOperator, SetOperator>;
    if (isComparison(op)) {
      const compare = COMPARISON[op];
      for (let i = 0; i < values.length; i++) {
        if (present[i] === 0 || elements?.has(i)) continue;
        const holds = compare(lhs[i]!, rhs[i]!);
        if (isBool) values[i] = holds ? 1 : 0;
        else if (holds) values[i] = lhs[i]!;
        else present[i] = 0;
      }
    } else if (isTrim(op)) {
      leaveOutNumbers(this.#run, this.#expr, present, (i) => elements?.has(i) ?? false);
    } else {
      const operate = ARITHMETIC[op];
      for (let i = 0; i < values.length; i++)
        if (present[i] === 1 && !elements?.has(i)) values[i] = operate(lhs[i]!, rhs[i]!);
    }
    if (elements) this.#place(elements, out);
  }

  /** What operations with native histograms give; undefined: there are none. Those that can't be done are no match. */
  #elements(many: VectorSeries, one: VectorSeries, out: VectorSeries): Elements | undefined {
    if (!many.histograms && !one.histograms) return undefined;
    const [lhs, rhs] = this.#isSwapped ? [one, many] : [many, one];
    const elements: Elements = new Map();
    for (let i = 0; i < out.present.length; i++) {
      const [left, right] = [lhs.histograms?.[i], rhs.histograms?.[i]];
      if (out.present[i] === 0 || (!left && !right)) continue;
      const result = elementOperation(this.#run, this.#expr, left ?? lhs.values[i]!, right ?? rhs.values[i]!);
      if (result) elements.set(i, result);
      else out.present[i] = 0;
    }
    return elements;
  }

  #place(elements: Elements, out: VectorSeries): void {
    for (const [i, { histogram, holds }] of elements) {
      if (this.#expr.isBool) out.values[i] = holds ? 1 : 0;
      else if (holds) (out.histograms ??= Array.from({ length: out.values.length }))[i] = histogram;
      else out.present[i] = 0;
    }
  }
}

type Elements = Map<number, ElementResult>;

/** Of a match group: where results of the same labels were matched. */
type Matched = Map<string, Uint8Array>;

/** and, or, unless. */
export async function setOperation(
  run: Evaluation,
  { op, lhs: left, rhs: right, matching }: BinaryExpr,
  grid: Grid,
): Promise<VectorSeries[]> {
  assert(matching !== undefined, "two vectors are matched");
  const lhs = await run.vector(left, grid);
  const rhs = await run.vector(right, grid);
  const signature = signatureOf(matching);
  // The side that decides: of `or` the left one, whose groups keep the right one's series out.
  const [kept, deciding] = op === "or" ? [rhs, lhs] : [lhs, rhs];
  const presence = new Map<string, Uint8Array>();
  for (const { labels, present } of deciding) {
    const key = signature(labels);
    const known = presence.get(key);
    if (!known) presence.set(key, present.slice());
    else for (let i = 0; i < known.length; i++) known[i]! |= present[i]!;
    await giveWay(run);
  }
  const wanted = op === "and" ? 1 : 0;
  for (const { labels, present } of kept) {
    const group = presence.get(signature(labels));
    for (let i = 0; i < present.length; i++) if ((group ? group[i]! : 0) !== wanted) present[i] = 0;
    await giveWay(run);
  }
  const results = kept.filter((series) => !isEmpty(series));
  releaseSeries(run.budget, kept);
  addSeries(run.budget, results);
  if (op === "or") return mergeSameLabels(run, [...lhs, ...results]);
  releaseSeries(run.budget, rhs);
  return results;
}
