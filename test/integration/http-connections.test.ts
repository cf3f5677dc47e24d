import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, expect, it } from "vitest";
import type { LatestSamples } from "#http/routes/cluster-metrics.ts";
import { ACCESS, type Harness, startHarness, TOKENS } from "./http-harness.ts";

// Connections through real sockets, with room for three and one place in reserve.

const LIMITS = { connectionsMax: 3, connectionsReserved: 1 };
const KNOWN = `Authorization: Bearer ${TOKENS.read}\r\n`;
const get = (path: string, fields = ""): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`;
const LATEST = "/cluster-metrics/edge-1/latest?metric=up";

let ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.toReversed()) await end();
  ends = [];
});

/** `latest` hangs until the test finishes it. */
async function start(options: Parameters<typeof startHarness>[0] = {}) {
  const hanging: (() => void)[] = [];
  let arrived = (): void => {};
  const latest: LatestSamples = async (input) => {
    await new Promise<void>((resolve, reject) => {
      input.signal.addEventListener("abort", () => reject(input.signal.reason as Error));
      hanging.push(resolve);
      arrived();
    });
    return {
      cluster_id: "edge-1",
      metric: "up",
      as_of: "2025-06-01T11:58:30.000Z",
      unit: "",
      type: "gauge",
      series_total: 0,
      series: [],
    };
  };
  const settings = { limits: { ...LIMITS, stopGraceMs: 20 } };
  const harness = await startHarness({
    access: ACCESS,
    settings,
    ...options,
    deps: { latest, ...options.deps },
  });
  ends.push(() => harness.server.stop());
  const isHanging = async (count: number): Promise<void> => {
    while (hanging.length < count) await new Promise<void>((resolve) => (arrived = resolve));
  };
  return { harness, hanging, isHanging };
}

interface Client {
  socket: Socket;
  /** Sends a request and resolves with the answer's status; "closed" when there is none. */
  ask(bytes: string): Promise<number | "closed">;
  closed: Promise<unknown>;
}

async function open(harness: Harness, bytes = ""): Promise<Client> {
  const socket = connect(harness.port, "127.0.0.1");
  ends.push(() => socket.destroy());
  socket.on("error", () => {});
  // Unread data hides the end of the stream.
  socket.resume();
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await once(socket, "connect");
  if (bytes !== "") socket.write(bytes);
  return {
    socket,
    closed,
    ask: async (request) => {
      const answer = new Promise<number>((resolve) => {
        let text = "";
        const read = (part: Buffer): void => {
          text += part.toString();
          const [head = "", body] = text.split("\r\n\r\n");
          const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
          if (body === undefined || body.length < length) return;
          socket.off("data", read);
          resolve(Number(head.split(" ")[1]));
        };
        socket.on("data", read);
      });
      socket.write(request);
      return await Promise.race([answer, closed.then(() => "closed" as const)]);
    },
  };
}

const FLOODS: [string, (harness: Harness) => Promise<Client>][] = [
  ["send nothing", (harness) => open(harness)],
  ["send half a request line", (harness) => open(harness, "GET /clus")],
  ["send half of their headers", (harness) => open(harness, "GET /clusters HTTP/1.1\r\nHost: loc")],
  [
    "send half of a body, without a token",
    (harness) =>
      open(harness, "POST /metrics/collect-all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"),
  ],
  ...["/clusters", "/nothing", "/healthz", "/clusters/%E0%A4%A"].map(
    (path): [string, (harness: Harness) => Promise<Client>] => [
      `stay open after GET ${path} without a token`,
      async (harness) => {
        const client = await open(harness);
        await client.ask(get(path));
        return client;
      },
    ],
  ),
];

it.each(FLOODS)("connections that %s give way, the oldest first", async (_name, flood) => {
  const { harness } = await start();
  const clients: Client[] = [];
  for (let i = 0; i < 3 * LIMITS.connectionsMax; i++) clients.push(await flood(harness));
  const known = await open(harness);
  expect(await known.ask(get("/clusters", KNOWN))).toBe(200);
  for (const { closed } of clients.slice(0, -2)) await closed;
  expect(clients.slice(-2).map(({ socket }) => socket.destroyed)).toEqual([false, false]);
  expect(harness.lines.filter((line) => line.includes("as many connections as allowed"))).toHaveLength(1);
});

it("the idle connection of a known caller stays while anonymous ones come and go", async () => {
  const { harness } = await start();
  const known = await open(harness);
  expect(await known.ask(get("/clusters", KNOWN))).toBe(200);
  for (const [, flood] of FLOODS) await flood(harness);
  expect(await known.ask(get("/clusters", KNOWN))).toBe(200);
});

it("idle connections of known callers give way when there are only such, the one idle for longest first", async () => {
  const { harness } = await start();
  const clients: Client[] = [];
  for (let i = 0; i < 3; i++) {
    const client = await open(harness);
    expect(await client.ask(get("/clusters", KNOWN))).toBe(200);
    clients.push(client);
  }
  expect(await clients[0]!.ask(get("/clusters", KNOWN))).toBe(200);
  const another = await open(harness);
  expect(await another.ask(get("/clusters", KNOWN))).toBe(200);
  await clients[1]!.closed;
  expect(await clients[0]!.ask(get("/clusters", KNOWN))).toBe(200);
  expect(await clients[2]!.ask(get("/clusters", KNOWN))).toBe(200);
});

it("requests of known callers are never cut: health has a place in reserve, others are told to come again", async () => {
  const { harness, hanging, isHanging } = await start();
  const busy: Promise<number | "closed">[] = [];
  for (let i = 0; i < 3; i++) busy.push((await open(harness)).ask(get(LATEST, KNOWN)));
  await isHanging(3);
  for (const [, flood] of FLOODS) await flood(harness);

  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    expect(await (await open(harness)).ask(get(path, KNOWN))).toBe(200);
  }
  const refused = await fetch(`${harness.url}/clusters`, {
    headers: { authorization: `Bearer ${TOKENS.read}` },
  });
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(await refused.json()).toMatchObject({ error: { code: "too_many_connections" } });

  hanging[0]!();
  expect(await Promise.race(busy)).toBe(200);
  expect(await (await open(harness)).ask(get("/clusters", KNOWN))).toBe(200);
  for (const finish of hanging) finish();
  expect(await Promise.all(busy)).toEqual([200, 200, 200]);
});

it("anonymous requests that never end give way as well, the oldest first", async () => {
  let asked = 0;
  let arrived = (): void => {};
  const readiness = (): Promise<never> => {
    asked++;
    arrived();
    return new Promise(() => {});
  };
  const { harness } = await start({ deps: { readiness } });
  const clients: Client[] = [];
  for (let i = 0; i < 9; i++) {
    const isAsked = new Promise<void>((resolve) => (arrived = resolve));
    clients.push(await open(harness, get("/readyz")));
    await isAsked;
  }
  expect(await (await open(harness)).ask(get("/healthz"))).toBe(200);
  expect(await (await open(harness)).ask(get("/clusters", KNOWN))).toBe(200);
  for (const { closed } of clients.slice(0, 8)) await closed;
  expect(clients[8]!.socket.destroyed).toBe(false);
  expect(asked).toBe(9);
});

it("without tokens everybody whose request was answered is known", async () => {
  const { harness } = await start({ access: { tokens: [] } });
  const known = await open(harness);
  expect(await known.ask(get("/clusters"))).toBe(200);
  for (let i = 0; i < 9; i++) await open(harness, "GET /clus");
  expect(await known.ask(get("/clusters"))).toBe(200);
  expect(await (await open(harness)).ask(get("/clusters"))).toBe(200);
});
