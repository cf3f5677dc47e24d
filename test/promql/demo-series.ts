import { Labels, METRIC_NAME } from "#promql/labels.ts";
import type { Series } from "#promql/source.ts";
import { createRandom } from "../helpers/random.ts";

const EVERY_MS = 5000;
const BUCKETS = ["0.001", "0.005", "0.025", "0.1", "0.5", "2.5", "+Inf"];

/** A value, "stale" or none for each scrape; the first one has number 0. */
type Course = (scrape: number) => number | "stale" | undefined;

/** The series that prometheus/compliance's queries ask for: eight kinds of three instances, scraped each 5 s, not quite in time. */
export function demoSeries(startMs: number, endMs: number): Series[] {
  const random = createRandom(1);
  const scrapes = Math.floor((endMs - startMs) / EVERY_MS);
  const all: Series[] = [];
  for (const [number, port] of ["10000", "10001", "10002"].entries()) {
    const late = Array.from({ length: scrapes }, () => Math.floor(random() * 40));
    const add = (name: string, labels: Record<string, string>, course: Course): void => {
      const own = { [METRIC_NAME]: name, instance: `demo.promlabs.com:${port}`, job: "demo", ...labels };
      all.push(
        toSeries(
          Labels.of(Object.entries(own)),
          course,
          (scrape) => startMs + scrape * EVERY_MS + late[scrape]!,
          scrapes,
        ),
      );
    };
    const counter = (perScrape: number): Course => {
      let value = random() * 1000;
      return () => {
        // A process restarts now and then.
        value = random() < 0.002 ? 0 : value + random() * perScrape;
        return value;
      };
    };
    for (const [i, type] of ["buffers", "cached", "free", "used"].entries()) {
      const level = 1e9 * (1 + i);
      add("demo_memory_usage_bytes", { type }, (scrape) =>
        Math.round(level * (1 + 0.3 * Math.sin(scrape / 40 + number) + 0.05 * random())),
      );
    }
    add("demo_num_cpus", {}, () => 2 + number * 2);
    for (const mode of ["idle", "system", "user"]) add("demo_cpu_usage_seconds_total", { mode }, counter(20));
    add(
      "demo_disk_usage_bytes",
      {},
      (scrape) => 3e10 + scrape * 12_345 * (1 + number) + Math.floor(random() * 5000),
    );
    add("demo_disk_total_bytes", {}, () => 2 ** 38);
    let lastSuccess = 0;
    add("demo_batch_last_success_timestamp_seconds", {}, (scrape) => {
      if (scrape % 20 === number) lastSuccess = (startMs + scrape * EVERY_MS) / 1000;
      return lastSuccess;
    });
    // On and off, with a marker at each end.
    add("demo_intermittent_metric", {}, (scrape) => {
      const phase = (scrape + number * 7) % 90;
      return phase < 60 ? phase : phase === 60 ? "stale" : undefined;
    });
    for (const method of ["GET", "POST"]) addHistogram(add, { method, path: "/api/foo" }, random);
  }
  return all;
}

function addHistogram(
  add: (name: string, labels: Record<string, string>, course: Course) => void,
  labels: Record<string, string>,
  random: () => number,
): void {
  const counts: number[][] = [];
  const sums: number[] = [];
  const at = (scrape: number): number[] => {
    while (counts.length <= scrape) {
      const last = counts.at(-1) ?? BUCKETS.map(() => 0);
      let more = 0;
      counts.push(last.map((count) => count + (more += Math.floor(random() * 6))));
      sums.push((sums.at(-1) ?? 0) + random() * more);
    }
    return counts[scrape]!;
  };
  const name = "demo_api_request_duration_seconds";
  for (const [i, le] of BUCKETS.entries())
    add(`${name}_bucket`, { ...labels, le }, (scrape) => at(scrape)[i]!);
  add(`${name}_count`, labels, (scrape) => at(scrape).at(-1)!);
  add(`${name}_sum`, labels, (scrape) => {
    at(scrape);
    return sums[scrape]!;
  });
}

/** `timeOf` gives the time of a scrape. */
export function toSeries(
  labels: Labels,
  course: Course,
  timeOf: (scrape: number) => number,
  scrapes: number,
): Series {
  const points: { ms: number; value: number | "stale" }[] = [];
  for (let scrape = 0; scrape < scrapes; scrape++) {
    const value = course(scrape);
    if (value !== undefined) points.push({ ms: timeOf(scrape), value });
  }
  return {
    labels,
    times: Float64Array.from(points, ({ ms }) => ms),
    values: Float64Array.from(points, ({ value }) => (value === "stale" ? Number.NaN : value)),
    stale: Uint8Array.from(points, ({ value }) => (value === "stale" ? 1 : 0)),
  };
}
