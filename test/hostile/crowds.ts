import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Behaviour } from "./behaviour.ts";
import type { Stage } from "./stage.ts";

// Callers of the HTTP API while a round runs. No cluster is hostile: all three must be whole.

const CONNECTIONS = 3000;
const DRIP_MS = 100;
const crowd = new Set<Socket>();

async function addressOf(stage: Stage): Promise<{ port: number; hostname: string }> {
  const { port, hostname } = new URL(await stage.child().url);
  return { port: Number(port), hostname };
}

/** Opens connections that each send these bytes, and then `piece` again and again. */
const connections =
  (count: number, head: string, piece = ""): Behaviour["set"] =>
  async (stage) => {
    const { port, hostname } = await addressOf(stage);
    const opened: Promise<unknown>[] = [];
    for (let i = 0; i < count; i++) {
      const socket = connect(port, hostname);
      const drip = piece === "" ? undefined : setInterval(() => void socket.write(piece), DRIP_MS);
      socket
        .on("error", () => {})
        .on("close", () => {
          clearInterval(drip);
          crowd.delete(socket);
        });
      socket.resume().write(head);
      crowd.add(socket);
      opened.push(Promise.race([once(socket, "connect"), once(socket, "close")]).catch(() => {}));
    }
    await Promise.all(opened);
  };

/** Sends one request as it is, and expects this status. */
const request =
  (status: number, ...parts: readonly string[]): Behaviour["set"] =>
  async (stage) => {
    const { port, hostname } = await addressOf(stage);
    const socket = connect(port, hostname);
    socket.on("error", () => {});
    let answer = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      answer += text;
      if (answer.includes("\r\n\r\n")) socket.destroy();
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    for (const part of parts) socket.write(part);
    await closed;
    if (!answer.startsWith(`HTTP/1.1 ${status} `))
      throw new Error(`expected ${status}: ${answer.slice(0, 200)}`);
  };

export function endCrowd(): void {
  for (const socket of crowd) socket.destroy();
}

const HOST = "Host: localhost\r\n";
const JSON_TYPE = "Content-Type: application/json\r\n";
const byHand = (text: string): Behaviour["lift"] => ({ byHand: text });

export const CROWDS: readonly Behaviour[] = [
  {
    name: "3000 connections that say nothing",
    limit: "connectionsMax",
    lift: byHand(
      "3000 idle connections do no harm on a machine with enough file descriptors; see test/integration/http-connections.test.ts",
    ),
    set: connections(CONNECTIONS, ""),
  },
  {
    name: "500 callers that send a header line now and then",
    limit: "headersTimeoutMs",
    lift: byHand("test/integration/http-connections.test.ts"),
    set: connections(500, `GET /clusters HTTP/1.1\r\n${HOST}`, "X: y\r\n"),
  },
  {
    name: "500 callers that send a byte of the body now and then",
    limit: "requestTimeoutMs",
    lift: byHand("test/integration/http-connections.test.ts"),
    set: connections(
      500,
      `POST /clusters HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: 100000\r\n\r\n`,
      " ",
    ),
  },
  {
    name: "500 callers that ask for the status and read nothing",
    limit: "an answer is computed once for all that wait, and sent one in a turn",
    lift: {
      source: [
        ["loading ??= load()", "loading = load()"],
        [
          "const own = turn.then(() => new Promise((resolve) => setImmediate(resolve)));",
          "const own = turn;",
        ],
      ],
    },
    set: connections(500, `GET /metrics/status HTTP/1.1\r\n${HOST}\r\n`),
  },
  {
    name: "a header of 20 KB",
    limit: "headerBytesMax",
    lift: { source: [["headerBytesMax: 16 * 1024", "headerBytesMax: 1e8"]] },
    set: request(
      431,
      `GET /clusters HTTP/1.1\r\n${HOST}X: ${"x".repeat(20_000)}\r\nConnection: close\r\n\r\n`,
    ),
  },
  {
    name: "a body of 1 GB",
    limit: "bodyBytesMax",
    lift: { source: [["bodyBytesMax: 1024 * 1024", "bodyBytesMax: 1e12"]] },
    set: request(
      413,
      `POST /clusters HTTP/1.1\r\n${HOST}${JSON_TYPE}Connection: close\r\nContent-Length: 1000000000\r\n\r\n`,
      " ".repeat(1 << 16),
    ),
  },
  {
    name: "a body of brackets within brackets",
    limit: "body shape",
    lift: byHand("V8's JSON.parse is not recursive"),
    set: request(
      400,
      `POST /clusters HTTP/1.1\r\n${HOST}${JSON_TYPE}Connection: close\r\nContent-Length: 1000000\r\n\r\n`,
      "[".repeat(1_000_000),
    ),
  },
  {
    name: "a request with two lengths",
    limit: "HTTP parser",
    lift: byHand("node:http itself refuses"),
    set: request(
      400,
      `POST /clusters HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}`,
    ),
  },
];
