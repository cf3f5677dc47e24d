import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { find, GIVEN_KEYS, MONITORING, overlay, render } from "../helm/helm.ts";
import { startPrometheus, type WrittenPrometheus } from "./prometheus.ts";

// The chart's alerts on bridges that share clusters, evaluated by a real Prometheus over an hour of metrics that are written into it.

interface Rule {
  alert: string;
  expr: string;
  for?: string;
}

/** Value of each metric of a Pod, by the minute. */
type Metrics = Record<string, (minute: number) => number>;

const MINUTES = 60;
const STEP_MS = 30_000;
const CLUSTERS = 40;
const REPLICAS = ["bridge-a", "bridge-b", "bridge-c"] as const;
const startMs = Math.floor(Date.now() / 60_000) * 60_000 - 2 * MINUTES * 60_000;

let prometheus: WrittenPrometheus;
let rules: Rule[];

beforeAll(async () => {
  const shared = overlay(GIVEN_KEYS, { dapr: { stateStore: { enabled: true } }, bridge: { replicas: 3 } });
  const objects = await render(shared, { apiVersions: [MONITORING] });
  const { groups } = find(objects, "PrometheusRule", "bud-alerts")["spec"] as { groups: { rules: Rule[] }[] };
  rules = (groups[0]?.rules ?? []).filter(({ expr }) => REPLICA_METRICS.some((name) => expr.includes(name)));
  prometheus = await startPrometheus();
});

afterAll(() => prometheus?.stop());

const CHANGES = "budcluster_lease_changes_total";
/** Of one cluster. */
const LAG = "budcluster_cluster_lag edge-1";
const REPLICA_METRICS = [
  "budcluster_replicas",
  "budcluster_owned_clusters",
  "budcluster_unowned_clusters",
  "budcluster_member_record_age_seconds",
  "budcluster_cluster_lag",
  CHANGES,
];

/** Three bridges that share their clusters evenly. */
const healthy = (pod: string): Metrics => ({
  budcluster_replicas: () => REPLICAS.length,
  budcluster_owned_clusters: () => (pod === "bridge-a" ? 14 : 13),
  budcluster_unowned_clusters: () => 0,
  budcluster_member_record_age_seconds: (minute) => (minute * 60) % 11,
  [`${CHANGES} taken`]: (minute) => (minute < 20 ? 14 : 40),
  // A rolling update in minute 20.
  [`${CHANGES} returned`]: (minute) => (minute < 20 ? 0 : 26),
  [`${CHANGES} lost`]: () => 0,
  ...(pod === "bridge-a" ? { [LAG]: () => 100 } : {}),
});

let scenario = 0;

/** Writes what each Pod shows, in a namespace of its own, and says which alerts fire: with the labels that are left, or alone. */
async function firing(change: (pod: string) => Metrics): Promise<string[]> {
  const namespace = `bud-${scenario++}`;
  const times = Array.from({ length: (MINUTES * 60_000) / STEP_MS }, (_, i) => startMs + i * STEP_MS);
  const series = REPLICAS.flatMap((pod) =>
    Object.entries({ ...healthy(pod), ...change(pod) }).map(([key, valueAt]) => {
      const [name = "", value] = key.split(" ");
      const label = name === CHANGES ? "kind" : "budcluster_cluster_id";
      return {
        labels: {
          __name__: name,
          namespace,
          service: "budcluster",
          pod,
          ...(value ? { [label]: value } : {}),
        },
        samples: times.map((ms) => [ms, valueAt((ms - startMs) / 60_000)] as const),
      };
    }),
  );
  await prometheus.write(series);
  const fired = await Promise.all(
    rules.map(async ({ alert, expr, for: wait = "0s" }) => {
      const here = expr.replaceAll('"bud-system"', JSON.stringify(namespace));
      const points = await prometheus.queryRange(here, times[0]!, times.at(-1)!, STEP_MS);
      return [...points].flatMap(([labels, values]) =>
        longestMs([...values.keys()]) >= secondsOf(wait) * 1000
          ? [`${alert} ${/"pod","([^"]+)"/.exec(labels)?.[1] ?? ""}`.trim()]
          : [],
      );
    }),
  );
  return fired.flat();
}

/** The longest time without a break. */
function longestMs(times: readonly number[]): number {
  let [longest, since] = [0, times[0] ?? 0];
  times.forEach((ms, i) => {
    if (i > 0 && ms - times[i - 1]! > STEP_MS) since = ms;
    longest = Math.max(longest, ms - since);
  });
  return longest;
}

function secondsOf(duration: string): number {
  const [, count = "0", unit = "s"] = /^(\d+)([smh])$/.exec(duration) ?? [];
  return Number(count) * ({ s: 1, m: 60, h: 3600 }[unit] ?? 1);
}

const onlyOf =
  (pod: string, metrics: Metrics) =>
  (each: string): Metrics =>
    each === pod ? metrics : {};

describe("alerts on replicas", () => {
  test("are these", () => {
    expect(rules.map(({ alert }) => alert)).toEqual([
      "BudClusterLate",
      "BudClusterAboutToLoseData",
      "BudReplicaMissing",
      "BudReplicaWithoutWork",
      "BudLeasesFlap",
      "BudClusterUnowned",
      "BudReplicaCannotRenew",
    ]);
  });

  test("none fires for three bridges that share their clusters, nor for a rolling update", async () => {
    expect(await firing(() => ({}))).toEqual([]);
  });

  test("a bridge that owns nothing fires, with its Pod's name", async () => {
    const idle = { budcluster_owned_clusters: () => 0 };
    const others = { budcluster_owned_clusters: () => CLUSTERS / 2 };
    expect(await firing((pod) => (pod === "bridge-c" ? idle : others))).toEqual([
      "BudReplicaWithoutWork bridge-c",
    ]);
  });

  test("with few clusters a hash may give a bridge none: that does not fire", async () => {
    const idle = { budcluster_owned_clusters: () => 0 };
    const others = { budcluster_owned_clusters: () => 3 };
    expect(await firing((pod) => (pod === "bridge-c" ? idle : others))).toEqual([]);
  });

  test("one lease that changes its owner every four minutes fires", async () => {
    const flaps = { [`${CHANGES} lost`]: (minute: number) => Math.floor(minute / 4) };
    expect(await firing(onlyOf("bridge-b", flaps))).toEqual(["BudLeasesFlap"]);
  });

  test.each([
    ["less than two intervals", 9, []],
    ["more", 12, ["BudClusterUnowned"]],
  ])("clusters without an owner for %s", async (_, minutes, alerts) => {
    const unowned = { budcluster_unowned_clusters: (minute: number) => (minute < minutes ? 3 : 0) };
    expect(await firing(() => unowned)).toEqual(alerts);
  });

  test("a bridge that can't renew its record fires, with its Pod's name", async () => {
    const old = { budcluster_member_record_age_seconds: (minute: number) => minute * 60 };
    expect(await firing(onlyOf("bridge-b", old))).toEqual(["BudReplicaCannotRenew bridge-b"]);
  });

  test("a cluster is as late as its owner says, not as a bridge that was cut off does", async () => {
    const late = { [LAG]: (minute: number) => 100 + minute * 60 };
    expect(await firing(onlyOf("bridge-b", late))).toEqual([]);
    expect(await firing((pod) => (pod === "bridge-c" ? {} : late))).toEqual(["BudClusterLate"]);
  });

  test("two of three bridges for more than ten minutes fire", async () => {
    expect(await firing(() => ({ budcluster_replicas: (minute) => (minute < 12 ? 2 : 3) }))).toEqual([
      "BudReplicaMissing",
    ]);
  });
});
