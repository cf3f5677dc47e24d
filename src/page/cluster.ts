import { clusterPath, get } from "./api.ts";
import type { CollectionStatus, ClusterStatus, Health, HealthIssue, LiveCluster } from "./api-types.ts";
import { Charts } from "./charts.ts";
import { ClusterSettings } from "./cluster-settings.ts";
import { Collection } from "./collection.ts";
import { number, plural } from "./format.ts";
import { roundsEnded, underWay, useLive, withResult } from "./live.ts";
import { useLoaded, type Loaded } from "./loaded.ts";
import { hrefOf, route } from "./route.ts";
import { settings } from "./settings.ts";
import { GpuTable, NodeTable, PodTable } from "./state-tables.ts";
import { Strip } from "./strip.ts";
import { troubleOf, troubleOfStatus } from "./trouble.ts";
import { Age, Badge, html, LoadState, Table, type Html } from "./ui.ts";

const STATUS_MS = 15_000;
const HEALTH_MS = 60_000;

interface Tab {
  name: string;
  path: string;
  needsQueries: boolean;
  needsChanges?: true;
}

const ALL_TABS: [Tab, ...Tab[]] = [
  { name: "Health", path: "", needsQueries: true },
  { name: "Nodes", path: "nodes", needsQueries: true },
  { name: "Pods", path: "pods", needsQueries: true },
  { name: "GPUs", path: "gpus", needsQueries: true },
  { name: "Charts", path: "charts", needsQueries: true },
  { name: "Collection", path: "collection", needsQueries: false },
  { name: "Settings", path: "settings", needsQueries: false, needsChanges: true },
];

const TABS = ALL_TABS.filter(
  ({ needsQueries, needsChanges }) =>
    (settings.parts.queries || !needsQueries) && (settings.parts.changes || !needsChanges),
);

/** The part of a cluster that a place names, or else the first one. */
export function partOf(path: string): Tab {
  return TABS.find((tab) => tab.path === path) ?? TABS[0] ?? ALL_TABS[0];
}

/** The status of the collection; it waits for ever where the role does not collect. */
function useStatus(): Loaded<CollectionStatus> {
  const key = settings.parts.collection ? "status" : null;
  return useLoaded(
    key,
    (signal) => get<CollectionStatus>("/metrics/status", signal),
    STATUS_MS,
    roundsEnded.value,
  );
}

/** One cluster: `tab` is a part of the place. */
export function Cluster({ id, tab }: { id: string; tab: string }): Html {
  const rounds = useLive();
  const status = useStatus();
  const health = useLoaded(
    settings.parts.queries ? id : null,
    (signal) => get<Health>(clusterPath(id, "health"), signal),
    HEALTH_MS,
  );
  const found = status.value?.clusters.find((each) => each.cluster_id === id);
  const cluster = found ? withResult(found, rounds, status.at ?? 0) : null;
  const isMissing = status.value !== null && cluster === null;
  const shown = partOf(tab).path;
  return html`<section aria-labelledby="title">
    <p><a href=${hrefOf([])}>← Fleet</a></p>
    <${Title} id=${id} cluster=${cluster} health=${health.value} />
    ${isMissing ? html`<p class="problem" role="alert"><strong>There is no cluster with the id ${id}.</strong> It may have been removed, or your token may not see it.</p>` : ""}
    <nav class="tabs" aria-label="Parts of the cluster">
      ${TABS.map(({ name, path }) => html`<a href=${hrefOf(["clusters", id, ...(path === "" ? [] : [path])])} aria-current=${path === shown ? "page" : undefined}>${name}</a>`)}
    </nav>
    <${Part}
      id=${id}
      tab=${shown}
      cluster=${cluster}
      doing=${underWay(rounds, id)}
      status=${status}
      health=${health}
    />
  </section>`;
}

function Title({
  id,
  cluster,
  health,
}: {
  id: string;
  cluster: ClusterStatus | null;
  health: Health | null;
}): Html {
  const trouble = troubleOf(cluster && troubleOfStatus(cluster), health, settings.parts.queries);
  return html`<div class="title">
    <h1 id="title">${cluster?.cluster_name ?? id}</h1>
    <span><${Badge} tone=${trouble.tone}>${trouble.word}<//> ${trouble.reason}</span>
    <span class="quiet">${id}${cluster ? `, ${cluster.platform}` : ""}</span>
    ${cluster ? html`<${Strip} hours=${cluster.completeness.hours} />` : ""}
    ${health?.as_of ? html`<span class="quiet">values of <${Age} time=${health.as_of} old=${health.stale_after_seconds} /></span>` : ""}
  </div>`;
}

interface PartProps {
  id: string;
  tab: string;
  cluster: ClusterStatus | null;
  doing: LiveCluster | null;
  status: Loaded<CollectionStatus>;
  health: Loaded<Health>;
}

function Part({ id, tab, cluster, doing, status, health }: PartProps): Html {
  if (tab === "nodes") return html`<${NodeTable} id=${id} />`;
  if (tab === "pods") return html`<${PodTable} id=${id} query=${route.value.query} />`;
  if (tab === "gpus") return html`<${GpuTable} id=${id} />`;
  if (tab === "charts") return html`<${Charts} id=${id} range=${route.value.query.get("range") ?? ""} />`;
  if (tab === "collection")
    return html`<${Collection} id=${id} cluster=${cluster} doing=${doing} status=${status} />`;
  if (tab === "settings") return html`<${ClusterSettings} id=${id} />`;
  return html`<${HealthPart} health=${health} />`;
}

function HealthPart({ health }: { health: Loaded<Health> }): Html {
  const { value } = health;
  return html`<div>
    <${LoadState} loaded=${health} what="the health" />
    ${value ? html`<${Issues} health=${value} />` : ""}
  </div>`;
}

function Issues({ health }: { health: Health }): Html {
  if (health.issues.length === 0) {
    const text =
      health.status === "healthy"
        ? "No issue is known."
        : "No issue is known, but what is stored does not suffice to judge.";
    return html`<p>${text}</p>`;
  }
  return html`<div>
    <h2>${plural(health.issue_count, "issue")}</h2>
    <${Table}
      caption="Issues, the critical ones first"
      rows=${health.issues}
      keyOf=${(issue: HealthIssue) => `${issue.metric} ${issue.node} ${issue.object} ${issue.message}`}
      columns=${[
        {
          head: "Severity",
          cell: ({ severity }: HealthIssue) =>
            html`<${Badge} tone=${severity === "critical" ? "bad" : "warn"}>${severity}<//>`,
        },
        {
          head: "Where",
          cell: ({ node, object }: HealthIssue) =>
            [node, object].filter((part) => part !== null).join(", ") || "the cluster",
        },
        { head: "What", cell: ({ message }: HealthIssue) => message },
        { head: "Value", numeric: true, cell: ({ value }: HealthIssue) => number(value) },
        { head: "Threshold", numeric: true, cell: ({ threshold }: HealthIssue) => number(threshold) },
      ]}
    />
    <h2>What to do</h2>
    <ul>
      ${health.recommendations.map((text) => html`<li>${text}</li>`)}
    </ul>
  </div>`;
}
