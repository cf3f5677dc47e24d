import { once } from "node:events";
import { createServer as createHttpsServer } from "node:https";
import type { Server as HttpsServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import type { Clock } from "#lib/clock.ts";
import type { Certificates } from "./certificates.ts";
import type { TunnelFault } from "./fault-kinds.ts";
import type { FaultSource } from "./faults.ts";
import { sendFlood } from "./flood.ts";
import { sendRaw } from "./raw-answer.ts";
import {
  createAuthorizer,
  isAccessReview,
  isSelfReview,
  parseAccess,
  reviewAccess,
  reviewSelf,
} from "./kube-access.ts";
import type { Authorize } from "./kube-access.ts";
import { answerResource } from "./kube-resources.ts";
import { kubeStatus, notFound } from "./kube-rights.ts";
import type { KubeStatus } from "./kube-rights.ts";
import type { KubeState } from "./kube-state.ts";
import { servePortForward } from "./port-forward-server.ts";
import { createSlowLink, type SlowLink } from "./slow-link.ts";

export interface KubeApi {
  /** For example https://127.0.0.1:40123 (or the host's name); stays the same while the server lives. */
  url: string;
  /** Applies what the faults say of the server as a whole: call it after they changed. */
  refresh(): Promise<void>;
  stop(): Promise<void>;
}

export interface KubeApiDeps {
  state: KubeState;
  faults: FaultSource;
  certificates: Certificates;
  clock: Clock;
  /** The name that other machines reach it by: then it listens on all addresses, otherwise on loopback. */
  hostName?: string;
}

const PROTOCOL = "v4.channel.k8s.io";

/**
 * A Kubernetes API server on a free port: TLS, bearer tokens, rights, the few resources that the
 * bridge reads, port-forward.
 */
export async function startKubeApi(deps: KubeApiDeps): Promise<KubeApi> {
  const { certificates, faults, hostName } = deps;
  const address = hostName === undefined ? "127.0.0.1" : "0.0.0.0";
  const https = createHttpsServer({ ...certificates.trusted });
  const sockets = new Set<Socket>();
  const front = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    if (faults.ofServer()?.kind !== "mute") https.emit("connection", socket);
  });
  const upgrader = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: 1 << 20,
    handleProtocols: (offered) => (offered.has(PROTOCOL) ? PROTOCOL : false),
  });
  handleRequests(https, upgrader, sockets, deps);
  await listen(front, address, 0);
  const { port } = front.address() as AddressInfo;
  let isOpen = true;

  const hangUp = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `https://${hostName ?? "127.0.0.1"}:${port}`,
    refresh: async () => {
      const fault = faults.ofServer();
      const identity = fault?.kind === "tls" ? await certificates.bad(fault.problem) : certificates.trusted;
      https.setSecureContext({ ...identity });
      const shouldBeOpen = fault?.kind !== "refuse";
      if (shouldBeOpen === isOpen) return;
      isOpen = shouldBeOpen;
      if (shouldBeOpen) return listen(front, address, port);
      const closed = once(front, "close");
      front.close();
      hangUp();
      await closed;
    },
    stop: async () => {
      const closed = isOpen ? once(front, "close") : undefined;
      isOpen = false;
      front.close();
      https.close();
      hangUp();
      await closed;
    },
  };
}

async function listen(server: Server, address: string, port: number): Promise<void> {
  server.listen(port, address);
  await once(server, "listening");
}

function handleRequests(
  https: HttpsServer,
  upgrader: WebSocketServer,
  sockets: ReadonlySet<Socket>,
  deps: KubeApiDeps,
): void {
  const authorize = createAuthorizer(deps.state, deps.faults);
  const links = new WeakMap<TunnelFault, SlowLink>();
  const linkOf = (fault: TunnelFault | undefined): SlowLink | undefined => {
    if (fault?.kind !== "slow") return undefined;
    const link = links.get(fault) ?? createSlowLink(deps.clock, fault);
    links.set(fault, link);
    return link;
  };
  https.on("tlsClientError", (_error, socket) => socket.destroy());
  https.on("clientError", (_error, socket) => socket.destroy());

  https.on("request", (request, response) => {
    request.on("error", () => {});
    response.on("error", () => {});
    serve(request, response, authorize, deps).catch(() => response.destroy());
  });
  https.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => {});
    const reset = (): void => {
      const below = [...sockets].find(({ remotePort }) => remotePort === request.socket.remotePort);
      below?.resetAndDestroy();
    };
    upgrade(request, { socket, head, reset, upgrader, linkOf }, authorize, deps).catch(() =>
      socket.destroy(),
    );
  });
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  authorize: Authorize,
  { state, clock }: KubeApiDeps,
): Promise<void> {
  const { access, url } = parseAccess(request);
  const { fault, status, user } = authorize(request, access);
  const body = await readBody(request);
  if (fault?.kind === "hang") return;
  if (fault?.kind === "reset") return void request.socket.destroy();
  if (fault?.kind === "answer") {
    return send(response, fault.status ?? 200, fault.contentType ?? "text/html", fault.body);
  }
  if (fault?.kind === "flood") return sendFlood(response, fault.flood);
  if (fault?.kind === "raw") return sendRaw(request.socket, fault.raw, clock);
  if (fault?.kind === "slow") await clock.sleep(fault.delayMs);
  if (user && url.pathname === "/version")
    return sendJson(response, 200, { major: "1", minor: "36", gitVersion: "v1.36.3" });
  if (status) return sendJson(response, status.code, status);
  if (user && isAccessReview(access)) return sendJson(response, 201, reviewAccess(user, body));
  if (user && isSelfReview(access)) return sendJson(response, 201, reviewSelf(user));
  if (access.resource === "pods/portforward") {
    return sendJson(response, 400, kubeStatus(400, "Upgrade request required"));
  }
  const answer = answerResource(state, access, url);
  sendJson(response, answer["kind"] === "Status" ? Number(answer["code"]) : 200, answer);
}

interface UpgradeParts {
  socket: Duplex;
  head: Buffer;
  reset: () => void;
  upgrader: WebSocketServer;
  linkOf: (fault: TunnelFault | undefined) => SlowLink | undefined;
}

async function upgrade(
  request: IncomingMessage,
  { socket, head, reset, upgrader, linkOf }: UpgradeParts,
  authorize: Authorize,
  { state, faults, clock }: KubeApiDeps,
): Promise<void> {
  const { access, url } = parseAccess(request);
  const { fault: apiFault, status } = authorize(request, access);
  const isTunnel = access.resource === "pods/portforward";
  const fault = isTunnel ? faults.ofTunnel() : undefined;
  if (apiFault?.kind === "hang" || fault?.kind === "hang-upgrade") return;
  if (apiFault?.kind === "reset") return reset();
  if (fault?.kind === "raw" && fault.after !== "ports") return sendRaw(socket, fault.raw, clock);
  if (apiFault?.kind === "slow") await clock.sleep(apiFault.delayMs);
  const pod = state.pods.find((each) => each.namespace === access.namespace && each.name === access.name);
  const refusal = status ?? refusedUpgrade(fault) ?? (pod ? undefined : notFound(access));
  if (refusal) return refuseUpgrade(socket, refusal);
  const ports = (url.searchParams.get("ports") ?? "").split(",").map(Number);
  const isValid = ports.every((port) => Number.isInteger(port) && port > 0 && port < 65_536);
  if (!pod || !isTunnel || !isValid) {
    return refuseUpgrade(socket, kubeStatus(400, 'query parameter "port" is required'));
  }
  upgrader.handleUpgrade(request, socket, head, (webSocket) => {
    servePortForward(state, { webSocket, pod, ports, fault, reset, link: linkOf(fault) });
    if (fault?.kind !== "raw") return;
    // What the client answers stays unread.
    webSocket.pause();
    void sendRaw(socket, fault.raw, clock);
  });
}

const BODY_BYTES_MAX = 1 << 16;

async function readBody(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const part of request as AsyncIterable<Buffer>) {
    if (text.length + part.length > BODY_BYTES_MAX) throw new Error("the body is too large");
    text += part.toString("utf8");
  }
  return text;
}

function refusedUpgrade(fault: TunnelFault | undefined): KubeStatus | undefined {
  if (fault?.kind !== "refuse") return undefined;
  return kubeStatus(fault.status, fault.message ?? `simulated refusal (${fault.status})`);
}

function sendJson(response: ServerResponse, code: number, body: object): void {
  if (code === 429) response.setHeader("retry-after", "1");
  send(response, code, "application/json", `${JSON.stringify(body)}\n`);
}

function send(response: ServerResponse, code: number, contentType: string, body: string): void {
  response.writeHead(code, {
    "cache-control": "no-cache, private",
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}

function refuseUpgrade(socket: Duplex, status: KubeStatus): void {
  const body = `${JSON.stringify(status)}\n`;
  const lines = [
    `HTTP/1.1 ${status.code} ${status.reason}`,
    "Cache-Control: no-cache, private",
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
  ];
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
}
