import type { Clock } from "#lib/clock.ts";
import type { StateStore } from "#state/store.ts";
import { MemberWatch, type Member } from "./member-watch.ts";
import { updateMembers } from "./members-index.ts";
import { memberKey, MEMBERS_KEY, toMember, toMembers } from "./records.ts";
import { FORGET_MS } from "./times.ts";

/** A record that every look reads as well. */
export interface Watched {
  key: string;
  note(value: unknown): void;
}

/** All replicas, as the last look found them. */
export class Others {
  readonly #deps: { store: StateStore; clock: Clock };
  readonly watch: MemberWatch;
  #names: readonly string[] = [];
  #watched: Watched | undefined;

  constructor(deps: { store: StateStore; clock: Clock }) {
    this.#deps = deps;
    this.watch = new MemberWatch(deps.clock);
  }

  /** Reads this record as well, from the next look on. */
  follow(watched: Watched | undefined): void {
    this.#watched = watched;
  }

  isListed(name: string): boolean {
    return this.#names.includes(name);
  }

  /** One request: the list of the replicas, and the record of each. Throws state_unavailable. */
  async look(): Promise<void> {
    const { clock, store } = this.#deps;
    const at = clock.monotonic();
    const known = this.#names;
    const watched = this.#watched;
    const keys = [MEMBERS_KEY, ...known.map(memberKey), ...(watched ? [watched.key] : [])];
    const records = await store.getMany(keys);
    this.watch.note(known, records, at);
    watched?.note(records.get(watched.key)?.value);
    const { names } = toMembers(records.get(MEMBERS_KEY)?.value);
    this.#names = names;
    if (names.join() === known.join()) return;
    this.watch.note(names, await store.getMany(names.map(memberKey)), clock.monotonic());
  }

  /** Removes replicas that have been dead for an hour from the list. Throws state_*. */
  async forgetDead(): Promise<void> {
    const { clock, store } = this.#deps;
    const isForgotten = ({ record, isAlive }: Member): boolean =>
      !isAlive && record.until + FORGET_MS < clock.now();
    const dead = this.watch.all().filter(isForgotten);
    if (dead.length === 0) return;
    const names = dead.map(({ name }) => name);
    await updateMembers(store, (members) => {
      const kept = members.names.filter((name) => !names.includes(name));
      return kept.length === members.names.length ? undefined : { ...members, names: kept };
    });
    for (const { name, record } of dead) {
      const found = toMember((await store.get<unknown>(memberKey(name)))?.value);
      if (found?.incarnation === record.incarnation && found.beat === record.beat) {
        await store.delete(memberKey(name));
      }
    }
  }
}
