import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { toKubeConfig } from "#clusters/kubernetes-client-config.ts";
import { systemClock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createKubeClient } from "#tunnel/kube-client.ts";
import { createServerProbe } from "#tunnel/probe.ts";
import { issueCertificate } from "../helpers/certificate-chain.ts";
import type { Certificate } from "../helpers/certificates.ts";
import { addPrometheus, bridgeTo, startKubeApi, type FakeKubeApi } from "../helpers/kube-api.ts";
import { expectBridgeError, get, okay, openTestTunnel, startServer } from "../helpers/tunnel.ts";

// A kubeconfig's CA bundle must accept the same API server certificates as Go's crypto/x509, and so kubectl.

const closing: (() => Promise<unknown>)[] = [];
const made: Record<string, Certificate> = {};

beforeAll(async () => {
  made["root"] = await issueCertificate("root", { isAuthority: true });
  made["intermediate"] = await issueCertificate("intermediate", { isAuthority: true, issuer: made["root"] });
  made["leaf"] = await issueCertificate("leaf", { issuer: made["intermediate"] });
  made["expired leaf"] = await issueCertificate("leaf", { issuer: made["intermediate"], isExpired: true });
  made["leaf of elsewhere"] = await issueCertificate("leaf", {
    issuer: made["intermediate"],
    host: "elsewhere.example.com",
  });
  made["expired intermediate"] = await issueCertificate("old", {
    isAuthority: true,
    issuer: made["root"],
    isExpired: true,
  });
  made["leaf of the expired"] = await issueCertificate("leaf", { issuer: made["expired intermediate"] });
  made["self-signed"] = await issueCertificate("self");
  made["expired self-signed"] = await issueCertificate("self", { isExpired: true });
  made["self-signed of elsewhere"] = await issueCertificate("self", { host: "elsewhere.example.com" });
  // The same name, another key.
  made["impostor"] = await issueCertificate("intermediate", { isAuthority: true });
});

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

const pemOf = (names: string): string =>
  names
    .split(" + ")
    .map((name) => made[name]?.certPem ?? "")
    .join("\n");

/** An API server that sends this chain; its key is the first one's. */
async function startApi(chain: string): Promise<FakeKubeApi> {
  const api = await startKubeApi({
    certPem: pemOf(chain),
    keyPem: made[chain.split(" + ")[0] ?? ""]?.keyPem ?? "",
  });
  closing.push(() => api.close());
  addPrometheus(api, [{ name: "prometheus-0" }]);
  return api;
}

/** The diagnosis' finding for the server's certificate. */
async function probe(kubeconfig: string): Promise<string | undefined> {
  const kubeConfig = await toKubeConfig({ kind: "inline", kubeconfig: createSecret(kubeconfig) }, true);
  const kube = createKubeClient({ kubeConfig, clock: systemClock }, { timeoutMs: 10_000 });
  const { signal } = new AbortController();
  const connection = await kube.connection("/version", {}, signal);
  const server = createServerProbe(connection, { clock: systemClock, timeoutMs: 10_000 });
  return (await server.handshake(signal)).problem;
}

describe("trusted, over REST and WebSocket, and by the diagnosis", () => {
  test.each([
    ["the root", "root", "leaf + intermediate"],
    ["the intermediate alone, which the server sends", "intermediate", "leaf + intermediate"],
    ["the intermediate alone, which the server leaves out", "intermediate", "leaf"],
    ["the intermediate among others", "expired self-signed + root + intermediate", "leaf"],
    ["the server's own certificate, of a CA that nobody knows", "leaf", "leaf + intermediate"],
    ["the server's own self-signed certificate, which is no CA", "self-signed", "self-signed"],
  ])("%s", async (_, ca, chain) => {
    const server = await startServer(okay);
    closing.push(() => server.close());
    const api = await startApi(chain);
    api.forward = bridgeTo(server.port);
    const kubeconfig = api.kubeconfig({ ca: pemOf(ca) });
    const tunnel = await openTestTunnel(api, { kubeconfig });
    closing.push(() => tunnel.close());
    expect(await get(tunnel, "/-/ready")).toMatchObject({ status: 200 });
    expect(await probe(kubeconfig)).toBeUndefined();
  });
});

describe("refused", () => {
  test.each([
    ["another CA of the same name", "impostor", "leaf + intermediate", "CERT_SIGNATURE_FAILURE|UNABLE_TO"],
    ["the root, where the server leaves the intermediate out", "root", "leaf", "UNABLE_TO"],
    ["the intermediate, of an expired certificate", "intermediate", "expired leaf", "CERT_HAS_EXPIRED"],
    ["an expired intermediate", "expired intermediate", "leaf of the expired", "CERT_HAS_EXPIRED"],
    ["the server's own certificate, expired", "expired leaf", "expired leaf", "CERT_HAS_EXPIRED"],
    [
      "the server's own, expired and self-signed",
      "expired self-signed",
      "expired self-signed",
      "CERT_HAS_EXPIRED",
    ],
    [
      "the intermediate, of another host's certificate",
      "intermediate",
      "leaf of elsewhere",
      "ALTNAME_INVALID",
    ],
    ["another host's own certificate", "leaf of elsewhere", "leaf of elsewhere", "ALTNAME_INVALID"],
    [
      "another host's own, self-signed",
      "self-signed of elsewhere",
      "self-signed of elsewhere",
      "ALTNAME_INVALID",
    ],
    ["a server's certificate as the CA of another", "leaf", "self-signed", "SELF_SIGNED"],
  ])("%s", async (_, ca, chain, reason) => {
    const api = await startApi(chain);
    const kubeconfig = api.kubeconfig({ ca: pemOf(ca) });
    const error = await expectBridgeError(openTestTunnel(api, { kubeconfig }), "cluster_tls_untrusted");
    expect(error.message).toMatch(new RegExp(reason));
    // The real remedy comes first; switching the check off is no remedy for any of these.
    expect(error.hint).toMatch(/^Put the API server's CA into certificate-authority-data/);
    expect(await probe(kubeconfig)).toMatch(new RegExp(reason));
    expect(api.requests).toEqual([]);
  });
});
