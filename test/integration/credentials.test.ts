import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { stringify } from "yaml";
import type { PrometheusCredentials } from "#clusters/cluster.ts";
import { loadKeyring, type DirectoryKeyring } from "#clusters/keyring.ts";
import type { ClusterStatus } from "#collect/status.ts";
import { createSecret } from "#lib/secret.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { runBridge } from "../helpers/bridge-child.ts";
import { createJumpingClock, type JumpingClock } from "../helpers/jumping-clock.ts";
import { rsaPem, tokenKubeconfig, writeFiles } from "../helpers/keys.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";

const TOKEN = "prom-token-5e2c8a1b9f7d3046";
const PASSWORD = "prom-password-90ab12cd34ef";
const PACKED = Buffer.from(`scraper:${PASSWORD}`).toString("base64");
const BEARER: PrometheusCredentials = { kind: "bearer", token: createSecret(TOKEN) };
const WATCH_MS = 60_000;

const root = createTemporaryFolder();
const pems = [rsaPem(), rsaPem()] as const;
let made = 0;
let folder: string;
let clock: JumpingClock;
let simulator: Simulator;
let collector: OtlpCollector;
let bridge: TestBridge | undefined;
/** Has the bridge look at the keys, as it does each minute. */
let lookAtKeys: () => Promise<void>;

beforeEach(async () => {
  folder = join(root, String(made++));
  writeFiles(join(folder, "keys"), { "1.pem": pems[0], "2.pem": pems[1] });
  clock = createJumpingClock();
  const watches: (() => void)[] = [];
  clock.impatient.after = (ms, run) => {
    if (ms !== WATCH_MS) return clock.after(ms, run);
    watches.push(run);
    return () => {};
  };
  lookAtKeys = async () => {
    // The sealing anew looks as often.
    const due = watches.splice(0);
    for (const look of due) look();
    // Each waits for the next minute when it has looked.
    while (watches.length < due.length) await new Promise(setImmediate);
  };
  simulator = await startSimulator({ clock, clusters: 4, shape: SMALL });
  collector = await startOtlpCollector();
});

afterEach(async () => {
  await bridge?.stop();
  bridge = undefined;
  await collector.stop();
  await simulator.stop();
});

/** The keyring of these files alone. */
async function keyringOf(...names: ("1.pem" | "2.pem")[]): Promise<DirectoryKeyring> {
  const files = names.map((name) => [name, pems[name === "1.pem" ? 0 : 1]] as const);
  const directory = writeFiles(join(folder, names.join("-")), Object.fromEntries(files));
  return await loadKeyring(directory, { clock, logger: createSilentLogger() });
}

/** sim-1: sealed with the older key, with a token for Prometheus. sim-2: sealed with the newer one. sim-3: in clear text. sim-4: trusted file. */
async function start(): Promise<TestBridge> {
  const [one, two, three, four] = simulator.clusters.map(({ kubeconfig }) => kubeconfig);
  const [older, newer] = [await keyringOf("1.pem"), await keyringOf("2.pem")];
  writeFileSync(join(folder, "four.yaml"), four!);
  const basic_auth = { username: "scraper", password: PASSWORD };
  const seal = (keyring: DirectoryKeyring, id: string, kubeconfig: string, prometheus?: typeof BEARER) =>
    keyring.seal(id, { kubeconfig: createSecret(kubeconfig), ...(prometheus ? { prometheus } : {}) });
  const clusters = [
    { id: "sim-1", kubeconfig_jwe: await seal(older, "sim-1", one!, BEARER) },
    { id: "sim-2", kubeconfig_jwe: await seal(newer, "sim-2", two!) },
    { id: "sim-3", kubeconfig: three!, prometheus: { basic_auth } },
    { id: "sim-4", kubeconfig: "four.yaml", trusted: true },
  ];
  const path = join(folder, "clusters.yaml");
  writeFileSync(path, stringify({ clusters }));
  bridge = await startTestBridge({
    simulator,
    collector,
    clock,
    environment: { CLUSTERS_FILE: path, CREDENTIALS_KEYS_DIR: join(folder, "keys") },
  });
  return bridge;
}

const demand = (id: string, header: string): Promise<void> =>
  simulator.faults.set(id, { layer: "prometheus", kind: "authorization", header });

function expectNoSecret(text: string): void {
  const secrets = [TOKEN, PASSWORD, PACKED, ...simulator.clusters.map(({ token }) => token)];
  expect(secrets.filter((secret) => text.includes(secret))).toEqual([]);
}

it("sealed clusters are collected, with what their Prometheus asks for; the status warns of clear text", async () => {
  const running = await start();
  await demand("sim-1", `Bearer ${TOKEN}`);
  await demand("sim-3", `Basic ${PACKED}`);
  expect(await running.collect()).toMatchObject({ total: 4, successful: 4 });
  const status = await running.status();
  const warned = status.clusters.filter(({ warnings }) => warnings.some((text) => /clear text/.test(text)));
  expect(warned.map(({ cluster_id }: ClusterStatus) => cluster_id)).toEqual(["sim-3"]);
  const lines = running.logs.filter(({ msg }) => /clear text/.test(String(msg)));
  expect(lines).toEqual([expect.objectContaining({ level: "warn", clusters: ["sim-3"], count: 1 })]);
  expectNoSecret(JSON.stringify([running.logs, status]));
});

it("a Prometheus that refuses what it is sent, or wants something, is named with the remedy", async () => {
  const running = await start();
  await demand("sim-1", `Bearer ${TOKEN}-rotated`);
  await demand("sim-2", `Bearer ${TOKEN}`);
  await demand("sim-3", "Basic c29tZW9uZTplbHNl");
  const says = { layer: "prometheus", kind: "status", status: 403 } as const;
  await simulator.faults.set("sim-4", { ...says, body: "<html>" });
  const round = await running.collect();
  const sent = ["sim-1", "sim-2", "sim-3", "sim-4"].map((id) => {
    const { error } = running.resultOf(round, id);
    expect(error?.code).toBe("prometheus_unauthorized");
    return [error?.details?.["sent"], error?.hint];
  });
  expect(sent).toEqual([
    ["bearer", expect.stringMatching(/expired, been revoked/)],
    ["none", expect.stringMatching(/prometheus\.bearer_token or prometheus\.basic_auth/)],
    ["basic", expect.stringMatching(/prometheus\.basic_auth/)],
    ["none", expect.anything()],
  ]);
  // Credentials that it echoes are hidden.
  await simulator.faults.clear("sim-4");
  await simulator.faults.set("sim-1", { ...says, body: `who is ${TOKEN}?` });
  await simulator.faults.set("sim-3", { ...says, body: `${PACKED} is ${PASSWORD}` });
  running.logs.length = 0;
  const next = await running.collect();
  expect(running.resultOf(next, "sim-3").error?.message).toMatch(/403 with "\[secret\] is \[secret\]"/);
  expect(running.resultOf(next, "sim-4").outcome).toBe("successful");
  expectNoSecret(JSON.stringify([running.logs, await running.status()]));
});

it("a key that is gone fails the clusters that it sealed, and no other; it may come back", async () => {
  const running = await start();
  expect(await running.collect()).toMatchObject({ successful: 4 });
  const directory = join(folder, "keys");
  rmSync(join(directory, "1.pem"));
  await lookAtKeys();
  clock.jump(60_000);
  const round = await running.collect();
  expect(round).toMatchObject({ successful: 3, failed: 1 });
  expect(running.resultOf(round, "sim-1").error).toMatchObject({
    code: "credentials_key_unknown",
    hint: expect.stringMatching(/CREDENTIALS_KEYS_DIR/),
  });
  expect(await running.statusOf("sim-1")).toMatchObject({ last_error: { code: "credentials_key_unknown" } });

  // A state that is wrong as a whole changes nothing.
  writeFileSync(join(directory, "3.pem"), "half a key");
  rmSync(join(directory, "2.pem"));
  await lookAtKeys();
  clock.jump(60_000);
  expect(await running.collect()).toMatchObject({ successful: 3, failed: 1 });
  expect(running.logs).toContainEqual(
    expect.objectContaining({ level: "warn", code: "credentials_keys_invalid" }),
  );
  const wrong = expect.stringMatching(/^CREDENTIALS_KEYS_DIR: .*the old ones stay in use/);
  expect((await running.status()).warnings).toContainEqual(wrong);

  rmSync(join(directory, "3.pem"));
  writeFiles(directory, { "1.pem": pems[0], "2.pem": pems[1] });
  await lookAtKeys();
  clock.jump(60_000);
  expect(await running.collect()).toMatchObject({ successful: 4 });
  expect((await running.status()).warnings).toEqual([]);
});

it("invalid keys, or a sealed cluster without its key, make startup fail with 78", async () => {
  const weak = writeFiles(join(folder, "weak"), { "a.pem": rsaPem(2048), "b.pem": "junk" });
  const environment = { ROLE: "bridge", PORT: "0", DATA_DIR: join(folder, "data") };
  const wrong = await runBridge({ ...environment, CREDENTIALS_KEYS_DIR: weak });
  expect(wrong.code).toBe(78);
  expect(wrong.stderr).toMatch(
    /credentials_keys_invalid.*a\.pem has 2048 bits, 3072 are needed.*b\.pem is not a PEM/s,
  );
  const jwe = await (
    await keyringOf("1.pem")
  ).seal("a", { kubeconfig: createSecret(tokenKubeconfig("t0ken-0123456789")) });
  const path = join(folder, "clusters.yaml");
  writeFileSync(path, stringify({ clusters: [{ id: "a", kubeconfig_jwe: jwe }] }));
  const missing = await runBridge({ ...environment, CLUSTERS_FILE: path });
  expect(missing.code).toBe(78);
  expect(missing.stderr).toMatch(/clusters\[0\] "a": kubeconfig_jwe: there is no key to open/);
});

it("npm run keys, as it is called", async () => {
  const directory = join(folder, "new");
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(kubeconfig, tokenKubeconfig("t0ken-0123456789"));
  expect((await runBridge({}, ["keys", "generate", directory])).code).toBe(0);
  expect((await runBridge({}, ["keys", "generate", directory])).code).toBe(1);
  expect(readdirSync(directory).map((name) => statSync(join(directory, name)).mode & 0o777)).toEqual([0o600]);
  const environment = { CREDENTIALS_KEYS_DIR: directory };
  const { code, stdout } = await runBridge(environment, ["keys", "seal", kubeconfig, "--id", "a"]);
  expect(code).toBe(0);
  mkdirSync(join(folder, "more"));
  const path = join(folder, "more", "clusters.yaml");
  writeFileSync(path, stringify({ clusters: [{ id: "a", kubeconfig_jwe: stdout }] }));
  const verified = await runBridge({}, ["keys", "verify", directory, "--clusters-file", path]);
  expect(verified).toMatchObject({ code: 0, stdout: expect.stringMatching(/a: sealed with the newest key/) });
  const usage = await runBridge({}, ["keys", "burn"]);
  expect(usage.code).toBe(78);
  expect(usage.stderr).toMatch(/unknown command "burn"/);
});
