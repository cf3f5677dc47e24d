import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { createCertificate, type Certificate } from "../helpers/certificates.ts";
import { addPrometheus, sendStatus, startKubeApi, type FakeKubeApi } from "../helpers/kube-api.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { expectBridgeError, openTestTunnel, TARGET } from "../helpers/tunnel.ts";

const SERVICE = "/api/v1/namespaces/monitoring/services/prometheus";

let certificate: Certificate;
let api: FakeKubeApi;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
});
beforeEach(async () => {
  api = await startKubeApi(certificate);
  addPrometheus(api, [{ name: "prometheus-0" }]);
});
afterEach(() => api.close());

describe("an API server that refuses", () => {
  test("401: cluster_unauthorized with its words, not the token", async () => {
    const kubeconfig = api.kubeconfig({ token: "expired-secret-token" });
    const error = await expectBridgeError(openTestTunnel(api, { kubeconfig }), "cluster_unauthorized");
    expect(error.message).toContain("Unauthorized");
    expect(JSON.stringify([error.message, error.hint, error.details])).not.toContain("expired-secret-token");
  });

  test("403: cluster_forbidden names verb, resource and namespace", async () => {
    const words =
      'services "prometheus" is forbidden: User "b" cannot get resource "services" in the namespace "monitoring"';
    api.answers.set(SERVICE, (_request, response) => sendStatus(response, 403, words));
    const error = await expectBridgeError(openTestTunnel(api), "cluster_forbidden");
    expect(error.message).toContain(words);
    expect(error.message).toContain("get services");
  });

  test("403 without a Status still says what was asked", async () => {
    api.answers.set(SERVICE, (_request, response) => void response.writeHead(403).end("<html>nginx</html>"));
    const error = await expectBridgeError(openTestTunnel(api), "cluster_forbidden");
    expect(error.message).toMatch(/get services "prometheus" in namespace "monitoring"/);
    expect(error.message).not.toContain("html");
  });

  test.each([301, 429, 500, 503])("%d: cluster_api_error", async (status) => {
    api.answers.set(SERVICE, (_request, response) => sendStatus(response, status, "etcd is away"));
    const error = await expectBridgeError(openTestTunnel(api), "cluster_api_error");
    expect(error.message).toContain("etcd is away");
    expect(error.details).toMatchObject({ status });
  });
});

describe("an API server that answers nonsense", () => {
  test.each([
    ["text instead of JSON", "hello"],
    ["an empty body", ""],
    ["null", "null"],
    ["a wrong type", '{"spec":{"ports":"none"}}'],
  ])("%s: cluster_api_error", async (_name, body) => {
    api.answers.set(SERVICE, (_request, response) => void response.end(body));
    await expect(openTestTunnel(api)).rejects.toMatchObject({ code: "cluster_api_error" });
  });

  test("a body without an end is cut off at a limit", async () => {
    let sent = 0;
    api.answers.set(SERVICE, (_request, response) => {
      const part = Buffer.alloc(1024 * 1024, " ");
      const next = (): void => {
        sent += part.length;
        if (!response.destroyed) response.write(part, next);
      };
      next();
    });
    const error = await expectBridgeError(openTestTunnel(api), "cluster_api_error");
    expect(error.message).toContain("larger than");
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  test("a body that breaks off is cluster_unreachable", async () => {
    api.answers.set(SERVICE, (_request, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("{", () => response.destroy());
    });
    await expect(openTestTunnel(api)).rejects.toMatchObject({ code: "cluster_unreachable" });
  });
});

describe("an API server out of reach", () => {
  test("refused connection: cluster_unreachable without an address in the message", async () => {
    const kubeconfig = api.kubeconfig({ server: "https://127.0.0.1:1" });
    const error = await expectBridgeError(openTestTunnel(api, { kubeconfig }), "cluster_unreachable");
    expect(error.message).toContain("ECONNREFUSED");
    expect(error.message).not.toContain("127.0.0.1");
  });

  test("a name that does not resolve", async () => {
    const kubeconfig = api.kubeconfig({ server: "https://no-such-host.invalid" });
    const error = await expectBridgeError(openTestTunnel(api, { kubeconfig }), "cluster_unreachable");
    expect(error.message).not.toContain("no-such-host");
  });

  test("something that does not speak TLS", async () => {
    const server = createTcpServer((socket) =>
      socket.on("error", () => {}).end("HTTP/1.0 400 Bad Request\r\n\r\n"),
    );
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const kubeconfig = api.kubeconfig({
      server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    });
    const error = await expectBridgeError(openTestTunnel(api, { kubeconfig }), "cluster_unreachable");
    expect(error.message).toContain("does not speak HTTPS");
    server.close();
  });

  test.each<[string, () => void]>([
    ["answers nothing", () => api.answers.set(SERVICE, () => {})],
    [
      "stops in the middle of the body",
      () => api.answers.set(SERVICE, (_request, response) => void response.write('{"spec":')),
    ],
    [
      "stops in the middle of a refusal",
      () => api.answers.set(SERVICE, (_request, response) => void response.writeHead(500).write("{")),
    ],
  ])("a server that %s: cluster_timeout at the configured time", async (_name, arrange) => {
    arrange();
    const clock = createManualClock();
    const asked = api.nextRequest("services/prometheus");
    const failed = expectBridgeError(openTestTunnel(api, { clock }), "cluster_timeout");
    await asked;
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(10_000);
    expect(await failed).toBeInstanceOf(BridgeError);
    expect(clock.pending()).toBe(0);
  });

  test("nodes that never come are a warning after the configured time", async () => {
    api.answers.set("/api/v1/nodes", () => {});
    const clock = createManualClock();
    const asked = api.nextRequest("endpointslices");
    const opening = openTestTunnel(api, { clock });
    await asked;
    // Only the nodes' deadline is left once the Pod is found.
    while (clock.pending() > 1) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(10_000);
    const tunnel = await opening;
    expect(tunnel.warnings).toEqual([expect.stringContaining("cluster_timeout")]);
    await tunnel.close();
  });
});

describe("certificates of the API server", () => {
  test("an unknown CA: cluster_tls_untrusted, whose hint names VALIDATE_CERTS", async () => {
    const other = await createCertificate("localhost");
    const kubeconfig = api.kubeconfig({ ca: other.certPem });
    const error = await expectBridgeError(openTestTunnel(api, { kubeconfig }), "cluster_tls_untrusted");
    expect(error.hint).toContain("VALIDATE_CERTS");
    expect(api.requests).toEqual([]);
  });

  test("another name than the certificate's", async () => {
    const kubeconfig = JSON.parse(api.kubeconfig());
    kubeconfig.clusters[0].cluster["tls-server-name"] = "another.example.org";
    const options = { kubeconfig: JSON.stringify(kubeconfig) };
    const error = await expectBridgeError(openTestTunnel(api, options), "cluster_tls_untrusted");
    expect(error.message).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
  });

  test("validateCerts false accepts it", async () => {
    const other = await createCertificate("localhost");
    const kubeconfig = api.kubeconfig({ ca: other.certPem });
    const tunnel = await openTestTunnel(api, { kubeconfig, validateCerts: false });
    expect(tunnel.pod.name).toBe("prometheus-0");
    await tunnel.close();
  });

  test("NODE_TLS_REJECT_UNAUTHORIZED does not decide", async () => {
    const other = await createCertificate("localhost");
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      const kubeconfig = api.kubeconfig({ ca: other.certPem });
      await expect(openTestTunnel(api, { kubeconfig })).rejects.toMatchObject({
        code: "cluster_tls_untrusted",
      });
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
  });
});

test("a Service that is not there names those that may be meant", async () => {
  api.json("/api/v1/services", {
    items: [
      { metadata: { namespace: "obs", name: "my-prometheus" } },
      { metadata: { namespace: "obs", name: "grafana" } },
    ],
  });
  const target = { ...TARGET, service: "prom" };
  const error = await expectBridgeError(openTestTunnel(api, { target }), "prometheus_service_not_found");
  expect(error.details).toEqual({ candidates: ["obs/my-prometheus"] });
  expect(error.hint).toContain("obs/my-prometheus");
});
