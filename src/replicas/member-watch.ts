import type { Clock } from "#lib/clock.ts";
import type { StateRecord } from "#state/store.ts";
import { memberKey, toMember, type MemberRecord } from "./records.ts";
import { LOOK_MS, MEMBER_MS, RENEW_MS, SKEW_MS } from "./times.ts";

export interface Member {
  name: string;
  record: MemberRecord;
  isAlive: boolean;
}

interface Seen {
  record: MemberRecord;
  /** Has it ever been renewed since this replica first saw it? */
  isRenewed: boolean;
  /** How long it stayed the same, as far as this replica looked. */
  silentMs: number;
  /** Processes that had the name before. */
  past: readonly string[];
}

/** A look that comes much later than the one before says nothing about the time in between. */
const LOOK_MS_MAX = 2 * LOOK_MS;
const PAST_MAX = 8;

/**
 * Which replicas are alive. A replica is dead when its record was not renewed for MEMBER_MS, by the time of the replica that looks: no wall clock can
 * make a live replica look dead, or a dead one alive. Only of a record that was never seen to change does its own `until` count, with SKEW_MS for
 * clocks that differ.
 */
export class MemberWatch {
  readonly #clock: Clock;
  readonly #seen = new Map<string, Seen>();
  #lookedAt = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes note of what a look found; `at`: when it began, monotonic ms. */
  note(names: readonly string[], records: ReadonlyMap<string, StateRecord<unknown>>, at: number): void {
    const passedMs = Math.min(LOOK_MS_MAX, Math.max(0, at - this.#lookedAt));
    this.#lookedAt = Math.max(this.#lookedAt, at);
    for (const name of this.#seen.keys()) if (!names.includes(name)) this.#seen.delete(name);
    for (const name of names) {
      const record = toMember(records.get(memberKey(name))?.value);
      const known = this.#seen.get(name);
      if (!record) this.#seen.delete(name);
      else if (!known) this.#seen.set(name, { record, isRenewed: false, silentMs: 0, past: [] });
      else if (isNewer(record, known)) {
        this.#seen.set(name, { record, isRenewed: true, silentMs: 0, past: pastOf(record, known) });
      } else known.silentMs += passedMs;
    }
  }

  all(): Member[] {
    return [...this.#seen].map(([name, seen]) => ({
      name,
      record: seen.record,
      isAlive: this.#isAlive(seen),
    }));
  }

  /** By the process, too: a new process of the same name is another owner. */
  isAlive(name: string, incarnation: string | null): boolean {
    const seen = this.#seen.get(name);
    return seen !== undefined && seen.record.incarnation === incarnation && this.#isAlive(seen);
  }

  /** Replicas that collect and are alive, by name. */
  owners(): string[] {
    const all = [...this.#seen].filter(([, seen]) => seen.record.collects && this.#isAlive(seen));
    return all.map(([name]) => name).sort();
  }

  #isAlive({ record, isRenewed, silentMs }: Seen): boolean {
    if (record.gone || silentMs >= MEMBER_MS) return false;
    const isOver = record.until + SKEW_MS < this.#clock.now();
    return isRenewed || !isOver || silentMs <= RENEW_MS + LOOK_MS;
  }
}

/** Answers of a store may be older than the last one. */
function isNewer(record: MemberRecord, known: Seen): boolean {
  if (record.incarnation === known.record.incarnation) return record.beat > known.record.beat;
  return !known.past.includes(record.incarnation);
}

function pastOf({ incarnation }: MemberRecord, known: Seen): readonly string[] {
  if (incarnation === known.record.incarnation) return known.past;
  return [...known.past, known.record.incarnation].slice(-PAST_MAX);
}
