import { randomUUID } from "node:crypto";
import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { isConflict } from "#state/retry-on-conflict.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Fleet } from "./ownership.ts";
import { RoundParts } from "./round-parts.ts";
import { isIdleRound } from "./round-result.ts";
import type { Rounds } from "./round.ts";
import { joinParts, toWholeStatus } from "./whole-round.ts";
import type { Collection, CollectionStatus, RoundResult, RoundStart, RoundTrigger } from "./status.ts";

export interface SharedRoundsDeps {
  /** Of the clusters of this replica. */
  local: Rounds;
  fleet: Fleet;
  store: StateStore;
  clock: Clock;
  logger: Logger;
  /** In [0, 1). */
  random: () => number;
}

/** The state record of a round that a caller of the API asked for; `asked_at` is by the clock of the replica that was asked. */
export const ROUND_KEY = "round";
/** Replicas that the cron calls at the same moment begin at moments of their own. */
const JITTER_MS_MAX = 2_000;
/** Between two looks at the parts of other replicas, for a caller that waits. */
const PARTS_LOOK_MS = 1_000;
/** A replica that has not begun its part by then is not waited for. */
const BEGIN_MS_MAX = 10_000;
/** A store that does not answer for so long is not waited for. */
const SILENT_MS_MAX = 30_000;
const ASKS_MAX = 5;
const IDS_MAX = 16;
/** While the store does not answer, the last status serves so long. */
const OUTAGE_MS_MAX = 3_600_000;

/**
 * The rounds of all replicas. A tick starts the clusters of the replica that it comes to. A round that is asked for is written down, every replica
 * joins it, and so does a call while it goes on. A replica that is alone starts a round with each call, without the clusters that it is still collecting.
 */
export class SharedRounds implements Collection {
  readonly #deps: SharedRoundsDeps;
  readonly #parts: RoundParts;
  /** This replica's part of the last round that was asked for. */
  #asked: RoundStart | undefined;
  /** Ids of asked rounds that this replica knows, the latest last: an answer of the store may be older than the one before. */
  #ids: readonly string[] = [];
  #hasLooked = false;
  #isStopping = false;
  #known: { status: CollectionStatus; at: number; atMs: number } | undefined;

  constructor(deps: SharedRoundsDeps) {
    this.#deps = deps;
    this.#parts = new RoundParts(deps.store, deps.fleet.name);
  }

  async start(trigger: RoundTrigger): Promise<RoundStart> {
    const { clock, random } = this.#deps;
    if (trigger === "request") return await this.#ask(ASKS_MAX);
    if (this.#others().length > 0) await clock.sleep(random() * JITTER_MS_MAX);
    return await this.#startOwn(trigger);
  }

  /** Called with each record of ROUND_KEY that was read: joins a round that another replica was asked for. Never throws. */
  async noteRound(value: unknown): Promise<void> {
    const { id } = (value ?? {}) as { id?: unknown };
    const isFirst = !this.#hasLooked;
    this.#hasLooked = true;
    if (typeof id !== "string" || this.#ids.includes(id)) return;
    this.#remember(id);
    // What was asked before this process began is over, or goes on without it.
    if (isFirst || this.#isStopping) return;
    try {
      this.#asked = await this.#startOwn("request", id);
    } catch (error) {
      this.#deps.logger.warn({ err: error, round: id }, "this replica can't join the round");
    }
  }

  async status(): Promise<CollectionStatus> {
    const { clock } = this.#deps;
    try {
      const status = await this.#wholeStatus();
      this.#known = { status, at: clock.monotonic(), atMs: clock.now() };
      return status;
    } catch (thrown) {
      const error = toBridgeError(thrown, "state_unavailable");
      const known = this.#known;
      const isOld = !known || clock.monotonic() - known.at > OUTAGE_MS_MAX;
      if (error.code !== "state_unavailable" || isOld) throw error;
      const at = new Date(known.atMs).toISOString();
      const warning = `this is the status of ${at}; nothing is collected while the state store does not answer: ${error.message}`;
      return { ...known.status, warnings: [...known.status.warnings, warning] };
    }
  }

  /** Nobody waits for other replicas any more. */
  stop(): void {
    this.#isStopping = true;
  }

  async #ask(asksLeft: number): Promise<RoundStart> {
    const { store, clock, logger } = this.#deps;
    const others = this.#others();
    const found = others.length > 0 ? await store.get<unknown>(ROUND_KEY) : undefined;
    this.#hasLooked = true;
    if (found) await this.noteRound(found.value);
    const isJoined = others.length > 0 && this.#asked && (await this.#isRunning(this.#asked.round));
    if (isJoined) return this.#whole(this.#asked!);
    const id = randomUUID();
    this.#remember(id);
    if (others.length > 0) {
      const asked_at = new Date(clock.now()).toISOString();
      try {
        await store.put(ROUND_KEY, { id, asked_at }, found?.etag);
      } catch (error) {
        // Another replica was asked at the same moment.
        if (isConflict(error) && asksLeft > 1) return await this.#ask(asksLeft - 1);
        logger.warn({ err: error, round: id }, "the other replicas do not hear of this round");
      }
    }
    this.#asked = await this.#startOwn("request", id);
    return this.#whole(this.#asked);
  }

  #whole(start: RoundStart): RoundStart {
    return { ...start, done: start.done.then(() => this.#waitForOthers(start.round)) };
  }

  async #startOwn(trigger: RoundTrigger, id?: string): Promise<RoundStart> {
    const start = await this.#deps.local.start(trigger, id);
    // A round that found every cluster busy is none, but somebody may wait for it.
    if (isIdleRound(start.round) && id === undefined) return start;
    await this.#tell(start.round);
    void start.done.then((round) => this.#tell(round));
    return start;
  }

  /** Never throws: the others see an older part then. */
  async #tell(round: RoundResult): Promise<void> {
    try {
      await this.#parts.write(round);
    } catch (error) {
      this.#deps.logger.debug({ err: error, round: round.id }, "the other replicas do not see this round");
    }
  }

  async #isRunning(round: RoundResult): Promise<boolean> {
    if (round.finished_at === null) return true;
    const parts = await this.#parts.read(this.#others());
    return [...parts.values()].some(({ id, finished_at }) => id === round.id && finished_at === null);
  }

  /** The whole round, when every replica has finished its part: those that have died, or do not begin, are not waited for. Never rejects. */
  async #waitForOthers(round: RoundResult): Promise<RoundResult> {
    const { clock, logger } = this.#deps;
    const beganAt = clock.monotonic();
    let answeredAt = beganAt;
    for (;;) {
      const others = this.#others();
      const now = clock.monotonic();
      try {
        const parts = await this.#parts.read(others);
        answeredAt = now;
        const isAwaited = (name: string): boolean => {
          const part = parts.get(name);
          return part?.id === round.id ? part.finished_at === null : now - beganAt < BEGIN_MS_MAX;
        };
        const own = [...parts.values()].filter(({ id }) => id === round.id);
        if (this.#isStopping || !others.some(isAwaited)) return joinParts([round, ...own]) ?? round;
      } catch (error) {
        logger.debug({ err: error }, "the parts of the other replicas can't be read");
        if (this.#isStopping || now - answeredAt > SILENT_MS_MAX) return round;
      }
      await new Promise<void>((resolve) => void clock.after(PARTS_LOOK_MS, resolve));
    }
  }

  async #wholeStatus(): Promise<CollectionStatus> {
    const { local, fleet } = this.#deps;
    const status = await local.status();
    const [owners, parts] = await Promise.all([
      fleet.owners(status.clusters.map(({ cluster_id }) => cluster_id)),
      this.#parts.read(this.#others()),
    ]);
    return toWholeStatus(status, { name: fleet.name, replicas: fleet.replicas(), owners, parts });
  }

  /** Other replicas that are alive and collect. */
  #others(): string[] {
    const { fleet } = this.#deps;
    return fleet
      .replicas()
      .flatMap(({ name, alive, collects }) => (alive && collects && name !== fleet.name ? [name] : []));
  }

  #remember(id: string): void {
    this.#ids = [...this.#ids, id].slice(-IDS_MAX);
  }
}
