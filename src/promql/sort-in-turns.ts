import { type Evaluation, giveWay } from "./evaluation.ts";

/** Items that are sorted or merged before others get their turn. */
const CHUNK = 512;

/** Sorts in place, stable, and gives others their turn: ten thousand label sets take longer than the event loop may be held. */
export async function sortInTurns<T>(
  run: Evaluation,
  items: T[],
  compare: (a: T, b: T) => number,
): Promise<void> {
  if (items.length <= CHUNK) {
    items.sort(compare);
    return;
  }
  for (let at = 0; at < items.length; at += CHUNK) {
    const sorted = items.slice(at, at + CHUNK).sort(compare);
    for (let i = 0; i < sorted.length; i++) items[at + i] = sorted[i]!;
    await giveWay(run);
  }
  for (let width = CHUNK; width < items.length; width *= 2) {
    const before = items.slice();
    for (let at = 0; at < items.length; at += 2 * width) {
      let left = at;
      const middle = Math.min(at + width, items.length);
      let right = middle;
      const end = Math.min(at + 2 * width, items.length);
      for (let i = at; i < end; i++) {
        const takesLeft = left < middle && (right >= end || compare(before[left]!, before[right]!) <= 0);
        items[i] = takesLeft ? before[left++]! : before[right++]!;
        if (i % CHUNK === 0) await giveWay(run);
      }
    }
  }
}
