import { X509Certificate } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import type { CredentialFacts } from "#clusters/cluster.ts";
import { expiryWarnings, toCredentialFacts } from "#clusters/credential-facts.ts";
import { toKubeConfig } from "#clusters/kubernetes-client-config.ts";
import { parseKubeconfig, toKubeconfigText } from "#clusters/parse-kubeconfig.ts";
import { createSecret } from "#lib/secret.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createCertificate, type Certificate } from "../../helpers/certificates.ts";

let certificate: Certificate;
beforeAll(async () => {
  certificate = await createCertificate("localhost");
});

const base64 = (text: string): string => Buffer.from(text).toString("base64");

function kubeconfig(user: Record<string, unknown>, cluster: Record<string, unknown> = {}): string {
  return JSON.stringify({
    clusters: [{ name: "c", cluster: { server: "https://api.example.org/k8s/c-1", ...cluster } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
  });
}

async function factsOf(text: string): Promise<CredentialFacts> {
  return toCredentialFacts(
    await toKubeConfig({ kind: "inline", kubeconfig: createSecret(text) }, true),
    undefined,
  );
}

const jwt = (claims: unknown): string =>
  [{ alg: "RS256" }, claims, "signature"]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");

describe("the facts shown about credentials", () => {
  test("server without its path, the CA's fingerprint, the client certificate's end", async () => {
    const facts = await factsOf(
      kubeconfig(
        {
          "client-certificate-data": base64(certificate.certPem),
          "client-key-data": base64(certificate.keyPem),
        },
        { "certificate-authority-data": base64(certificate.certPem) },
      ),
    );
    const { validTo, fingerprint256 } = new X509Certificate(certificate.certPem);
    expect(facts).toEqual({
      server: "https://api.example.org:443",
      user: "client-certificate",
      certificate_expires_at: new Date(validTo).toISOString(),
      token_expires_at: null,
      ca_sha256: [fingerprint256.replaceAll(":", "").toLowerCase()],
      prometheus_auth: null,
    });
  });

  test.each([
    ["a JWT's end", jwt({ exp: 1_800_000_000 }), "2027-01-15T08:00:00.000Z"],
    ["a JWT without an end", jwt({ sub: "x" }), null],
    ["an end that is no time", jwt({ exp: 1e300 }), null],
    ["an end that is no number", jwt({ exp: "soon" }), null],
    ["claims that are no object", jwt(null), null],
    ["three parts that are no JWT", "a.b.c", null],
    ["any other token", "opaque", null],
  ])("%s", async (_what, token, expected) => {
    expect(await factsOf(kubeconfig({ token }))).toMatchObject({
      user: "token",
      token_expires_at: expected,
    });
  });

  test("a credential that ends within 14 days, or has ended, is a warning", async () => {
    const facts = await factsOf(kubeconfig({ token: jwt({ exp: 1_800_000_000 }) }));
    const warned = (daysBefore: number): string[] =>
      expiryWarnings({ facts }, (1_800_000_000 - daysBefore * 86_400) * 1000);
    expect(warned(15)).toEqual([]);
    expect(warned(13.5)).toEqual([expect.stringMatching(/^the token expires at 2027-01-15.*, in 13 days/)]);
    expect(warned(0)).toEqual([expect.stringMatching(/^the token has expired at 2027-01-15/)]);
    expect(expiryWarnings({}, 0)).toEqual([]);
  });
});

describe("what is kept of a kubeconfig", () => {
  const several = JSON.stringify({
    clusters: [
      { name: "a", cluster: { server: "https://a", "certificate-authority-data": "" } },
      { name: "b", cluster: { server: "https://b", "tls-server-name": "kubernetes" } },
    ],
    users: [
      { name: "a", user: { token: "token-of-a" } },
      { name: "b", user: { token: "token-of-b" } },
    ],
    contexts: [
      { name: "to-a", context: { cluster: "a", user: "a" } },
      { name: "to-b", context: { cluster: "b", user: "b" } },
    ],
    "current-context": "to-a",
  });

  test("only the chosen context's cluster and user", () => {
    const parsed = parseKubeconfig(several, { context: "to-b", explicitContext: true });
    const text = toKubeconfigText(parsed);
    expect(text).not.toMatch(/token-of-a|to-a/);
    expect(parseKubeconfig(text, { explicitContext: true })).toEqual(parsed);
  });

  test("of several contexts one must be named, whatever current-context says", async () => {
    const error = await bridgeErrorOf(() => parseKubeconfig(several, { explicitContext: true }));
    expect(error).toMatchObject({ code: "kubeconfig_invalid", details: { field: "context" } });
    expect(error.hint).toContain("to-a, to-b");
    expect(parseKubeconfig(several).server).toBe("https://a");
  });

  test("certificates and keys bit for bit", async () => {
    const parsed = parseKubeconfig(
      kubeconfig(
        {
          "client-certificate-data": base64(certificate.certPem),
          "client-key-data": base64(certificate.keyPem),
        },
        { "certificate-authority-data": base64(certificate.certPem) },
      ),
    );
    expect(parseKubeconfig(toKubeconfigText(parsed))).toEqual(parsed);
  });
});
