import { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { copyIfSmall } from "#lib/read-body.ts";
import { errorCode, remoteText } from "./api-error.ts";

/** Largest message that is accepted; kubelets send at most 32 KiB at once. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;
const WRITE_BYTES_MAX = 32 * 1024;
const BUFFER_BYTES = 64 * 1024;
/** Limits of one turn of the event loop. Messages of one byte, or of many small HTTP answers, would block it for long. */
const TURN = { bytes: 128 * 1024, messages: 512 };

const DATA = 0;
const ERROR = 1;

export interface PortForwardStreamOptions {
  /** An open WebSocket with sub-protocol v4.channel.k8s.io, its messages as Buffers. The stream owns it from here on. */
  webSocket: WebSocket;
  /** The one port that was asked for. */
  port: number;
  /** How often a silent connection is probed; one probe without an answer ends it. */
  pingIntervalMs: number;
  clock: Clock;
  /** Called once, when the server has opened both channels. */
  onReady: () => void;
}

/**
 * One port-forward WebSocket as the TCP connection that it stands for (KEP-4006; kubelet's portforward/websocket.go): message byte 0
 * is the channel, 0 data, 1 error text; each channel begins with the port as uint16 little-endian. Back-pressure works both ways.
 *
 * Version 4 knows no half-close, so the end of one direction is the end. Whatever the server does wrong destroys the stream with
 * a BridgeError: tunnel_refused, tunnel_closed, tunnel_timeout or tunnel_protocol.
 */
export class PortForwardStream extends Duplex {
  readonly #options: PortForwardStreamOptions;
  readonly #headers = [Buffer.alloc(2), Buffer.alloc(2)] as const;
  readonly #headerBytes: [number, number] = [0, 0];
  #received = 0;
  #isAlive = true;
  /** The reader has enough for now. */
  #isFull = false;
  /** The work of this turn of the event loop so far; undefined when there was none. */
  #turn: { bytes: number; messages: number } | undefined;
  #cancelPing: () => void;

  constructor(options: PortForwardStreamOptions) {
    super({ allowHalfOpen: false, readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
    this.#options = options;
    // Without a listener an error between two owners of the stream would end the process.
    this.on("error", () => {});
    const { webSocket, clock, pingIntervalMs } = options;
    webSocket.on("message", (data, isBinary) => this.#onMessage(data, isBinary));
    webSocket.on("ping", () => (this.#isAlive = true));
    webSocket.on("pong", () => (this.#isAlive = true));
    webSocket.on("error", (error) => this.destroy(toStreamError(error)));
    webSocket.on("close", (code, reason) => this.#onClose(code, reason));
    this.#cancelPing = clock.after(pingIntervalMs, () => this.#probe());
  }

  #probe(): void {
    const { webSocket, clock, pingIntervalMs } = this.#options;
    if (this.destroyed) return;
    // A paused socket reads no pong; then the reader is the slow side.
    if (!this.#isAlive && !webSocket.isPaused) {
      this.destroy(new BridgeError("tunnel_timeout", `the port-forward was silent for ${pingIntervalMs} ms`));
      return;
    }
    this.#isAlive = webSocket.isPaused;
    if (webSocket.readyState === WebSocket.OPEN) webSocket.ping();
    this.#cancelPing = clock.after(pingIntervalMs, () => this.#probe());
  }

  #onMessage(data: WebSocket.RawData, isBinary: boolean): void {
    this.#isAlive = true;
    if (this.destroyed || this.readableEnded) return;
    this.#countInTurn(Buffer.isBuffer(data) ? data.length : 0);
    if (!isBinary || !Buffer.isBuffer(data)) return this.#fail("the server sent a text message");
    const channel = data[0];
    if (channel === undefined) return;
    if (channel !== DATA && channel !== ERROR) return this.#fail(`the server used channel ${channel}`);
    const payload = this.#takeHeader(channel, data.subarray(1));
    if (!payload || payload.length === 0) return;
    if (channel === ERROR) {
      this.destroy(toRemoteError(payload.toString("utf8"), this.#received > 0));
      return;
    }
    this.#received += payload.length;
    if (this.push(copyIfSmall(payload))) return;
    this.#isFull = true;
    this.#options.webSocket.pause();
  }

  /** Lets the event loop go on when this turn of it took enough. */
  #countInTurn(bytes: number): void {
    if (!this.#turn) {
      this.#turn = { bytes: 0, messages: 0 };
      setImmediate(() => {
        this.#turn = undefined;
        this.#resume();
      });
    }
    this.#turn.bytes += bytes;
    this.#turn.messages++;
    if (this.#isTurnSpent()) this.#options.webSocket.pause();
  }

  #isTurnSpent(): boolean {
    return (
      this.#turn !== undefined && (this.#turn.bytes >= TURN.bytes || this.#turn.messages >= TURN.messages)
    );
  }

  #resume(): void {
    const { webSocket } = this.#options;
    if (!this.#isFull && !this.#isTurnSpent() && webSocket.isPaused) webSocket.resume();
  }

  /** The rest of a message behind the channel's leading port number; undefined when that was wrong. */
  #takeHeader(channel: 0 | 1, payload: Buffer): Buffer | undefined {
    const have = this.#headerBytes[channel];
    if (have === 2) return payload;
    const header = this.#headers[channel];
    const taken = payload.copy(header, have, 0, 2 - have);
    this.#headerBytes[channel] = have + taken;
    if (this.#headerBytes[channel] === 2) {
      if (header.readUInt16LE() !== this.#options.port) {
        this.#fail("the server forwards another port");
        return undefined;
      }
      if (this.#headerBytes[0] === 2 && this.#headerBytes[1] === 2) this.#options.onReady();
    }
    return payload.subarray(taken);
  }

  #fail(message: string): void {
    this.destroy(new BridgeError("tunnel_protocol", message));
  }

  #onClose(code: number, reason: Buffer): void {
    if (this.destroyed) return;
    const isOrderly = code === 1000 || code === 1005;
    const isReady = this.#headerBytes[0] === 2 && this.#headerBytes[1] === 2;
    if (isOrderly && isReady) {
      this.push(null);
      return;
    }
    const text = remoteText(reason.toString("utf8"));
    const why = isOrderly
      ? "closed before it was ready"
      : `broke off (WebSocket code ${code}${text && `: ${text}`})`;
    this.destroy(new BridgeError("tunnel_closed", `the port-forward ${why}`));
  }

  override _read(): void {
    this.#isFull = false;
    this.#resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const { webSocket } = this.#options;
    let offset = 0;
    const next = (error?: Error | null): void => {
      if (error) return done(toStreamError(error));
      if (offset >= chunk.length) return done();
      if (webSocket.readyState !== WebSocket.OPEN) return this.#afterClose(done);
      const slice = chunk.subarray(offset, offset + WRITE_BYTES_MAX);
      offset += slice.length;
      // Called back when the socket took the message: this holds a fast writer back.
      webSocket.send(Buffer.concat([Buffer.of(DATA), slice]), next);
    };
    next();
  }

  /** Fails when the WebSocket has closed: only then is it known why, and #onClose has told. */
  #afterClose(done: (error: Error) => void): void {
    const { webSocket } = this.#options;
    const fail = (): void => done(new BridgeError("tunnel_closed", "the port-forward is closed"));
    if (webSocket.readyState === WebSocket.CLOSED) fail();
    else webSocket.once("close", fail);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#cancelPing();
    const { webSocket } = this.#options;
    if (webSocket.readyState === WebSocket.CLOSED) return done(error);
    webSocket.once("close", () => done(error));
    webSocket.terminate();
  }
}

function toStreamError(error: Error): BridgeError {
  const code = errorCode(error);
  if (code.startsWith("WS_ERR_") || error instanceof RangeError) {
    return new BridgeError("tunnel_protocol", `the server broke the WebSocket protocol (${code})`, {
      cause: error,
    });
  }
  return new BridgeError("tunnel_closed", `the port-forward broke off (${code || "no code"})`, {
    cause: error,
  });
}

/** The kubelet's text on the error channel: it could not connect inside of the Pod, or the connection broke. */
function toRemoteError(text: string, hadData: boolean): BridgeError {
  const broke = hadData || /reset by peer|broken pipe|EOF|lost connection/i.test(text);
  const said = remoteText(text);
  return broke
    ? new BridgeError("tunnel_closed", `the cluster ended the port-forward: ${said}`)
    : new BridgeError("tunnel_refused", `the cluster can't forward to the Pod's port: ${said}`);
}
