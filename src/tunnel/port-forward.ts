import type { ClientRequest, IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { BridgeError } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import { createInterimCounter } from "#lib/interim-answers.ts";
import { errorCode, readRefusal, toApiError, toConnectError } from "./api-error.ts";
import { kubePath, type KubeClient, type KubeConnection } from "./kube-client.ts";
import { MESSAGE_BYTES_MAX, PortForwardStream } from "./port-forward-stream.ts";

const PROTOCOL = "v4.channel.k8s.io";
/**
 * Parts of one message: kubelets send a message in one frame. Each part may keep a whole buffer of the socket alive, as control frames between
 * them can fill the rest of it.
 */
const FRAGMENTS_MAX = 256;
/** Buffers of the socket in which one frame arrives: a message of 1 MiB comes in some 800 TCP segments. */
const BUFFERS_MAX = 4096;
/** Kubelets leave the TCP connection open after their close message, behind which nothing can follow: don't wait for its end. */
const CLOSE_TIMEOUT_MS = 1;

export interface PortForwardDeps {
  kube: KubeClient;
  clock: Clock;
}

export interface PortForwardSettings {
  namespace: string;
  podName: string;
  /** The port inside of the Pod. */
  port: number;
  /** From credentials to both channels open. */
  timeoutMs: number;
  pingIntervalMs: number;
}

/**
 * Opens one connection to a port of a Pod through the API server. Nothing listens locally, no process and no file is involved.
 * Throws BridgeError tunnel_timeout, tunnel_refused, tunnel_closed, tunnel_protocol, prometheus_pod_not_ready (the Pod is gone) or
 * cluster_*; the signal's reason when it is aborted first. Afterwards the signal has no effect on the stream.
 */
export async function openPortForward(
  deps: PortForwardDeps,
  settings: PortForwardSettings,
  signal: AbortSignal,
): Promise<PortForwardStream> {
  const timeout = (): Error =>
    new BridgeError("tunnel_timeout", `the port-forward was not ready in ${settings.timeoutMs} ms`);
  const limit = deadline(deps.clock, settings.timeoutMs, timeout, signal);
  try {
    const { namespace, podName, port } = settings;
    const path = kubePath("/api/v1/namespaces", namespace, "pods", podName, "portforward");
    const connection = await deps.kube.connection(path, { ports: String(port) }, limit.signal);
    limit.signal.throwIfAborted();
    return await connect(connection, deps.clock, settings, limit.signal);
  } finally {
    limit.dispose();
  }
}

function connect(
  connection: KubeConnection,
  clock: Clock,
  settings: PortForwardSettings,
  signal: AbortSignal,
): Promise<PortForwardStream> {
  return new Promise((resolve, reject) => {
    const webSocket = createWebSocket(connection);
    let stream: PortForwardStream | undefined;
    const fail = (error: Error): void => {
      signal.removeEventListener("abort", onAbort);
      if (stream) stream.destroy();
      else webSocket.terminate();
      reject(error);
    };
    const onAbort = (): void => fail(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    // Stays for good, as terminate() itself makes ws emit an error; once there is a stream, errors are the stream's.
    webSocket.on("error", (error) => {
      if (!stream) fail(toHandshakeError(error));
    });
    webSocket.on("unexpected-response", (_request, response) => {
      response.on("error", () => {});
      void refusal(response, connection, settings).then(fail);
    });
    webSocket.on("open", () => {
      const opened = new PortForwardStream({
        webSocket,
        port: settings.port,
        pingIntervalMs: settings.pingIntervalMs,
        clock,
        onReady: () => {
          signal.removeEventListener("abort", onAbort);
          resolve(opened);
        },
      });
      stream = opened;
      opened.once("error", fail);
    });
  });
}

function createWebSocket({ url, options }: KubeConnection): WebSocket {
  const address = new URL(url);
  address.protocol = "wss:";
  const settings = {
    ...options,
    perMessageDeflate: false,
    maxPayload: MESSAGE_BYTES_MAX,
    maxFragments: FRAGMENTS_MAX,
    maxBufferedChunks: BUFFERS_MAX,
    followRedirects: false,
    closeTimeout: CLOSE_TIMEOUT_MS,
    finishRequest: limitInterimAnswers,
  };
  try {
    return new WebSocket(address, [PROTOCOL], settings);
  } catch (error) {
    throw toHandshakeError(error);
  }
}

function limitInterimAnswers(upgrade: ClientRequest): void {
  const isTooMany = createInterimCounter();
  upgrade.on("information", () => {
    if (!isTooMany()) return;
    const text = "the API server sends interim answers (1xx) to the port-forward request without end";
    upgrade.destroy(new BridgeError("tunnel_protocol", text));
  });
  upgrade.end();
}

/** Before the stream exists: ws names a wrong handshake only by text and without a code. */
function toHandshakeError(error: unknown): BridgeError {
  const code = errorCode(error);
  if (code === "" || code.startsWith("WS_ERR_") || code.startsWith("HPE_")) {
    const text = error instanceof Error ? error.message : "unknown error";
    return new BridgeError("tunnel_protocol", `the WebSocket handshake failed: ${text}`, { cause: error });
  }
  return toConnectError(error);
}

async function refusal(
  response: IncomingMessage,
  { options }: KubeConnection,
  settings: PortForwardSettings,
): Promise<BridgeError> {
  const answer = await readRefusal(response, options);
  const what = `get and create pods/portforward in namespace ${JSON.stringify(settings.namespace)}`;
  if (answer.status < 500 && ![401, 403, 404, 408, 429].includes(answer.status)) {
    return new BridgeError("tunnel_protocol", `the API server answered ${answer.status}: ${answer.message}`, {
      details: { status: answer.status },
    });
  }
  return toApiError(answer, what, { 404: "prometheus_pod_not_ready" });
}
