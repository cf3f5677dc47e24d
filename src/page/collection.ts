import { ApiError, clusterPath, get } from "./api.ts";
import type {
  ClusterStatus,
  CollectionStatus,
  Completeness,
  Gap,
  HourState,
  LiveCluster,
  ReportedCompleteness,
  Stretch,
} from "./api-types.ts";
import { now, nowMs } from "./clock.ts";
import { Diagnose } from "./diagnose.ts";
import { clockTime, count, duration, plural, UNMEASURED } from "./format.ts";
import { HOUR_TEXTS } from "./hour-states.ts";
import { useLoaded, type Loaded } from "./loaded.ts";
import { RunningCollection } from "./round.ts";
import { settings } from "./settings.ts";
import { describeHours, Strip, StripLegend } from "./strip.ts";
import { Age, Badge, html, LoadState, Table, Value, type Html } from "./ui.ts";

const REFRESH_MS = 60_000;
const HOUR_MS = 3_600_000;
/** Hours; short stretches of many queries are too many for the longer ones. */
const RANGES = [24, 6, 1];
const STATES = Object.keys(HOUR_TEXTS) as HourState[];

/** How a cluster is collected, and what became of the samples of each query. */
export function Collection({
  id,
  cluster,
  doing,
  status,
}: {
  id: string;
  cluster: ClusterStatus | null;
  /** In the round under way. */
  doing: LiveCluster | null;
  status: Loaded<CollectionStatus>;
}): Html {
  return html`<div>
    ${settings.parts.collection ? html`<${LoadState} loaded=${status} what="the status of the collection" />` : ""}
    ${doing ? html`<${RunningCollection} cluster=${doing} />` : ""}
    ${cluster?.collecting && !doing ? html`<p><${Badge} tone="wait">being collected<//></p>` : ""}
    ${cluster ? html`<${Facts} cluster=${cluster} round=${status.value?.last_round ?? null} />` : ""}
    ${cluster && cluster.gaps.length > 0 ? html`<${Gaps} gaps=${cluster.gaps} />` : ""}
    ${settings.parts.collection ? html`<${Diagnose} id=${id} />` : ""}
    <${Hours} id=${id} />
  </div>`;
}

function Facts({ cluster, round }: { cluster: ClusterStatus; round: CollectionStatus["last_round"] }): Html {
  const error = cluster.last_error;
  const result = round?.clusters.find((each) => each.cluster_id === cluster.cluster_id);
  const took = result
    ? `${result.outcome}, ${count(result.points)} samples in ${duration(result.duration_seconds)}`
    : UNMEASURED;
  const pods = cluster.prometheus_pods;
  return html`<div>
    ${error ? html`<${LastError} error=${error} />` : ""}
    ${cluster.warnings.map((text) => html`<p class="warning">▲ ${text}</p>`)}
    <dl class="facts">
      <dt>Everything is stored up to</dt>
      <dd><${Age} time=${cluster.watermark} /></dd>
      <dt>Last success</dt>
      <dd><${Age} time=${cluster.last_success} /></dd>
      <dt>Last round</dt>
      <dd><${Value} text=${took} /></dd>
      <dt>Read from</dt>
      <dd>
        ${`${cluster.prometheus_pod ?? UNMEASURED}, ${cluster.transport === "tunnel" ? "through a port-forward" : "directly"}`}
      </dd>
      ${
        pods
          ? html`<dt>Several Pods</dt>
              <dd>${pods.decision}: ${pods.reason}</dd>`
          : ""
      }
      <dt>Prometheus' clock</dt>
      <dd><${Value} text=${skewText(cluster.clock_skew_seconds)} /></dd>
      <dt>Series</dt>
      <dd>${count(cluster.series)}</dd>
    </dl>
  </div>`;
}

function LastError({ error }: { error: NonNullable<ClusterStatus["last_error"]> }): Html {
  return html`<div class="problem">
    <p>
      <strong>Last error: ${error.message}</strong> <code>${error.code}</code>${", "}<${Age}
        time=${error.at}
      />
    </p>
    <p>${error.hint}</p>
  </div>`;
}

function skewText(seconds: number | null): string {
  if (seconds === null) return UNMEASURED;
  if (Math.abs(seconds) < 1) return "agrees within a second";
  return `${duration(Math.abs(seconds))} ${seconds > 0 ? "ahead" : "behind"}`;
}

/** Gaps that are the same of several queries. */
interface GapGroup extends Gap {
  queries: string[];
}

function toGroups(gaps: readonly Gap[]): GapGroup[] {
  const groups = Map.groupBy(gaps, ({ state, from, to, reason }) => [state, from, to, reason].join(" "));
  return [...groups.values()].flatMap((all) => {
    const [first] = all;
    if (!first) return [];
    const known = all.flatMap(({ points }) => points ?? []);
    const { points: _, ...gap } = first;
    const total = known.length === 0 ? {} : { points: known.reduce((sum, points) => sum + points, 0) };
    return [{ ...gap, ...total, queries: all.map(({ query }) => query) }];
  });
}

function queriesOf({ queries }: Pick<GapGroup, "queries">): Html | string {
  if (queries.length === 1) return queries[0] ?? "";
  return html`<details>
    <summary>${plural(queries.length, "query", "queries")}</summary>
    ${queries.map((query) => html`<span class="line">${query}</span>`)}
  </details>`;
}

function Gaps({ gaps }: { gaps: readonly Gap[] }): Html {
  const time = (text: string): string => clockTime(text, now.peek());
  const groups = toGroups(gaps);
  return html`<h2>${plural(groups.length, "gap")}</h2>
    <${Table}
      caption="Gaps with their reasons"
      rows=${groups}
      keyOf=${(gap: GapGroup) => `${gap.state} ${gap.from} ${gap.to} ${gap.reason}`}
      columns=${[
        {
          head: "State",
          cell: (gap: GapGroup) =>
            html`<span class=${`swatch ${gap.state}`} aria-hidden="true"></span>${gap.state}`,
        },
        { head: "Query", cell: queriesOf },
        { head: "From", cell: (gap: GapGroup) => time(gap.from) },
        { head: "To", cell: (gap: GapGroup) => time(gap.to) },
        { head: "Reason", cell: (gap: GapGroup) => gap.reason },
        {
          head: "Samples",
          title: "refused ones",
          numeric: true,
          cell: (gap: GapGroup) => html`<${Value} text=${count(gap.points)} />`,
        },
      ]}
    />`;
}

/** The stretches of one query. */
interface QueryProgress {
  query: string;
  worst: Stretch | null;
  amounts: string;
  to: string | null;
  source: number | null;
  acknowledged: number | null;
  refused: number | null;
  late: number | null;
}

/** The worst queries first. */
function toProgress(stretches: readonly Stretch[]): QueryProgress[] {
  const byQuery = Map.groupBy(stretches, (stretch) => stretch.query);
  const rankOf = (stretch: Stretch): number =>
    stretch.state === null ? STATES.length : STATES.indexOf(stretch.state);
  const progress = [...byQuery].map(([query, all]): QueryProgress => {
    const compared = all.filter((stretch) => stretch.reason !== "expression");
    const [worst = null] = compared.toSorted((a, b) => rankOf(a) - rankOf(b));
    // Of a number that no stretch has, nothing is known: that is not 0.
    const total = (name: "source" | "acknowledged" | "refused" | "late"): number | null => {
      const known = all.filter((stretch) => stretch[name] !== null);
      return known.length === 0 ? null : known.reduce((sum, stretch) => sum + (stretch[name] ?? 0), 0);
    };
    const amounts = STATES.map(
      (state) => [state, compared.filter((stretch) => stretch.state === state).length] as const,
    );
    return {
      query,
      worst,
      amounts: amounts
        .filter(([, amount]) => amount > 0)
        .map(([state, amount]) => `${amount} ${state}`)
        .join(", "),
      to: all.at(-1)?.to ?? null,
      source: total("source"),
      acknowledged: total("acknowledged"),
      refused: total("refused"),
      late: total("late"),
    };
  });
  const rank = (each: QueryProgress): number => (each.worst ? rankOf(each.worst) : STATES.length);
  return progress.sort((a, b) => rank(a) - rank(b) || a.query.localeCompare(b.query));
}

type HoursAnswer = (Completeness | ReportedCompleteness) & { range: number };

/** Of the longest range that the API answers. */
async function readHours(id: string, signal: AbortSignal): Promise<HoursAnswer> {
  for (const [place, range] of RANGES.entries()) {
    const from = String(Math.floor((Math.floor(nowMs() / HOUR_MS) - range) * (HOUR_MS / 1000)));
    const path = settings.parts.collection
      ? `/metrics/completeness?${new URLSearchParams({ cluster: id, from }).toString()}`
      : clusterPath(id, "completeness", { from });
    try {
      return { ...(await get<Completeness | ReportedCompleteness>(path, signal)), range };
    } catch (error) {
      const isTooLarge = error instanceof ApiError && error.code === "query_too_large";
      if (!isTooLarge || place === RANGES.length - 1) throw error;
    }
  }
  throw new Error("no range was asked for");
}

function Hours({ id }: { id: string }): Html {
  const loaded = useLoaded(id, (signal) => readHours(id, signal), REFRESH_MS);
  const answer = loaded.value;
  return html`${answer && "reported_at" in answer ? html`<${Reported} report=${answer} />` : ""}
    <h2>${`What became of the samples, last ${plural(answer?.range ?? 24, "hour")}`}</h2>
    <${LoadState} loaded=${loaded} what="the completeness" />
    ${
      answer
        ? html`<${Strip} hours=${answer.hours} />
            <p>${toSentence(answer)}</p>
            <${StripLegend} />
            <h2>Queries, the worst first</h2>
            <${Queries} rows=${toProgress(answer.stretches)} />`
        : ""
    }`;
}

/** In the role query: the collection by what the bridge reported to ClickHouse. */
function Reported({ report }: { report: ReportedCompleteness }): Html {
  const { last_error: error, sources, reported_at: at } = report;
  const groups = [
    ...Map.groupBy(report.gaps, ({ state, reason, seconds }) => [state, reason, seconds].join(" ")).values(),
  ].flatMap((all) => all.slice(0, 1).map((gap) => ({ ...gap, queries: all.map(({ query }) => query) })));
  type Group = (typeof groups)[number];
  return html`<div>
    ${error ? html`<${LastError} error=${{ ...error, message: error.cause }} />` : ""}
    <dl class="facts">
      <dt>Reported by the bridge</dt>
      <dd><${Age} time=${at} /></dd>
      <dt>Read from</dt>
      <dd>
        <${Value}
          text=${sources.map(({ pod, transport }) => `${pod} (${transport})`).join(", ") || UNMEASURED}
        />
      </dd>
    </dl>
    ${
      groups.length === 0
        ? ""
        : html`<h2>${plural(groups.length, "gap")}</h2>
            <${Table}
              caption="Gaps with their reasons"
              rows=${groups}
              keyOf=${({ state, reason, seconds }: Group) => [state, reason, seconds].join(" ")}
              columns=${[
                {
                  head: "State",
                  cell: ({ state }: Group) =>
                    html`<span class=${`swatch ${state}`} aria-hidden="true"></span>${state}`,
                },
                { head: "Query", cell: queriesOf },
                { head: "Length", cell: ({ seconds }: Group) => duration(seconds) },
                { head: "Reason", cell: ({ reason }: Group) => reason },
              ]}
            />`
    }
  </div>`;
}

function toSentence({ hours, totals }: Completeness): string {
  const { proved, unproved, open, refused, lost } = totals.stretches;
  const isCompared = proved + unproved + open + refused + lost > 0;
  const source = isCompared
    ? `Prometheus had ${count(totals.source)} samples when they were compared`
    : "No stretch was compared with Prometheus yet";
  return `${describeHours(hours)}. ${source}; ${count(totals.acknowledged)} samples are acknowledged by the Collector, ${count(totals.refused)} are refused, ${count(totals.late)} came late.`;
}

function Queries({ rows }: { rows: readonly QueryProgress[] }): Html {
  const number = (amount: number | null): Html => html`<${Value} text=${count(amount)} />`;
  const state = ({ worst }: QueryProgress): Html | string => {
    if (worst?.state === undefined || worst.state === null)
      return html`<span class="quiet">an expression, or not reported</span>`;
    return html`<span class=${`swatch ${worst.state}`} aria-hidden="true"></span>${worst.state}`;
  };
  return html`<${Table}
    caption="Queries, the worst first"
    rows=${rows}
    keyOf=${(row: QueryProgress) => row.query}
    columns=${[
      { head: "Query", cell: (row: QueryProgress) => row.query },
      { head: "Worst state", cell: state },
      { head: "Reason", cell: ({ worst }: QueryProgress) => worst?.message ?? "" },
      { head: "Stretches", cell: (row: QueryProgress) => row.amounts },
      {
        head: "Source",
        title: "samples that Prometheus had when they were compared",
        numeric: true,
        cell: (row: QueryProgress) => number(row.source),
      },
      { head: "Acknowledged", numeric: true, cell: (row: QueryProgress) => number(row.acknowledged) },
      { head: "Refused", numeric: true, cell: (row: QueryProgress) => number(row.refused) },
      { head: "Late", numeric: true, cell: (row: QueryProgress) => number(row.late) },
    ]}
  />`;
}
