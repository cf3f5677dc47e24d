import type { RequestListener } from "node:http";
import type { Clock } from "#lib/clock.ts";
import { formatValue } from "./answer-format.ts";
import { sampleTime, scrapeTime } from "./series.ts";
import type { Label, SimulatedSeries } from "./series.ts";
import type { ClusterWorld } from "./world.ts";

const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/**
 * GET /metrics: all series of a cluster in the text format, for a real Prometheus to scrape with
 * `honor_labels: true` (job and instance are given).
 * Values are those of the moment; container_* samples bring their own timestamps. What Prometheus makes
 * itself (`up`) is left out.
 */
export function createExposition(world: ClusterWorld, clock: Clock): RequestListener {
  return (request, response) => {
    request.on("error", () => {});
    response.on("error", () => {});
    request.resume();
    if (request.url?.split("?")[0] !== "/metrics") {
      response.writeHead(404, { "content-type": "text/plain" });
      response.end("not found\n");
      return;
    }
    response.writeHead(200, { "content-type": CONTENT_TYPE });
    response.end(expositionText(world, clock.now() + world.shape.skewMs));
  };
}

/** The text format (version 0.0.4) of the world at a time. */
export function expositionText(world: ClusterWorld, atMs: number): string {
  const lines: string[] = [];
  let family = "";
  const byFamily = [...world.metrics]
    .filter((metric) => metric.family !== null)
    .sort((a, b) => ((a.family?.name ?? "") < (b.family?.name ?? "") ? -1 : 1));
  for (const metric of byFamily) {
    if (metric.family && metric.family.name !== family) {
      family = metric.family.name;
      const help = metric.family.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
      lines.push(
        `# HELP ${family} ${help}`,
        `# TYPE ${family} ${metric.family.type.replace("unknown", "untyped")}`,
      );
    }
    for (const series of metric.series({ fromMs: atMs, toMs: atMs })) {
      if (atMs < series.bornMs || atMs >= series.goneMs || series.target.isDown?.(atMs)) continue;
      const line = sampleLine(metric.name, series, atMs);
      if (line !== undefined) lines.push(line);
    }
  }
  return `${lines.join("\n")}\n`;
}

function sampleLine(name: string, series: SimulatedSeries, atMs: number): string | undefined {
  // The text format has no native histograms.
  if (series.histogramAt) return undefined;
  const labels = series.labels.filter(([label]) => label !== "__name__").map(labelText);
  const head = `${name}{${labels.join(",")}}`;
  if (series.lateMs === undefined) return `${head} ${formatValue(series.valueAt(atMs))}`;
  let k = Math.floor(atMs / series.target.intervalMs) + 1;
  while (scrapeTime(series.target, k, 0) > atMs) k--;
  const ownMs = sampleTime(series, k, 0);
  return `${head} ${formatValue(series.valueAt(ownMs))} ${ownMs}`;
}

function labelText([name, value]: Label): string {
  return `${name}="${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}
