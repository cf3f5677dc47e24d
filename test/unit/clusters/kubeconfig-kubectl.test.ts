import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { toKubeConfig } from "#clusters/kubernetes-client-config.ts";
import { parseKubeconfig } from "#clusters/parse-kubeconfig.ts";
import { createSecret } from "#lib/secret.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createCertificate, type Certificate } from "../../helpers/certificates.ts";

// Kubeconfigs as tools and hands write them, which kubectl takes; and those whose mistake can be named.

const TOKEN = "s3cr3t-t0ken-abcdef";
let certificate: Certificate;
let folder: string;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
  folder = mkdtempSync(join(tmpdir(), "kubeconfig-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const base64 = (content: string | Buffer): string => Buffer.from(content).toString("base64");

interface Parts {
  file?: Record<string, unknown>;
  cluster?: Record<string, unknown>;
  user?: Record<string, unknown>;
  context?: Record<string, unknown>;
}

function kubeconfig({ file, cluster, user, context }: Parts = {}): string {
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "c", cluster: { server: "https://api.example.org:6443", ...cluster } }],
    users: [{ name: "u", user: { token: TOKEN, ...user } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u", ...context } }],
    "current-context": "x",
    ...file,
  });
}

/** Every field of client-go's types (k8s.io/client-go/tools/clientcmd/api/v1) that may be missing. */
const OPTIONAL = {
  file: ["kind", "apiVersion", "preferences", "extensions", "current-context"],
  cluster: [
    "certificate-authority",
    "certificate-authority-data",
    "disable-compression",
    "extensions",
    "insecure-skip-tls-verify",
    "proxy-url",
    "tls-server-name",
  ],
  user: [
    "as",
    "as-groups",
    "as-uid",
    "as-user-extra",
    "auth-provider",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "exec",
    "extensions",
    "password",
    "tokenFile",
    "username",
  ],
  context: ["namespace", "extensions"],
};
/** Empty forms of lists and mappings. */
const OTHER_EMPTY: Record<string, unknown[]> = {
  "as-groups": [[]],
  "as-user-extra": [{}],
  extensions: [[]],
  preferences: [{}],
};
const FIELDS = Object.entries(OPTIONAL).flatMap(([part, fields]) =>
  fields.map((field) => [part, field] as const),
);

/** Credentials that an inline and a trusted kubeconfig send to the API server. */
async function sentBy(text: string, kind: "inline" | "trusted-inline"): Promise<RequestOptions> {
  const kubeConfig = await toKubeConfig({ kind, kubeconfig: createSecret(text) }, true);
  const options: RequestOptions = {};
  await kubeConfig.applyToHTTPSOptions(options);
  const { agent: _, ...rest } = options;
  return rest;
}

describe.each(["inline", "trusted-inline"] as const)("an absent field of a kubeconfig that is %s", (kind) => {
  test.each(FIELDS)("%s: %s may be null or empty", async (part, field) => {
    const plain = await sentBy(kubeconfig(), kind);
    expect(plain.headers).toEqual({ Authorization: `Bearer ${TOKEN}` });
    for (const empty of [null, "", ...(OTHER_EMPTY[field] ?? [])]) {
      expect([empty, await sentBy(kubeconfig({ [part]: { [field]: empty } }), kind)]).toEqual([empty, plain]);
    }
  });

  test("the token may be null or empty beside a client certificate", async () => {
    const { certPem, keyPem } = certificate;
    const own = { "client-certificate-data": base64(certPem), "client-key-data": base64(keyPem) };
    for (const token of [null, ""]) {
      const sent = await sentBy(kubeconfig({ user: { ...own, token } }), kind);
      expect(String(sent.cert)).toBe(certPem);
      expect(sent.headers).toEqual({});
    }
  });

  test("all of them at once", async () => {
    const empty = (part: keyof typeof OPTIONAL) =>
      Object.fromEntries(OPTIONAL[part].map((field) => [field, null]));
    const text = kubeconfig({
      file: empty("file"),
      cluster: empty("cluster"),
      user: empty("user"),
      context: empty("context"),
    });
    expect(await sentBy(text, kind)).toEqual(await sentBy(kubeconfig(), kind));
  });
});

test("unused entries and lists that are null change nothing", () => {
  const file = {
    users: [
      { name: "u", user: { token: TOKEN } },
      { name: "other", user: null },
    ],
  };
  expect(parseKubeconfig(kubeconfig({ file }))).toMatchObject({ token: TOKEN });
  expect(parseKubeconfig(kubeconfig({ user: { something: null }, cluster: { other: "" } }))).toMatchObject({
    token: TOKEN,
  });
});

test("a trusted file: an unused entry of no use, and data beside a file, as kubectl has it", async () => {
  const text = kubeconfig({
    cluster: {
      "certificate-authority": "/nowhere/ca.crt",
      "certificate-authority-data": base64(certificate.certPem),
    },
    file: {
      clusters: [
        { name: "empty", cluster: null },
        {
          name: "c",
          cluster: {
            server: "https://api.example.org:6443",
            "certificate-authority": "/nowhere/ca.crt",
            "certificate-authority-data": base64(certificate.certPem),
          },
        },
      ],
    },
  });
  expect(String((await sentBy(text, "trusted-inline")).ca)).toBe(certificate.certPem);
});

test("a trusted file's tokenFile is read, wins over the token, and is relative to the file", async () => {
  writeFileSync(join(folder, "token"), "from-the-file\n");
  const path = join(folder, "with-token-file");
  writeFileSync(path, kubeconfig({ user: { tokenFile: "token" } }));
  const kubeConfig = await toKubeConfig({ kind: "trusted-file", path }, true);
  const options: RequestOptions = {};
  await kubeConfig.applyToHTTPSOptions(options);
  expect(options.headers).toEqual({ Authorization: "Bearer from-the-file" });
});

test("a tokenFile that is not there is named, unless its user is not in use", async () => {
  const path = join(folder, "with-missing-token-file");
  writeFileSync(path, kubeconfig({ user: { tokenFile: "nowhere" } }));
  const error = await bridgeErrorOf(toKubeConfig({ kind: "trusted-file", path }, true));
  expect(error).toMatchObject({ code: "kubeconfig_invalid", details: { field: "tokenFile" } });
  expect(error.message).toContain("can't be read (ENOENT)");
  const users = [
    { name: "u", user: { token: TOKEN } },
    { name: "other", user: { tokenFile: "nowhere" } },
  ];
  const sent = await sentBy(kubeconfig({ file: { users } }), "trusted-inline");
  expect(sent.headers).toEqual({ Authorization: `Bearer ${TOKEN}` });
});

test("exec and auth-provider are plugins however empty", () => {
  for (const field of ["exec", "auth-provider"])
    expect(() => parseKubeconfig(kubeconfig({ user: { [field]: {} } }))).toThrow(`users[0].user.${field}`);
});

describe("what is in the wrong form is named as such", () => {
  const CA = "clusters[0].cluster.certificate-authority-data";
  const CERT = "users[0].user.client-certificate-data";
  const KEY = "users[0].user.client-key-data";
  const der = (): Buffer => new X509Certificate(certificate.certPem).raw;
  const keyDer = (): Buffer =>
    Buffer.from(certificate.keyPem.replaceAll(/-----[A-Z ]+-----|\s/g, ""), "base64");
  const wrapped = (text: string): string => text.replaceAll(/(.{64})/g, "$1\n");
  const request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
  const encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";

  const pair = (cert: string, key: string): Parts => ({
    user: { "client-certificate-data": cert, "client-key-data": key },
  });
  const good = () => ({ cert: base64(certificate.certPem), key: base64(certificate.keyPem) });
  const ca = (value: string): Parts => ({ cluster: { "certificate-authority-data": value } });

  test.each<[string, () => Parts, string, string]>([
    ["a CA encoded twice", () => ca(base64(base64(certificate.certPem))), CA, "in base64 twice"],
    [
      "a CA encoded twice, in lines",
      () => ca(base64(wrapped(base64(certificate.certPem)))),
      CA,
      "in base64 twice",
    ],
    [
      "a CA encoded three times",
      () => ca(base64(base64(base64(certificate.certPem)))),
      CA,
      "in base64 twice",
    ],
    [
      "a client certificate encoded twice",
      () => pair(base64(good().cert), good().key),
      CERT,
      "in base64 twice",
    ],
    ["a key encoded twice", () => pair(good().cert, base64(good().key)), KEY, "in base64 twice"],
    ["a whole kubeconfig as the CA", () => ca(base64(kubeconfig())), CA, "is a whole kubeconfig in base64"],
    [
      "a whole kubeconfig in JSON as the CA",
      () => ca(base64(JSON.stringify({ apiVersion: "v1", clusters: [] }))),
      CA,
      "is a whole kubeconfig in base64",
    ],
    [
      "a whole kubeconfig as the key",
      () => pair(good().cert, base64(kubeconfig())),
      KEY,
      "is a whole kubeconfig in base64",
    ],
    ["PEM as it is", () => ca(certificate.certPem), CA, "is PEM as it is"],
    ["a key in PEM as it is", () => pair(good().cert, certificate.keyPem), KEY, "is PEM as it is"],
    ["DER", () => ca(base64(der())), CA, "is DER"],
    ["a key in DER", () => pair(good().cert, base64(keyDer())), KEY, "is DER"],
    ["a path", () => ca("/etc/kubernetes/pki/ca.crt"), CA, "is a path"],
    ["a relative path", () => ca("./ca.crt"), CA, "is a path"],
    ["a key as the CA", () => ca(good().key), CA, "private key in it instead of a certificate"],
    [
      "certificate and key exchanged",
      () => pair(good().key, good().cert),
      CERT,
      "are the two fields exchanged?",
    ],
    [
      "a certificate as the key",
      () => pair(good().cert, good().cert),
      KEY,
      "certificate in it instead of a private key",
    ],
    [
      "a key in DER as the certificate",
      () => pair(base64(keyDer()), good().key),
      CERT,
      "are the two fields exchanged?",
    ],
    ["a certificate request", () => ca(base64(request)), CA, "certificate request"],
    ["an encrypted key", () => pair(good().cert, base64(encrypted)), KEY, "encrypted private key"],
    ["some text", () => ca(base64("some text that is longer")), CA, "has no PEM certificate in it"],
    ["no base64", () => ca("%%%"), CA, "must be base64"],
  ])("%s", (_, parts, field, words) => {
    const error = errorOf(() => parseKubeconfig(kubeconfig(parts())));
    expect(error).toMatchObject({ code: "kubeconfig_invalid", details: { field } });
    expect(error.message).toContain(words);
    expect(error.message).toContain(field);
    const shown = inspect([error.message, error.hint, error.details], { depth: 9 });
    for (const secret of [TOKEN, good().key.slice(100, 140), certificate.keyPem.slice(40, 80)])
      expect(shown).not.toContain(secret);
  });

  test("a trusted file's CA as well", async () => {
    const path = join(folder, "twice");
    writeFileSync(path, kubeconfig(ca(base64(base64(certificate.certPem)))));
    const error = await bridgeErrorOf(toKubeConfig({ kind: "trusted-file", path }, true));
    expect(error.message).toMatch(/certificate-authority-data is encoded in base64 twice/);
  });

  test.each([
    ["once", (text: string) => base64(text)],
    ["in lines", (text: string) => wrapped(base64(text))],
    ["twice", (text: string) => base64(base64(text))],
  ])("the whole kubeconfig in base64, %s", async (_, encode) => {
    const text = encode(kubeconfig());
    const error = errorOf(() => parseKubeconfig(text));
    expect(error).toMatchObject({
      code: "kubeconfig_invalid",
      message: "the kubeconfig is encoded in base64",
      hint: "Decode it first: base64 -d FILE.",
    });
    const path = join(folder, "encoded");
    writeFileSync(path, text);
    const trusted = await bridgeErrorOf(toKubeConfig({ kind: "trusted-file", path }, true));
    expect(trusted.message).toBe("the kubeconfig is encoded in base64");
  });

  test("a long value, whatever it looks like, ends soon", () => {
    for (const value of ["/.".repeat(100_000), "A".repeat(200_000), `./${".".repeat(200_000)}=`])
      expect(errorOf(() => parseKubeconfig(kubeconfig(ca(value)))).code).toBe("kubeconfig_invalid");
  });

  test("CA bundles as tools write them are taken: with text between, CRLF, in lines", () => {
    const noted = `subject=CN = localhost\nissuer=CN = localhost\n${certificate.certPem}\n`;
    const forms = [noted, certificate.certPem.replaceAll("\n", "\r\n"), certificate.certPem.trimEnd()];
    for (const form of forms) expect(parseKubeconfig(kubeconfig(ca(base64(form)))).caPem).toBe(form);
    expect(parseKubeconfig(kubeconfig(ca(wrapped(good().cert)))).caPem).toBe(certificate.certPem);
  });
});

function errorOf(work: () => unknown): { code: string; message: string; hint: string; details: unknown } {
  try {
    work();
  } catch (error) {
    return error as never;
  }
  throw new Error("it was accepted");
}
