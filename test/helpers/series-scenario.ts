import type { ReferenceSeries } from "./promql-reference.ts";
import { createRandom } from "./random.ts";

interface ScenarioSettings {
  kind: "gauge" | "counter";
  seed: number;
  startMs: number;
  endMs: number;
  seriesCount: number;
  /** NaN and infinities among the values of a gauge. */
  oddValues?: boolean;
}

const SCRAPE_MS = [15_000, 30_000, 60_000] as const;

/**
 * Series as clusters have them: scraped every 15, 30 or 60 s with jitter in ms, with missed scrapes and long gaps, that appear late or vanish
 * early; counters that restart at zero, some of which start far from zero.
 */
export function createScenario(settings: ScenarioSettings): ReferenceSeries[] {
  const random = createRandom(settings.seed);
  const { startMs, endMs, kind } = settings;
  return Array.from({ length: settings.seriesCount }, (_unused, i) => {
    const labels: Record<string, string> = { id: String(i), mode: ["user", "system", "idle"][i % 3]! };
    if (i % 4 !== 0) labels["zone"] = `z${i % 2}`;
    const every = SCRAPE_MS[i % 3]!;
    const length = endMs - startMs;
    const from = i % 5 === 1 ? startMs + length * random() * 0.7 : startMs;
    const to = i % 5 === 2 ? startMs + length * (0.2 + random() * 0.6) : endMs;
    const samples: [number, number][] = [];
    let value = kind === "counter" ? (i % 2) * 1e6 * random() : 100 * random();
    const offset = Math.floor(random() * every);
    let gapUntil = 0;
    for (let at = Math.ceil(from); at <= to; at += every) {
      const ms = at + offset + Math.floor(random() * 900);
      if (random() < 0.01) gapUntil = ms + random() * 600_000;
      if (kind === "counter") value = random() < 0.01 ? random() * 3 : value + random() * 50;
      else value += (random() - 0.5) * 10;
      if (ms < gapUntil || random() < 0.03) continue;
      samples.push([ms, settings.oddValues && random() < 0.04 ? oddValue(random()) : value]);
    }
    return { labels, samples };
  });
}

function oddValue(random: number): number {
  if (random < 0.5) return Number.NaN;
  return random < 0.75 ? Infinity : -Infinity;
}
