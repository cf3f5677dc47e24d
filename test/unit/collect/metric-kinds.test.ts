import { expect, test } from "vitest";
import { createMetricKinds } from "#collect/metric-kinds.ts";
import { emptyProgress, newQueryProgress, type ClusterProgress } from "#collect/progress.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import type { QuerySpec } from "#prometheus/query-spec.ts";
import type { FamilyMetadata, Metadata } from "#prometheus/metadata.ts";

const metadata = (types: Record<string, string>): Metadata =>
  new Map(
    Object.entries(types).map(([name, type]): [string, FamilyMetadata] => [
      name,
      { type, help: "what it is", unit: "" },
    ]),
  );

/** Asks for the kind of a metric in the window that ends at `toMs`, as a collection up to there does. */
function createSource(specs: QuerySpec[]) {
  const progress: ClusterProgress = emptyProgress();
  const queries = toQueries(specs);
  for (const { name, promql } of queries) progress.queries[name] = newQueryProgress(promql, 0);
  let saves = 0;
  const save = async (): Promise<void> => {
    saves++;
    await Promise.resolve();
  };
  const collect = (toMs: number, known: Metadata) => {
    for (const state of Object.values(progress.queries)) state.attempted = toMs;
    const kinds = createMetricKinds(progress, known, save);
    const describe = (metric: string, at = 0) =>
      kinds.describe({ query: queries[at]!, window: { fromMs: toMs - 10, toMs } }, metric);
    return { kinds, describe };
  };
  return { collect, saves: () => saves };
}

const selector: QuerySpec = { name: "m", promql: "m", group: "node" };

test("the metadata's type, help and unit, and always the same object", () => {
  const { describe } = createSource([selector]).collect(10, metadata({ m_bytes: "counter" }));
  expect(describe("m_bytes")).toEqual({
    name: "m_bytes",
    kind: "counter",
    unit: "By",
    description: "what it is",
  });
  expect(describe("m_bytes")).toBe(describe("m_bytes"));
});

test("the catalogue's type and unit come first; an expression is a gauge unless it says otherwise", () => {
  const { describe } = createSource([
    { ...selector, type: "gauge", unit: "" },
    { name: "n", promql: "sum(n_total)", group: "node" },
    { name: "o", promql: "sum(o_total)", group: "node", type: "counter" },
  ]).collect(10, metadata({ m_bytes: "counter" }));
  expect(describe("m_bytes")).toMatchObject({ kind: "gauge", unit: "" });
  expect(describe("n_total", 1).kind).toBe("gauge");
  expect(describe("o_total", 2).kind).toBe("counter");
});

test("a change of the type counts for later windows; metadata that is silent for a while changes nothing", () => {
  const source = createSource([selector]);
  const kindAt = (toMs: number, types: Record<string, string>): string =>
    source.collect(toMs, metadata(types)).describe("m").kind;
  expect(kindAt(10, { m: "counter" })).toBe("counter");
  expect(kindAt(20, {})).toBe("counter");
  expect(kindAt(30, { m: "gauge" })).toBe("counter");
  expect(kindAt(40, { m: "gauge" })).toBe("gauge");
  expect(kindAt(50, {})).toBe("gauge");
  expect(kindAt(60, {})).toBe("gauge");
});

test.each(["unknown", "", "untyped", "anything else"])(
  "metadata of the type '%s' says nothing: the name decides, also for a metric that was sent as a gauge before",
  (type) => {
    const source = createSource([selector]);
    const kindAt = (toMs: number, metric: string, types: Record<string, string>): string =>
      source.collect(toMs, metadata(types)).describe(metric).kind;
    const silent = { m: type, m_total: type };
    expect(kindAt(10, "new_total", { new_total: type })).toBe("counter");
    expect(kindAt(10, "m_total", { m_total: "gauge" })).toBe("gauge");
    expect(kindAt(20, "m_total", silent)).toBe("gauge");
    expect(kindAt(30, "m_total", silent)).toBe("counter");
    // A name without a suffix is no proof of a gauge.
    expect(kindAt(10, "m", { m: "counter" })).toBe("counter");
    expect(kindAt(30, "m", silent)).toBe("counter");
  },
);

test("parts of a histogram are known by their family", () => {
  const source = createSource([selector]);
  const histogram = metadata({ request_seconds: "histogram" });
  expect(source.collect(10, histogram).describe("request_seconds_bucket").kind).toBe("counter");
  expect(source.collect(10, histogram).describe("request_seconds_sum")).toMatchObject({
    kind: "counter",
    unit: "s",
  });
});

test("only kinds that are new cost a write, and concurrent callers wait for the same one", async () => {
  const source = createSource([selector]);
  const { kinds, describe } = source.collect(10, metadata({}));
  await kinds.saved();
  expect(source.saves()).toBe(0);
  describe("m");
  await Promise.all([kinds.saved(), kinds.saved()]);
  expect(source.saves()).toBe(1);
  describe("m");
  await kinds.saved();
  expect(source.saves()).toBe(1);
  describe("other");
  await kinds.saved();
  expect(source.saves()).toBe(2);
});

test("a metric has the kind that it has in another shard, with the same changes, whatever this shard's Prometheus says", () => {
  const [query] = toQueries([selector]);
  const progressOf = (promql: string): ClusterProgress => {
    const progress = emptyProgress();
    progress.queries["m"] = { ...newQueryProgress(promql, 0), attempted: 100 };
    return progress;
  };
  const peer = progressOf("m");
  peer.queries["m"]!.types["m_total"] = [
    { kind: "gauge", since: 0 },
    { kind: "counter", since: 50 },
  ];
  const task = (toMs: number) => ({ query: query!, window: { fromMs: toMs - 10, toMs } });
  const none = async (): Promise<void> => {};
  const own = progressOf("m");
  const kinds = createMetricKinds(own, metadata({ m_total: "counter" }), none, [progressOf("m"), peer]);
  expect([40, 60].map((toMs) => kinds.describe(task(toMs), "m_total").kind)).toEqual(["gauge", "counter"]);
  expect(own.queries["m"]!.types["m_total"]).not.toBe(peer.queries["m"]!.types["m_total"]);
  // The other shard's progress is about another PromQL.
  peer.queries["m"]!.promql_hash = "another";
  const alone = createMetricKinds(progressOf("m"), metadata({ m_total: "counter" }), none, [peer]);
  expect(alone.describe(task(40), "m_total").kind).toBe("counter");
});
