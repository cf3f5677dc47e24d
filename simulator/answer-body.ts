import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { createGzip } from "node:zlib";
import type { Clock } from "#lib/clock.ts";
import type { PrometheusFault } from "./fault-kinds.ts";

/**
 * Destination of an answer's bytes. `write` resolves when there is room for more; it rejects with `GONE` when
 * nobody reads any more.
 */
export interface ByteSink {
  write(chunk: Buffer): Promise<void>;
  end(): Promise<void>;
}

/** Thrown when the connection is closed: there is nothing left to do for this request. */
export const GONE = new Error("the client is gone");

/** Above this, Go's server sends chunks instead of a content-length. */
const LENGTH_KNOWN_MAX = 2048;
const FLUSH_BYTES = 32_768;

/**
 * Writes to the response with back-pressure; small bodies get a content-length, others are chunked, as Go
 * does.
 */
export function createResponseSink(response: ServerResponse): ByteSink {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let flowing = false;
  const flow = async (): Promise<void> => {
    flowing = true;
    const chunks = held;
    held = [];
    for (const chunk of chunks) await push(response, chunk);
  };
  return {
    write: async (chunk) => {
      if (flowing) return push(response, chunk);
      held.push(chunk);
      heldBytes += chunk.length;
      if (heldBytes > LENGTH_KNOWN_MAX) await flow();
    },
    end: async () => {
      if (response.destroyed) throw GONE;
      if (!flowing && !response.hasHeader("content-length")) response.setHeader("content-length", heldBytes);
      if (!flowing) await flow();
      response.end();
    },
  };
}

async function push(response: ServerResponse, chunk: Buffer): Promise<void> {
  if (response.destroyed || response.socket?.destroyed) throw GONE;
  if (response.write(chunk)) return;
  await new Promise<void>((resolve, reject) => {
    const onDrain = (): void => {
      response.off("close", onClose);
      resolve();
    };
    const onClose = (): void => {
      response.off("drain", onDrain);
      reject(GONE);
    };
    response.once("drain", onDrain);
    response.once("close", onClose);
  });
}

/** Compresses on the way to `next`. */
export function createGzipSink(next: ByteSink): ByteSink {
  const gzip = createGzip({ level: 1 });
  gzip.on("error", () => {});
  const pumping = (async () => {
    for await (const chunk of gzip as AsyncIterable<Buffer>) await next.write(chunk);
    await next.end();
  })();
  pumping.catch((error: unknown) => gzip.destroy(error instanceof Error ? error : GONE));
  return {
    write: async (chunk) => {
      if (gzip.destroyed) throw GONE;
      if (!gzip.write(chunk)) await once(gzip, "drain");
    },
    end: async () => {
      gzip.end();
      await pumping;
    },
  };
}

/** Lets the first `bytes` through, then calls `run` once; `run` may throw GONE to end the answer there. */
function createSinkWithEvent(next: ByteSink, bytes: number, run: () => Promise<void>): ByteSink {
  let left = bytes;
  let isDone = false;
  const fire = async (): Promise<void> => {
    isDone = true;
    await run();
  };
  return {
    write: async (chunk) => {
      if (isDone) return next.write(chunk);
      const passed = chunk.subarray(0, left);
      left -= passed.length;
      if (passed.length > 0) await next.write(passed);
      if (left > 0) return;
      await fire();
      if (passed.length < chunk.length) await next.write(chunk.subarray(passed.length));
    },
    end: async () => {
      if (!isDone && left === 0) await fire();
      await next.end();
    },
  };
}

/** The sink of an answer that a fault spoils on its way; other faults leave it as it is. */
export function spoilSink(
  sink: ByteSink,
  fault: PrometheusFault | undefined,
  response: ServerResponse,
  deps: { clock: Clock; restartPod: () => void },
): ByteSink {
  if (fault?.kind === "drip") {
    return {
      end: async () => sink.end(),
      write: async (chunk) => {
        for (let at = 0; at < chunk.length; at += fault.bytes) {
          await sink.write(chunk.subarray(at, at + fault.bytes));
          await deps.clock.sleep(fault.delayMs);
        }
      },
    };
  }
  if (fault?.kind === "pod-restart") {
    return createSinkWithEvent(sink, fault.afterBytes, async () => {
      await flushed(response);
      deps.restartPod();
      response.destroy();
      throw GONE;
    });
  }
  if (fault?.kind !== "truncate") return sink;
  if (fault.how === "length") response.setHeader("content-length", 1_000_000_000);
  if (fault.how === "close") {
    response.setHeader("connection", "close");
    response.useChunkedEncodingByDefault = false;
  }
  return createSinkWithEvent(createDirectSink(response), fault.atByte, async () => {
    if (fault.how === "complete" || fault.how === "close") response.end();
    else {
      await flushed(response);
      response.destroy();
    }
    throw GONE;
  });
}

/** Never holds bytes back, so that the headers decide how the body is framed: in chunks without any. */
export function createDirectSink(response: ServerResponse): ByteSink {
  return {
    write: async (chunk) => push(response, chunk),
    end: async () => {
      if (!response.headersSent) response.flushHeaders();
      response.end();
    },
  };
}

/** Resolves when everything written so far is out of our hands, or nobody reads any more. */
async function flushed(response: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => {
    if (response.destroyed) return resolve();
    response.once("close", resolve);
    response.write(Buffer.alloc(0), () => resolve());
  });
}

/** Text in, pieces of about 32 KiB out. */
export interface TextSink {
  write(text: string): Promise<void> | undefined;
  end(): Promise<void>;
}

export function createTextSink(sink: ByteSink): TextSink {
  let text = "";
  const flush = async (): Promise<void> => {
    const chunk = Buffer.from(text);
    text = "";
    await sink.write(chunk);
    // A large answer is made in one go: let others have the thread between its pieces.
    await new Promise<void>((resolve) => setImmediate(resolve));
  };
  return {
    write: (more) => {
      text += more;
      return text.length >= FLUSH_BYTES ? flush() : undefined;
    },
    end: async () => {
      if (text.length > 0) await sink.write(Buffer.from(text));
      await sink.end();
    },
  };
}
