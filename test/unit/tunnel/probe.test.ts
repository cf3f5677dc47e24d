import { once } from "node:events";
import { createServer, type AddressInfo, type LookupFunction } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createApiServerGuard } from "#tunnel/api-server-guard.ts";
import { createServerProbe, type ServerProbe } from "#tunnel/probe.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createCertificate, type Certificate } from "../../helpers/certificates.ts";

const { signal } = new AbortController();
const closing: (() => void)[] = [];
let certificate: Certificate;

beforeAll(async () => {
  certificate = await createCertificate("api.example.com");
});
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function serve(kind: "tls" | "plain"): Promise<number> {
  const server =
    kind === "tls"
      ? createTlsServer({ cert: certificate.certPem, key: certificate.keyPem })
      : createServer((socket) => socket.on("error", () => {}).end("hello"));
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

function probe(
  server: string,
  options: { ca?: string; lookup?: LookupFunction; servername?: string } = {},
): ServerProbe {
  return createServerProbe({ url: new URL(server), options }, { clock: systemClock, timeoutMs: 5000 });
}

/** Every name is this machine. */
const here: LookupFunction = (_name, _options, callback) =>
  callback(null, [{ address: "127.0.0.1", family: 4 }]);
const nowhere: LookupFunction = (_name, _options, callback) =>
  callback(Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" }), "");

describe("the name", () => {
  it("is resolved as requests resolve it", async () => {
    expect(await probe("https://api.example.com:6443", { lookup: here }).resolve(signal)).toEqual({
      addresses: 1,
      families: ["IPv4"],
    });
  });

  it("may be an address", async () => {
    expect(await probe("https://[::1]:6443", { lookup: nowhere }).resolve(signal)).toMatchObject({
      families: ["IPv6"],
    });
  });

  it("that does not resolve is reported without further steps", async () => {
    expect(
      await bridgeErrorOf(probe("https://api.example.com", { lookup: nowhere }).resolve(signal)),
    ).toMatchObject({
      code: "cluster_unreachable",
      message: expect.stringContaining("its name does not resolve") as string,
    });
  });

  it("is refused where the guard refuses its address", async () => {
    const resolve = () => Promise.resolve([{ address: "169.254.169.254", family: 4 }]);
    const { lookup } = createApiServerGuard({ cidrs: [] }, resolve);
    const guarded = probe("https://metadata.example.com", { lookup });
    for (const attempt of [guarded.resolve(signal), guarded.connect(signal), guarded.handshake(signal)]) {
      expect(await bridgeErrorOf(attempt)).toMatchObject({ code: "api_server_refused" });
    }
  });
});

describe("the connection", () => {
  it("is opened and closed", async () => {
    const port = await serve("plain");
    await expect(probe(`https://127.0.0.1:${port}`).connect(signal)).resolves.toBeUndefined();
  });

  it("that is refused is reported without the address", async () => {
    const error = await bridgeErrorOf(probe("https://127.0.0.1:1").connect(signal));
    expect(error).toMatchObject({ code: "cluster_unreachable" });
    expect(String(error)).not.toContain("127.0.0.1");
  });

  it("ends with the signal", async () => {
    const gone = AbortSignal.abort(new Error("gone"));
    await expect(probe("https://127.0.0.1:1").connect(gone)).rejects.toThrow("gone");
  });
});

describe("the certificate", () => {
  it("is trusted by the kubeconfig's CA and for its name", async () => {
    const port = await serve("tls");
    const trusted = probe(`https://api.example.com:${port}`, { lookup: here, ca: certificate.certPem });
    expect(await trusted.handshake(signal)).toMatchObject({
      protocol: "TLSv1.3",
      subject: "api.example.com",
      dnsNames: ["api.example.com"],
      addresses: 1,
      validUntil: expect.any(Number) as number,
    });
    expect(await trusted.handshake(signal)).not.toHaveProperty("problem");
  });

  it.each([
    ["an unknown CA", "api.example.com", {}, "DEPTH_ZERO_SELF_SIGNED_CERT"],
    ["another name", "other.example.com", { ca: true }, "ERR_TLS_CERT_ALTNAME_INVALID"],
    [
      "another tls-server-name",
      "api.example.com",
      { ca: true, servername: "x.example.com" },
      "ERR_TLS_CERT_ALTNAME_INVALID",
    ],
  ])(
    "of %s is shown with what is wrong",
    async (_what, host, { ca, ...options }: { ca?: boolean; servername?: string }, problem) => {
      const port = await serve("tls");
      const settings = { lookup: here, ...options, ...(ca ? { ca: certificate.certPem } : {}) };
      expect(await probe(`https://${host}:${port}`, settings).handshake(signal)).toMatchObject({
        problem,
        subject: "api.example.com",
      });
    },
  );

  it("is not asked of what does not speak TLS", async () => {
    const port = await serve("plain");
    expect(await bridgeErrorOf(probe(`https://127.0.0.1:${port}`).handshake(signal))).toMatchObject({
      code: "cluster_unreachable",
      message: expect.stringContaining("does not speak HTTPS") as string,
    });
  });
});
