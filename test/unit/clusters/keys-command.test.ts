import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { loadClustersFile } from "#clusters/clusters-file.ts";
import { loadKeyring } from "#clusters/keyring.ts";
import { runKeysCommand } from "#commands/keys.ts";
import { openCredentials } from "#clusters/open-credentials.ts";
import { kubeconfigOf, rsaPem, tokenKubeconfig, writeFiles } from "../../helpers/keys.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const SECRET = "s3cr3t-t0ken-abcdef";
const OTHER_SECRET = "of-another-context-0123";
const PROMETHEUS_SECRET = "pr0metheus-pass";
const pems = [rsaPem(), rsaPem()] as const;
const root = createTemporaryFolder();
let made = 0;
let folder: string;
let clock: ManualClock;

beforeEach(() => {
  folder = join(root, String(made++));
  mkdirSync(folder);
  clock = createManualClock(Date.parse("2026-11-22T10:30:00.000Z"));
});

async function keys(
  argv: string[],
  options: { input?: string; keysDirectory?: string } = {},
): Promise<{ code: number; out: string; told: string }> {
  let [out, told] = ["", ""];
  const code = await runKeysCommand(argv, {
    clock,
    keysDirectory: options.keysDirectory,
    out: (text) => (out += text),
    tell: (text) => (told += text),
    readInput: () => Promise.resolve(options.input ?? ""),
  });
  for (const secret of [SECRET, OTHER_SECRET, PROMETHEUS_SECRET]) expect(out + told).not.toContain(secret);
  expect(out + told).not.toContain("PRIVATE KEY");
  return { code, out, told };
}

const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

describe("generate", () => {
  test("makes a directory with one key, for its owner alone", async () => {
    const directory = join(folder, "keys");
    const { code, out, told } = await keys(["generate", directory]);
    expect([code, out]).toEqual([0, ""]);
    expect(told).toMatch(/Made .*2026-11-22T10-30-00\.000Z\.pem/);
    expect(statSync(join(directory, "2026-11-22T10-30-00.000Z.pem")).mode & 0o777).toBe(0o600);
  });

  test("refuses a directory that has keys, right or wrong, and changes nothing", async () => {
    for (const text of [pems[0], "junk"]) {
      const directory = writeFiles(join(folder, text.slice(-6).trim()), { "a.pem": text });
      const { code, told } = await keys(["generate", directory]);
      expect(code).toBe(1);
      expect(told).toMatch(/has keys already; nothing was changed.*rotate DIR/s);
      expect(readdirSync(directory)).toEqual(["a.pem"]);
    }
  });
});

describe("rotate", () => {
  test("adds a newer key", async () => {
    const directory = writeFiles(join(folder, "keys"), { "2025-01-01T00-00-00.000Z.pem": pems[0] });
    expect((await keys(["rotate", directory])).code).toBe(0);
    const { code, out } = await keys(["verify", directory]);
    expect(code).toBe(0);
    expect(out).toMatch(
      /^2025-01-01T00-00-00\.000Z\.pem: RSA 3072, \S{43}, opens\n2026-11-22T10-30-00\.000Z\.pem: RSA 3072, \S{43}, newest: seals\n$/,
    );
  });

  test.each<[string, Record<string, string>, RegExp]>([
    ["no key", {}, /has no key yet: `npm run keys -- generate DIR`/],
    ["a wrong key", { "a.pem": "junk" }, /a\.pem is not a PEM file/],
    ["a name that stays the last", { "zebra.pem": pems[0] }, /zebra\.pem would stay the newest.*rename it/],
  ])("%s is named, and nothing is made", async (_what, files, problem) => {
    const directory = writeFiles(join(folder, "keys"), files);
    const { code, told } = await keys(["rotate", directory]);
    expect(code).toBe(1);
    expect(told).toMatch(problem);
    expect(readdirSync(directory)).toEqual(Object.keys(files));
  });
});

describe("seal", () => {
  let directory: string;
  beforeEach(() => {
    directory = writeFiles(join(folder, "keys"), { "1.pem": pems[0] });
  });

  /** The result of CLUSTERS_FILE with this. */
  async function opened(jwe: string, id = "edge-1") {
    const deps = { clock, logger: createSilentLogger() };
    const keyring = await loadKeyring(directory, deps);
    const path = write("clusters.yaml", stringify({ clusters: [{ id, kubeconfig_jwe: jwe }] }));
    const target = { namespace: "m", service: "p", port: 9090, scheme: "http", pathPrefix: "" } as const;
    const [cluster] = await loadClustersFile(path, { prometheus: target, validateCerts: true }, keyring);
    return await openCredentials(cluster!, keyring);
  }

  test("prints what CLUSTERS_FILE takes, and nothing else", async () => {
    const file = write("kubeconfig", tokenKubeconfig(SECRET));
    const { code, out, told } = await keys(["seal", file, "--id", "edge-1", "--keys", directory]);
    expect(code).toBe(0);
    expect(out).toMatch(/^[\w-]+(\.[\w-]+){4}\n$/);
    expect(told).toMatch(/Sealed for the cluster edge-1 with 1\.pem/);
    const { kubeConfig, prometheus } = await opened(out);
    expect(kubeConfig.getCurrentCluster()?.server).toBe("https://api.example.org:6443");
    expect(kubeConfig.getCurrentUser()?.token).toBe(SECRET);
    expect(prometheus).toBeUndefined();
  });

  test("from standard input, with CREDENTIALS_KEYS_DIR", async () => {
    const options = { input: tokenKubeconfig(SECRET), keysDirectory: directory };
    const { out } = await keys(["seal", "-", "--id", "edge-1"], options);
    expect((await opened(out)).kubeConfig.getCurrentUser()?.token).toBe(SECRET);
  });

  test("of several contexts only the one that is meant", async () => {
    const file = write(
      "kubeconfig",
      stringify({
        clusters: [{ name: "c", cluster: { server: "https://a.example.org" } }],
        users: [
          { name: "u", user: { token: OTHER_SECRET } },
          { name: "v", user: { token: SECRET } },
        ],
        contexts: [
          { name: "first", context: { cluster: "c", user: "u" } },
          { name: "second", context: { cluster: "c", user: "v" } },
        ],
        "current-context": "first",
      }),
    );
    const { out } = await keys(["seal", file, "--id", "edge-1", "--context", "second", "--keys", directory]);
    const { kubeConfig } = await opened(out);
    expect(kubeConfig.getCurrentUser()?.token).toBe(SECRET);
    expect(JSON.stringify(kubeConfig.exportConfig())).not.toContain(OTHER_SECRET);
  });

  test("with the credentials of Prometheus", async () => {
    const file = write("kubeconfig", tokenKubeconfig(SECRET));
    const begin = ["seal", file, "--id", "edge-1", "--keys", directory];
    const token = await keys([...begin, "--prometheus-token-file", write("token", `${PROMETHEUS_SECRET}\n`)]);
    const bearer = (await opened(token.out)).prometheus;
    expect(bearer?.kind === "bearer" && bearer.token.expose()).toBe(PROMETHEUS_SECRET);
    const basicFile = write("basic", `me:${PROMETHEUS_SECRET}:x`);
    const basic = (await opened((await keys([...begin, "--prometheus-basic-auth-file", basicFile])).out))
      .prometheus;
    expect(basic?.kind === "basic" && [basic.username, basic.password.expose()]).toEqual([
      "me",
      `${PROMETHEUS_SECRET}:x`,
    ]);
    const lines = `X-Scope-OrgID: ${PROMETHEUS_SECRET}\r\n\nX-Other:a: b \n`;
    const both = ["--prometheus-token-file", write("token", "t0ken"), "--prometheus-headers-file"];
    const headers = (await opened((await keys([...begin, ...both, write("headers", lines)])).out)).prometheus;
    expect(headers?.kind).toBe("bearer");
    expect(headers?.headers?.map(({ name, value }) => [name, value.expose()])).toEqual([
      ["X-Scope-OrgID", PROMETHEUS_SECRET],
      ["X-Other", "a: b"],
    ]);
  });

  test.each<[string, string, RegExp]>([
    ["exec", JSON.stringify({ users: [{ name: "u", user: { exec: {} } }] }), /exec.*is not allowed/],
    ["a bomb", "a: &a [1]\nb: [*a]", /uses YAML anchors/],
    ["nothing", "", /is empty/],
    ["a large one", "x".repeat(300_000), /larger than 262144 bytes/],
  ])("a kubeconfig that is hostile or none: %s", async (_what, text, problem) => {
    const { code, out, told } = await keys([
      "seal",
      write("kubeconfig", text),
      "--id",
      "a",
      "--keys",
      directory,
    ]);
    expect([code, out]).toEqual([1, ""]);
    expect(told).toMatch(problem);
  });

  test.each<[string, string, string, RegExp]>([
    ["a token of two lines", "--prometheus-token-file", `${PROMETHEUS_SECRET}\nx`, /must be printable ASCII/],
    ["an empty token", "--prometheus-token-file", "\n", /must not be empty/],
    ["no colon", "--prometheus-basic-auth-file", PROMETHEUS_SECRET, /must be name:password/],
    ["no name", "--prometheus-basic-auth-file", `:${PROMETHEUS_SECRET}`, /must be name:password/],
    ["no header", "--prometheus-headers-file", PROMETHEUS_SECRET, /must have one "Name: value" a line/],
    ["a reserved header", "--prometheus-headers-file", `Host: ${PROMETHEUS_SECRET}`, /can't set host/],
    ["an empty header", "--prometheus-headers-file", "X-A:\n", /must be printable ASCII/],
    ["a large file", "--prometheus-token-file", "x".repeat(40_000), /larger than 32768 bytes/],
  ])("credentials of Prometheus that can't be: %s", async (_what, option, text, problem) => {
    const file = write("kubeconfig", tokenKubeconfig(SECRET));
    const argv = ["seal", file, "--id", "a", "--keys", directory, option, write("credential", text)];
    const { code, out, told } = await keys(argv);
    expect([code, out]).toEqual([1, ""]);
    expect(told).toMatch(problem);
  });
});

describe("verify", () => {
  test("says of each cluster whether it can be opened, and with which key", async () => {
    const directory = writeFiles(join(folder, "keys"), { "1.pem": pems[0] });
    const file = write("kubeconfig", tokenKubeconfig(SECRET));
    const seal = async (id: string): Promise<string> =>
      (await keys(["seal", file, "--id", id, "--keys", directory])).out;
    const old = await seal("old");
    writeFiles(directory, { "2.pem": pems[1] });
    const clusters = [
      { id: "old", kubeconfig_jwe: old },
      { id: "new", kubeconfig_jwe: await seal("new") },
      { id: "clear", kubeconfig: file },
    ];
    const path = write("clusters.yaml", stringify({ clusters }));
    const well = await keys(["verify", directory, "--clusters-file", path]);
    expect(well.code).toBe(0);
    expect(well.out).toMatch(
      /old: sealed with an older key \(.*\)\nnew: sealed with the newest key\nclear: in clear text \(seal it\)\n$/,
    );

    renameSync(join(directory, "1.pem"), join(folder, "1.pem"));
    const gone = await keys(["verify", directory, "--clusters-file", path]);
    expect(gone.code).toBe(1);
    expect(gone.told).toMatch(/"old": kubeconfig_jwe: .*not in CREDENTIALS_KEYS_DIR/);
    expect(gone.told).not.toMatch(/"new"/);
  });

  test("names every wrong key", async () => {
    const directory = writeFiles(join(folder, "keys"), { "1.pem": pems[0], "2.pem": "x", "3.pem": "y" });
    const { code, out, told } = await keys(["verify", directory]);
    expect(code).toBe(1);
    expect(out).toMatch(/^1\.pem: /);
    expect(told).toMatch(/2\.pem is not a PEM file.*\n.*3\.pem is not a PEM file/);
    expect((await keys(["verify", join(folder, "nowhere")])).told).toMatch(/can't be read \(ENOENT\)/);
    mkdirSync(join(folder, "empty"));
    expect((await keys(["verify", join(folder, "empty")])).told).toMatch(/has no key/);
  });
});

describe("arguments", () => {
  test.each<[string[], RegExp]>([
    [[], /unknown command ""/],
    [["delete", "x"], /unknown command "delete"/],
    [["toString", "x"], /unknown command "toString"/],
    [["generate"], /generate: needs one path/],
    [["generate", "a", "b"], /generate: needs one path/],
    [["generate", "a", "--id", "x"], /--id: does not belong to generate/],
    [["seal", "a"], /--id: is missing/],
    [["seal", "a", "--id", "a/b"], /--id: must be 1 to 64 characters/],
    [["seal", "a", "--id", "a"], /--keys DIR: is missing/],
    [["seal", "a", "--id", "a", "--token", "x"], /--token/],
    [
      [
        "seal",
        "-",
        "--id",
        "a",
        "--keys",
        "KEYS",
        "--prometheus-token-file",
        "x",
        "--prometheus-basic-auth-file",
        "y",
      ],
      /can't be together/,
    ],
  ])("%j ends with 78", async (argv, problem) => {
    const directory = writeFiles(join(folder, "keys"), { "1.pem": pems[0] });
    const { code, out, told } = await keys(
      argv.map((word) => (word === "KEYS" ? directory : word)),
      { input: tokenKubeconfig(SECRET) },
    );
    expect([code, out]).toEqual([78, ""]);
    expect(told).toMatch(problem);
    expect(told).toMatch(/npm run keys -- --help/);
  });

  test("--help", async () => {
    const { code, out } = await keys(["--help"]);
    expect(code).toBe(0);
    for (const word of ["generate", "rotate", "verify", "seal", "--prometheus-token-file"]) {
      expect(out).toContain(word);
    }
  });
});

test("a written key is read back as it was sealed with", async () => {
  const directory = join(folder, "keys");
  await keys(["generate", directory]);
  const file = write("kubeconfig", tokenKubeconfig(SECRET));
  const { out } = await keys(["seal", file, "--id", "a", "--keys", directory]);
  const keyring = await loadKeyring(directory, { clock, logger: createSilentLogger() });
  expect(kubeconfigOf(await keyring.open("a", out.trim()))).toContain(SECRET);
  expect(readFileSync(join(directory, readdirSync(directory)[0]!), "utf8")).toMatch(/BEGIN PRIVATE KEY/);
});
