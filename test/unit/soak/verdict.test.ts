import { expect, test } from "vitest";
import { KINDS, nameOf } from "../../soak/plan.ts";
import { judgeUse, type UseSample } from "../../soak/resources.ts";
import { readSettings } from "../../soak/settings.ts";
import { failuresOf, type Outcome } from "../../soak/verdict.ts";

const RUN_MS = 600_000;
const MIB = 2 ** 20;

const good = (): Outcome => ({
  struck: new Map(KINDS.map((kind) => [nameOf(kind), 1])),
  gaps: [],
  proof: { expected: 2, proved: 2, late: 0, unproved: [] },
  comparison: {
    total: { samples: 1, missing: 0, extra: 0, twice: 0, different: 0 },
    empty: [],
    filled: 42,
    wrong: [],
    resets: 0,
    late: 0,
  },
  exitCode: 0,
});

test("a good run has no failures", () => {
  expect(failuresOf(good())).toEqual([]);
});

test.each<[string, (outcome: Outcome) => void, string]>([
  [
    "a kind that was never struck",
    ({ struck }) => (struck as Map<string, number>).delete("cut of kubelet"),
    "never struck: cut of kubelet",
  ],
  ["a missing sample", ({ comparison }) => (comparison.total.missing = 1), "samples missing: 1"],
  ["an extra sample", ({ comparison }) => (comparison.total.extra = 1), "samples extra: 1"],
  ["a sample that is there twice", ({ comparison }) => (comparison.total.twice = 2), "samples twice: 2"],
  ["another value", ({ comparison }) => (comparison.total.different = 1), "samples different: 1"],
  ["nothing to compare", ({ comparison }) => (comparison.total.samples = 0), "no samples to compare"],
  ["a wrong account", ({ comparison }) => comparison.wrong.push("up"), "wrong kind, time, hole or count: up"],
  ["fewer proved stretches", ({ proof }) => (proof.proved = 1), "proved 1 stretches of 2"],
  ["an exit code", (outcome) => (outcome.exitCode = 1), "the bridge ended with exit code 1 at SIGTERM"],
  [
    "a lost gap",
    (outcome) => (outcome.gaps = [{ query: "up", from: "a", to: "b", state: "lost", reason: "why" }]),
    'lost gap: {"query":"up","from":"a","to":"b","state":"lost","reason":"why"}',
  ],
])("%s fails by name", (_title, spoil, failure) => {
  const outcome = good();
  spoil(outcome);
  expect(failuresOf(outcome)).toEqual([failure]);
});

test("a stretch that is not proved fails by name, though others are", () => {
  const outcome = good();
  outcome.proof.unproved = ["open (read_again): up from 12:00"];
  expect(failuresOf(outcome)).toEqual(["proved 2 stretches of 2", "open (read_again): up from 12:00"]);
});

/** One sample a second; the process starts anew at `startsAt`. */
function uses(
  use: (atMs: number) => Partial<UseSample>,
  startsAt: readonly number[] = [-60_000],
): UseSample[] {
  return Array.from({ length: RUN_MS / 1000 }, (_, second) => {
    const atMs = second * 1000;
    const startedAt = startsAt.findLast((start) => start <= atMs)!;
    return {
      atMs,
      pid: startedAt,
      ageMs: atMs - startedAt,
      rssBytes: 100 * MIB,
      descriptors: 50,
      ...use(atMs),
    };
  });
}

test("memory and descriptors that stay do not fail, nor what a process uses in its first 20 s", () => {
  const starts = [-60_000, 250_000, 450_000];
  const afterStart = (atMs: number): Partial<UseSample> =>
    starts.some((start) => atMs - start >= 0 && atMs - start < 20_000) ? { rssBytes: 200 * MIB } : {};
  expect(judgeUse(uses(afterStart, starts))).toEqual({
    facts: [
      "the run: 100 MiB in the first third, 100 MiB in the last; 50 descriptors in the first third, 50 in the last",
      "the process that lived longest: 100 MiB in the first third, 100 MiB in the last; 50 descriptors in the first third, 50 in the last",
    ],
    failures: [],
  });
});

test("memory that grows by more than 10 % fails, also when each kill hides it", () => {
  const leak =
    (starts: readonly number[]) =>
    (atMs: number): Partial<UseSample> => {
      const ageMs = atMs - starts.findLast((start) => start <= atMs)!;
      return { rssBytes: (100 + ageMs / 4000) * MIB };
    };
  expect(judgeUse(uses(leak([-60_000]))).failures).toEqual([
    expect.stringContaining("memory grew by more than 10 %: the run: 140 MiB in the first third"),
    expect.stringContaining("memory grew by more than 10 %: the process that lived longest"),
  ]);
  const starts = [-60_000, 260_000, 500_000];
  expect(judgeUse(uses(leak(starts), starts)).failures).toEqual([
    expect.stringContaining("memory grew by more than 10 %: the process that lived longest"),
  ]);
});

test("descriptors that grow by more than 10 % fail", () => {
  const leak = (atMs: number): Partial<UseSample> => ({ descriptors: 50 + Math.floor(atMs / 50_000) });
  expect(judgeUse(uses(leak)).failures[0]).toBe(
    "descriptors grew by more than 10 %: the run: 51.5 descriptors in the first third, 59.5 in the last",
  );
});

test("a bridge that was hardly ever seen warm fails", () => {
  const early = uses(() => ({})).filter(({ atMs }) => atMs < 20_000);
  expect(judgeUse(early).failures).toEqual(["the run: memory and descriptors were not measured"]);
});

test("settings come from the environment, the minutes from the argument first", () => {
  const environment = { E2E_KUBECONFIG: "k", E2E_CLUSTER_DIR: "/x/c1", SOAK_MINUTES: "5", SOAK_SEED: "9" };
  expect(readSettings(environment, "3", 1)).toEqual({
    minutes: 3,
    seed: 9,
    kubeconfig: "k",
    prometheusUrl: undefined,
    containers: { apiServer: "c1-api", kubelet: "c1-kubelet", prometheus: "c1-prometheus" },
  });
  expect(readSettings({ ...environment, E2E_KUBELET_CONTAINER: "kind-worker" }, undefined, 1)).toMatchObject({
    minutes: 5,
    containers: { kubelet: "kind-worker" },
  });
  expect(() => readSettings(environment, "1", 1)).toThrow(
    'SOAK_MINUTES: must be a number from 3 to 300, is "1"',
  );
  expect(() => readSettings({}, undefined, 1)).toThrow("E2E_KUBECONFIG must name");
  expect(() => readSettings({ E2E_KUBECONFIG: "k" }, undefined, 1)).toThrow(
    "E2E_API_SERVER_CONTAINER must name",
  );
});
