import type { Matcher } from "#promql/ast.ts";
import { METRIC_NAME, type Labels } from "#promql/labels.ts";
import { toLongList } from "#query/long-list.ts";
import { anchor } from "#query/series/regular-expression.ts";
import type { QueryParameters } from "#storage/database.ts";
import { isClusterLabel, type StoredCluster } from "./cluster-labels.ts";
import { checkPattern, toTest } from "./matching.ts";

/** The series that a selector is about, as a condition of SQL. */
export interface Selection {
  /** Those that the selector names, of those that the caller may see; by id. Without one, nothing is to be asked. */
  clusters: ReadonlyMap<string, StoredCluster>;
  /** Over cluster_id, metric_name and labels. `cluster_id` is always one of `clusters`. */
  sql: string;
  parameters: QueryParameters;
  /** The only metric that it may select. */
  metric: string | undefined;
  /** Does it select by more than cluster and metric? */
  isNarrow: boolean;
  /** Does SQL decide all? */
  isExact: boolean;
  /** What SQL can't decide: of labels that make way for those of the cluster. */
  keeps: (labels: Labels) => boolean;
}

const CONDITION: Record<Matcher["type"], (column: string, value: string) => string> = {
  "=": (column, value) => `${column} = ${value}`,
  "!=": (column, value) => `${column} != ${value}`,
  "=~": (column, value) => `match(${column}, ${value})`,
  "!~": (column, value) => `NOT match(${column}, ${value})`,
};

/** `seen`: the clusters that the caller may see, whatever the selector says. Throws PromqlError `bad_data` for a regular expression that is none. */
export function toSelection(matchers: readonly Matcher[], seen: readonly StoredCluster[]): Selection {
  const special = matchers.filter(({ name }) => isClusterLabel(name));
  const plain = matchers.filter(({ name }) => !isClusterLabel(name));
  const tests = special.map((matcher) => ({ name: matcher.name, test: toTest(matcher) }));
  const clusters = seen.filter((cluster) =>
    tests.every(({ name, test }) => {
      if (name === "cluster") return test(cluster.name);
      return name !== "cluster_id" || test(cluster.id);
    }),
  );
  const ids = toLongList(
    "clusters",
    clusters.map(({ id }) => id),
  );
  const parameters: QueryParameters = { ...ids.parameters };
  const conditions = plain.map((matcher, i) => {
    const { name, type, value } = matcher;
    const isPattern = type === "=~" || type === "!~";
    if (isPattern) checkPattern(value);
    parameters[`value_${i}`] = isPattern ? anchor(value) : value;
    if (name === METRIC_NAME) return CONDITION[type]("metric_name", `{value_${i}:String}`);
    parameters[`label_${i}`] = name;
    return CONDITION[type](`labels[{label_${i}:String}]`, `{value_${i}:String}`);
  });
  const moved = tests.filter(({ name }) => name !== "cluster" && name !== "cluster_id");
  return {
    clusters: new Map(clusters.map((cluster) => [cluster.id, cluster])),
    sql: [`cluster_id IN ${ids.sql}`, ...conditions].join(" AND "),
    parameters,
    metric: plain.find(({ name, type }) => name === METRIC_NAME && type === "=")?.value,
    isNarrow: moved.length > 0 || plain.some(({ name }) => name !== METRIC_NAME),
    isExact: moved.length === 0,
    keeps: (labels) => moved.every(({ name, test }) => test(labels.get(name))),
  };
}
