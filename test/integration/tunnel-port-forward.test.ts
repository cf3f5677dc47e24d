import { once } from "node:events";
import type { Duplex } from "node:stream";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { WebSocket } from "ws";
import { BridgeError } from "#errors/error.ts";
import { createCertificate, type Certificate } from "../helpers/certificates.ts";
import { frame, openChannels, rawStatus, startKubeApi, type FakeKubeApi } from "../helpers/kube-api.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { expectBridgeError, openTestForward } from "../helpers/tunnel.ts";

let certificate: Certificate;
let api: FakeKubeApi;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
});
beforeEach(async () => {
  api = await startKubeApi(certificate);
});
afterEach(() => api.close());

/** The error of a port-forward, whether it fails while it is opened, at once, or later. */
async function broken(opening: Promise<Duplex> | Duplex): Promise<BridgeError> {
  let stream: Duplex;
  try {
    stream = await opening;
  } catch (error) {
    return error as BridgeError;
  }
  if (stream.errored) return stream.errored as BridgeError;
  const [error] = (await once(stream, "error")) as [BridgeError];
  return error;
}

async function readAll(stream: Duplex): Promise<string> {
  let text = "";
  for await (const chunk of stream) text += String(chunk);
  return text;
}

/** Opens both channels, then runs `then`. */
function afterOpen(then: (webSocket: WebSocket) => void): FakeKubeApi["forward"] {
  return (webSocket, { port }) => {
    openChannels(webSocket, port);
    then(webSocket);
  };
}

describe("a working port-forward", () => {
  test("carries bytes both ways and ends when the server closes", async () => {
    api.forward = afterOpen((webSocket) => {
      webSocket.on("message", (data: Buffer) => {
        webSocket.send(frame(0, `echo:${data.subarray(1).toString()}`));
        webSocket.close(1000);
      });
    });
    const stream = await openTestForward(api);
    stream.write("hello");
    expect(await readAll(stream)).toBe("echo:hello");
    expect(api.requests).toEqual(["GET /api/v1/namespaces/monitoring/pods/p/portforward?ports=9090"]);
  });

  test("takes headers split into single bytes, joined with data, and empty messages", async () => {
    api.forward = (webSocket) => {
      webSocket.send(Buffer.alloc(0));
      webSocket.send(frame(0, Buffer.of(0x82)));
      webSocket.send(frame(0, ""));
      webSocket.send(frame(0, Buffer.concat([Buffer.of(0x23), Buffer.from("early")])));
      webSocket.send(frame(1, Buffer.of(0x82, 0x23)));
      webSocket.send(Buffer.alloc(0));
      webSocket.send(frame(0, " late"));
      webSocket.close();
    };
    const stream = await openTestForward(api);
    expect(await readAll(stream)).toBe("early late");
  });

  test("writes large data in messages of at most 32 KiB and in order", async () => {
    const sizes: number[] = [];
    const parts: Buffer[] = [];
    api.forward = afterOpen((webSocket) => {
      webSocket.on("message", (data: Buffer) => {
        sizes.push(data.length);
        parts.push(data.subarray(1));
        if (Buffer.concat(parts).length === 200_000) webSocket.close(1000);
      });
    });
    const stream = await openTestForward(api);
    const sent = Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 251));
    stream.write(sent);
    await readAll(stream);
    expect(Buffer.concat(parts).equals(sent)).toBe(true);
    expect(Math.max(...sizes)).toBe(32 * 1024 + 1);
  });

  test("a slow reader holds the server back", async () => {
    const total = 64 * 1024 * 1024;
    let accepted = 0;
    api.forward = afterOpen((webSocket) => {
      const message = frame(0, Buffer.alloc(32 * 1024));
      const next = (): void => {
        if (accepted >= total) return webSocket.close(1000);
        webSocket.send(message, () => {
          accepted += message.length - 1;
          next();
        });
      };
      next();
    });
    const stream = await openTestForward(api);
    await once(stream, "readable");
    let last = -1;
    while (accepted !== last) {
      last = accepted;
      for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    // The size of the kernel's buffers and the two 64 KiB buffers, far below the 64 MiB on offer.
    expect(accepted).toBeLessThan(total / 4);
    expect(stream.readableLength).toBeLessThan(256 * 1024);
    let received = 0;
    for await (const chunk of stream) received += (chunk as Buffer).length;
    expect(received).toBe(total);
  });

  test("a server that does not read holds the writer back", async () => {
    api.forward = afterOpen((webSocket) => webSocket.pause());
    const stream = await openTestForward(api);
    let accepted = 0;
    const part = Buffer.alloc(64 * 1024);
    for (let round = 0; round < 2000 && stream.writableLength < 512 * 1024; round++) {
      stream.write(part, () => (accepted += part.length));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(stream.writableNeedDrain).toBe(true);
    expect(accepted).toBeLessThan(64 * 1024 * 1024);
    stream.destroy();
    await once(stream, "close");
  });
});

describe("a server that misbehaves", () => {
  test.each([
    [
      "a refused port",
      "error forwarding port 9090 to pod p: dial tcp4: connect: connection refused",
      "tunnel_refused",
    ],
    ["a broken connection", "read tcp4: connection reset by peer", "tunnel_closed"],
  ])("names %s by the kubelet's text", async (_name, text, code) => {
    api.forward = afterOpen((webSocket) => webSocket.send(frame(1, `${text}\u001B[31m\n`)));
    const error = await broken(openTestForward(api));
    expect(error.code).toBe(code);
    expect(error.message).toContain(text);
    expect(error.message).not.toMatch(/\p{Cc}/u);
  });

  test("an error text after data is a connection that broke", async () => {
    api.forward = afterOpen((webSocket) => {
      webSocket.send(frame(0, "HTTP/1.1 200 OK\r\n"));
      webSocket.send(frame(1, "container was stopped"));
    });
    expect((await broken(openTestForward(api))).code).toBe("tunnel_closed");
  });

  test("an error text of a megabyte is cut", async () => {
    api.forward = afterOpen((webSocket) => webSocket.send(frame(1, "x".repeat(1024 * 1024 - 1))));
    expect((await broken(openTestForward(api))).message.length).toBeLessThan(700);
  });

  test.each<[string, (webSocket: WebSocket) => void]>([
    ["text message", (webSocket) => webSocket.send("hello")],
    ["unknown channel", (webSocket) => webSocket.send(frame(2, "x"))],
    ["stream-closing channel 255", (webSocket) => webSocket.send(Buffer.of(255, 1))],
    ["message over the limit", (webSocket) => webSocket.send(frame(0, Buffer.alloc(2 * 1024 * 1024)))],
    ["invalid frame", (webSocket) => void rawSocket(webSocket).write(Buffer.of(0xff, 0xff, 0xff, 0xff))],
    ["masked frame", (webSocket) => void rawSocket(webSocket).write(Buffer.of(0x82, 0x81, 1, 2, 3, 4, 5))],
  ])("%s: tunnel_protocol", async (_name, misbehave) => {
    api.forward = afterOpen(misbehave);
    expect((await broken(openTestForward(api))).code).toBe("tunnel_protocol");
  });

  // 130 bytes each: one fills a buffer of the socket together with a byte of payload.
  const PONGS = Buffer.concat(
    Array.from({ length: 126 }, () => Buffer.concat([Buffer.of(0x8a, 125), Buffer.alloc(125)])),
  );

  test("bytes between control frames keep no buffers of the socket alive", async () => {
    const bytes = 400;
    api.forward = afterOpen((webSocket) => {
      const socket = rawSocket(webSocket);
      for (let sent = 0; sent < bytes; sent++) {
        socket.write(Buffer.concat([Buffer.of(0x82, 2, 0, 0x78), PONGS]));
      }
      webSocket.close(1000);
    });
    const stream = await openTestForward(api);
    const buffers = new Set<ArrayBufferLike>();
    let received = 0;
    for await (const chunk of stream) {
      buffers.add((chunk as Buffer).buffer);
      received += (chunk as Buffer).length;
    }
    expect(received).toBe(bytes);
    let kept = 0;
    for (const { byteLength } of buffers) kept += byteLength;
    expect(kept).toBeLessThan(512 * 1024);
  });

  test("messages of one byte leave the event loop its turns", async () => {
    const bytes = 300_000;
    api.forward = afterOpen((webSocket) => {
      rawSocket(webSocket).write(Buffer.alloc(4 * bytes, Buffer.of(0x82, 2, 0, 0x78)));
      webSocket.close(1000);
    });
    const stream = await openTestForward(api);
    let received = 0;
    let inTurn = 0;
    let most = 0;
    stream.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (inTurn === 0) setImmediate(() => (inTurn = 0));
      most = Math.max(most, ++inTurn);
    });
    await once(stream, "close");
    expect(received).toBe(bytes);
    // A turn ends with the TLS record (16 KiB) in which it has taken enough, and two turns may be counted as one here.
    expect(most).toBeLessThan(10_000);
  });

  test("a message in more parts than any kubelet makes: tunnel_protocol, before many of them are kept", async () => {
    // How many parts the buffers of both sockets take before the refusal arrives depends on the machine.
    const MOST_PARTS = 1_000_000;
    let sent = 0;
    api.forward = afterOpen((webSocket) => {
      const socket = rawSocket(webSocket);
      const next = (): void => {
        if (socket.destroyed || sent === MOST_PARTS) return;
        sent++;
        socket.write(Buffer.concat([Buffer.of(sent === 1 ? 0x02 : 0x00, 1, 0), PONGS]), next);
      };
      next();
    });
    const error = await broken(openTestForward(api));
    expect(error).toMatchObject({
      code: "tunnel_protocol",
      message: expect.stringContaining("WS_ERR_TOO_MANY"),
    });
    expect(sent).toBeLessThan(MOST_PARTS);
  });

  test("a message in a few parts is one message", async () => {
    api.forward = afterOpen((webSocket) => {
      webSocket.send(frame(0, "one "), { fin: false });
      for (let part = 0; part < 100; part++) webSocket.send(Buffer.from("x"), { fin: false });
      webSocket.send(Buffer.from(" end"), { fin: true });
      webSocket.close(1000);
    });
    expect(await readAll(await openTestForward(api))).toBe(`one ${"x".repeat(100)} end`);
  });

  test("another port than asked for", async () => {
    api.forward = (webSocket) => openChannels(webSocket, 9091);
    await expect(openTestForward(api)).rejects.toMatchObject({ code: "tunnel_protocol" });
  });

  test.each<[string, (webSocket: WebSocket) => void, RegExp]>([
    ["close 1011", (webSocket) => webSocket.close(1011, "kubelet went away"), /1011: kubelet went away/],
    ["a cut connection", (webSocket) => webSocket.terminate(), /1006/],
    ["a reset", (webSocket) => rawSocket(webSocket).destroy(), /1006|ECONNRESET/],
  ])("%s: tunnel_closed", async (_name, misbehave, message) => {
    api.forward = afterOpen(misbehave);
    const error = await broken(openTestForward(api));
    expect(error.code).toBe("tunnel_closed");
    expect(error.message).toMatch(message);
  });

  test.each<[string, FakeKubeApi["forward"]]>([
    ["closes before the channels are open", (webSocket) => webSocket.close(1000)],
    ["breaks before the channels are open", (webSocket) => webSocket.terminate()],
    [
      "opens one channel and closes",
      (webSocket) => (webSocket.send(frame(0, Buffer.of(0x82, 0x23))), webSocket.close(1000)),
    ],
  ])("%s: tunnel_closed", async (_name, forward) => {
    api.forward = forward;
    await expect(openTestForward(api)).rejects.toMatchObject({ code: "tunnel_closed" });
  });

  test("a close message without the end of the connection ends the stream all the same", async () => {
    api.forward = afterOpen(
      (webSocket) => void rawSocket(webSocket).write(Buffer.of(0x88, 0x02, 0x03, 0xe8)),
    );
    const stream = await openTestForward(api);
    expect(await readAll(stream)).toBe("");
  });
});

describe("the handshake", () => {
  test.each<[string, number, string]>([
    ["401", 401, "cluster_unauthorized"],
    ["403", 403, "cluster_forbidden"],
    ["404", 404, "prometheus_pod_not_ready"],
    ["400", 400, "tunnel_protocol"],
    ["302", 302, "tunnel_protocol"],
    ["200", 200, "tunnel_protocol"],
    ["500", 500, "cluster_api_error"],
    ["503", 503, "cluster_api_error"],
  ])("answered with %s keeps the API server's words", async (_name, status, code) => {
    api.upgrade = (_request, socket) => socket.end(rawStatus(status, `words for ${status}`));
    const error = await openTestForward(api).catch((reason: unknown) => reason as BridgeError);
    expect(error).toMatchObject({ code, message: expect.stringContaining(`words for ${status}`) });
  });

  test("another sub-protocol is tunnel_protocol", async () => {
    api.upgrade = (request, socket, head) => {
      request.headers["sec-websocket-protocol"] = "v5.channel.k8s.io";
      socket.unshift(head);
      socket.end(
        "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: wrong\r\n\r\n",
      );
    };
    await expect(openTestForward(api)).rejects.toMatchObject({ code: "tunnel_protocol" });
  });

  test("an answer that is not HTTP is tunnel_protocol", async () => {
    api.upgrade = (_request, socket) => socket.end("220 smtp.example.org ESMTP\r\n");
    await expect(openTestForward(api)).rejects.toMatchObject({ code: "tunnel_protocol" });
  });

  test("a connection closed without an answer is cluster_unreachable", async () => {
    api.upgrade = (_request, socket) => socket.destroy();
    await expect(openTestForward(api)).rejects.toMatchObject({ code: "cluster_unreachable" });
  });

  test.each<[string, () => void]>([
    ["never answers", () => (api.upgrade = () => {})],
    [
      "never finishes its refusal",
      () =>
        (api.upgrade = (_request, socket) => socket.write("HTTP/1.1 403 X\r\ncontent-length: 99\r\n\r\n{")),
    ],
    ["never opens the channels", () => (api.forward = () => {})],
  ])("a server that %s ends in tunnel_timeout at the configured time", async (_name, arrange) => {
    arrange();
    const clock = createManualClock();
    const asked = api.nextRequest("portforward");
    const opening = openTestForward(api, { clock });
    const failed = expectBridgeError(opening, "tunnel_timeout");
    await asked;
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(9999);
    clock.advance(1);
    expect(await failed).toBeInstanceOf(BridgeError);
    expect(clock.pending()).toBe(0);
  });

  test("an aborted signal ends it with the signal's reason", async () => {
    const controller = new AbortController();
    const asked = api.nextRequest("portforward");
    const opening = openTestForward(api, { signal: controller.signal });
    await asked;
    const reason = new Error("round is over");
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
    await expect(openTestForward(api, { signal: controller.signal })).rejects.toBe(reason);
  });
});

describe("the watchdog", () => {
  test("ends a silent connection, and leaves one that answers alone", async () => {
    const clock = createManualClock();
    let pings = 0;
    api.forward = afterOpen((webSocket) => webSocket.on("ping", () => pings++));
    const stream = await openTestForward(api, { clock });
    const [server] = api.webSockets;
    for (let round = 1; round <= 3; round++) {
      const pinged = once(server as WebSocket, "ping");
      clock.advance(15_000);
      await pinged;
      const answered = once(stream, "readable");
      server?.send(frame(0, "alive"));
      await answered;
      stream.read();
    }
    expect(pings).toBe(3);
    rawSocket(server as WebSocket).pause();
    const failed = broken(stream);
    clock.advance(15_000);
    clock.advance(15_000);
    expect((await failed).code).toBe("tunnel_timeout");
    expect(clock.pending()).toBe(0);
  });

  test("does not take a slow reader for a dead server", async () => {
    const clock = createManualClock();
    api.forward = afterOpen((webSocket) => webSocket.send(frame(0, Buffer.alloc(512 * 1024))));
    const stream = await openTestForward(api, { clock });
    await once(stream, "readable");
    for (let round = 0; round < 5; round++) clock.advance(15_000);
    expect(stream.destroyed).toBe(false);
    stream.destroy();
    await once(stream, "close");
    expect(clock.pending()).toBe(0);
  });
});

/** The TLS socket below a server-side WebSocket. */
function rawSocket(webSocket: WebSocket): Duplex {
  return (webSocket as unknown as { _socket: Duplex })._socket;
}
