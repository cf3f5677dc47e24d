import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { toErrorAnswer } from "./errors.ts";

/** One event of a stream (WHATWG HTML, 9.2 Server-sent events). `data` becomes one line of JSON. */
export interface ServerEvent {
  event: string;
  data: unknown;
  id?: string;
}

/** An answer that goes on: events until one side ends it. */
export interface EventStream {
  /** Aborted when the stream ends, whoever ends it. */
  readonly signal: AbortSignal;
  /** False: the reader is slow. What is sent now waits in memory, so the caller should keep only the newest until `onReady`. */
  isReady(): boolean;
  /** Calls `run` each time when the reader has taken what was sent. */
  onReady(run: () => void): void;
  send(event: ServerEvent): void;
  /** Ends the stream after what was sent. */
  end(): void;
}

export interface EventStreamLimits {
  /** Streams of all callers. */
  streamsMax: number;
  /** Streams of one caller: a token, or without tokens an address. */
  streamsPerCallerMax: number;
  /** A comment is sent so often, so that proxies do not take the connection for a dead one. */
  heartbeatMs: number;
  /** A reader that takes nothing for so long is given up. */
  slowMsMax: number;
}

export const EVENT_STREAM_LIMITS: EventStreamLimits = {
  streamsMax: 200,
  streamsPerCallerMax: 100,
  heartbeatMs: 15_000,
  slowMsMax: 60_000,
};

/** How long a reader waits before it connects again, ms. */
const RETRY_MS = 3000;
const RETRY_AFTER_SECONDS = 10;
const BUFFER_BYTES = 64 * 1024;

/** The event streams of a server. */
export interface EventStreams {
  /** Answers the request with a stream. Throws `too_many_streams`. */
  open(request: FastifyRequest, reply: FastifyReply): EventStream;
  /** Ends the streams of callers whose token is no longer in force, or not as it was. */
  endRevoked(): void;
}

/** Ends all streams as soon as `stopping` is aborted. A stream that the server ends has the event `end` with the reason as its last. */
export function createEventStreams(
  deps: { clock: Clock },
  limits: EventStreamLimits,
  stopping: AbortSignal,
): EventStreams {
  const open = new Set<OpenStream>();
  stopping.addEventListener("abort", () => {
    for (const stream of open) stream.endBecause(stopping.reason as BridgeError);
  });
  return {
    open: (request, reply) => {
      const own = [...open].filter(({ share }) => share === request.share).length;
      if (own >= limits.streamsPerCallerMax) throw tooMany("caller", `this caller has ${own} event streams`);
      if (open.size >= limits.streamsMax) throw tooMany("all", `${open.size} event streams are open`);
      const stream = new OpenStream(deps.clock, limits, request);
      open.add(stream);
      stream.signal.addEventListener("abort", () => open.delete(stream), { once: true });
      stream.answer(reply);
      return stream;
    },
    endRevoked: () => {
      for (const stream of open) {
        if (stream.isAllowed()) continue;
        stream.endBecause(new BridgeError("unauthenticated", "the token is no longer in force as it was"));
      }
    },
  };
}

function tooMany(limit: "all" | "caller", problem: string): BridgeError {
  return new BridgeError("too_many_streams", problem, {
    details: { limit, retry_after_seconds: RETRY_AFTER_SECONDS },
  });
}

class OpenStream implements EventStream {
  readonly share: string;
  readonly isAllowed: () => boolean;
  readonly #clock: Clock;
  readonly #limits: EventStreamLimits;
  readonly #requestId: string;
  readonly #ended = new AbortController();
  readonly #body: Readable;
  #isReady = true;
  #slowMs = 0;
  #onReady: () => void = () => {};
  #cancelBeat: () => void = () => {};

  constructor(clock: Clock, limits: EventStreamLimits, request: FastifyRequest) {
    this.share = request.share;
    this.isAllowed = () => request.isStillAllowed();
    this.#clock = clock;
    this.#limits = limits;
    this.#requestId = request.id;
    this.#body = new Readable({ highWaterMark: BUFFER_BYTES, read: () => this.#taken() });
    // The reader is gone, or everything was taken.
    this.#body.once("close", () => this.#finish());
    this.#body.on("error", () => {});
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  answer(reply: FastifyReply): void {
    reply.raw.once("close", () => this.#body.destroy());
    reply.headers({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      // For nginx, which would keep events until its buffer is full.
      "x-accel-buffering": "no",
      // The end of the stream is the end of the connection: it never waits for another request.
      connection: "close",
    });
    this.#write(`retry: ${RETRY_MS}\n\n`);
    this.#beat();
    void reply.send(this.#body);
  }

  isReady(): boolean {
    return this.#isReady;
  }

  onReady(run: () => void): void {
    this.#onReady = run;
  }

  send({ event, data, id }: ServerEvent): void {
    this.#write(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  end(): void {
    if (this.signal.aborted) return;
    this.#finish();
    this.#body.push(null);
  }

  /** The server ends it: the reader is told why, if it still reads. */
  endBecause(reason: BridgeError): void {
    if (this.signal.aborted) return;
    if (!this.#isReady) {
      this.#body.destroy();
      this.#finish();
      return;
    }
    this.send({ event: "end", data: toErrorAnswer(reason, this.#requestId) });
    this.end();
  }

  #write(text: string): void {
    if (this.signal.aborted) return;
    this.#isReady = this.#body.push(text);
  }

  #taken(): void {
    this.#slowMs = 0;
    if (this.#isReady) return;
    this.#isReady = true;
    this.#onReady();
  }

  #beat(): void {
    const { heartbeatMs, slowMsMax } = this.#limits;
    this.#cancelBeat = this.#clock.after(heartbeatMs, () => {
      if (this.#isReady) this.#write(": heartbeat\n\n");
      else this.#slowMs += heartbeatMs;
      if (this.#slowMs >= slowMsMax) this.#body.destroy();
      else this.#beat();
    });
  }

  #finish(): void {
    this.#cancelBeat();
    this.#ended.abort(new Error("the stream has ended"));
  }
}
