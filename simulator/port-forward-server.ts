import { duplexPair } from "node:stream";
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import type { TunnelFault } from "./fault-kinds.ts";
import type { SlowLink } from "./slow-link.ts";
import type { KubePod, KubeState } from "./kube-state.ts";

/** Kubelet's copy buffer: no data frame is larger. */
const FRAME_BYTES_MAX = 32_768;
/** Bytes that may wait in the WebSocket before the Pod's side is paused. */
const WAITING_BYTES_MAX = 1 << 20;

export interface Forwarding {
  webSocket: WebSocket;
  pod: KubePod;
  ports: readonly number[];
  fault: TunnelFault | undefined;
  /** Delays the bytes towards the client; absent: no delay. */
  link: SlowLink | undefined;
  /** Ends the TCP connection below with an RST. */
  reset: () => void;
}

/**
 * Serves one port-forward WebSocket (v4.channel.k8s.io): for the port with index i, channel 2i carries data
 * and 2i+1 errors, each beginning with
 * the port as uint16-LE. Both ends of a byte stream close together; there is no half-close.
 */
export function servePortForward(state: KubeState, forwarding: Forwarding): void {
  const { webSocket, pod, fault } = forwarding;
  const ends = new Map<number, Duplex>();
  webSocket.on("error", () => {});
  const forget = state.onPodGone(pod.uid, () => webSocket.terminate());
  webSocket.on("close", () => {
    forget();
    for (const end of ends.values()) end.destroy();
  });
  webSocket.on("message", (data: Buffer, isBinary: boolean) => {
    const end = isBinary && data.length > 0 ? ends.get(data[0] ?? -1) : undefined;
    if (!end || end.destroyed || data.length === 1) return;
    if (end.write(data.subarray(1))) return;
    webSocket.pause();
    end.once("drain", () => webSocket.resume());
  });
  if (fault?.kind === "hang") return;
  for (const [i, port] of forwarding.ports.entries()) {
    announcePort(webSocket, 2 * i, port, fault);
    openPort(forwarding, 2 * i, port, ends);
  }
}

function announcePort(
  webSocket: WebSocket,
  channel: number,
  port: number,
  fault: TunnelFault | undefined,
): void {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(fault?.kind === "wrong-port" ? (fault.port ?? 1) : port);
  for (const each of [channel, channel + 1]) {
    if (fault?.kind === "split-port") {
      webSocket.send(Buffer.from([each, bytes[0] ?? 0]));
      webSocket.send(Buffer.from([each, bytes[1] ?? 0]));
    } else webSocket.send(Buffer.concat([Buffer.from([each]), bytes]));
    if (fault?.kind === "empty-frames") {
      webSocket.send(Buffer.alloc(0));
      webSocket.send(Buffer.from([each]));
    }
  }
  if (fault?.kind === "text-frame") webSocket.send("hello");
  if (fault?.kind === "unknown-channel") webSocket.send(Buffer.from([fault.channel ?? 7, 1, 2, 3]));
}

function openPort(forwarding: Forwarding, channel: number, port: number, ends: Map<number, Duplex>): void {
  const { webSocket, pod, fault, link } = forwarding;
  const listener = pod.listeners.get(port);
  if (!listener) {
    const where = `${pod.namespace}/${pod.name}`;
    const dial = `failed to connect to localhost:${port} inside namespace of "${where}": connect: connection refused`;
    return sendError(webSocket, channel, `error forwarding port ${port} to pod ${where}, uid : ${dial}`);
  }
  if (fault?.kind === "error-text" && !fault.afterBytes) return sendError(webSocket, channel, fault.text);
  const [near, far] = duplexPair();
  near.on("error", () => {});
  far.on("error", () => {});
  ends.set(channel, near);
  const spoil = createSpoiler(forwarding, channel);
  near.on("data", (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; at += FRAME_BYTES_MAX) {
      const frame = chunk.subarray(at, at + FRAME_BYTES_MAX);
      if (link) passSlowly(link, near, frame, () => sendData(webSocket, channel, near, frame, spoil));
      else sendData(webSocket, channel, near, frame, spoil);
    }
  });
  near.on("end", () => {
    const close = (): void => {
      if (webSocket.readyState === WebSocket.OPEN) webSocket.close(1000);
    };
    if (link) link.pass(0, close);
    else close();
  });
  // Destroying one end does not end the other.
  near.on("close", () => {
    far.destroy();
    webSocket.resume();
  });
  far.on("close", () => {
    if (!near.readableEnded) near.push(null);
  });
  listener(far);
}

function passSlowly(link: SlowLink, near: Duplex, frame: Buffer, send: () => void): void {
  near.pause();
  link.pass(frame.length, () => {
    send();
    if (link.waitingBytes() < WAITING_BYTES_MAX) near.resume();
  });
}

function sendError(webSocket: WebSocket, channel: number, text: string): void {
  webSocket.send(Buffer.concat([Buffer.from([channel + 1]), Buffer.from(text)]));
  webSocket.close(1000);
}

/** How many of the next bytes may pass, and what happens when they have. */
interface Spoiler {
  left: number;
  run: () => void;
}

function createSpoiler({ webSocket, fault, reset }: Forwarding, channel: number): Spoiler {
  const after = fault && "afterBytes" in fault ? fault.afterBytes : undefined;
  const spoiler = (run: () => void): Spoiler => ({ left: after ?? 0, run });
  if (fault?.kind === "stall") return spoiler(() => {});
  if (fault?.kind === "close") return spoiler(() => webSocket.close(fault.code ?? 1001));
  if (fault?.kind === "cut") return spoiler(() => webSocket.terminate());
  if (fault?.kind === "reset") return spoiler(reset);
  if (fault?.kind === "error-text") return spoiler(() => sendError(webSocket, channel, fault.text));
  return { left: Number.POSITIVE_INFINITY, run: () => {} };
}

function sendData(webSocket: WebSocket, channel: number, near: Duplex, chunk: Buffer, spoil: Spoiler): void {
  if (webSocket.readyState !== WebSocket.OPEN || spoil.left < 0) return;
  const passed = chunk.subarray(0, spoil.left);
  spoil.left -= passed.length;
  const isLast = spoil.left === 0;
  // Below zero: nothing passes any more.
  if (isLast) spoil.left = -1;
  if (passed.length === 0) return spoil.run();
  const frame = Buffer.allocUnsafe(passed.length + 1);
  frame[0] = channel;
  passed.copy(frame, 1);
  webSocket.send(frame, () => {
    if (isLast) spoil.run();
    if (near.isPaused() && webSocket.bufferedAmount < WAITING_BYTES_MAX) near.resume();
  });
  if (webSocket.bufferedAmount >= WAITING_BYTES_MAX) near.pause();
}
