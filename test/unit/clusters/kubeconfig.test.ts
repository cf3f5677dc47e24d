import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import type { RequestOptions } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { BridgeError } from "#errors/error.ts";
import { createSecret } from "#lib/secret.ts";
import { toKubeConfig } from "#clusters/kubernetes-client-config.ts";
import { parseKubeconfig } from "#clusters/parse-kubeconfig.ts";
import { createCertificate, type Certificate } from "../../helpers/certificates.ts";

const SECRET = "s3cr3t-t0ken-abcdef";
let certificate: Certificate;
let folder: string;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
  folder = mkdtempSync(join(tmpdir(), "kubeconfig-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const base64 = (text: string): string => Buffer.from(text).toString("base64");

interface Parts {
  cluster?: Record<string, unknown>;
  user?: Record<string, unknown>;
  context?: Record<string, unknown>;
  file?: Record<string, unknown>;
}

function kubeconfig(parts: Parts = {}): string {
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "c", cluster: { server: "https://api.example.org:6443", ...parts.cluster } }],
    users: [{ name: "u", user: { token: SECRET, ...parts.user } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u", ...parts.context } }],
    "current-context": "x",
    ...parts.file,
  });
}

function failure(text: string, options: Parameters<typeof parseKubeconfig>[1] = {}): BridgeError {
  try {
    parseKubeconfig(text, options);
  } catch (error) {
    if (error instanceof BridgeError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

function expectNoSecret(error: BridgeError): void {
  const shown = inspect([error.message, error.hint, error.details, error.cause], { depth: 9 });
  expect(shown).not.toContain(SECRET);
}

describe("what is accepted", () => {
  test("a token with a CA and a server name", () => {
    const text = kubeconfig({
      cluster: { "certificate-authority-data": base64(certificate.certPem), "tls-server-name": "kubernetes" },
    });
    expect(parseKubeconfig(text)).toEqual({
      server: "https://api.example.org:6443",
      caPem: certificate.certPem,
      tlsServerName: "kubernetes",
      token: SECRET,
    });
  });

  test("a client certificate, a path in the URL, JSON, and what kubectl writes besides", () => {
    const text = kubeconfig({
      cluster: { server: "https://rancher.example.org/k8s/clusters/c-1/", extensions: [{ name: "e" }] },
      user: {
        token: "",
        "client-certificate-data": base64(certificate.certPem),
        "client-key-data": base64(certificate.keyPem),
      },
      context: { namespace: "default" },
      file: { preferences: {} },
    });
    const expected = {
      server: "https://rancher.example.org/k8s/clusters/c-1",
      clientCertificate: { certPem: certificate.certPem, keyPem: certificate.keyPem },
    };
    expect(parseKubeconfig(text)).toEqual(expected);
  });

  test("the named context of several, or the only one", () => {
    const several = {
      clusters: [
        { name: "a", cluster: { server: "https://a" } },
        { name: "b", cluster: { server: "https://b" } },
      ],
      contexts: [
        { name: "to-a", context: { cluster: "a", user: "u" } },
        { name: "to-b", context: { cluster: "b", user: "u" } },
      ],
    };
    expect(parseKubeconfig(kubeconfig({ file: { ...several, "current-context": "to-a" } })).server).toBe(
      "https://a",
    );
    const noCurrent = kubeconfig({ file: { ...several, "current-context": "" } });
    expect(parseKubeconfig(noCurrent, { context: "to-b" }).server).toBe("https://b");
    expect(failure(noCurrent)).toMatchObject({
      code: "kubeconfig_invalid",
      hint: expect.stringContaining("to-a, to-b"),
    });
    expect(failure(noCurrent, { context: "to-c" }).message).toContain('"to-c"');
    expect(parseKubeconfig(kubeconfig({ file: { "current-context": undefined } })).token).toBe(SECRET);
  });
});

describe("what is refused by name", () => {
  test.each<[string, Parts, string]>([
    ["exec", { user: { exec: { command: "/bin/true" } } }, "users[0].user.exec"],
    ["auth-provider", { user: { "auth-provider": { name: "oidc" } } }, "users[0].user.auth-provider"],
    ["tokenFile", { user: { tokenFile: "/etc/passwd" } }, "users[0].user.tokenFile"],
    ["token-file", { user: { "token-file": "/etc/passwd" } }, "users[0].user.token-file"],
    [
      "a CA file",
      { cluster: { "certificate-authority": "/etc/ca" } },
      "clusters[0].cluster.certificate-authority",
    ],
    ["a certificate file", { user: { "client-certificate": "/c" } }, "users[0].user.client-certificate"],
    ["a key file", { user: { "client-key": "/k" } }, "users[0].user.client-key"],
    ["a proxy", { cluster: { "proxy-url": "http://10.0.0.1" } }, "clusters[0].cluster.proxy-url"],
    ["as", { user: { as: "admin" } }, "users[0].user.as"],
    ["as-groups", { user: { "as-groups": ["system:masters"] } }, "users[0].user.as-groups"],
    ["impersonation", { user: { "impersonate-user": "x" } }, "users[0].user.impersonate-user"],
    ["basic authentication", { user: { username: "u", password: SECRET } }, "users[0].user.username"],
    ["http", { cluster: { server: "http://api.example.org" } }, "clusters[0].cluster.server"],
    ["file URLs", { cluster: { server: "file:///etc/passwd" } }, "clusters[0].cluster.server"],
    ["user info", { cluster: { server: `https://u:${SECRET}@api` } }, "clusters[0].cluster.server"],
    ["a query", { cluster: { server: `https://api/?t=${SECRET}` } }, "clusters[0].cluster.server"],
    ["an unknown field of the user", { user: { something: 1 } }, "users[0].user.something"],
    ["an unknown field of the cluster", { cluster: { something: 1 } }, "clusters[0].cluster.something"],
    ["an unknown field of the file", { file: { something: 1 } }, "something"],
    ["__proto__", { user: JSON.parse('{"__proto__": {"exec": 1}}') }, "users[0].user.(unreadable name)"],
    ["a secret in a key's place", { user: { [SECRET]: 1 } }, "users[0].user.(unreadable name)"],
    [
      "an insecure flag",
      { cluster: { "insecure-skip-tls-verify": true } },
      "clusters[0].cluster.insecure-skip-tls-verify",
    ],
  ])("%s", (_name, parts, field) => {
    const error = failure(kubeconfig(parts));
    expect(error).toMatchObject({ code: "kubeconfig_refused", details: { field } });
    expectNoSecret(error);
  });

  test("also in entries that are not used", () => {
    const file = {
      users: [
        { name: "u", user: { token: SECRET } },
        { name: "other", user: { exec: {} } },
      ],
    };
    expect(failure(kubeconfig({ file })).details).toEqual({ field: "users[1].user.exec" });
  });

  test("the insecure flag has a remedy, and changes nothing where certificates are not validated", () => {
    const text = kubeconfig({ cluster: { "insecure-skip-tls-verify": true } });
    expect(failure(text).hint).toContain("validate_certs: false");
    expect(parseKubeconfig(text, { validateCerts: false })).toEqual({
      server: "https://api.example.org:6443",
      token: SECRET,
    });
    expect(parseKubeconfig(kubeconfig({ cluster: { "insecure-skip-tls-verify": false } })).token).toBe(
      SECRET,
    );
  });
});

describe("what is invalid", () => {
  const other = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
  test.each<[string, Parts, string]>([
    ["a number as token", { user: { token: 12_345 } }, "users[0].user.token"],
    ["a token with a line break", { user: { token: `${SECRET}\r\nX-Evil: 1` } }, "users[0].user.token"],
    ["no credentials", { user: { token: undefined } }, "users[0].user"],
    [
      "a CA that is not base64",
      { cluster: { "certificate-authority-data": `${SECRET}!` } },
      "clusters[0].cluster.certificate-authority-data",
    ],
    [
      "a CA that is not PEM",
      { cluster: { "certificate-authority-data": base64(SECRET) } },
      "clusters[0].cluster.certificate-authority-data",
    ],
    ["a certificate without key", { user: { "client-certificate-data": base64("x") } }, "users[0].user"],
    ["a server that is no URL", { cluster: { server: "not a url" } }, "clusters[0].cluster.server"],
    ["no server", { cluster: { server: undefined } }, "clusters[0].cluster.server"],
    [
      "a flag that is a text",
      { cluster: { "insecure-skip-tls-verify": "true" } },
      "clusters[0].cluster.insecure-skip-tls-verify",
    ],
    ["an unknown user", { context: { user: "nobody" } }, "contexts[0].context.user"],
    ["an unknown cluster", { context: { cluster: "none" } }, "contexts[0].context.cluster"],
    ["no contexts", { file: { contexts: [] } }, "contexts"],
    ["a list that is none", { file: { users: "u" } }, "users"],
    [
      "two of one name",
      {
        file: {
          users: [
            { name: "u", user: {} },
            { name: "u", user: {} },
          ],
        },
      },
      "users[1].name",
    ],
    ["another kind", { file: { kind: "Pod" } }, "kind"],
    [
      "a server name that is none",
      { cluster: { "tls-server-name": "a b" } },
      "clusters[0].cluster.tls-server-name",
    ],
  ])("%s", (_name, parts, field) => {
    const error = failure(kubeconfig(parts));
    expect(error).toMatchObject({ code: "kubeconfig_invalid", details: { field } });
    expectNoSecret(error);
  });

  test("a key of another certificate, or none at all", async () => {
    const cert = base64(certificate.certPem);
    const wrong = base64((await createCertificate("other")).keyPem);
    for (const key of [wrong, base64(other)]) {
      const error = failure(
        kubeconfig({ user: { "client-certificate-data": cert, "client-key-data": key } }),
      );
      expect(error).toMatchObject({
        code: "kubeconfig_invalid",
        details: { field: "users[0].user.client-key-data" },
      });
    }
  });

  test.each([
    ["broken YAML", `users: [{token: "${SECRET}`],
    ["a tag", `a: !!js/function ${SECRET}`],
    ["a standard tag", `a: !!binary ${SECRET}`],
    ["an alias", `a: &x ${SECRET}\nb: *x`],
    ["a bomb of aliases", `a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]`],
    ["two documents", `a: 1\n---\nb: ${SECRET}`],
    ["a directive", `%YAML 1.1\n---\na: ${SECRET}`],
    ["double keys", `token: ${SECRET}\ntoken: x`],
    ["deep nesting", "[".repeat(100_000)],
    ["deep block nesting", "- ".repeat(100_000)],
    ["many keys", Array.from({ length: 30_000 }, (_, index) => `k${index}: 1`).join("\n")],
    ["many keys without values", `{${"k, ".repeat(30_000)}}`],
    ["a megabyte", `a: ${"x".repeat(1024 * 1024)}`],
    ["a list", "[1, 2]"],
    ["a text", SECRET],
    ["nothing", ""],
  ])("%s, quickly and without quoting it", (_name, text) => {
    const started = performance.now();
    const error = failure(text);
    expect(performance.now() - started).toBeLessThan(2000);
    expect(error.code).toBe("kubeconfig_invalid");
    expectNoSecret(error);
  });
});

describe("toKubeConfig", () => {
  const inline = (text: string) => ({ kind: "inline" as const, kubeconfig: createSecret(text) });

  test("hands client-node what was let through and nothing else", async () => {
    const ca = base64(certificate.certPem);
    const text = kubeconfig({ cluster: { "certificate-authority-data": ca } });
    const kubeConfig = await toKubeConfig(inline(text), true);
    expect(kubeConfig.clusters).toEqual([
      { name: "cluster", server: "https://api.example.org:6443", caData: ca, skipTLSVerify: false },
    ]);
    expect(kubeConfig.users).toEqual([{ name: "user", token: SECRET }]);
    expect((await toKubeConfig(inline(text), false)).getCurrentCluster()?.skipTLSVerify).toBe(true);
  });

  test("of a refused file nothing is run, read or dialled", async () => {
    const touched = join(folder, "touched");
    const fifo = join(folder, "token");
    writeFileSync(fifo, SECRET);
    let dialled = 0;
    const server = createServer(() => dialled++).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "touch", args: [touched] };
    const hostile: Parts[] = [
      { user: { exec } },
      { user: { "auth-provider": { name: "gcp", config: { "cmd-path": "touch", "cmd-args": touched } } } },
      { user: { "token-file": fifo } },
      { user: { tokenFile: fifo } },
      { cluster: { "proxy-url": url } },
      { cluster: { server: url } },
      { user: { "auth-provider": { name: "oidc", config: { "idp-issuer-url": url, "id-token": "a.b.c" } } } },
    ];
    for (const parts of hostile) {
      for (const validateCerts of [true, false]) {
        const error = await toKubeConfig(inline(kubeconfig(parts)), validateCerts).catch(
          (reason: unknown) => reason,
        );
        expect(error).toMatchObject({ code: "kubeconfig_refused" });
        expectNoSecret(error as BridgeError);
      }
    }
    expect(existsSync(touched)).toBe(false);
    expect(dialled).toBe(0);
    server.close();
  });

  test("a trusted file is read as kubectl does: files relative to it, exec plugins, the named context", async () => {
    const script = join(folder, "plugin.sh");
    const credential = {
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      status: { token: SECRET },
    };
    writeFileSync(script, `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`, { mode: 0o755 });
    writeFileSync(join(folder, "ca.pem"), certificate.certPem);
    const path = join(folder, "trusted");
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: script };
    const text = kubeconfig({
      cluster: { "certificate-authority": "ca.pem" },
      user: { token: undefined, exec },
      file: { "current-context": "other" },
    });
    writeFileSync(path, text);
    const kubeConfig = await toKubeConfig({ kind: "trusted-file", path, context: "x" }, true);
    const options: RequestOptions = {};
    await kubeConfig.applyToHTTPSOptions(options);
    expect(options.headers).toMatchObject({ Authorization: `Bearer ${SECRET}` });
    expect(String(options.ca)).toBe(certificate.certPem);
  });

  test("a trusted context without a user keeps the cluster's CA", async () => {
    const text = stringify({
      clusters: [
        {
          name: "c",
          cluster: { server: "https://api", "certificate-authority-data": base64(certificate.certPem) },
        },
      ],
      contexts: [{ name: "x", context: { cluster: "c" } }],
      "current-context": "x",
    });
    const kubeConfig = await toKubeConfig({ kind: "trusted-inline", kubeconfig: createSecret(text) }, true);
    const options: RequestOptions = {};
    await kubeConfig.applyToHTTPSOptions(options);
    expect(String(options.ca)).toBe(certificate.certPem);
  });

  test.each<[string, string, string]>([
    ["broken YAML", `users: [{token: "${SECRET}`, "kubeconfig_invalid"],
    ["nothing", "", "kubeconfig_invalid"],
    ["no such context", kubeconfig({ file: { "current-context": "nope" } }), "kubeconfig_invalid"],
    ["no such user", kubeconfig({ context: { user: "nobody" } }), "kubeconfig_invalid"],
    ["no such cluster", kubeconfig({ context: { cluster: "none" } }), "kubeconfig_invalid"],
    ["http", kubeconfig({ cluster: { server: "http://api" } }), "kubeconfig_refused"],
    ["an insecure flag", kubeconfig({ cluster: { "insecure-skip-tls-verify": true } }), "kubeconfig_refused"],
  ])("a trusted file with %s is still refused, without quoting it", async (_name, text, code) => {
    const credentials = { kind: "trusted-inline" as const, kubeconfig: createSecret(text) };
    const error = await toKubeConfig(credentials, true).catch((reason: unknown) => reason as BridgeError);
    expect(error).toMatchObject({ code });
    expectNoSecret(error as BridgeError);
  });

  test("a file that is not there is named", async () => {
    const path = join(folder, "missing");
    await expect(toKubeConfig({ kind: "trusted-file", path }, true)).rejects.toMatchObject({
      code: "kubeconfig_invalid",
      message: expect.stringMatching(/missing.*ENOENT/),
    });
  });
});
