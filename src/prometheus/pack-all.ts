import type { LabelMatcher } from "./remote-read/request.ts";
import type { QuerySpec } from "./query-spec.ts";
import { toSelector } from "./selector-matchers.ts";

/** Beginnings of the names that exporters have most of: each row is one query. */
const PREFIXES = {
  containers: ["container"],
  kube: ["kube"],
  node: ["node"],
  kubelet: ["kubelet", "storage", "volume", "csi"],
  api_server: ["apiserver"],
  etcd: ["etcd", "grpc"],
  control_plane: ["workqueue", "rest_client", "scheduler", "authentication", "authorization", "aggregator"],
  processes: ["go", "process", "promhttp", "python", "jvm"],
  monitoring: ["prometheus", "alertmanager", "grafana", "net_conntrack"],
} as const;

/** All other names, by their first characters. Colons are those of recording rules. */
const INITIALS = { a_to_h: "[a-h]", i_to_p: "[i-p]", q_to_z: "[q-z]", others: "[^a-z:]" } as const;

const RULES = ".*:.*";
const prefixed = (prefixes: readonly string[]): string => `(${prefixes.join("|")})_[^:]*`;

/** Every name matches one of them alone: `is`, and not `isNot`. */
const PARTS: readonly { name: string; is: string; isNot?: string }[] = [
  ...Object.entries(PREFIXES).map(([name, prefixes]) => ({ name, is: prefixed(prefixes) })),
  { name: "rules", is: RULES },
  ...Object.entries(INITIALS).map(([name, initial]) => ({
    name,
    is: `${initial}[^:]*`,
    isNot: prefixed(Object.values(PREFIXES).flat()),
  })),
];

/**
 * Selectors that together have every metric of a source once, whatever its names are, except `listed` (exact names, which other queries read) and
 * those that one of the regular expressions `drop` matches. A selector has no name that it does not match anyway.
 */
export function allQueries(listed: readonly string[], drop: readonly string[]): QuerySpec[] {
  return PARTS.map(({ name, is, isNot }) => {
    const own = listed.filter(
      (metric) => isWhole(is).test(metric) && !(isNot && isWhole(isNot).test(metric)),
    );
    const unwanted = [...(isNot ? [isNot] : []), ...(own.length > 0 ? [own.join("|")] : []), ...drop];
    const matchers: LabelMatcher[] = [
      { name: "__name__", type: "=~", value: is },
      ...unwanted.map((value): LabelMatcher => ({ name: "__name__", type: "!~", value })),
    ];
    return { name: `all_${name}`, promql: toSelector(matchers), group: "all", isUnlisted: true };
  });
}

function isWhole(expression: string): RegExp {
  return new RegExp(`^(?:${expression})$`, "s");
}
