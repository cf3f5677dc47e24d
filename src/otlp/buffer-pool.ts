import type { MemoryAccount } from "#lib/memory-budget.ts";

/** Buffers that batches are written into, used again so that a long collection does not feed the garbage collector. */
export interface BufferPool {
  /** A buffer of at least `bytesMin`; its content is arbitrary. */
  take(bytesMin: number): Buffer;
  give(buffer: Buffer): void;
}

/** Keeps at most `keepMax` buffers that are not in use, of at most `keepBytesMax` together. */
export function createBufferPool(keepMax: number, keepBytesMax = Number.POSITIVE_INFINITY): BufferPool {
  const free: Buffer[] = [];
  let freeBytes = 0;
  return {
    take: (bytesMin) => {
      const at = free.findIndex((buffer) => buffer.length >= bytesMin);
      if (at < 0) return Buffer.allocUnsafeSlow(bytesMin);
      const buffer = free.splice(at, 1)[0]!;
      freeBytes -= buffer.length;
      return buffer;
    },
    give: (buffer) => {
      free.push(buffer);
      freeBytes += buffer.length;
      free.sort((a, b) => a.length - b.length);
      while (free.length > keepMax || freeBytes > keepBytesMax) freeBytes -= free.shift()!.length;
    },
  };
}

/** The same buffers, with those in use on an account. */
export function createCountedPool(pool: BufferPool, memory: Pick<MemoryAccount, "add">): BufferPool {
  return {
    take: (bytesMin) => {
      const buffer = pool.take(bytesMin);
      memory.add(buffer.length);
      return buffer;
    },
    give: (buffer) => {
      memory.add(-buffer.length);
      pool.give(buffer);
    },
  };
}
