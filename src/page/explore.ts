import { useState } from "preact/hooks";
import { clusterPath, get, query } from "./api.ts";
import type { Labels, ListedCluster, QueryAnswer, StoredMetrics, Stretch } from "./api-types.ts";
import { Chart, NoSamples } from "./chart.ts";
import { seriesName, toChartData } from "./chart-data.ts";
import { asOf, RangeChoice, RANGES, Source } from "./charts.ts";
import { nowMs } from "./clock.ts";
import { ExploreForm, type Question } from "./explore-form.ts";
import { toFilters, words } from "./filters.ts";
import { number, plural } from "./format.ts";
import { useLoaded } from "./loaded.ts";
import { route } from "./route.ts";
import { settings } from "./settings.ts";
import { toStepStates } from "./step-states.ts";
import { readStretches } from "./stretches.ts";
import { html, LoadState, type Html } from "./ui.ts";

const CLUSTERS_MAX = 6;
const LINES_MAX = 12;
const REFRESH_MS = 60_000;

function toQuestion(place: URLSearchParams): Question {
  const range = place.get("range") ?? "";
  const until = Date.parse(place.get("until") ?? "");
  return {
    clusters: words(place.get("clusters") ?? ""),
    metric: place.get("metric") ?? "",
    aggregation: place.get("aggregation") ?? "avg",
    by: words(place.get("by") ?? ""),
    filters: toFilters(place.get("filters") ?? ""),
    range: range in RANGES ? range : "1h",
    until: Number.isNaN(until) ? null : until,
  };
}

interface QuestionBody {
  cluster_id: string;
  metric_name: string;
  aggregation: string;
  group_by?: string[];
  filters?: Question["filters"];
  /** Seconds since 1970. */
  start_time: number;
  end_time: number;
}

/** A body of POST /cluster-metrics/query, until now or the question's own time. */
function bodyOf(question: Question, cluster: string): QuestionBody {
  const end = Math.floor((question.until ?? nowMs()) / 1000);
  return {
    cluster_id: cluster,
    metric_name: question.metric,
    aggregation: question.aggregation,
    ...(question.by.length > 0 ? { group_by: question.by } : {}),
    ...(question.filters.length > 0 ? { filters: question.filters } : {}),
    start_time: end - (RANGES[question.range] ?? 0),
    end_time: end,
  };
}

/** Charts any stored metric, of several clusters side by side. */
export function Explore(): Html {
  const question = toQuestion(route.value.query);
  const [first = ""] = question.clusters;
  const listed = useLoaded(
    "clusters",
    (signal) => get<{ clusters: ListedCluster[] }>("/cluster-metrics", signal),
    0,
  );
  const metrics = useLoaded(
    first === "" ? null : first,
    (signal) => get<StoredMetrics>(clusterPath(first, "metrics"), signal),
    0,
  );
  const labelsKey = first === "" || question.metric === "" ? null : `${first} ${question.metric}`;
  const labels = useLoaded(
    labelsKey,
    (signal) => get<Labels>(clusterPath(first, "labels", { metric: question.metric }), signal),
    0,
  );
  return html`<section aria-labelledby="title">
    <h1 id="title">Explore</h1>
    ${listed.error ? html`<${LoadState} loaded=${listed} what="the clusters" />` : ""}
    <${ExploreForm}
      question=${question}
      clusters=${listed.value?.clusters.map((each) => each.cluster_id) ?? []}
      metrics=${metrics.value?.metrics ?? []}
      labels=${labels.value?.labels ?? []}
    />
    <div class="actions">
      <${RangeChoice} chosen=${question.range} /><${CopyButton}
        name="Copy link"
        text=${() => location.href}
      />
    </div>
    ${question.clusters.length > CLUSTERS_MAX ? html`<p class="warning" role="status">▲ The first ${CLUSTERS_MAX} of ${question.clusters.length} clusters are shown: more do not fit side by side.</p>` : ""}
    ${metrics.error ? html`<${LoadState} loaded=${metrics} what="the names of metrics" />` : ""}
    ${question.metric === "" || first === "" ? html`<p class="quiet">Choose at least one cluster and a metric.</p>` : html`<div class="charts">${question.clusters.slice(0, CLUSTERS_MAX).map((id) => html`<${Result} key=${id} id=${id} question=${question} />`)}</div>`}
  </section>`;
}

interface Explored {
  body: QuestionBody;
  answer: QueryAnswer;
  stretches: Stretch[] | null;
}

function Result({ id, question }: { id: string; question: Question }): Html {
  const load = async (signal: AbortSignal): Promise<Explored> => {
    const body = bodyOf(question, id);
    const range = { from: body.start_time, to: body.end_time };
    const [answer, stretches] = await Promise.all([
      query<QueryAnswer>("/cluster-metrics/query", body, signal),
      readStretches(id, [question.metric], range, signal),
    ]);
    return { body, answer, stretches };
  };
  const loaded = useLoaded(JSON.stringify([id, question]), load, question.until === null ? REFRESH_MS : 0);
  const { value } = loaded;
  return html`<div>
    <h2>${id}</h2>
    <${LoadState} loaded=${loaded} what=${question.metric} />
    ${value ? html`<${Answer} explored=${value} question=${question} />` : ""}
    <${Curl} body=${value?.body ?? bodyOf(question, id)} />
  </div>`;
}

function Answer({ explored, question }: { explored: Explored; question: Question }): Html {
  const { answer, stretches } = explored;
  const data = toChartData([answer], (_answer, { labels }) => seriesName(labels, question.metric));
  const format = (value: number | null): string => number(value, answer.unit);
  const lines = data.lines.slice(0, LINES_MAX);
  const title = `${question.aggregation} of ${question.metric}, ${answer.cluster_id}`;
  const states = stretches && toStepStates(data, stretches, asOf([answer]));
  if (lines.length === 0) return html`<${NoSamples} title=${title} data=${data} states=${states} />`;
  const drawn =
    answer.series_total > lines.length
      ? `The first ${lines.length} of ${plural(answer.series_total, "series", "series")} are drawn.`
      : "";
  return html`<${Chart}
      title=${title}
      data=${{ times: data.times, lines }}
      states=${states}
      format=${format}
    />
    ${drawn === "" ? "" : html`<p class="quiet">${drawn}</p>`}
    <${Source} answer=${answer} />`;
}

/** The same question for a shell. The token is never a part of it. */
function Curl({ body }: { body: QuestionBody }): Html {
  const token = settings.needsToken ? ' -H "authorization: Bearer $TOKEN"' : "";
  const text = `curl -s -X POST '${location.origin}/cluster-metrics/query'${token} -H 'content-type: application/json' -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
  return html`<details>
    <summary>The same with curl</summary>
    <pre tabindex="0"><code>${text}</code></pre>
    <${CopyButton} name="Copy" text=${() => text} />
  </details>`;
}

/** Browsers have a clipboard on https and on localhost only. */
function CopyButton({ name, text }: { name: string; text: () => string }): Html {
  const [done, setDone] = useState("");
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text());
      setDone("copied");
    } catch {
      setDone("this browser does not allow it here; copy it by hand");
    }
  };
  return html`<span
    ><button type="button" onClick=${() => void copy()}>${name}</button>
    <span class="quiet" role="status">${done}</span></span
  >`;
}
