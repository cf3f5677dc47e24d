import { mkdirSync, writeFileSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { toKubeConfig } from "#clusters/kubernetes-client-config.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createCertificate, type Certificate } from "../../helpers/certificates.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

// Files that the operator vouches for (`trusted: true`, --kubeconfig), in forms that kubectl takes.

const TOKEN = "s3cr3t-t0ken-abcdef";
const folder = createTemporaryFolder();
let certificate: Certificate;
let caData: string;
let made = 0;

beforeAll(async () => {
  certificate = await createCertificate("localhost");
  caData = Buffer.from(certificate.certPem).toString("base64");
  writeFileSync(join(folder, "ca.pem"), certificate.certPem);
});

const indented = (text: string, by: string): string => text.replaceAll(/^(?=.)/gm, by);

function kubeconfig(user: string, cluster = `certificate-authority-data: ${caData}`): string {
  return `apiVersion: v1
kind: Config
clusters:
- name: c
  cluster:
    server: https://api.example.org:6443
${indented(cluster, "    ")}
users:
- name: u
  user:
${indented(user, "    ")}
contexts:
- name: x
  context: {cluster: c, user: u}
current-context: x
`;
}

async function sentBy(content: string | Buffer): Promise<RequestOptions> {
  const path = join(folder, `kubeconfig-${made++}`);
  writeFileSync(path, content);
  const kubeConfig = await toKubeConfig({ kind: "trusted-file", path }, true);
  const options: RequestOptions = {};
  await kubeConfig.applyToHTTPSOptions(options);
  return options;
}

describe("a file as tools and editors write it", () => {
  const merged = (): string => `x-defaults: &defaults
  certificate-authority-data: ${caData}
${kubeconfig(`token: ${TOKEN}`, "<<: *defaults")}`;
  test.each<[string, () => string | Buffer]>([
    ["YAML merge keys", merged],
    [
      "anchors",
      () => merged().replace("<<: *defaults", `certificate-authority-data: &ca ${caData}\n    <<: *defaults`),
    ],
    ["the last of two equal keys counts", () => kubeconfig(`token: other\ntoken: ${TOKEN}`)],
    ["a token with a line end", () => kubeconfig(`token: |\n  ${TOKEN}`)],
    ["CRLF", () => kubeconfig(`token: ${TOKEN}`).replaceAll("\n", "\r\n")],
    ["a byte order mark", () => `\uFEFF${kubeconfig(`token: ${TOKEN}`)}`],
    [
      "UTF-16, as PowerShell writes it",
      () => Buffer.from(`\uFEFF${kubeconfig(`token: ${TOKEN}`)}`, "utf16le"),
    ],
    [
      "a CA broken into lines with backslashes, as Rancher writes it",
      () =>
        kubeconfig(
          `token: "${TOKEN}"`,
          `certificate-authority-data: "${caData.match(/.{1,60}/g)?.join("\\\n  ")}"`,
        ),
    ],
  ])("%s", async (_, content) => {
    const { headers, ca } = await sentBy(content());
    expect(headers).toEqual({ Authorization: `Bearer ${TOKEN}` });
    expect(String(ca)).toBe(certificate.certPem);
  });

  test.each([
    ["a token with a space inside", () => kubeconfig("token: two words"), /token must be printable ASCII/],
    ["a number as a token", () => kubeconfig("token: 12345"), /users\[0\]\.user\.token must be a text/],
    [
      "a list as a CA",
      () => kubeconfig("token: a", "certificate-authority-data: []\ntls-server-name: 5"),
      /must be a text/,
    ],
    ["a mapping as a key", () => kubeconfig("client-key-data: {a: b}"), /client-key-data must be a text/],
    ["broken YAML", () => kubeconfig(`token: "${TOKEN}`), /can't be loaded \(line \d+\)/],
    ["no mapping", () => TOKEN, /must be a mapping/],
    ["an empty file", () => "", /is empty or/],
  ])("%s is named", async (_, content, message) => {
    const error = await bridgeErrorOf(sentBy(content()));
    expect(error).toMatchObject({ code: "kubeconfig_invalid", message: expect.stringMatching(message) });
    expect(error.message).not.toContain(TOKEN);
  });
});

describe("an exec plugin runs as under kubectl", () => {
  const exec = (more = "", version = "v1"): string => `exec:
  apiVersion: client.authentication.k8s.io/${version}
  command: ./bin/plugin.sh
${indented(more, "  ")}`;
  /** Answers with what the environment says, in place of a token. */
  const tellsWith = (expression: string): void => {
    mkdirSync(join(folder, "bin"), { recursive: true });
    const script = `#!/bin/sh
told=$(printf %s "${expression}" | base64 | tr -d '\\n')
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$told'"}}'
`;
    writeFileSync(join(folder, "bin", "plugin.sh"), script, { mode: 0o755 });
  };
  const toldBy = async (text: string): Promise<string> => {
    const { headers } = await sentBy(text);
    const [, told = ""] = String((headers as Record<string, string>)["Authorization"]).split(" ");
    return Buffer.from(told, "base64").toString();
  };

  test.each([
    "env: null",
    "args: null\nenv: null",
    "args: []\nenv: []",
    'installHint: ""',
    "interactiveMode: Never",
  ])("relative to the file, with KUBERNETES_EXEC_INFO (%j)", async (more) => {
    tellsWith("$KUBERNETES_EXEC_INFO");
    const told = JSON.parse(await toldBy(kubeconfig(exec(more, "v1beta1")))) as unknown;
    expect(told).toEqual({
      kind: "ExecCredential",
      apiVersion: "client.authentication.k8s.io/v1beta1",
      spec: { interactive: false },
    });
  });

  test("its arguments and variables", async () => {
    tellsWith("$AWS_PROFILE $*");
    const more = "args: [eks, get-token]\nenv:\n- {name: AWS_PROFILE, value: prod}";
    expect(await toldBy(kubeconfig(exec(more)))).toBe("prod eks get-token");
  });

  test.each([
    ["data", () => `certificate-authority-data: ${caData}\ntls-server-name: api.internal`],
    ["a file", () => "certificate-authority: ca.pem\ntls-server-name: api.internal"],
  ])("provideClusterInfo gives it the cluster, its CA from %s", async (_, cluster) => {
    tellsWith("$KUBERNETES_EXEC_INFO");
    const told = JSON.parse(await toldBy(kubeconfig(exec("provideClusterInfo: true"), cluster()))) as unknown;
    expect(told).toMatchObject({
      spec: {
        interactive: false,
        cluster: {
          server: "https://api.example.org:6443",
          "tls-server-name": "api.internal",
          "certificate-authority-data": caData,
        },
      },
    });
  });
});
