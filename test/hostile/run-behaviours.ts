import { afterAll, beforeAll, expect, test } from "vitest";
import type { Behaviour } from "./behaviour.ts";
import { startStage, type Stage } from "./stage.ts";

/** HOSTILE_PROVE=1 runs each behaviour with its limit switched off instead, and expects that it does harm, or is told otherwise. */
const isProof = process.env["HOSTILE_PROVE"] === "1";
const SOMETHING: unknown = expect.arrayContaining([expect.any(String)]);

/** A test for each behaviour, one after the other, all through one program. */
export function runBehaviours(
  behaviours: readonly Behaviour[],
  settings: Parameters<typeof startStage>[0] = {},
): void {
  let stage!: Stage;
  beforeAll(async () => {
    stage = await startStage(settings);
  });
  afterAll(async () => {
    process.stdout.write(`${stage.figures.join("\n")}\n`);
    await stage.stop();
  });
  const chosen = isProof ? behaviours.filter(({ lift }) => !("byHand" in lift)) : behaviours;
  test.each(chosen.map((each) => [each.name, each.limit, each] as const))(
    "%s (%s)",
    async (_name, _limit, behaviour) => {
      const problems = await (isProof ? stage.judgeLifted(behaviour) : stage.judge(behaviour));
      if (isProof) stage.figures.push(`  without the limit: ${problems[0]?.slice(0, 300)}`);
      expect(problems).toEqual(isProof ? SOMETHING : []);
    },
  );
}
