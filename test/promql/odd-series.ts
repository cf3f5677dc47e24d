import { Labels, METRIC_NAME } from "#promql/labels.ts";
import type { Series } from "#promql/source.ts";
import { createRandom } from "../helpers/random.ts";
import { toSeries } from "./demo-series.ts";

const EVERY_MS = 15_000;
const BUCKETS = ["0.1", "0.5", "1", "5", "+Inf"];

/** Series for random queries: gauges and counters with gaps, markers, resets, NaN and infinities, classic histograms, names in UTF-8. */
export function oddSeries(startMs: number, endMs: number): Series[] {
  const random = createRandom(7);
  const scrapes = Math.floor((endMs - startMs) / EVERY_MS);
  const all: Series[] = [];
  const add = (
    name: string,
    labels: Record<string, string>,
    course: (scrape: number) => number | "stale" | undefined,
  ): void => {
    const late = Math.floor(random() * EVERY_MS);
    const own = Labels.of(Object.entries({ [METRIC_NAME]: name, ...labels }));
    const jitter = Array.from({ length: scrapes }, () => Math.floor(random() * 200));
    all.push(
      toSeries(own, course, (scrape) => startMs + scrape * EVERY_MS + late + jitter[scrape]!, scrapes),
    );
  };
  for (const job of ["api", "db"]) {
    for (const instance of ["a:1", "b:2", "c:3"]) {
      const labels = { job, instance };
      add("up", labels, (scrape) => ((scrape + instance.length) % 37 === 0 ? 0 : 1));
      for (const mode of ["idle", "user", "wait"]) {
        let counter = random() * 1e6;
        add("cpu_seconds_total", { ...labels, mode }, () => {
          counter = random() < 0.02 ? random() * 5 : counter + random() * 15;
          return random() < 0.05 ? undefined : counter;
        });
      }
      add("memory_bytes", labels, () => Math.round(random() * 4e9) - 1e9);
      add("temperature", labels, (scrape) => 20 + 15 * Math.sin(scrape / 20) - random() * 30);
      let requests = 0;
      add("requests_total", labels, (scrape) => {
        requests += Math.floor(random() * 9);
        const phase = scrape % 60;
        return phase === 45 ? "stale" : phase > 45 ? undefined : requests;
      });
      histogram(add, { ...labels }, random);
    }
    add("limit_bytes", { job }, () => 3e9 + random());
    add("build_info", { job, version: job === "api" ? "1.2" : "1.10" }, () => 1);
  }
  add("edge", { kind: "nan" }, () => Number.NaN);
  add("edge", { kind: "inf" }, () => Number.POSITIVE_INFINITY);
  add("edge", { kind: "-inf" }, () => Number.NEGATIVE_INFINITY);
  add("edge", { kind: "zero" }, () => 0);
  add("edge", { kind: "-zero" }, () => -0);
  add("edge", { kind: "huge" }, () => 1.7e308);
  // Smaller ones have other logarithms in Go on amd64.
  add("edge", { kind: "tiny" }, () => 2.3e-308);
  add(
    "edge",
    { kind: "mixed" },
    () => [1, Number.NaN, -3, Number.POSITIVE_INFINITY, 0.1][Math.floor(random() * 5)]!,
  );
  add("http.status", { "k8s.pod": "p-1", job: "api" }, () => Math.floor(random() * 600));
  add("http.status", { "k8s.pod": "p-2", job: "db" }, () => Math.floor(random() * 600));
  add("rare", { job: "api" }, (scrape) => (scrape % 25 === 0 ? scrape + random() : undefined));
  return all.filter(({ times }) => times.length > 0);
}

function histogram(
  add: (name: string, labels: Record<string, string>, course: (scrape: number) => number) => void,
  labels: Record<string, string>,
  random: () => number,
): void {
  const counts: number[][] = [];
  const at = (scrape: number): number[] => {
    while (counts.length <= scrape) {
      const last = counts.at(-1) ?? BUCKETS.map(() => 0);
      let more = 0;
      counts.push(last.map((count) => count + (more += Math.floor(random() * 5))));
    }
    return counts[scrape]!;
  };
  for (const [i, le] of BUCKETS.entries()) {
    add("latency_seconds_bucket", { ...labels, le }, (scrape) => at(scrape)[i]!);
  }
}
