interface FrameOptions {
  isLast?: boolean;
  /** RSV1: compressed (RFC 7692). */
  isCompressed?: boolean;
  isMasked?: boolean;
  /** What the frame says of itself, whatever follows. */
  length?: number;
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, reserved: 3, close: 8, ping: 9 } as const;

/** A WebSocket frame (RFC 6455, 5.2) as Latin-1 text, right or wrong. */
export function frame(opcode: number, payload: string, options: FrameOptions = {}): string {
  const { isLast = true, isCompressed = false, isMasked = false, length = payload.length } = options;
  const first = (isLast ? 0x80 : 0) | (isCompressed ? 0x40 : 0) | opcode;
  const head = Buffer.alloc(length < 126 ? 2 : 10);
  head[0] = first;
  head[1] = (isMasked ? 0x80 : 0) | (length < 126 ? length : 127);
  if (length >= 126) head.writeBigUInt64BE(BigInt(length), 2);
  return `${head.toString("latin1")}${isMasked ? "\0\0\0\0" : ""}${payload}`;
}

/** A port-forward message of channel 0 (data) or 1 (error). */
export function message(channel: number, payload: string): string {
  return frame(OPCODE.binary, `${String.fromCodePoint(channel)}${payload}`);
}
