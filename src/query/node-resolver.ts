import { createHash } from "node:crypto";
import type { Clock } from "#lib/clock.ts";
import type { QueryParameters } from "#storage/database.ts";
import type { LimitedDatabase } from "./limits.ts";
import { toLongList } from "./long-list.ts";
import { hostOf, NODE_NAME, type NodeAddresses } from "./node-addresses.ts";

type Labels = Readonly<Record<string, string>>;

/** What a series says about the node that it is about. */
export interface NodeQuestion {
  /** What the series calls its node, the best first. May be a name, an address, or (old dcgm-exporters) the name of the exporter's Pod. */
  names: readonly string[];
  /** The label `k8s.node.name`, which a series keeps as it is (OpenTelemetry's name for it); "": none. */
  fixed?: string;
  /** The scraped target's `instance`; "": none. */
  instance: string;
  /** Pods on that node: the exporter's, as Prometheus' target labels name it. */
  pods: readonly { namespace: string; pod: string }[];
  /** Time of the newest sample: addresses and Pods move. */
  newestMs: number;
}

/** What an answer has read about the nodes already; an empty list where it reads none. */
export interface NodeEvidence {
  addresses: NodeAddresses;
  /** kube_node_info. */
  listed: readonly { node: string; internal_ip: string }[];
  /** node_uname_info. */
  hosts: readonly { instance: string; nodename: string }[];
}

/** `known`: Kubernetes has a node of this name. Else `node` is what the series calls it, "" where it calls it nothing. */
interface ResolvedNode {
  node: string;
  known: boolean;
}

export type NodeNames = (question: NodeQuestion) => ResolvedNode;

/**
 * Finds the node of each series, for all answers alike:
 * 1. the series' own names, if Kubernetes lists a node of that name or address, with or without domain;
 *    then its label `k8s.node.name`, listed or not;
 * 2. the host of `instance`, by the collections' lists of addresses and by kube_node_info.internal_ip;
 * 3. the node name that uname gave for the same `instance`;
 * 4. kube_pod_info of the exporter's Pod: by its target labels, by a name that is a Pod's, by an `instance` that is a Pod's address (kubernetes-mixin joins
 *    namespace and pod in the same way);
 * 5. what the series calls it.
 * Reads kube_pod_info, kube_node_info and node_uname_info only when a question stays open after the third, and remembers the answer for a minute.
 */
export type NodeResolver = (
  evidence: NodeEvidence,
  questions: readonly NodeQuestion[],
  of: { clusterId: string; fromMs: number; toMs: number },
  signal: AbortSignal | undefined,
) => Promise<NodeNames>;

const REMEMBERED_MS = 60_000;
const REMEMBERED_MAX = 200;
/** Names of Pods, and addresses, that one statement looks for. */
const LOOKUPS_MAX = 5000;
const PLACES_MAX = 20_000;

export function createNodeResolver(
  deps: { database: LimitedDatabase; clock: Clock },
  settings: { databaseName: string },
): NodeResolver {
  const { database, clock } = deps;
  const remembered = new Map<string, { readAtMs: number; places: Places }>();
  const read = async (lookups: Lookups, of: Parameters<NodeResolver>[2], signal: AbortSignal | undefined) => {
    const { sql, parameters: lists } = placesSql(settings.databaseName, lookups);
    const parameters = {
      cluster: of.clusterId,
      first_day: toDay(of.fromMs),
      last_day: toDay(of.toMs),
      ...lists,
    };
    const key = createHash("sha256").update(JSON.stringify(parameters)).digest("base64");
    const found = remembered.get(key);
    if (found && clock.monotonic() - found.readAtMs < REMEMBERED_MS) return found.places;
    const readAtMs = clock.monotonic();
    const rows = await database.query<PlaceRow>(sql, parameters, signal);
    const places = toPlaces(rows);
    remembered.delete(key);
    remembered.set(key, { readAtMs, places });
    const [oldest] = remembered.keys();
    if (remembered.size > REMEMBERED_MAX && oldest !== undefined) remembered.delete(oldest);
    return places;
  };
  return async (evidence, questions, of, signal) => {
    const names = createNodeNames(evidence, NO_PLACES);
    const open = questions.filter((question) => !names(question).known);
    const lookups = toLookups(open);
    if (lookups.pods.length + lookups.ips.length === 0) return names;
    return createNodeNames(evidence, await read(lookups, of, signal));
  };
}

/**
 * The labels by which a target's scrape configuration names the node, the best first: that of kube-prometheus, of the old Prometheus chart (helm/charts#9321, NVIDIA/gpu-operator#242), and others' names for
 * `__meta_kubernetes_pod_node_name`. Each by itself: `exported_X`, else `X`.
 */
const NODE_LABELS = ["node", "kubernetes_node", "node_name", "nodename"];

/** What a series' labels call its node, without what only some exporters have. */
export function nodeLabelsOf(labels: Labels): string[] {
  return NODE_LABELS.map((name) => labels[`exported_${name}`] || labels[name] || "").filter(
    (name) => name !== "",
  );
}

/**
 * The question of a series of node_exporter, or of a cAdvisor: its labels about its target, each by itself (`exported_X`, else `X`: a federated Prometheus renames them).
 */
export function toNodeQuestion(labels: Labels, newestMs: number): NodeQuestion {
  const own = (name: string): string => labels[`exported_${name}`] || labels[name] || "";
  return {
    names: nodeLabelsOf(labels),
    fixed: own(NODE_NAME),
    instance: own("instance"),
    pods: own("pod") === "" ? [] : [{ namespace: own("namespace"), pod: own("pod") }],
    newestMs,
  };
}

/** Where Pods are, which nodes Kubernetes lists, and what hosts call themselves. */
interface Places extends Pick<NodeEvidence, "listed" | "hosts"> {
  pods: ReadonlyMap<string, readonly Place[]>;
  ips: ReadonlyMap<string, readonly Place[]>;
}

interface Place {
  namespace: string;
  node: string;
  sinceMs: number;
  untilMs: number;
}

const NO_PLACES: Places = { listed: [], hosts: [], pods: new Map(), ips: new Map() };

/** The names of the nodes with what is known. Exported for tests. */
export function createNodeNames(evidence: NodeEvidence, places: Places): NodeNames {
  const { addresses } = evidence;
  const listed = [...evidence.listed, ...places.listed].filter(({ node }) => node !== "");
  const byName = createNameIndex([...addresses.names, ...listed.map(({ node }) => node)]);
  const byAddress = new Map(listed.map(({ internal_ip, node }) => [internal_ip, node]));
  byAddress.delete("");
  const byInstance = new Map(
    [...places.hosts, ...evidence.hosts]
      .filter(({ instance }) => instance !== "")
      .map((host) => [host.instance, host.nodename]),
  );
  const nodeOf = (text: string, timeMs: number): string | undefined =>
    text === "" ? undefined : (byName(text) ?? addresses.nodeOf(text, timeMs) ?? byAddress.get(text));
  const first = <Item>(
    items: readonly Item[],
    find: (item: Item) => string | undefined,
  ): string | undefined => {
    for (const item of items) {
      const found = find(item);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return ({ names, fixed = "", instance, pods, newestMs }) => {
    const host = hostOf(instance);
    const uname = byInstance.get(instance) ?? "";
    const placeOf = (of: readonly Place[] | undefined, namespace = "") => nodeAt(of, namespace, newestMs);
    const node =
      first(names, (name) => nodeOf(name, newestMs)) ??
      (fixed === "" ? undefined : (nodeOf(fixed, newestMs) ?? fixed)) ??
      nodeOf(host, newestMs) ??
      nodeOf(uname, newestMs) ??
      first(pods, ({ namespace, pod }) => placeOf(places.pods.get(pod), namespace)) ??
      first([...names, uname], (name) => placeOf(places.pods.get(name), pods[0]?.namespace)) ??
      placeOf(places.ips.get(host));
    return node === undefined ? { node: names[0] ?? instance, known: false } : { node, known: true };
  };
}

/** Names with or without domain, in any case: "ip-10-0-0-1" is "ip-10-0-0-1.ec2.internal", unless two nodes begin so. */
function createNameIndex(nodes: readonly string[]): (text: string) => string | undefined {
  const unique = [...new Set(nodes)];
  const exact = new Map(unique.map((node) => [node.toLowerCase(), node]));
  const short = Map.groupBy(unique, shortName);
  return (text) => {
    const found = exact.get(text.toLowerCase());
    if (found !== undefined || isAddress(text)) return found;
    const alike = (short.get(shortName(text)) ?? []).filter(
      (node) => !isAddress(node) && (!node.includes(".") || !text.includes(".")),
    );
    return alike.length === 1 ? alike[0] : undefined;
  };
}

function shortName(name: string): string {
  return name.toLowerCase().split(".")[0]!;
}

/** An IPv4 or IPv6 address, or something with a port. */
function isAddress(text: string): boolean {
  return /^[\d.]+$/.test(text) || text.includes(":");
}

/** The node of the Pod at a time, else the last one; undefined: none, or Pods on several nodes have the name. */
function nodeAt(places: readonly Place[] | undefined, namespace: string, timeMs: number): string | undefined {
  if (places === undefined) return undefined;
  const named = places.filter((place) => namespace === "" || place.namespace === namespace);
  const then = named.filter(({ sinceMs, untilMs }) => sinceMs <= timeMs && timeMs <= untilMs + REMEMBERED_MS);
  const nodes = new Set(then.map(({ node }) => node));
  if (nodes.size === 1) return [...nodes][0];
  const last = then.length === 0 ? named : then;
  return last.toSorted((a, b) => b.untilMs - a.untilMs)[0]?.node;
}

interface Lookups {
  /** Names of Pods, and addresses of Pods. */
  pods: string[];
  ips: string[];
  /** Of node_uname_info. */
  instances: string[];
}

function toLookups(open: readonly NodeQuestion[]): Lookups {
  const pods = open.flatMap((question) => [...question.pods.map(({ pod }) => pod), ...question.names]);
  const ips = open.map(({ instance }) => hostOf(instance));
  const unique = (texts: readonly string[]): string[] =>
    [...new Set(texts.filter((text) => text !== ""))].sort().slice(0, LOOKUPS_MAX);
  return { pods: unique(pods), ips: unique(ips), instances: unique(open.map(({ instance }) => instance)) };
}

interface PlaceRow {
  metric_name: string;
  namespace: string;
  pod: string;
  ip: string;
  node: string;
  since_ms: string;
  until_ms: string;
}

/** From the table of series: it has a row a day for each Pod, where samples have one a minute. */
function placesSql(databaseName: string, lookups: Lookups): { sql: string; parameters: QueryParameters } {
  const [pods, ips, instances] = [
    toLongList("pods", lookups.pods),
    toLongList("ips", lookups.ips),
    toLongList("instances", lookups.instances),
  ];
  const own = (name: string): string =>
    `if(labels['exported_${name}'] != '', labels['exported_${name}'], labels['${name}'])`;
  const sql = `SELECT metric_name, namespace, pod, ip, node, toString(toUnixTimestamp64Milli(min(first))) AS since_ms,
      toString(toUnixTimestamp64Milli(max(last))) AS until_ms
    FROM (SELECT metric_name, ${own("namespace")} AS namespace, ${own("pod")} AS pod, if(metric_name = 'node_uname_info', labels['nodename'], ${own("node")}) AS node,
        multiIf(metric_name = 'kube_node_info', labels['internal_ip'], metric_name = 'node_uname_info', ${own("instance")}, labels['pod_ip']) AS ip, first_time AS first, last_time AS last
      FROM ${databaseName}.series
      WHERE cluster_id = {cluster:String} AND metric_name IN ('kube_node_info', 'kube_pod_info', 'node_uname_info')
        AND day BETWEEN toDate({first_day:String}) AND toDate({last_day:String}))
    WHERE node != '' AND multiIf(metric_name = 'kube_node_info', 1, metric_name = 'node_uname_info', ip IN ${instances.sql}, pod IN ${pods.sql} OR ip IN ${ips.sql})
    GROUP BY metric_name, namespace, pod, ip, node ORDER BY metric_name, max(last) DESC LIMIT ${PLACES_MAX}`;
  return { sql, parameters: { ...pods.parameters, ...ips.parameters, ...instances.parameters } };
}

function toPlaces(rows: readonly PlaceRow[]): Places {
  const pods = rows
    .filter(({ metric_name }) => metric_name === "kube_pod_info")
    .map(({ namespace, pod, ip, node, since_ms, until_ms }) => ({
      pod,
      ip,
      place: { namespace, node, sinceMs: Number(since_ms), untilMs: Number(until_ms) },
    }));
  const by = (key: "pod" | "ip"): Map<string, Place[]> =>
    new Map(
      [...Map.groupBy(pods, (each) => each[key])].map(([text, own]) => [text, own.map(({ place }) => place)]),
    );
  return {
    listed: rows
      .filter(({ metric_name }) => metric_name === "kube_node_info")
      .map(({ node, ip }) => ({ node, internal_ip: ip })),
    // The newest is last: it counts.
    hosts: rows
      .filter(({ metric_name }) => metric_name === "node_uname_info")
      .map(({ node, ip }) => ({ instance: ip, nodename: node }))
      .reverse(),
    pods: by("pod"),
    ips: by("ip"),
  };
}

function toDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}
