import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import type { Cluster } from "#clusters/cluster.ts";
import { loadClustersFile } from "#clusters/clusters-file.ts";
import { loadKeyring, type DirectoryKeyring } from "#clusters/keyring.ts";
import { openCredentials } from "#clusters/open-credentials.ts";
import { createSecret } from "#lib/secret.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { rsaPem, tokenKubeconfig, writeFiles } from "../../helpers/keys.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const SECRET = "s3cr3t-t0ken-abcdef";
const PROMETHEUS_SECRET = "pr0metheus-pass";
const folder = createTemporaryFolder();
const defaults = {
  prometheus: { namespace: "m", service: "p", port: 9090, scheme: "http" as const, pathPrefix: "" },
  validateCerts: true,
};
let keyring: DirectoryKeyring;
let stranger: DirectoryKeyring;
let jwe: string;

beforeAll(async () => {
  const deps = { clock: createManualClock(), logger: createSilentLogger() };
  keyring = await loadKeyring(writeFiles(join(folder, "keys"), { "1.pem": rsaPem() }), deps);
  stranger = await loadKeyring(writeFiles(join(folder, "other"), { "1.pem": rsaPem() }), deps);
  jwe = await keyring.seal("a", { kubeconfig: createSecret(tokenKubeconfig(SECRET)) });
});

async function load(entries: unknown[], keys: DirectoryKeyring | undefined = keyring): Promise<Cluster[]> {
  const path = join(folder, "clusters.yaml");
  writeFileSync(path, stringify({ clusters: entries }));
  return await loadClustersFile(path, defaults, keys);
}

async function problems(
  entry: Record<string, unknown>,
  keys: DirectoryKeyring | undefined = keyring,
): Promise<string[]> {
  const error = await bridgeErrorOf(
    load([{ id: "good", kubeconfig_jwe: await keyring.seal("good", good) }, entry], keys),
  );
  expect(error.code).toBe("clusters_file_invalid");
  const text = JSON.stringify([error.message, error.details]);
  for (const secret of [SECRET, PROMETHEUS_SECRET, jwe.slice(-60)]) expect(text).not.toContain(secret);
  return (error.details!["problems"] as string[]).filter((problem) => !problem.includes('"good"'));
}

const good = { kubeconfig: createSecret(tokenKubeconfig(SECRET)) };

describe("kubeconfig_jwe", () => {
  test("is kept sealed, and opened for each use", async () => {
    const [cluster] = await load([{ id: "a", kubeconfig_jwe: `${jwe}\n`, prometheus: { namespace: "obs" } }]);
    expect(cluster!.credentials).toEqual({ kind: "sealed", jwe });
    expect(cluster!.prometheus.namespace).toBe("obs");
    const opened = await openCredentials(cluster!, keyring);
    expect(opened.kubeConfig.getCurrentUser()?.token).toBe(SECRET);
    expect(opened.prometheus).toBeUndefined();
  });

  test("may hold Prometheus' credentials", async () => {
    const prometheus = { kind: "bearer", token: createSecret(PROMETHEUS_SECRET) } as const;
    const sealed = await keyring.seal("a", { ...good, prometheus });
    const [cluster] = await load([{ id: "a", kubeconfig_jwe: sealed }]);
    const opened = await openCredentials(cluster!, keyring);
    expect(opened.prometheus?.kind === "bearer" && opened.prometheus.token.expose()).toBe(PROMETHEUS_SECRET);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ["both", { kubeconfig: "x.yaml" }, /"a": kubeconfig_jwe: can't be together with kubeconfig/],
    ["trusted", { trusted: true }, /"a": trusted: is for a kubeconfig in clear text/],
    ["a context", { context: "x" }, /"a": context: is chosen when the kubeconfig is sealed/],
    [
      "a token beside it",
      { prometheus: { bearer_token: PROMETHEUS_SECRET } },
      /"a": prometheus\.bearer_token: belongs into kubeconfig_jwe: .*--prometheus-token-file/,
    ],
    [
      "a header beside it",
      { prometheus: { headers: { "X-A": PROMETHEUS_SECRET } } },
      /"a": prometheus\.headers: belongs into kubeconfig_jwe: .*--prometheus-headers-file/,
    ],
    [
      "a password beside it",
      { prometheus: { basic_auth: { username: "u", password: PROMETHEUS_SECRET } } },
      /"a": prometheus\.basic_auth: belongs into kubeconfig_jwe: .*--prometheus-basic-auth-file/,
    ],
    ["a number", { kubeconfig_jwe: 5 }, /"a": kubeconfig_jwe: must be a text/],
    ["nothing", { kubeconfig_jwe: "" }, /"a": kubeconfig_jwe: must not be empty/],
  ])("%s is refused", async (_what, change, problem) => {
    expect(await problems({ id: "a", kubeconfig_jwe: jwe, ...change })).toEqual([
      expect.stringMatching(problem),
    ]);
  });

  test("one that can't be opened makes startup fail, with the cluster's name and the remedy", async () => {
    const seal = /\(credentials_invalid\)\. Seal the cluster's kubeconfig again: npm run keys -- seal/;
    const cut = await problems({ id: "a", kubeconfig_jwe: jwe.slice(0, -4) });
    expect(cut).toEqual([
      expect.stringMatching(/^clusters\[1\] "a": kubeconfig_jwe: .*(not a whole compact JWE|changed or cut)/),
    ]);
    expect(cut[0]).toMatch(seal);
    const swapped = await problems({ id: "b", kubeconfig_jwe: jwe });
    expect(swapped).toEqual([expect.stringMatching(/"b": kubeconfig_jwe: .*sealed for another cluster/)]);
    const unknown = await problems({ id: "a", kubeconfig_jwe: jwe }, stranger);
    expect(unknown).toEqual([
      expect.stringMatching(/"a": kubeconfig_jwe: .*not in CREDENTIALS_KEYS_DIR \(credentials_key_unknown\)/),
    ]);
    const error = await bridgeErrorOf(loadClustersFile(join(folder, "clusters.yaml"), defaults));
    expect(error.message).toMatch(/"a": kubeconfig_jwe: there is no key to open its credentials/);
    const hostile = await keyring.seal("a", {
      kubeconfig: createSecret(JSON.stringify({ users: [{ name: "u", user: { exec: { command: "sh" } } }] })),
    });
    expect(await problems({ id: "a", kubeconfig_jwe: hostile })).toEqual([
      expect.stringMatching(/"a": kubeconfig_jwe: .*users\[0\]\.user\.exec.*\(kubeconfig_refused\)/),
    ]);
  });

  test("neither of the two is named beside the entry's other problems", async () => {
    const found = await problems({ id: "a", enabled: "yes" });
    expect(found).toEqual([
      expect.stringMatching(/"a": enabled: must be true or false/),
      expect.stringMatching(/"a": kubeconfig: is missing/),
    ]);
  });
});

describe("Prometheus' credentials in clear text", () => {
  const opened = async (prometheus: Record<string, unknown>, more: Record<string, unknown> = {}) => {
    const [cluster] = await load([{ id: "a", kubeconfig: tokenKubeconfig(SECRET), prometheus, ...more }]);
    expect(JSON.stringify(cluster)).not.toContain(PROMETHEUS_SECRET);
    return (await openCredentials(cluster!, undefined)).prometheus;
  };

  test("a token", async () => {
    const credentials = await opened({ bearer_token: PROMETHEUS_SECRET });
    expect(credentials?.kind === "bearer" && credentials.token.expose()).toBe(PROMETHEUS_SECRET);
  });

  test("a user name and a password, also beside a trusted file", async () => {
    const basic_auth = { username: "u", password: PROMETHEUS_SECRET };
    writeFileSync(join(folder, "trusted.yaml"), tokenKubeconfig(SECRET));
    for (const more of [{}, { trusted: true, kubeconfig: "trusted.yaml" }]) {
      const credentials = await opened({ basic_auth }, more);
      expect(credentials).toMatchObject({ kind: "basic", username: "u" });
      expect(credentials?.kind === "basic" && credentials.password.expose()).toBe(PROMETHEUS_SECRET);
    }
    rmSync(join(folder, "trusted.yaml"));
  });

  test("headers, alone and beside a token", async () => {
    const headers = { "X-Scope-OrgID": PROMETHEUS_SECRET, Cookie: "a=b" };
    const alone = await opened({ headers });
    expect(alone?.kind).toBe("none");
    expect(alone?.headers?.map(({ name, value }) => [name, value.expose()])).toEqual(Object.entries(headers));
    expect(await opened({ headers, bearer_token: "x" })).toMatchObject({ kind: "bearer", headers: [{}, {}] });
    const [cluster] = await load([
      { id: "a", kubeconfig: tokenKubeconfig(SECRET), prometheus: { headers, accept_partial: true } },
    ]);
    expect(cluster?.facts).toMatchObject({
      prometheus_auth: null,
      prometheus_headers: ["X-Scope-OrgID", "Cookie"],
    });
    expect(cluster?.prometheus.acceptPartial).toBe(true);
  });

  test.each<[Record<string, unknown>, RegExp]>([
    [{ headers: "X-A: b" }, /prometheus\.headers: must be a mapping of header names to texts/],
    [{ headers: { "X-A": 12 } }, /prometheus\.headers\.X-A: must be a text$/],
    [{ headers: { "X-A": `${PROMETHEUS_SECRET}\r\nX-Evil: 1` } }, /X-A: must be printable ASCII.*ends$/],
    [{ headers: { "X A": "b" } }, /prometheus\.headers\.X A: must be a mapping of header names/],
    [{ headers: { HOST: "b" } }, /prometheus\.headers: can't set host/],
    [
      { headers: { authorization: PROMETHEUS_SECRET }, bearer_token: "x" },
      /prometheus: has an Authorization in headers besides/,
    ],
    [{ accept_partial: "yes" }, /prometheus\.accept_partial: must be true or false, not "yes"/],
    [
      { bearer_token: `${PROMETHEUS_SECRET}\r\nX-Evil: 1` },
      /prometheus\.bearer_token: must be printable ASCII/,
    ],
    [{ bearer_token: `${PROMETHEUS_SECRET} x` }, /prometheus\.bearer_token: must be printable ASCII/],
    [{ bearer_token: 12_345 }, /prometheus\.bearer_token: must be a text$/],
    [{ bearer_token: "" }, /prometheus\.bearer_token: must not be empty/],
    [{ bearer_token: "x".repeat(20_000) }, /prometheus\.bearer_token: must have at most 16384 characters$/],
    [
      { basic_auth: { username: "a:b", password: PROMETHEUS_SECRET } },
      /prometheus\.basic_auth\.username: must not have a colon/,
    ],
    [
      { basic_auth: { username: "a", password: `${PROMETHEUS_SECRET}\n` } },
      /prometheus\.basic_auth\.password: must not have control characters$/,
    ],
    [
      { basic_auth: PROMETHEUS_SECRET },
      /prometheus\.basic_auth: must be a mapping with username and password$/,
    ],
    [{ basic_auth: { username: "a" } }, /prometheus\.basic_auth\.password: must be a text/],
    [
      { bearer_token: PROMETHEUS_SECRET, basic_auth: { username: "a", password: "b" } },
      /prometheus: has bearer_token and basic_auth: give one of them/,
    ],
    [{ token: PROMETHEUS_SECRET }, /prometheus\.token: is not known/],
  ])("%j is refused, and not shown", async (prometheus, problem) => {
    const entry = { id: "a", kubeconfig: tokenKubeconfig(SECRET), prometheus };
    expect(await problems(entry)).toEqual([expect.stringMatching(problem)]);
  });
});
