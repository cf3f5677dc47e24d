import type { SoakBridge } from "./bridge.ts";
import { sleep } from "./faults.ts";
import type { UseSample } from "./resources.ts";

/** What is seen of the bridge while faults are struck. */
export interface Watch {
  /** How many rounds ended with an outcome of the cluster, or with an error's code. */
  rounds: Map<string, number>;
  points: number;
  uses: UseSample[];
}

const LOOK_MS = 1000;
const BETWEEN_ROUNDS_MS = 2000;
const MINUTE_MS = 60_000;
const MIB = 2 ** 20;

/** Starts round after round, looks at the processes every second and says a line a minute but the last, until the signal is aborted. */
export async function watchBridge(
  bridge: SoakBridge,
  deps: { watch: Watch; struck: ReadonlyMap<string, number>; minutes: number; say: (line: string) => void },
  signal: AbortSignal,
): Promise<void> {
  const { watch, struck, minutes, say } = deps;
  const startedAt = performance.now();
  const look = async (): Promise<void> => {
    while (!signal.aborted) {
      const use = bridge.use();
      if (use) watch.uses.push({ ...use, atMs: performance.now() - startedAt });
      await sleep(LOOK_MS, signal);
    }
  };
  const collect = async (): Promise<void> => {
    while (!signal.aborted) {
      const end = await bridge.collect().then(
        ({ points, clusters: [cluster] }) => {
          watch.points += points;
          return cluster?.error?.code ?? cluster?.outcome ?? "no cluster";
        },
        () => "no bridge",
      );
      watch.rounds.set(end, (watch.rounds.get(end) ?? 0) + 1);
      await sleep(BETWEEN_ROUNDS_MS, signal);
    }
  };
  const tell = async (): Promise<void> => {
    for (let minute = 1; minute < minutes; minute++) {
      await sleep(MINUTE_MS, signal);
      if (signal.aborted) return;
      say(`minute ${minute}: ${toLine(watch, struck)}`);
    }
  };
  await Promise.all([look(), collect(), tell()]);
}

/** The line of a minute. */
export function toLine({ rounds, points, uses }: Watch, struck: ReadonlyMap<string, number>): string {
  const faults = [...struck.values()].reduce((sum, count) => sum + count, 0);
  const ends = [...rounds].map(([end, count]) => `${end} ${count}`).join(", ");
  const use = uses.at(-1);
  const memory = use && `${(use.rssBytes / MIB).toFixed(0)} MiB, ${use.descriptors} descriptors`;
  return `${faults} faults; rounds: ${ends}; ${points} samples stored; bridge: ${memory}`;
}
