import { parser } from "@prometheus-io/lezer-promql";
import { expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createOwnMetrics } from "#telemetry/metrics.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { find, GIVEN_KEYS, MONITORING, overlay, render, type Values } from "./helm.ts";

interface Rule {
  alert: string;
  expr: string;
}

/** Metrics at GET /metrics after every event has happened: labels by metric. */
async function exposed(): Promise<Map<string, Set<string>>> {
  const metrics = createOwnMetrics(
    { clock: systemClock, logger: createSilentLogger() },
    { serviceName: "budcluster", serviceVersion: "1.0.0", instanceId: "a", lagClustersMax: 10 },
  );
  metrics.start();
  metrics.roundFinished({ outcome: "successful", durationSeconds: 1 });
  metrics.exportFinished({ outcome: "rejected", durationSeconds: 1, bytes: 1, error: "collector_refused" });
  metrics.errorOccurred("state_unavailable");
  metrics.requestAnswered({ method: "GET", route: "/", status: 500, durationSeconds: 1 });
  metrics.timeLost("no_pod_has_it", 1);
  metrics.clusterWatermark("edge-1", 0);
  metrics.observeWorkers(() => ({ workers: 1, rssBytes: 1, quarantined: 0 }));
  metrics.observeReplicas(() => ({ alive: 1, owned: 1, unowned: 0, recordAgeMs: 1 }));
  metrics.leaseChanged("taken");
  const text = await metrics.prometheusText();
  await metrics.stop();
  const samples = [...text.matchAll(/^(\w+)(?:\{(.*)\})? /gm)];
  return new Map(
    samples.map(([, name = "", labels = ""]) => [
      name,
      new Set([...labels.matchAll(/(\w+)=/g)].map(([, label = ""]) => label)),
    ]),
  );
}

/** Each selector of an expression: its metric, and the labels that it matches by. */
function selectorsOf(expr: string): { metric: string; labels: string[] }[] {
  const selectors: { metric: string; labels: string[] }[] = [];
  parser.parse(expr).iterate({
    enter: ({ name, from, to }) => {
      const text = expr.slice(from, to);
      if (name === "VectorSelector") selectors.push({ metric: text.split("{")[0]?.trim() ?? "", labels: [] });
      if (name === "LabelName") selectors.at(-1)?.labels.push(text);
    },
  });
  return selectors;
}

/** Labels that Prometheus' operator adds to every sample of a target. */
const OF_THE_TARGET = new Set(["namespace", "service", "pod"]);

/** Bridges that share clusters have alerts of their own. */
const SHARED = overlay(GIVEN_KEYS, { dapr: { stateStore: { enabled: true } }, bridge: { replicas: 3 } });

test("every alert asks for metrics and labels that the program shows", async () => {
  const objects = await render(SHARED, { apiVersions: [MONITORING] });
  const { groups } = find(objects, "PrometheusRule", "bud-alerts")["spec"] as { groups: { rules: Rule[] }[] };
  const known = await exposed();
  const asked = (groups[0]?.rules ?? []).flatMap(({ expr }) => selectorsOf(expr));
  const own = asked.filter(({ metric }) => metric !== "up" && metric !== "");
  expect(own.length).toBeGreaterThan(15);
  const wrong = own.flatMap(({ metric, labels }) => {
    const shown = known.get(metric);
    if (shown === undefined) return [metric];
    return labels.filter((label) => !OF_THE_TARGET.has(label) && !shown.has(label));
  });
  expect(wrong).toEqual([]);
});

test("an alert on something that happens once sees the first time as well", async () => {
  const objects = await render(GIVEN_KEYS, { apiVersions: [MONITORING] });
  const { groups } = find(objects, "PrometheusRule", "bud-alerts")["spec"] as { groups: { rules: Rule[] }[] };
  const exprOf = (alert: string) => groups[0]?.rules.find((rule) => rule.alert === alert)?.expr;
  // increase() takes the value that a series begins with for no increase.
  for (const alert of ["BudDataRefused", "BudSamplesLost", "BudCredentialsUnreadable", "BudStateUnavailable"])
    expect(exprOf(alert)).toMatch(/unless .* offset 15m\) or increase\(/s);
  expect(exprOf("BudNoRounds")).toContain("or sum(process_uptime");
});

interface Timed extends Rule {
  for?: string;
}

test.each([
  [300, "600s"],
  ["2m", "240s"],
])("a cluster without an owner for two intervals of %s: %s", async (interval, wait) => {
  const objects = await render(overlay(SHARED, { collection: { interval } }), { apiVersions: [MONITORING] });
  const { groups } = find(objects, "PrometheusRule", "bud-alerts")["spec"] as {
    groups: { rules: Timed[] }[];
  };
  const unowned = groups[0]?.rules.find(({ alert }) => alert === "BudClusterUnowned");
  expect([unowned?.for, unowned?.expr]).toEqual([
    wait,
    expect.stringContaining("budcluster_unowned_clusters{"),
  ]);
});

test("alerts on leases are for Dapr's state store only: SQLite has one owner", async () => {
  const alertsOf = async (values: Values): Promise<string[]> => {
    const objects = await render(values, { apiVersions: [MONITORING] });
    const { groups } = find(objects, "PrometheusRule", "bud-alerts")["spec"] as {
      groups: { rules: Rule[] }[];
    };
    return (groups[0]?.rules ?? []).map(({ alert }) => alert);
  };
  const plain = new Set(await alertsOf(GIVEN_KEYS));
  expect((await alertsOf(SHARED)).filter((alert) => !plain.has(alert))).toEqual([
    "BudReplicaMissing",
    "BudReplicaWithoutWork",
    "BudLeasesFlap",
    "BudClusterUnowned",
    "BudReplicaCannotRenew",
  ]);
});
