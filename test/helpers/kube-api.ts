import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { connect, type AddressInfo, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import type { Certificate } from "./certificates.ts";

interface ForwardRequest {
  namespace: string;
  pod: string;
  port: number;
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A small Kubernetes API server over TLS whose every answer, frame and byte a test can decide. */
export interface FakeKubeApi {
  /** https://127.0.0.1:PORT */
  url: string;
  /** A kubeconfig (JSON) with the server's certificate as CA and the token. */
  kubeconfig(changes?: { token?: string; ca?: string; server?: string }): string;
  /** "METHOD path?query" of everything that was asked, forwards included. */
  requests: string[];
  /** Answers by path, without query. What is not here is 404. */
  answers: Map<string, Answer>;
  /** Sets a JSON answer. */
  json(path: string, body: unknown, status?: number): void;
  /** Handles an open port-forward; default: does nothing. */
  forward: (webSocket: WebSocket, request: ForwardRequest) => void;
  /** Takes the upgrade of a port-forward over, raw. */
  upgrade: ((request: IncomingMessage, socket: Duplex, head: Buffer) => void) | undefined;
  /** WebSockets opened so far. */
  webSockets: WebSocket[];
  /** TCP connections that are open now. */
  openSockets(): number;
  /** Resolves at the next request or forward whose "METHOD path?query" contains the text. */
  nextRequest(text: string): Promise<string>;
  close(): Promise<void>;
}

const FORWARD = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/portforward\?ports=(\d+)$/;

export async function startKubeApi(certificate: Certificate, token = "right-token"): Promise<FakeKubeApi> {
  const sockets = new Set<Socket>();
  const waiting = new Set<{ text: string; resolve: (request: string) => void }>();
  const server = createServer({ cert: certificate.certPem, key: certificate.keyPem });
  const forwards = new WebSocketServer({
    noServer: true,
    handleProtocols: (protocols) => (protocols.has("v4.channel.k8s.io") ? "v4.channel.k8s.io" : false),
  });
  const note = (request: IncomingMessage): void => {
    const line = `${request.method} ${request.url}`;
    api.requests.push(line);
    for (const each of waiting) {
      if (!line.includes(each.text)) continue;
      waiting.delete(each);
      each.resolve(line);
    }
  };
  const isKnown = (request: IncomingMessage): boolean => request.headers.authorization === `Bearer ${token}`;
  const api: FakeKubeApi = {
    url: "",
    requests: [],
    answers: new Map(),
    webSockets: [],
    upgrade: undefined,
    forward: () => {},
    kubeconfig: (changes = {}) =>
      toKubeconfig({ token, server: api.url, ca: certificate.certPem, ...changes }),
    json: (path, body, status = 200) => {
      api.answers.set(path, (_request, response) => {
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      });
    },
    openSockets: () => sockets.size,
    nextRequest: (text) => new Promise((resolve) => waiting.add({ text, resolve })),
    close: async () => {
      for (const webSocket of api.webSockets) webSocket.terminate();
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", () => {});
  server.on("request", (request, response) => {
    note(request);
    response.on("error", () => {});
    const answer = api.answers.get(new URL(request.url ?? "/", api.url).pathname);
    if (!isKnown(request)) sendStatus(response, 401, "Unauthorized");
    else if (answer) answer(request, response);
    else sendStatus(response, 404, `${request.url} not found`);
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    note(request);
    socket.on("error", () => {});
    if (api.upgrade) {
      api.upgrade(request, socket, head);
      return;
    }
    const match = FORWARD.exec(request.url ?? "");
    if (!isKnown(request) || !match) {
      socket.end(rawStatus(match ? 401 : 404, match ? "Unauthorized" : "no such path"));
      return;
    }
    forwards.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on("error", () => {});
      api.webSockets.push(webSocket);
      const [, namespace = "", pod = "", port = ""] = match;
      api.forward(webSocket, { namespace, pod, port: Number(port) });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  api.url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return api;
}

function toKubeconfig(values: { server: string; ca: string; token: string }): string {
  const base64 = Buffer.from(values.ca).toString("base64");
  return JSON.stringify({
    clusters: [{ name: "c", cluster: { server: values.server, "certificate-authority-data": base64 } }],
    users: [{ name: "u", user: { token: values.token } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
}

function statusBody(code: number, message: string): string {
  return JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", message, code });
}

export function sendStatus(response: ServerResponse, code: number, message: string): void {
  response.writeHead(code, { "content-type": "application/json" }).end(statusBody(code, message));
}

/** A whole HTTP answer with a Status, for an upgrade that is refused. */
export function rawStatus(code: number, message: string): string {
  const body = statusBody(code, message);
  const head = `HTTP/1.1 ${code} X\r\ncontent-type: application/json\r\nconnection: close\r\n`;
  return `${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** One message of the port-forward protocol. */
export function frame(channel: number, payload: string | Buffer): Buffer {
  return Buffer.concat([Buffer.of(channel), Buffer.from(payload)]);
}

/** Both channels' leading messages. */
export function openChannels(webSocket: WebSocket, port: number): void {
  const header = Buffer.alloc(2);
  header.writeUInt16LE(port);
  webSocket.send(frame(0, header));
  webSocket.send(frame(1, header));
}

/** Forwards as a kubelet does: to a TCP port of this machine. */
export function bridgeTo(tcpPort: number): FakeKubeApi["forward"] {
  return (webSocket, { port }) => {
    openChannels(webSocket, port);
    const socket = connect(tcpPort, "127.0.0.1");
    socket.on("data", (data) => {
      socket.pause();
      webSocket.send(frame(0, data), () => socket.resume());
    });
    socket.on("end", () => webSocket.close(1000));
    socket.on("error", (error) => {
      webSocket.send(frame(1, `error forwarding port ${port} to pod: ${error.message}`));
      webSocket.close(1000);
    });
    webSocket.on("message", (data: Buffer) => void (data[0] === 0 && socket.write(data.subarray(1))));
    webSocket.on("close", () => socket.destroy());
  };
}

export interface FakePod {
  name: string;
  uid?: string | null;
  ready?: boolean;
  terminating?: boolean;
}

/** A Service `prometheus` in `monitoring`, port 9090, with the given Pods, and one node. */
export function addPrometheus(
  api: FakeKubeApi,
  pods: FakePod[],
  changes: Record<string, unknown> = {},
): void {
  api.json("/api/v1/namespaces/monitoring/services/prometheus", {
    spec: { type: "ClusterIP", selector: { app: "p" }, ports: [{ name: "web", port: 9090 }], ...changes },
  });
  api.json("/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices", {
    items: [
      {
        ports: [{ name: "web", port: 19_090, protocol: "TCP" }],
        endpoints: pods.map((pod) => ({
          conditions: { ready: pod.ready ?? true, terminating: pod.terminating ?? false },
          targetRef: {
            kind: "Pod",
            namespace: "monitoring",
            name: pod.name,
            ...(pod.uid === null ? {} : { uid: pod.uid ?? `uid-${pod.name}` }),
          },
        })),
      },
    ],
  });
  api.json("/api/v1/nodes", {
    items: [
      { metadata: { name: "node-1" }, status: { addresses: [{ type: "InternalIP", address: "10.0.0.1" }] } },
    ],
  });
}
