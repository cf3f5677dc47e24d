import type { ProcessUse } from "../helpers/processes.ts";

/** What the bridge and its workers used at a time. */
export interface UseSample extends ProcessUse {
  /** ms since the faults began. */
  atMs: number;
  /** Of the main process. */
  pid: number;
  /** ms since it was ready. */
  ageMs: number;
}

/** A process that has just started has compiled nothing and collected no garbage yet; its memory falls after some rounds. */
const WARM_UP_MS = 20_000;
const GROWTH_MAX = 1.1;
/** A process that lives this long is looked at by itself as well: each kill would hide a leak. */
const LIFE_MS_MIN = 180_000;

const SAMPLES_MIN = 30;

const MIB = 2 ** 20;

/**
 * Compares the medians of the last third of the samples and of the first, of the run and of the process that lived longest, without the first 20 s of
 * each process. `facts` say what was compared, `failures` what grew by more than 10 %.
 */
export function judgeUse(samples: readonly UseSample[]): { facts: string[]; failures: string[] } {
  const warm = samples.filter(({ ageMs }) => ageMs >= WARM_UP_MS);
  const judged = [judge("the run", warm)];
  const life = longestLife(warm);
  if ((life.at(-1)?.atMs ?? 0) - (life[0]?.atMs ?? 0) >= LIFE_MS_MIN)
    judged.push(judge("the process that lived longest", life));
  return { facts: judged.map(({ fact }) => fact), failures: judged.flatMap(({ failures }) => failures) };
}

function judge(what: string, samples: readonly UseSample[]): { fact: string; failures: string[] } {
  if (samples.length < SAMPLES_MIN)
    return { fact: `${what}: not measured`, failures: [`${what}: memory and descriptors were not measured`] };
  const third = Math.floor(samples.length / 3);
  const [first, last] = [samples.slice(0, third), samples.slice(-third)];
  const rss = [first, last].map((each) => median(each.map(({ rssBytes }) => rssBytes)) / MIB) as [
    number,
    number,
  ];
  const descriptors = [first, last].map((each) => median(each.map((sample) => sample.descriptors))) as [
    number,
    number,
  ];
  const texts = {
    memory: `${rss[0].toFixed(0)} MiB in the first third, ${rss[1].toFixed(0)} MiB in the last`,
    descriptors: `${descriptors[0]} descriptors in the first third, ${descriptors[1]} in the last`,
  };
  const failures = [
    ...(rss[1] > rss[0] * GROWTH_MAX ? [`memory grew by more than 10 %: ${what}: ${texts.memory}`] : []),
    ...(descriptors[1] > descriptors[0] * GROWTH_MAX
      ? [`descriptors grew by more than 10 %: ${what}: ${texts.descriptors}`]
      : []),
  ];
  return { fact: `${what}: ${texts.memory}; ${texts.descriptors}`, failures };
}

/** The samples of the process that was seen most often. */
function longestLife(samples: readonly UseSample[]): UseSample[] {
  const lives = Object.values(Object.groupBy(samples, ({ pid }) => pid)).map((life) => life ?? []);
  return lives.reduce((best, life) => (life.length > best.length ? life : best), []);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2;
}
