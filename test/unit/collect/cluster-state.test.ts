import { expect, test } from "vitest";
import type { Cluster } from "#clusters/cluster.ts";
import { plaintextWarning, toClusterStatus, uncheckedWarning } from "#collect/cluster-state.ts";
import {
  addGap,
  commit,
  emptyProgress,
  newQueryProgress,
  type ClusterProgress,
  type LastCollection,
} from "#collect/progress.ts";
import { BridgeError, toErrorBody } from "#errors/error.ts";
import { createTally, lastHours } from "#lib/completeness.ts";
import { createSecret } from "#lib/secret.ts";
import { HOUR, LAG, MINUTE, SECOND, START, testCluster } from "../../helpers/collection.ts";

const INTERVAL = 5 * MINUTE;
const FACTS = {
  nowMs: START,
  collecting: false,
  intervalMs: INTERVAL,
  lagMs: LAG,
  queries: ["a", "b"],
  completeness: createTally(lastHours(START)).summary(),
};

const failedAt = (ms: number): LastCollection["error"] => ({
  ...toErrorBody(new BridgeError("tunnel_closed", "closed")),
  at: new Date(ms).toISOString(),
});

/** A cluster whose queries are stored up to `watermarkMs`, last collected at START. */
function collected(watermarkMs: number, change: Partial<LastCollection> = {}): ClusterProgress {
  const progress = emptyProgress();
  for (const name of ["a", "b"]) {
    const query = newQueryProgress(name, watermarkMs - MINUTE);
    commit(query, [watermarkMs - MINUTE, watermarkMs], { read: 1, sent: 1 });
    query.attempted = watermarkMs;
    progress.queries[name] = query;
  }
  progress.last = {
    at: START,
    success_at: START,
    error: null,
    points: 12,
    series: 3,
    groups: { node: "present" },
    clock_skew_ms: 1500,
    warnings: ["w"],
    ...change,
  };
  return progress;
}

const stateOf = (progress: ClusterProgress, cluster: Cluster = testCluster("one")): string =>
  toClusterStatus(cluster, progress, FACTS).state;

const FRESH = START - LAG;
const LATE = START - LAG - 3 * INTERVAL - 1;

test.each([
  ["healthy", collected(FRESH)],
  ["healthy", collected(FRESH, { error: failedAt(START - 1) })],
  ["partial", collected(FRESH, { error: failedAt(START) })],
  ["stale", collected(LATE)],
  ["healthy", collected(LATE + 1)],
  ["failing", collected(LATE, { error: failedAt(START) })],
  ["pending", emptyProgress()],
  ["failing", { ...emptyProgress(), last: collected(FRESH, { error: failedAt(START) }).last }],
])("a cluster is %s", (state, progress) => {
  expect(stateOf(progress)).toBe(state);
});

test("a cluster that is switched off is disabled, whatever else is known of it", () => {
  const off = testCluster("one", { enabled: false });
  expect(stateOf(collected(FRESH, { error: failedAt(START) }), off)).toBe("disabled");
});

test("before the first collection there is nothing to say", () => {
  expect(toClusterStatus(testCluster("one"), emptyProgress(), { ...FACTS, collecting: true })).toEqual({
    cluster_id: "one",
    cluster_name: "name of one",
    platform: "kind",
    state: "pending",
    owner: null,
    collecting: true,
    watermark: null,
    lag_seconds: null,
    last_success: null,
    last_error: null,
    points: 0,
    series: 0,
    groups: {},
    gaps: [],
    completeness: FACTS.completeness,
    transport: "tunnel",
    prometheus_pod: null,
    prometheus_pods: null,
    samples_by: null,
    clock_skew_seconds: null,
    warnings: [],
  });
});

test("the cluster's watermark is the lowest of its queries', of those in the catalogue", () => {
  const progress = collected(FRESH);
  progress.queries["old"] = newQueryProgress("old", 0);
  commit(progress.queries["b"]!, [FRESH, FRESH + MINUTE], { read: 0, sent: 0 });
  progress.pod = { uid: "u", name: "prometheus-0", since: 0 };
  const status = toClusterStatus(testCluster("one"), progress, FACTS);
  expect(status).toMatchObject({
    watermark: new Date(FRESH).toISOString(),
    lag_seconds: LAG / SECOND,
    last_success: new Date(START).toISOString(),
    points: 12,
    series: 3,
    groups: { node: "present" },
    transport: "tunnel",
    prometheus_pod: "prometheus-0",
    prometheus_pods: null,
    clock_skew_seconds: 1.5,
    warnings: ["w"],
  });
});

test("gaps: what is lost or refused, and what is still to be read", () => {
  const progress = collected(FRESH);
  const query = progress.queries["a"]!;
  query.attempted = FRESH + 2 * MINUTE;
  const at = (minutes: number): number => FRESH + minutes * MINUTE;
  addGap(query, { from: at(0), to: at(1), state: "lost", reason: "gone", points: 0 });
  addGap(query, { from: at(-1), to: at(0), state: "refused", reason: "bad value", points: 3 });
  const { gaps } = toClusterStatus(testCluster("one"), progress, FACTS);
  const iso = (minutes: number): string => new Date(at(minutes)).toISOString();
  expect(gaps).toEqual([
    { query: "a", from: iso(-1), to: iso(0), state: "refused", reason: "bad value", points: 3 },
    { query: "a", from: iso(0), to: iso(1), state: "lost", reason: "gone" },
    {
      query: "a",
      from: iso(1),
      to: iso(2),
      state: "open",
      reason: "not stored yet; the next round reads it",
    },
  ]);
});

test("not more than 100 gaps are shown", () => {
  const progress = emptyProgress();
  const queries = Array.from({ length: 150 }, (_, i) => `q${i}`);
  for (const name of queries) {
    progress.queries[name] = { ...newQueryProgress(name, START - MINUTE), attempted: START };
  }
  expect(toClusterStatus(testCluster("one"), progress, { ...FACTS, queries }).gaps).toHaveLength(100);
});

test("a cluster whose certificate is not verified carries a warning", () => {
  const status = toClusterStatus(testCluster("one", { validateCerts: false }), collected(FRESH), FACTS);
  expect(status.warnings).toEqual([uncheckedWarning, "w"]);
});

test("a cluster whose credentials were given in clear text carries a warning", () => {
  const warningsOf = (cluster: Partial<Cluster>): string[] =>
    toClusterStatus(testCluster("one", cluster), emptyProgress(), FACTS).warnings;
  const secret = createSecret("kubeconfig");
  const bearer = { kind: "bearer", token: secret } as const;
  const file = { kind: "trusted-file", path: "/kubeconfig" } as const;
  expect(warningsOf({ credentials: { kind: "inline", kubeconfig: secret } })).toEqual([plaintextWarning]);
  expect(warningsOf({ credentials: { kind: "trusted-inline", kubeconfig: secret } })).toEqual([
    plaintextWarning,
  ]);
  expect(warningsOf({ credentials: { ...file, prometheus: bearer } })).toEqual([plaintextWarning]);
  expect(warningsOf({ credentials: file })).toEqual([]);
  expect(warningsOf({ credentials: { kind: "sealed", jwe: "x" } })).toEqual([]);
  expect(warningsOf({ credentials: file, source: "command-line" })).toEqual([]);
});

test("with the longest texts everywhere a cluster's status has at most 64 KiB", () => {
  const long = "ü\n".repeat(5000);
  const queries = Array.from({ length: 1000 }, (_, i) => `query_${i}_${"x".repeat(150)}`);
  const error = { ...toErrorBody(new BridgeError("tunnel_closed", long, { hint: long, details: { long } })) };
  const progress = collected(FRESH, {
    error: { ...error, at: new Date(START).toISOString() },
    groups: Object.fromEntries(queries.map((name) => [name.slice(0, 50), "present"])),
    warnings: Array.from({ length: 20 }, () => long),
  });
  for (const name of queries) {
    const query = { ...newQueryProgress(name, START - HOUR), attempted: START };
    for (let i = 0; i < 50; i++)
      addGap(query, {
        from: START + i,
        to: START + i + 1,
        state: "refused",
        reason: `${i}${long}`,
        points: 1,
      });
    progress.queries[name] = query;
  }
  const tally = createTally(lastHours(START));
  tally.add(
    Array.from({ length: 24 }, (_, i) => ({
      query: "a",
      from: lastHours(START).from + i * HOUR,
      to: lastHours(START).from + (i + 1) * HOUR,
      state: "unproved",
      reason: "expression",
      comparedAt: null,
      source: Number.MAX_SAFE_INTEGER / 100,
      read: Number.MAX_SAFE_INTEGER / 100,
      acknowledged: Number.MAX_SAFE_INTEGER / 100,
      refused: Number.MAX_SAFE_INTEGER / 100,
      late: Number.MAX_SAFE_INTEGER / 100,
    })),
  );
  const status = toClusterStatus(testCluster("one"), progress, {
    ...FACTS,
    queries,
    completeness: tally.summary(),
  });
  expect(status.gaps.length).toBeGreaterThan(5);
  expect(status.completeness.hours).toHaveLength(24);
  // Shards have 8 KiB of their own.
  expect(Buffer.byteLength(JSON.stringify(status))).toBeLessThanOrEqual(56 << 10);
});
