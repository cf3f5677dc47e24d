import { describe, expect, it } from "vitest";
import type { ClusterResult, ClusterStatus, CollectionStatus, RoundResult } from "#collect/status.ts";
import { createTally, lastHours } from "#lib/completeness.ts";
import { toVisibleStatus } from "#http/visible-status.ts";

const result = (cluster_id: string, outcome: ClusterResult["outcome"], points = 1): ClusterResult => ({
  cluster_id,
  cluster_name: `name of ${cluster_id}`,
  outcome,
  points,
  series: 1,
  bytes: points * 10,
  duration_seconds: 1,
  error: null,
});

const status = (cluster_id: string, collecting = false): ClusterStatus => ({
  cluster_id,
  cluster_name: `name of ${cluster_id}`,
  platform: "eks",
  state: "healthy",
  owner: "bridge-1",
  collecting,
  watermark: null,
  lag_seconds: null,
  last_success: null,
  last_error: null,
  points: 1,
  series: 1,
  groups: {},
  gaps: [],
  completeness: createTally(lastHours(0)).summary(),
  transport: "tunnel",
  prometheus_pod: null,
  prometheus_pods: null,
  samples_by: null,
  clock_skew_seconds: null,
  warnings: [`warning of ${cluster_id}`],
});

const round = (id: string, total: number, clusters: ClusterResult[]): RoundResult => ({
  id,
  trigger: "ticker",
  started_at: "2025-06-01T12:00:00.000Z",
  finished_at: null,
  duration_seconds: null,
  total,
  successful: 7,
  partial: 7,
  failed: 7,
  skipped: 7,
  points: 700,
  bytes: 7000,
  clusters,
});

const STATUS: CollectionStatus = {
  enabled: true,
  scheduler: "internal",
  interval_seconds: 300,
  current_round: round("now", 6, [
    result("a", "successful", 3),
    result("b", "skipped", 0),
    result("z", "failed"),
  ]),
  last_round: round("before", 4, [
    result("a", "partial", 5),
    result("b", "failed", 0),
    result("y", "successful"),
    result("z", "successful"),
  ]),
  replicas: [
    {
      name: "bridge-1",
      version: "0.1.0",
      alive: true,
      collects: true,
      started_at: "2025-06-01T12:00:00.000Z",
      age_seconds: 1,
      clusters: 5,
    },
  ],
  clusters: [status("a"), status("b", true), status("c", true), status("y", true), status("z")],
  warnings: ["y, z: certificates are not verified"],
};

describe("toVisibleStatus", () => {
  const visible = toVisibleStatus(STATUS, (id) => ["a", "b", "c", "not-there"].includes(id));

  it("holds what is seen and nothing else", () => {
    expect(visible.clusters.map(({ cluster_id }) => cluster_id)).toEqual(["a", "b", "c"]);
    expect(visible.warnings).toEqual([]);
    expect(JSON.stringify(visible)).not.toMatch(/"[yz]"|of [yz]|y, z/);
  });

  it("has totals of what is seen", () => {
    expect(visible.last_round).toMatchObject({
      id: "before",
      total: 2,
      successful: 0,
      partial: 1,
      failed: 1,
      skipped: 0,
      points: 5,
      bytes: 50,
    });
  });

  it("counts a running round's own: finished, skipped, and under way (b is of an earlier round)", () => {
    expect(visible.current_round).toMatchObject({
      total: 3,
      successful: 1,
      skipped: 1,
      failed: 0,
      points: 3,
    });
    expect(visible.current_round?.clusters.map(({ cluster_id }) => cluster_id)).toEqual(["a", "b"]);
  });

  it("of nothing is empty", () => {
    const nothing = toVisibleStatus({ ...STATUS, last_round: null }, () => false);
    expect(nothing).toMatchObject({
      clusters: [],
      last_round: null,
      current_round: { total: 0, clusters: [] },
    });
  });
});
