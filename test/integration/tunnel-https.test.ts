import type { RequestListener } from "node:http";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { Tunnel } from "#tunnel/dispatcher.ts";
import { issueCertificate } from "../helpers/certificate-chain.ts";
import { createCertificate, type Certificate } from "../helpers/certificates.ts";
import {
  addPrometheus,
  bridgeTo,
  frame,
  openChannels,
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
  TARGET,
  type TunnelOptions,
} from "../helpers/tunnel.ts";

let certificate: Certificate;
let prometheusCertificate: Certificate;
const closing: (() => Promise<unknown>)[] = [];
let api: FakeKubeApi;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
  prometheusCertificate = await createCertificate("prometheus.monitoring.svc");
});
beforeEach(async () => {
  api = await startKubeApi(certificate);
  closing.push(() => api.close());
  addPrometheus(api, [{ name: "prometheus-0" }]);
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function start(listener: RequestListener, used?: Certificate): Promise<number> {
  const server = await startServer(listener, used);
  closing.push(() => server.close());
  return server.port;
}

async function open(options: TunnelOptions = {}): Promise<Tunnel> {
  const tunnel = await openTestTunnel(api, options);
  closing.push(() => tunnel.close());
  return tunnel;
}

describe("https Prometheus", () => {
  const https = { ...TARGET, scheme: "https" as const };

  test("is verified by the given CA and the Service's name", async () => {
    api.forward = bridgeTo(await start(okay, prometheusCertificate));
    const tunnel = await open({ target: { ...https, ca: prometheusCertificate.certPem } });
    const answers = await Promise.all(["/a", "/b", "/c"].map((path) => get(tunnel, path)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  });

  test("is verified by an intermediate alone, and by its own certificate, as Go does", async () => {
    const host = "prometheus.monitoring.svc";
    const root = await issueCertificate("root", { isAuthority: true });
    const intermediate = await issueCertificate("intermediate", { isAuthority: true, issuer: root });
    const leaf = await issueCertificate("leaf", { issuer: intermediate, host });
    api.forward = bridgeTo(await start(okay, leaf));
    for (const { certPem: ca } of [intermediate, leaf]) {
      const tunnel = await open({ target: { ...https, ca } });
      expect((await get(tunnel, "/")).status).toBe(200);
    }
    const tunnel = await open({ target: { ...https, ca: root.certPem } });
    await expectBridgeError(get(tunnel, "/"), "prometheus_tls_untrusted");
  });

  test("VALIDATE_CERTS=false of the API server does not relax it", async () => {
    api.forward = bridgeTo(await start(okay, prometheusCertificate));
    const tunnel = await open({ target: https, validateCerts: false });
    const error = await expectBridgeError(get(tunnel, "/"), "prometheus_tls_untrusted");
    expect(error.hint).toContain("prometheus.ca");
  });

  test("refuses a certificate for another name", async () => {
    const other = await createCertificate("other.monitoring.svc");
    api.forward = bridgeTo(await start(okay, other));
    const tunnel = await open({ target: { ...https, ca: other.certPem } });
    const error = await expectBridgeError(get(tunnel, "/"), "prometheus_tls_untrusted");
    expect(error.message).toContain("prometheus.monitoring.svc");
  });

  test("names a port that speaks http, an unusable CA, and a connection that ends", async () => {
    api.forward = bridgeTo(await start(okay));
    await expect(get(await open({ target: https }), "/")).rejects.toMatchObject({
      code: "prometheus_unexpected_answer",
    });
    api.forward = bridgeTo(await start(okay, prometheusCertificate));
    const badCa = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    await expect(get(await open({ target: { ...https, ca: badCa } }), "/")).rejects.toMatchObject({
      code: "prometheus_tls_untrusted",
    });
    api.forward = (webSocket, { port }) => {
      openChannels(webSocket, port);
      webSocket.once("message", () => webSocket.close(1000));
    };
    await expect(get(await open({ target: https }), "/")).rejects.toMatchObject({
      code: "prometheus_unreachable",
    });
  });

  test("a handshake that hangs ends at the configured time", async () => {
    const clock = createManualClock();
    const helloReceived = new Promise<void>((resolve) => {
      api.forward = (webSocket, { port }) => {
        openChannels(webSocket, port);
        webSocket.once("message", () => resolve());
      };
    });
    const tunnel = await open({ target: https, clock });
    const failed = expectBridgeError(get(tunnel, "/"), "tunnel_timeout");
    await helloReceived;
    clock.advance(10_000);
    expect(await failed).toBeInstanceOf(BridgeError);
  });

  test("what breaks the port-forward is what the request fails with", async () => {
    const port = await start(halfAnswer, prometheusCertificate);
    api.forward = bridgeTo(port);
    const { dispatcher, origin } = await open({ target: { ...https, ca: prometheusCertificate.certPem } });
    const { body } = await dispatcher.request({ origin, path: "/", method: "GET" });
    const reading = body.text();
    api.webSockets[0]?.send(frame(1, "lost connection to pod"));
    await expect(reading).rejects.toMatchObject({ code: "tunnel_closed" });
  });
});
