/** Buffers that batches are written into, used again so that a long collection does not feed the garbage collector. */
export interface BufferPool {
  /** A buffer of at least `bytesMin`; its content is arbitrary. */
  take(bytesMin: number): Buffer;
  give(buffer: Buffer): void;
}

/** Keeps at most `keepMax` buffers that are not in use. */
export function createBufferPool(keepMax: number): BufferPool {
  const free: Buffer[] = [];
  return {
    take: (bytesMin) => {
      const at = free.findIndex((buffer) => buffer.length >= bytesMin);
      return at >= 0 ? free.splice(at, 1)[0]! : Buffer.allocUnsafeSlow(bytesMin);
    },
    give: (buffer) => {
      free.push(buffer);
      free.sort((a, b) => a.length - b.length);
      if (free.length > keepMax) free.shift();
    },
  };
}
