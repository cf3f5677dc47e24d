import { useEffect, useMemo, useRef } from "preact/hooks";
import type { CollectionStatus } from "./api-types.ts";
import { now } from "./clock.ts";
import { addFigures, gpuText, shareOf, toFigures, type Figures } from "./figures.ts";
import { idsOf, readFleet, toClusters, type FleetAnswer, type FleetCluster } from "./fleet-clusters.ts";
import { createFleetFacts, type FleetFacts } from "./fleet-facts.ts";
import { ageOf, bytes, count, duration, number, percent, plural } from "./format.ts";
import { useLoaded } from "./loaded.ts";
import { roundsEnded, underWay, useLive, withResult, type Live } from "./live.ts";
import { RoundState, toDoing } from "./round.ts";
import { hrefOf, route, setQuery } from "./route.ts";
import { settings } from "./settings.ts";
import { Strip, StripLegend } from "./strip.ts";
import { troubleOf, type Trouble } from "./trouble.ts";
import { Age, Badge, Bar, html, LoadState, OLD_SECONDS, Value, type Html } from "./ui.ts";

const POLL_MS = 15_000;
const GROUPS = { trouble: "with trouble", good: "without trouble", off: "disabled" } as const;

type Group = keyof typeof GROUPS;

function groupOf({ word }: Trouble): Group {
  if (word === "healthy" || word === "collected") return "good";
  return word === "disabled" ? "off" : "trouble";
}

interface RowData {
  cluster: FleetCluster;
  trouble: Trouble;
}

function withResults(answer: FleetAnswer, live: Live | null, readAt: number): FleetAnswer {
  if (answer.kind === "reported" || live === null) return answer;
  const clusters = answer.status.clusters.map((each) => withResult(each, live, readAt));
  return { ...answer, status: { ...answer.status, clusters } };
}

/** The worst first. */
function toRows(answer: FleetAnswer, facts: FleetFacts): RowData[] {
  const clusters = toClusters(answer, (id) => facts.of(id).value.value?.reported ?? null);
  const rows = clusters.map((cluster) => {
    const health = facts.of(cluster.id).value.value?.health ?? null;
    return { cluster, trouble: troubleOf(cluster.trouble, health, settings.parts.queries) };
  });
  return rows.sort((a, b) => a.trouble.rank - b.trouble.rank || a.cluster.name.localeCompare(b.cluster.name));
}

function matches({ cluster, trouble }: RowData, search: string, group: string): boolean {
  if (group !== "" && groupOf(trouble) !== group) return false;
  const text = [cluster.id, cluster.name, cluster.platform ?? "", trouble.word, trouble.reason].join(" ");
  return text.toLowerCase().includes(search.toLowerCase());
}

/** Every cluster, the worst first. */
export function Fleet(): Html {
  const rounds = useLive();
  const loaded = useLoaded("fleet", readFleet, POLL_MS, roundsEnded.value);
  const facts = useMemo(createFleetFacts, []);
  useEffect(() => () => facts.stop(), [facts]);
  const answer = loaded.value && withResults(loaded.value, rounds, loaded.at ?? 0);
  const ids = answer ? idsOf(answer).join(" ") : undefined;
  useEffect(() => {
    if (settings.parts.queries && ids !== undefined) facts.setClusters(ids === "" ? [] : ids.split(" "));
  }, [facts, ids]);
  const search = route.value.query.get("search") ?? "";
  const group = route.value.query.get("state") ?? "";
  const rows = answer ? toRows(answer, facts) : [];
  const shown = rows.filter((row) => matches(row, search, group));
  return html`<section aria-labelledby="title">
    <h1 id="title">Fleet</h1>
    <${LoadState} loaded=${loaded} what="the list of clusters" />
    ${
      answer
        ? html`${
              answer.kind === "collected"
                ? html`<${Warnings} status=${answer.status} /><${RoundState}
                      live=${rounds}
                      status=${answer.status}
                    />`
                : ""
            }
            <${TotalsOf} rows=${rows} facts=${facts} />
            <${Filter} search=${search} group=${group} shown=${shown.length} all=${rows.length} />
            <${Rows} rows=${shown} facts=${facts} live=${rounds} />
            ${rows.length === 0 ? html`<${NoClusters} />` : ""}
            <${StripLegend} />`
        : ""
    }
  </section>`;
}

function Warnings({ status }: { status: CollectionStatus }): Html {
  const texts = [
    ...(status.enabled ? [] : ["Collection is off (METRICS_COLLECTION_ENABLED=false)."]),
    ...status.warnings,
  ];
  return html`<div>${texts.map((text) => html`<p class="warning" role="status">▲ ${text}</p>`)}</div>`;
}

function NoClusters(): Html {
  const text = "There are no clusters yet. ";
  if (settings.parts.changes) return html`<p>${text}<a href=${hrefOf(["onboard"])}>Add a cluster</a></p>`;
  return html`<p>${text}POST /clusters of the bridge registers one; see <a href="/docs">the API</a>.</p>`;
}

function TotalsOf({ rows, facts }: { rows: readonly RowData[]; facts: FleetFacts }): Html {
  const groups = rows.map((row) => groupOf(row.trouble));
  const amount = (group: Group): number => groups.filter((each) => each === group).length;
  const loaded = rows.flatMap(({ cluster }) => facts.of(cluster.id).value.value ?? []);
  const all = addFigures(loaded.map(({ nodes, gpus }) => toFigures(nodes, gpus)));
  const missing = rows.length - amount("off") - loaded.length;
  const points = rows.flatMap(({ cluster }) => cluster.completeness?.totals.stretches ?? []);
  const proved = points.reduce((sum, each) => sum + each.proved, 0);
  const ended = points.reduce(
    (sum, each) => sum + each.proved + each.unproved + each.open + each.refused + each.lost,
    0,
  );
  return html`<dl class="totals" aria-label="All clusters together">
    <${Total}
      name="Clusters"
      text=${count(rows.length)}
      more=${`${count(amount("trouble"))} with trouble, ${count(amount("good"))} without${amount("off") > 0 ? `, ${count(amount("off"))} disabled` : ""}`}
    />
    <${Total}
      name="Proved, last 24 h"
      text=${percent(shareOf(proved, ended))}
      more=${`${count(proved)} of ${count(ended)} stretches of queries that were compared`}
    />
    ${settings.parts.queries ? html`<${FigureTotals} all=${all} missing=${missing} known=${loaded.length > 0} />` : ""}
  </dl>`;
}

function FigureTotals({ all, missing, known }: { all: Figures; missing: number; known: boolean }): Html {
  const note = missing > 0 ? `; ${plural(missing, "cluster")} not loaded yet` : "";
  const cpu = shareOf(all.cpuUsed, all.cpuCores);
  return html`<${Total}
      name="Nodes ready"
      text=${known ? `${count(all.ready)} / ${count(all.nodes)}` : "…"}
      more=${`of clusters with data${note}`}
    />
    <${Total}
      name="CPU"
      text=${known ? percent(cpu) : "…"}
      more=${`${number(all.cpuUsed)} of ${number(all.cpuCores)} cores${note}`}
    />
    <${Total}
      name="Memory"
      text=${known ? percent(shareOf(all.memoryUsed, all.memoryTotal)) : "…"}
      more=${`${bytes(all.memoryUsed)} of ${bytes(all.memoryTotal)}${note}`}
    />
    <${Total}
      name="GPUs held / idle / free"
      text=${known ? gpuText(all) : "…"}
      more=${`idle: held, below 1 % for 15 minutes${note}`}
    />`;
}

function Total({ name, text, more }: { name: string; text: string; more: string }): Html {
  return html`<div>
    <dt>${name}</dt>
    <dd>
      <strong><${Value} text=${text} /></strong><span class="quiet">${more}</span>
    </dd>
  </div>`;
}

function Filter({
  search,
  group,
  shown,
  all,
}: {
  search: string;
  group: string;
  shown: number;
  all: number;
}): Html {
  const onSearch = (event: Event): void => setQuery({ search: (event.target as HTMLInputElement).value });
  const onGroup = (event: Event): void => setQuery({ state: (event.target as HTMLSelectElement).value });
  return html`<form class="filter" role="search" onSubmit=${(event: Event) => event.preventDefault()}>
    <label
      >Search
      <input type="search" value=${search} onInput=${onSearch} placeholder="name, id, platform, reason"
    /></label>
    <label
      >State
      <select value=${group} onChange=${onGroup}>
        <option value="">all</option>
        ${Object.entries(GROUPS).map(([value, text]) => html`<option value=${value}>${text}</option>`)}
      </select></label
    >
    <span class="quiet" role="status"
      >${shown === all ? plural(all, "cluster") : `${count(shown)} of ${plural(all, "cluster")}`}</span
    >
  </form>`;
}

function Rows({
  rows,
  facts,
  live,
}: {
  rows: readonly RowData[];
  facts: FleetFacts;
  live: Live | null;
}): Html {
  const heads = ["State", "Cluster", "Completeness, last 24 h", "Behind"];
  const more = settings.parts.queries
    ? ["Nodes ready", "CPU", "Memory", "GPUs held / idle / free", "Values of"]
    : [];
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Clusters, the worst first">
    <table class="fleet">
      <caption class="hidden">
        Clusters, the worst first
      </caption>
      <thead>
        <tr>
          ${[...heads, ...more].map((head) => html`<th scope="col">${head}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(({ cluster, trouble }) => html`<${Row} key=${cluster.id} cluster=${cluster} facts=${facts} trouble=${trouble} doing=${doingOf(cluster, live)} />`)}
      </tbody>
    </table>
  </div>`;
}

/** What is done with the cluster now; empty: nothing. */
function doingOf({ id, isBusy }: FleetCluster, live: Live | null): string {
  const own = underWay(live, id);
  // An error is said already.
  if (own) return own.result?.error ? "" : toDoing(own);
  return live === null && isBusy ? "↻ being collected ..." : "";
}

/** Tells `facts` whether the row can be seen. */
function useInView(id: string, facts: FleetFacts) {
  const row = useRef<HTMLTableRowElement>(null);
  useEffect(() => {
    if (!row.current || !settings.parts.queries) return undefined;
    const observer = new IntersectionObserver(([entry]) =>
      facts.setInView(id, entry?.isIntersecting ?? false),
    );
    observer.observe(row.current);
    return () => {
      observer.disconnect();
      facts.setInView(id, false);
    };
  }, [id, facts]);
  return row;
}

interface RowProps {
  cluster: FleetCluster;
  trouble: Trouble;
  facts: FleetFacts;
  doing: string;
}

function Row({ cluster, trouble, facts, doing }: RowProps): Html {
  const { id, platform, completeness } = cluster;
  const row = useInView(id, facts);
  return html`<tr ref=${row} data-cluster=${id}>
    <td class="state">
      <${StateCell} error=${cluster.error} trouble=${trouble} />${
        doing === "" ? "" : html`<span class="doing">${doing}</span>`
      }
    </td>
    <th scope="row">
      <a href=${hrefOf(["clusters", id])}>${cluster.name}</a
      ><span class="quiet">${platform === null ? id : `${id}, ${platform}`}</span>
    </th>
    <td>
      ${completeness ? html`<${Proof} completeness=${completeness} />` : html`<span class="quiet">not loaded yet</span>`}
    </td>
    <td><${Behind} cluster=${cluster} /></td>
    ${settings.parts.queries ? html`<${FactCells} id=${id} facts=${facts} isOff=${cluster.isOff} />` : ""}
  </tr>`;
}

/** The worst of it first; the last error of the collection always, with its age. */
function StateCell({ error, trouble }: { error: FleetCluster["error"]; trouble: Trouble }): Html {
  const isSaid = error?.message === trouble.reason;
  return html`<span>
    <${Badge} tone=${trouble.tone}>${trouble.word}<//>
    ${trouble.reason === "" ? "" : html`<span class="reason">${trouble.reason}</span>`}
    ${trouble.remedy === "" ? "" : html`<span class="remedy">${trouble.remedy}</span>`}
    ${error && !isSaid ? html`<span class="reason">${`Last error: ${error.message}`}</span><span class="remedy">${error.hint}</span>` : ""}
    ${error ? html`<span class="remedy age-of-error"><code>${error.code}</code><${Age} time=${error.at} /></span>` : ""}
  </span>`;
}

function Proof({ completeness }: { completeness: NonNullable<FleetCluster["completeness"]> }): Html {
  const { proved, pending, not_comparable: _, unknown: __, ...others } = completeness.totals.stretches;
  const wrong = Object.entries(others).filter(([, amount]) => amount > 0);
  const good =
    proved > 0
      ? `${count(proved)} stretches proved`
      : pending > 0
        ? "not compared yet"
        : "nothing collected yet";
  const text =
    wrong.length > 0 ? wrong.map(([state, amount]) => `${count(amount)} ${state}`).join(", ") : good;
  return html`<${Strip} hours=${completeness.hours} /><span class="quiet">${text}</span>`;
}

function Behind({ cluster }: { cluster: FleetCluster }): Html {
  const age = ageOf(cluster.watermark, now.value);
  if (age === null) return html`<${Value} text="–" title="not known: nothing was collected yet" />`;
  return html`<${Value}
    text=${duration(age)}
    old=${cluster.isLate}
    title="everything before is stored, or recorded as a gap"
  />`;
}

function FactCells({ id, facts, isOff }: { id: string; facts: FleetFacts; isOff: boolean }): Html {
  const { value, error } = facts.of(id).value;
  if (value === null) {
    const text = error ? `${error.message}: ${error.hint}` : isOff ? "disabled" : "not loaded yet";
    return html`<td colspan="5" class=${error ? "failed" : "quiet"}>${text}</td>`;
  }
  const { nodes, gpus, health } = value;
  const figures = toFigures(nodes, gpus);
  const age = ageOf(nodes.as_of, now.value);
  const old = age === null || age > (health.stale_after_seconds || OLD_SECONDS);
  const cpu = shareOf(figures.cpuUsed, figures.cpuCores);
  const memory = shareOf(figures.memoryUsed, figures.memoryTotal);
  return html`<td>
      <${Value} text=${figures.nodes === 0 ? "–" : `${figures.ready} / ${figures.nodes}`} old=${old} />
    </td>
    <td><${Bar} value=${cpu} text=${percent(cpu)} old=${old} /></td>
    <td><${Bar} value=${memory} text=${percent(memory)} old=${old} /></td>
    <td>
      <${Value}
        text=${figures.gpus === 0 ? "–" : gpuText(figures)}
        old=${old}
        title=${figures.gpus === 0 ? "no GPU is measured" : "held by Pods, of these idle for 15 minutes, free"}
      />
    </td>
    <td>
      <${Age}
        time=${nodes.as_of}
        old=${health.stale_after_seconds || OLD_SECONDS}
      />${error ? html`<span class="failed">${error.message}</span>` : ""}
    </td>`;
}
