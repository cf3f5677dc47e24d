import { afterAll, beforeAll, expect, test } from "vitest";
import { FAULT_KINDS, type FaultKind } from "./faults.ts";
import { toTimeText } from "./verdict.ts";
import { play, type Played } from "./play.ts";

/**
 * CHAOS_SEED=7 plays one seed, and tells what was planned; CHAOS_SEEDS=5000 plays more seeds, CHAOS_FIRST=300 others. A failure names its seed.
 */
const [one, count = "300", first = "0"] = ["CHAOS_SEED", "CHAOS_SEEDS", "CHAOS_FIRST"].map(
  (name) => process.env[name],
);
const SEEDS =
  one === undefined ? Array.from({ length: Number(count) }, (_, i) => Number(first) + i) : [Number(one)];
const SEEDS_OF_TEST = 25;
const KIND_MIN = 20;
const STRUCK_MIN = 5;

const { stackTraceLimit } = Error;

beforeAll(() => {
  // Thousands of errors are made, and a trace of each would take half of the time.
  if (one === undefined) Error.stackTraceLimit = 0;
});

afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

const groups = Array.from({ length: Math.ceil(SEEDS.length / SEEDS_OF_TEST) }, (_, i) =>
  SEEDS.slice(i * SEEDS_OF_TEST, (i + 1) * SEEDS_OF_TEST),
);
const all: Played[] = [];

test.each(groups.map((seeds) => [seeds[0]!, seeds.at(-1)!, seeds] as const))(
  "whatever strikes, every sample is stored once and every cluster has one owner: seeds %i to %i",
  async (_first, _last, seeds) => {
    const failed: string[] = [];
    for (const seed of seeds) {
      const played = await play(seed);
      all.push(played);
      if (one !== undefined) process.stdout.write(`${[...toText(played), ...played.trace].join("\n")}\n`);
      if (played.violations.length > 0) failed.push(...toText(played));
    }
    expect(failed).toEqual([]);
  },
  120_000,
);

/** How to repeat it, what was planned, and what went wrong. */
function toText({ seed, plan, violations }: Played): string[] {
  const faults = plan.map(({ kind, atMs, forMs, machine, cluster }) => {
    return `  ${toTimeText(atMs)} for ${Math.round(forMs / 1000)} s: ${kind} (machine ${machine}, cluster-${cluster})`;
  });
  return [
    `! CHAOS_SEED=${seed} npx vitest run test/chaos`,
    ...faults,
    ...violations.map((text) => `! ${text}`),
  ];
}

test.runIf(one === undefined && count === "300")(
  "every kind of fault strikes often, and several in each seed",
  () => {
    const strikes = FAULT_KINDS.map((kind) => ({
      kind,
      times: all.filter(({ struck }) => struck.includes(kind)).length,
    }));
    process.stdout.write(
      `${strikes.map(({ kind, times }) => `${String(times).padStart(4)} ${kind}`).join("\n")}\n`,
    );
    expect(strikes.filter(({ times }) => times < KIND_MIN)).toEqual([]);
    expect(all.filter(({ struck }) => struck.length < STRUCK_MIN).map(({ seed }) => seed)).toEqual([]);
  },
);

test("a seed is played the same way again", async () => {
  const [before, again] = [await play(SEEDS[0]!), await play(SEEDS[0]!)];
  expect(again).toEqual(before);
});

/** Of one seed with these faults, some processes go on after another one took their clusters over. */
const LATE: readonly FaultKind[] = ["pause longer than the lease", "a machine is suspended"];

test.each([
  ["leases", / committed after .* had begun/],
  ["fencing", / (took back|once more)/],
] as const)("without %s, it fails: former owners commit", async (without, expected) => {
  const found: string[] = [];
  for (const seed of [1, 2, 5]) {
    const { violations } = await play(seed, { without, kinds: LATE });
    found.push(...violations.filter((text) => expected.test(text)));
    expect((await play(seed, { kinds: LATE })).violations).toEqual([]);
  }
  expect(found.length).toBeGreaterThanOrEqual(3);
});
