import { BridgeError, toBridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import { updateMembers } from "./members-index.ts";
import { memberKey, toMember, type MemberRecord } from "./records.ts";
import { MEMBER_MS, OWN_MS, RENEW_LIMIT_MS, SKEW_MS } from "./times.ts";

export interface Self {
  /** Unique among the replicas. */
  name: string;
  /** Of this process. */
  incarnation: string;
  version: string;
  collects: boolean;
}

const ATTEMPTS = 2;

/**
 * This replica's own record. It is good for OWN_MS from the moment before the request that renewed it was sent, by the clock that never jumps: so
 * the replica itself stops before another one may take its clusters.
 */
export class Membership {
  readonly #deps: { store: StateStore; clock: Clock; logger: Logger };
  readonly #self: Self;
  readonly #startedAt: number;
  readonly #countClusters: () => number;
  #etag: string | undefined;
  #beat = 0;
  #hasJoined = false;
  #isGone = false;
  /** Monotonic ms. */
  #renewedAt = -Infinity;
  #renewing: Promise<boolean> | undefined;
  #problem: BridgeError | undefined;
  /** Another process has this name: its last record, and since when it is the same. */
  #other: { etag: string; sinceMs: number } | undefined;

  constructor(
    deps: { store: StateStore; clock: Clock; logger: Logger },
    self: Self,
    countClusters: () => number,
  ) {
    this.#deps = deps;
    this.#self = self;
    this.#startedAt = deps.clock.now();
    this.#countClusters = countClusters;
  }

  get isValid(): boolean {
    return !this.#isGone && this.#deps.clock.monotonic() < this.#renewedAt + OWN_MS;
  }

  get startedAtMs(): number {
    return this.#startedAt;
  }

  /** ms since the last renewal; Infinity before the first. */
  get ageMs(): number {
    return this.#deps.clock.monotonic() - this.#renewedAt;
  }

  /** Time until the record is not good any more, ms. */
  get leftMs(): number {
    return Math.max(0, OWN_MS - this.ageMs);
  }

  /** Why the last renewal failed. */
  get problem(): BridgeError | undefined {
    return this.#problem;
  }

  /** Joins the renewal under way, or begins one. Never throws. */
  async renew(): Promise<boolean> {
    if (this.#isGone) return false;
    this.#renewing ??= this.#renew().finally(() => (this.#renewing = undefined));
    return await this.#renewing;
  }

  /** Says that this replica has ended. Throws state_*. */
  async leave(): Promise<void> {
    await this.#renewing;
    if (this.#isGone || !this.#hasJoined || this.#other) return;
    this.#isGone = true;
    await this.#deps.store.put(memberKey(this.#self.name), { ...this.#record(), gone: true }, this.#etag);
  }

  /** Adds this replica to the list of all. Throws state_*. */
  async enlist(): Promise<void> {
    const { name } = this.#self;
    await updateMembers(this.#deps.store, (members) => {
      if (members.names.includes(name)) return undefined;
      return { ...members, names: [...members.names, name].sort() };
    });
  }

  async #renew(): Promise<boolean> {
    const { logger } = this.#deps;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#attempt();
        if (this.#problem) logger.info("this replica's record is renewed again");
        this.#problem = undefined;
        return true;
      } catch (thrown) {
        const error = toBridgeError(thrown, "state_unavailable");
        if (attempt < ATTEMPTS && error.code === "state_conflict") continue;
        if (!this.#problem) logger.warn({ err: error }, "this replica's record could not be renewed");
        this.#problem = error;
        return false;
      }
    }
  }

  /** One attempt, within its limit: it goes on unobserved after that, and can't do harm, since its ETag is old by then. */
  async #attempt(): Promise<void> {
    const { clock } = this.#deps;
    const limit = deadline(clock, RENEW_LIMIT_MS, () => {
      const text = `the state store did not answer in ${RENEW_LIMIT_MS / 1000} s`;
      return new BridgeError("state_unavailable", text);
    });
    try {
      if (!this.#hasJoined || this.#other) await this.#takeName(limit.signal);
      await this.#write(limit.signal);
    } finally {
      limit.dispose();
    }
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#deps;
    const sentAt = clock.monotonic();
    const record = this.#record();
    const key = memberKey(this.#self.name);
    try {
      this.#etag = await abortable(store.put(key, record, this.#etag), signal);
    } catch (error) {
      // It may be written all the same.
      const found = await abortable(store.get<unknown>(key), signal);
      const stored = toMember(found?.value);
      if (found && stored?.incarnation !== record.incarnation) throw this.#replacedBy(found.etag);
      this.#etag = found?.etag;
      if (stored?.beat !== record.beat) throw error;
    }
    this.#hasJoined = true;
    this.#renewedAt = Math.max(this.#renewedAt, sentAt);
  }

  /** A record of an earlier process of this name is replaced. One that still renews it has the name. */
  async #takeName(signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#deps;
    const found = await abortable(store.get<unknown>(memberKey(this.#self.name)), signal);
    const isOwn = toMember(found?.value)?.incarnation === this.#self.incarnation;
    if (this.#other && found && !isOwn) {
      const isSame = this.#other.etag === found.etag;
      if (!isSame) this.#other = { etag: found.etag, sinceMs: clock.monotonic() };
      if (clock.monotonic() - this.#other.sinceMs < MEMBER_MS + SKEW_MS) throw nameTaken(this.#self.name);
    }
    this.#other = undefined;
    this.#etag = found?.etag;
  }

  #replacedBy(etag: string): BridgeError {
    this.#other = { etag, sinceMs: this.#deps.clock.monotonic() };
    this.#renewedAt = -Infinity;
    return nameTaken(this.#self.name);
  }

  #record(): MemberRecord {
    const { incarnation, version, collects } = this.#self;
    return {
      incarnation,
      beat: ++this.#beat,
      until: this.#deps.clock.now() + MEMBER_MS,
      started_at: this.#startedAt,
      version,
      clusters: this.#countClusters(),
      collects,
    };
  }
}

function nameTaken(name: string): BridgeError {
  return new BridgeError("replica_name_taken", `another process is the replica "${name}"`);
}
