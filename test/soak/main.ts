import { randomInt } from "node:crypto";
import { systemClock } from "#lib/clock.ts";
import { onEndSignal } from "#lib/end-signals.ts";
import { runSoak } from "./run.ts";
import { readSettings } from "./settings.ts";

// `npm run soak`: see README.md, Tests.

const say = (line: string): void => void process.stdout.write(`soak: ${line}\n`);

const interrupted = new AbortController();
void onEndSignal({ process, clock: systemClock, exit: () => say("still ending") }).then((name) => {
  say(`${name}: ending`);
  interrupted.abort(new Error(`interrupted by ${name}`));
});

try {
  const settings = readSettings(process.env, process.argv[2], randomInt(2 ** 31));
  say(`${settings.minutes} minutes; SOAK_SEED=${settings.seed}`);
  const failures = await runSoak(settings, say, interrupted.signal);
  for (const failure of failures) say(`FAILED: ${failure}`);
  if (failures.length > 0) process.exitCode = 1;
  else say("passed");
} catch (error) {
  say(`FAILED: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
