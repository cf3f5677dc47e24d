import type { CollectionStatus, LiveCluster, LiveRound } from "./api-types.ts";
import { now } from "./clock.ts";
import { ageOf, clockTime, count, duration, plural } from "./format.ts";
import type { Live } from "./live.ts";
import { Age, html, Table, type Html } from "./ui.ts";

function doneOf({ successful, partial, failed, skipped }: LiveRound): number {
  return successful + partial + failed + skipped;
}

/** "2 failed, 1 partly collected" */
function troubles({ partial, failed, skipped }: LiveRound): string {
  const parts = [
    [failed, "failed"],
    [partial, "partly collected"],
    [skipped, "skipped"],
  ] as const;
  return parts.flatMap(([amount, word]) => (amount > 0 ? `, ${count(amount)} ${word}` : "")).join("");
}

/** The rounds under way, or how the last one ended: as its events tell, or else as the status says. */
export function RoundState({ live, status }: { live: Live | null; status: CollectionStatus }): Html {
  const { current_round: current, last_round: last } = status;
  const known = current ?? last;
  const rounds = live?.rounds ?? (known ? [known] : []);
  const running = rounds.filter((round) => round.finished_at === null);
  const [ended] = rounds.filter((round) => round.finished_at !== null).slice(-1);
  // Only what is worth an interruption: that a round begins, and how it ends.
  const said = running.length > 0 ? "A round is in progress" : ended ? endText(ended) : "";
  return html`<div class="round">
    <span class="hidden" role="status">${said}</span>
    ${running.map((round) => html`<${Running} key=${round.id} round=${round} clusters=${live ? [...live.clusters.values()] : []} />`)}
    ${
      running.length === 0 && ended
        ? html`<p class="quiet">
            ${endText(ended)}; <${Age} time=${ended.finished_at} old=${2 * status.interval_seconds} />
          </p>`
        : ""
    }
  </div>`;
}

function endText(round: LiveRound): string {
  return `Last round: ${count(round.successful)} of ${plural(round.total, "cluster")} successful${troubles(round)}; ${count(round.points)} samples in ${duration(round.duration_seconds ?? 0)}`;
}

function Running({ round, clusters }: { round: LiveRound; clusters: readonly LiveCluster[] }): Html {
  const own = clusters.filter((each) => each.round === round.id && each.state !== "finished");
  const busy = own.filter((each) => each.state !== "waiting");
  const points = busy.reduce((sum, each) => sum + (each.progress?.points ?? 0), round.points);
  const done = doneOf(round);
  const age = ageOf(round.started_at, now.value) ?? 0;
  const working = clusters.length > 0 ? `, ${count(busy.length)} being collected` : "";
  const text = `${count(done)} of ${plural(round.total, "cluster")} done${troubles(round)}${working}; ${plural(points, "sample")} in ${duration(age)}`;
  return html`<div class="running">
    <strong>Round in progress</strong>
    <progress max=${Math.max(1, round.total)} value=${done} aria-label="Clusters done"></progress>
    <span>${text}</span>
  </div>`;
}

/** What a cluster does in the round under way, in a few words. */
export function toDoing({ state, progress, result }: LiveCluster): string {
  if (state === "waiting") return "… waits for its turn";
  if (state === "finished") return `✔ this round: ${plural(result?.points ?? 0, "sample")}`;
  if (!progress) return "↻ connecting ...";
  const { queries_done: done, queries, points } = progress;
  return `↻ ${count(done)} of ${count(queries)} queries, ${plural(points, "sample")}`;
}

/** The collection of a cluster that is under way. */
export function RunningCollection({ cluster }: { cluster: LiveCluster }): Html {
  const { progress, started_at: at } = cluster;
  const since = at === null ? "" : `, for ${duration(ageOf(at, now.value) ?? 0)}`;
  const done = progress?.queries_done ?? 0;
  return html`<section aria-labelledby="running">
    <h2 id="running">Collection in progress</h2>
    <p>
      <strong>${toDoing(cluster)}</strong>${since}${
        progress ? `; ${plural(progress.windows, "window")} stored, ${count(progress.series)} series` : ""
      }
    </p>
    <progress max=${progress?.queries ?? 1} value=${done} aria-label="Queries done"></progress>
    ${progress && progress.reading.length > 0 ? html`<${Reading} reading=${progress.reading} />` : ""}
  </section>`;
}

type Window = NonNullable<LiveCluster["progress"]>["reading"][number];

function Reading({ reading }: { reading: readonly Window[] }): Html {
  const time = (text: string): string => clockTime(text, now.peek());
  return html`<${Table}
    caption="Windows that are being read"
    rows=${reading}
    keyOf=${(each: Window) => `${each.query} ${each.from}`}
    columns=${[
      { head: "Being read", cell: (each: Window) => each.query },
      { head: "From", cell: (each: Window) => time(each.from) },
      { head: "To", cell: (each: Window) => time(each.to) },
    ]}
  />`;
}
