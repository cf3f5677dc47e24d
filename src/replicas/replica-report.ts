import type { ReplicaReport } from "#lib/replica-report.ts";
import type { Member } from "./member-watch.ts";

export function toReplicaReport({ name, record, isAlive }: Member, nowMs: number): ReplicaReport {
  const { version, collects, started_at, clusters } = record;
  return {
    name,
    version,
    alive: isAlive,
    collects,
    ...ageOf(started_at, nowMs),
    clusters: isAlive ? clusters : 0,
  };
}

export function ageOf(startedAtMs: number, nowMs: number): Pick<ReplicaReport, "started_at" | "age_seconds"> {
  return {
    started_at: new Date(startedAtMs).toISOString(),
    age_seconds: Math.max(0, Math.round((nowMs - startedAtMs) / 1000)),
  };
}
