import { once } from "node:events";
import type { RequestListener } from "node:http";
import { readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { Tunnel } from "#tunnel/dispatcher.ts";
import { createCertificate, type Certificate } from "../helpers/certificates.ts";
import {
  addPrometheus,
  bridgeTo,
  openChannels,
  sendStatus,
  startKubeApi,
  type FakeKubeApi,
} from "../helpers/kube-api.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import {
  expectBridgeError,
  get,
  halfAnswer,
  okay,
  openTestTunnel,
  startServer,
  type TunnelOptions,
} from "../helpers/tunnel.ts";

let certificate: Certificate;
const closing: (() => Promise<unknown>)[] = [];
let api: FakeKubeApi;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
});
beforeEach(async () => {
  api = await startApi();
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function startApi(): Promise<FakeKubeApi> {
  const started = await startKubeApi(certificate);
  closing.push(() => started.close());
  addPrometheus(started, [{ name: "prometheus-0" }]);
  return started;
}

async function startPrometheus(listener: RequestListener): Promise<number> {
  const server = await startServer(listener);
  closing.push(() => server.close());
  return server.port;
}

async function open(options: TunnelOptions = {}, from = api): Promise<Tunnel> {
  const tunnel = await openTestTunnel(from, options);
  closing.push(() => tunnel.close());
  return tunnel;
}

describe("a tunnel", () => {
  test("carries requests to the Pod, named by Pod and nodes", async () => {
    api.forward = bridgeTo(await startPrometheus(okay));
    const tunnel = await open();
    expect(tunnel.pod).toEqual({ uid: "uid-prometheus-0", name: "prometheus-0" });
    expect([...tunnel.nodeNames]).toEqual([
      ["10.0.0.1", "node-1"],
      ["node-1", "node-1"],
    ]);
    expect(tunnel.warnings).toEqual([]);
    expect(tunnel.origin).toMatch(/^http:\/\/prometheus-[0-9a-f]{16}\.invalid$/);
    const answer = await get(tunnel, "/api/v1/query?query=up");
    expect(answer).toEqual({ status: 200, body: `${new URL(tunnel.origin).host} /api/v1/query?query=up` });
    expect(api.requests).toContain(
      "GET /api/v1/namespaces/monitoring/pods/prometheus-0/portforward?ports=19090",
    );
  });

  test("reuses connections, and opens no more than its lanes", async () => {
    api.forward = bridgeTo(await startPrometheus(okay));
    const tunnel = await open({ lanes: 3 });
    for (let index = 0; index < 20; index++) await get(tunnel, `/${index}`);
    await Promise.all(Array.from({ length: 20 }, (_, index) => get(tunnel, `/${index}`)));
    expect(api.webSockets.length).toBeLessThanOrEqual(3);
  });

  test.each<[string, RequestListener, string]>([
    [
      "close-delimited",
      (_request, response) => {
        response.useChunkedEncodingByDefault = false;
        response.shouldKeepAlive = false;
        response.write("until ");
        response.end("the end");
      },
      "until the end",
    ],
    [
      "chunked",
      (_request, response) => {
        response.write("in ");
        response.end("chunks");
      },
      "in chunks",
    ],
  ])("reads a %s body to its end", async (_name, listener, expected) => {
    api.forward = bridgeTo(await startPrometheus(listener));
    const tunnel = await open();
    expect((await get(tunnel, "/")).body).toBe(expected);
    expect((await get(tunnel, "/")).body).toBe(expected);
  });

  test("carries a gzip body byte for byte", async () => {
    const body = gzipSync("x".repeat(100_000));
    api.forward = bridgeTo(await startPrometheus((_request, response) => void response.end(body)));
    const { dispatcher, origin } = await open();
    const response = await dispatcher.request({ origin, path: "/", method: "GET" });
    expect(Buffer.from(await response.body.arrayBuffer()).equals(body)).toBe(true);
  });

  test("posts a large form", async () => {
    const port = await startPrometheus((request, response) => {
      let bytes = 0;
      request
        .on("data", (chunk: Buffer) => (bytes += chunk.length))
        .on("end", () => response.end(String(bytes)));
    });
    api.forward = bridgeTo(port);
    const { dispatcher, origin } = await open();
    const response = await dispatcher.request({
      origin,
      path: "/",
      method: "POST",
      body: "q".repeat(300_000),
    });
    expect(await response.body.text()).toBe("300000");
  });

  test("without the right to list nodes it works with a warning", async () => {
    api.answers.set("/api/v1/nodes", (_request, response) => sendStatus(response, 403, "nodes is forbidden"));
    api.forward = bridgeTo(await startPrometheus(okay));
    const tunnel = await open();
    expect(tunnel.nodeNames.size).toBe(0);
    expect(tunnel.warnings).toEqual([expect.stringContaining("nodes is forbidden")]);
    expect((await get(tunnel, "/")).status).toBe(200);
  });

  test("a slow reader leaves the rest in the cluster", async () => {
    const total = 64 * 1024 * 1024;
    let written = 0;
    const port = await startPrometheus((_request, response) => {
      const part = Buffer.alloc(64 * 1024);
      const next = (): void => {
        while (written < total) {
          written += part.length;
          if (!response.write(part)) return void response.once("drain", next);
        }
        response.end();
      };
      next();
    });
    api.forward = bridgeTo(port);
    const { dispatcher, origin } = await open();
    const { body } = await dispatcher.request({ origin, path: "/", method: "GET" });
    let last = -1;
    while (written !== last) {
      last = written;
      for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(written).toBeLessThan(total / 2);
    let received = 0;
    for await (const chunk of body) received += (chunk as Buffer).length;
    expect(received).toBe(total);
  });
});

describe("what breaks on the way", () => {
  test.each([
    [401, "cluster_unauthorized"],
    [403, "cluster_forbidden"],
    [404, "prometheus_pod_not_ready"],
    [500, "cluster_api_error"],
  ] as const)("a port-forward answered with %d reaches the request as %s", async (status, code) => {
    api.upgrade = (_request, socket) => {
      const body = JSON.stringify({ kind: "Status", message: `remote words ${status}` });
      socket.end(`HTTP/1.1 ${status} X\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    };
    const tunnel = await open();
    const error = await expectBridgeError(get(tunnel, "/"), code);
    expect(error.message).toContain(`remote words ${status}`);
    expect(api.requests.filter((line) => line.includes("portforward"))).toHaveLength(1);
  });

  test("a port where nothing listens is tunnel_refused, asked for once", async () => {
    api.forward = bridgeTo(1);
    const tunnel = await open();
    await expect(get(tunnel, "/")).rejects.toMatchObject({ code: "tunnel_refused" });
    expect(api.webSockets).toHaveLength(1);
  });

  test("a Pod that dies in the middle of a body fails the body, and the next request finds the Pod again", async () => {
    let listener: RequestListener = halfAnswer;
    api.forward = bridgeTo(await startPrometheus((request, response) => listener(request, response)));
    const { dispatcher, origin, ...tunnel } = await open();
    const { body } = await dispatcher.request({ origin, path: "/", method: "GET" });
    const reading = body.text();
    api.webSockets[0]?.terminate();
    await expect(reading).rejects.toMatchObject({ code: "tunnel_closed" });
    listener = okay;
    expect((await get({ dispatcher, origin, ...tunnel }, "/again")).status).toBe(200);
    expect(api.requests.filter((line) => line.includes("/services/prometheus"))).toHaveLength(2);
  });

  test("after a restart under the same name but another UID the tunnel does not go on", async () => {
    api.forward = bridgeTo(await startPrometheus(halfAnswer));
    const tunnel = await open();
    const { body } = await tunnel.dispatcher.request({ origin: tunnel.origin, path: "/", method: "GET" });
    const reading = body.text();
    addPrometheus(api, [{ name: "prometheus-0", uid: "uid-new" }]);
    api.webSockets[0]?.terminate();
    await expect(reading).rejects.toMatchObject({ code: "tunnel_closed" });
    const error = await expectBridgeError(get(tunnel, "/"), "tunnel_closed");
    expect(error.message).toContain("prometheus-0");
    addPrometheus(api, [{ name: "prometheus-0", uid: "uid-prometheus-0", ready: false }]);
    await expect(get(tunnel, "/")).rejects.toMatchObject({ code: "prometheus_pod_not_ready" });
    expect(api.webSockets).toHaveLength(1);
  });

  test("a connection opened long after the last look makes sure of the Pod first", async () => {
    const clock = createManualClock();
    api.forward = bridgeTo(await startPrometheus(okay));
    const tunnel = await open({ clock });
    addPrometheus(api, [{ name: "prometheus-0", uid: "uid-new" }]);
    clock.advance(10_000);
    await expect(get(tunnel, "/")).rejects.toMatchObject({ code: "tunnel_closed" });
    expect(api.webSockets).toHaveLength(0);
  });

  test("an orderly end before the answer is undici's own error", async () => {
    api.forward = bridgeTo(await startPrometheus((request) => void request.socket.end()));
    const tunnel = await open();
    await expect(get(tunnel, "/")).rejects.toMatchObject({ code: "UND_ERR_SOCKET" });
    expect(api.webSockets).toHaveLength(1);
  });

  test("a body cut by an orderly end is an error where its length was told", async () => {
    const port = await startPrometheus((request, response) => {
      halfAnswer(request, response);
      request.socket.end();
    });
    api.forward = bridgeTo(port);
    await expect(get(await open(), "/")).rejects.toMatchObject({ code: "UND_ERR_SOCKET" });
  });

  test("many requests against a port-forward that fails do not spin", async () => {
    api.forward = (webSocket, { port }) => {
      openChannels(webSocket, port);
      webSocket.terminate();
    };
    const tunnel = await open({ lanes: 2 });
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => get(tunnel, "/")));
    expect(results.every(({ status }) => status === "rejected")).toBe(true);
    expect(api.requests.filter((line) => line.includes("portforward")).length).toBeLessThanOrEqual(10);
  });
});

describe("the end of a tunnel", () => {
  test("close() fails what is in flight, at once, and leaves nothing open", async () => {
    const clock = createManualClock();
    api.forward = bridgeTo(await startPrometheus(halfAnswer));
    const tunnel = await open({ clock });
    const { body } = await tunnel.dispatcher.request({ origin: tunnel.origin, path: "/", method: "GET" });
    const reading = expectBridgeError(body.text(), "tunnel_closed");
    const [server] = api.webSockets;
    const ended = once(server!, "close");
    await tunnel.close();
    await tunnel.close();
    await reading;
    await ended;
    expect(clock.pending()).toBe(0);
    await expect(get(tunnel, "/")).rejects.toMatchObject({ code: "UND_ERR_DESTROYED" });
  });

  test("an aborted signal closes it with the signal's reason, also while a connection is being opened", async () => {
    const controller = new AbortController();
    const asked = api.nextRequest("portforward");
    const tunnel = await open({ signal: controller.signal });
    const waiting = get(tunnel, "/");
    await asked;
    const reason = new BridgeError("cluster_deadline_exceeded", "over");
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  test("an aborted signal ends the opening", async () => {
    const controller = new AbortController();
    api.answers.set("/api/v1/nodes", () => {});
    const asked = api.nextRequest("nodes");
    const opening = openTestTunnel(api, { signal: controller.signal });
    await asked;
    const reason = new Error("shutting down");
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
    await expect(openTestTunnel(api, { signal: controller.signal })).rejects.toBe(reason);
  });

  test("300 tunnels opened, used and closed leave no descriptor, timer or connection behind", async () => {
    const descriptors = (): number => readdirSync("/proc/self/fd").length;
    const clock = createManualClock();
    api.forward = bridgeTo(await startPrometheus(okay));
    const cycle = async (): Promise<void> => {
      const tunnel = await openTestTunnel(api, { clock });
      await Promise.all([get(tunnel, "/a"), get(tunnel, "/b")]);
      await tunnel.close();
    };
    const settle = async (): Promise<void> => {
      for (let turn = 0; turn < 1000 && api.openSockets() > 0; turn++) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    for (let warmUp = 0; warmUp < 5; warmUp++) await cycle();
    await settle();
    const before = descriptors();
    for (let round = 0; round < 300; round++) await cycle();
    await settle();
    expect(api.openSockets()).toBe(0);
    expect(clock.pending()).toBe(0);
    expect(descriptors()).toBeLessThanOrEqual(before + 4);
  });
});

describe("two clusters", () => {
  test("never get each other's requests, at full load at the same time", async () => {
    const other = await startApi();
    api.forward = bridgeTo(
      await startPrometheus((request, response) => void response.end(`one ${request.url}`)),
    );
    other.forward = bridgeTo(
      await startPrometheus((request, response) => void response.end(`two ${request.url}`)),
    );
    const one = await open({ clusterId: "cluster-one", lanes: 4 });
    const two = await open({ clusterId: "cluster-two", lanes: 4 }, other);
    expect(one.origin).not.toBe(two.origin);
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const name = index % 2 === 0 ? "one" : "two";
        const { body } = await get(index % 2 === 0 ? one : two, `/${index}`);
        return body === `${name} /${index}`;
      }),
    );
    expect(answers.every(Boolean)).toBe(true);
  });

  test("a request for another cluster's origin is refused, not sent", async () => {
    api.forward = bridgeTo(await startPrometheus(okay));
    const one = await open({ clusterId: "cluster-one" });
    const two = await open({ clusterId: "cluster-two" });
    await expect(
      one.dispatcher.request({ origin: two.origin, path: "/", method: "GET" }),
    ).rejects.toMatchObject({ code: "internal" });
    expect(api.webSockets).toHaveLength(0);
  });
});
