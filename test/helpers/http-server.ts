import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from "node:net";

export interface ReceivedRequest {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: Buffer;
}

export type Respond = (response: ServerResponse, request: ReceivedRequest) => void;

/** A server on loopback whose answers a test decides; `respond` is called when the request's body is whole. */
export interface TestServer {
  origin: string;
  requests: ReceivedRequest[];
  respond: Respond;
  /** Resolves at the next request. */
  nextRequest(): Promise<ReceivedRequest>;
  close(): Promise<void>;
}

export async function startHttpServer(
  respond: Respond = (response) => void response.end(),
): Promise<TestServer> {
  const waiting: ((request: ReceivedRequest) => void)[] = [];
  const server = createHttpServer((request, response) => {
    response.on("error", () => {});
    const parts: Buffer[] = [];
    request.on("error", () => {});
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const received = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        body: Buffer.concat(parts),
      };
      test.requests.push(received);
      test.respond(response, received);
      for (const resolve of waiting.splice(0)) resolve(received);
    });
  });
  // A connection that ends between two requests is a failure that no test asked for.
  server.keepAliveTimeout = 600_000;
  const closable = await listen(server);
  const test: TestServer = {
    ...closable,
    requests: [],
    respond,
    nextRequest: () => new Promise((resolve) => waiting.push(resolve)),
  };
  return test;
}

/** A server that speaks whatever the test writes, once the first bytes of a request are there. */
export async function startTcpServer(
  answer: (socket: Socket) => void,
): Promise<{ origin: string; close(): Promise<void> }> {
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => answer(socket));
  });
  return await listen(server);
}

/** An address on which nothing listens. */
export async function closedOrigin(): Promise<string> {
  const server = await startTcpServer(() => {});
  await server.close();
  return server.origin;
}

async function listen(server: Server): Promise<{ origin: string; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
