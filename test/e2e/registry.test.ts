import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ClusterRecord } from "#clusters/cluster-record.ts";
import type { ClusterProgress } from "#collect/progress.ts";
import type { ClusterStatus, RoundResult } from "#collect/status.ts";
import type { StepResult } from "#diagnose/step-runner.ts";
import { createSqliteStore } from "#state/sqlite-store.ts";
import type { StateStore } from "#state/store.ts";
import type { KubeClient } from "#tunnel/kube-client.ts";
import { createClustersApi } from "../helpers/clusters-api.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { runToEnd, startBridge, type BridgeProcess } from "./bridge-process.ts";
import { compareEverything } from "./comparison.ts";
import { deleteAccount, isAccepted, kubeconfigCommand, openAdmin, tokenIn } from "./managed-account.ts";
import { openSource, type Source } from "./source.ts";
import { clickhouseEnvironment, freePort, startStack, type Stack } from "./stack.ts";

// The life of a cluster that is registered over the API, on real parts: a Kubernetes API server (E2E_KUBECONFIG_ADMIN) in which `npm run kubeconfig` makes
// the ServiceAccounts, a Prometheus behind it, the Collector, ClickHouse. Its token is rotated, then revoked; the keys that seal it are rotated
// while rounds and changes go on; every stored sample is compared with what Prometheus has; then it is deleted in the middle of a round.

const CLUSTER = "e2e-registry";
const ACCOUNTS = { first: "budcluster-first", second: "budcluster-second" };
/** Clusters that are registered besides it and not collected, so that there is something to be sealed anew. */
const OTHERS = Array.from({ length: 12 }, (_, i) => `e2e-other-${i}`);
const LAG_SECONDS = 60;
const COMPARED_SECONDS = 110;
const OUTAGE_MS = 20_000;
const TOKENS = { operator: randomBytes(16).toString("hex"), reader: randomBytes(16).toString("hex") };
const adminPath = process.env["E2E_KUBECONFIG_ADMIN"];
const run = promisify(execFile);
const startedAt = Date.now();

let stack: Stack;
let source: Source;
let admin: KubeClient;
let directory: string;
let keysDirectory: string;
let environment: Record<string, string>;
let port: number;
let bridge: BridgeProcess | undefined;
/** Everything that the bridges wrote. */
let written = "";
/** Some of the cluster's sealed credentials. */
let sealed: string;
/** Every token of the cluster that was ever used. */
const used: string[] = [];

const authorization = { authorization: `Bearer ${TOKENS.operator}` };
const api = createClustersApi(() => `http://127.0.0.1:${port}`, authorization);

beforeAll(async () => {
  if (!adminPath) {
    throw new Error("E2E_KUBECONFIG_ADMIN must name an administrator's kubeconfig: see README.md, Tests");
  }
  directory = await mkdtemp(join(tmpdir(), "budcluster-registry-"));
  [stack, source, port, admin] = await Promise.all([
    startStack(),
    openSource(adminPath),
    freePort(),
    openAdmin(adminPath),
  ]);
  await runToEnd({ ROLE: "migrate", ...clickhouseEnvironment(stack) });
  keysDirectory = join(directory, "keys");
  await keysCommand("generate");
  const tokens = [
    { name: "operator", sha256: sha256(TOKENS.operator), scopes: ["read", "collect", "admin"] },
    { name: "reader", sha256: sha256(TOKENS.reader), scopes: ["read"], clusters: [OTHERS[0]] },
  ];
  await writeFile(join(directory, "tokens.yaml"), JSON.stringify(tokens));
  environment = {
    ROLE: "bridge",
    DATA_DIR: join(directory, "data"),
    CREDENTIALS_KEYS_DIR: keysDirectory,
    API_TOKENS_FILE: join(directory, "tokens.yaml"),
    OTEL_COLLECTOR_ENDPOINT: stack.collectorUrl,
    COLLECTION_LAG: String(LAG_SECONDS),
    INITIAL_LOOKBACK: "2m",
    METRICS_BATCH_SIZE: "1000",
    // The cluster's API server may be on this machine.
    ALLOW_PRIVATE_API_SERVERS: "true",
    EXPORT_TIMEOUT: "20",
    EXPORT_RETRY_MAX_ELAPSED: "3",
    OWN_METRICS_INTERVAL: "0",
  };
  await start();
});

afterAll(async () => {
  await bridge?.kill("SIGKILL");
  await source?.close();
  await stack?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function start(): Promise<void> {
  bridge = await startBridge(environment, port, authorization);
}

async function stop(): Promise<void> {
  const code = await bridge!.kill("SIGTERM");
  written += bridge!.output();
  expect(code).toBe(0);
}

async function keysCommand(command: string): Promise<void> {
  await run(process.execPath, ["src/main.ts", "keys", command, keysDirectory]);
}

/** A kubeconfig with a new token of this ServiceAccount, which is made when it is not there. */
async function newKubeconfig(account: string): Promise<string> {
  const path = join(directory, "managed.kubeconfig");
  await kubeconfigCommand("--kubeconfig", adminPath!, "--service-account", account, "--out", path);
  used.push(await tokenIn(path));
  return await readFile(path, "utf8");
}

async function collect(): Promise<RoundResult["clusters"][number]> {
  const { clusters } = await bridge!.collect();
  return clusters.find(({ cluster_id: id }) => id === CLUSTER)!;
}

async function status(): Promise<ClusterStatus> {
  const { clusters } = await bridge!.status();
  return clusters.find(({ cluster_id: id }) => id === CLUSTER)!;
}

async function stepOf(name: string): Promise<StepResult | undefined> {
  const answer = await fetch(`http://127.0.0.1:${port}/clusters/${CLUSTER}/diagnose`, {
    method: "POST",
    headers: authorization,
  });
  const { steps } = (await answer.json()) as { steps: StepResult[] };
  return steps.find(({ step }) => step === name);
}

/** Reads the state of a bridge that has ended. */
async function readState<T>(read: (store: StateStore) => Promise<T>): Promise<T> {
  const store = createSqliteStore({
    path: join(environment["DATA_DIR"]!, "state.sqlite"),
    logger: createSilentLogger(),
  });
  try {
    return await read(store);
  } finally {
    await store.close();
  }
}

/** Everything in the folder of the state, as it lies on the disk. */
async function stateBytes(): Promise<string> {
  const folder = environment["DATA_DIR"]!;
  const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name))));
  return Buffer.concat(files).toString("latin1");
}

const SETTLED = { timeout: 60_000, interval: 1000 };

describe("a cluster that is registered over the API", () => {
  it("is collected with the token of least rights", async () => {
    const kubeconfig = await newKubeconfig(ACCOUNTS.first);
    const body = { id: CLUSTER, name: "registered", platform: "test", kubeconfig };
    const created = await api.create(body);
    expect({ status: created.status, error: created.error }).toEqual({ status: 201 });
    expect(created.cluster).toMatchObject({ source: "api", credentials: { sealed: true, user: "token" } });
    expect(created.cluster["credentials"]).toMatchObject({
      token_expires_at: expect.stringMatching(/^\d{4}-/),
    });
    // A Prometheus that has just started has nothing yet that is older than the lag.
    await expect
      .poll(async () => (await collect()).points, { timeout: 120_000, interval: 2000 })
      .toBeGreaterThan(0);
    expect(await status()).toMatchObject({ state: "healthy", last_error: null, warnings: [] });
    expect(await stepOf("authentication")).toMatchObject({
      message: expect.stringContaining(ACCOUNTS.first),
    });
  });

  it("is changed by nobody without the right token, and not seen by others", async () => {
    const base = `http://127.0.0.1:${port}`;
    const asReader = { authorization: `Bearer ${TOKENS.reader}` };
    const ways = [
      ["DELETE", {}, 401],
      ["DELETE", asReader, 403],
      ["GET", asReader, 404],
    ] as const;
    for (const [method, headers, wanted] of ways) {
      const answer = await fetch(`${base}/clusters/${CLUSTER}`, { method, headers });
      expect(answer.status).toBe(wanted);
    }
  });

  it("has another token from the next round on", async () => {
    const [old] = used;
    const patched = await api.patch(CLUSTER, { kubeconfig: await newKubeconfig(ACCOUNTS.second) });
    expect({ status: patched.status, error: patched.error }).toEqual({ status: 200 });
    await deleteAccount(admin, ACCOUNTS.first);
    await expect.poll(() => isAccepted(admin, old!), SETTLED).toBe(false);
    expect(await collect()).toMatchObject({ outcome: "successful", error: null });
    expect(await stepOf("authentication")).toMatchObject({
      message: expect.stringContaining(ACCOUNTS.second),
    });
  });

  it("says that its token was revoked and what to do, and takes no other one that is revoked", async () => {
    await deleteAccount(admin, ACCOUNTS.second);
    await expect.poll(async () => (await collect()).error?.code, SETTLED).toBe("cluster_unauthorized");
    expect(await status()).toMatchObject({
      state: "partial",
      last_error: {
        code: "cluster_unauthorized",
        hint: expect.stringContaining("Register a new kubeconfig"),
      },
    });
    expect(await stepOf("authentication")).toMatchObject({ status: "failed", code: "cluster_unauthorized" });
    const kubeconfig = await readFile(join(directory, "managed.kubeconfig"), "utf8");
    const before = await api.get(CLUSTER);
    const refused = await api.patch(CLUSTER, { kubeconfig });
    expect(refused).toMatchObject({ status: 422, error: { code: "cluster_unauthorized" } });
    expect((await api.get(CLUSTER)).cluster["updated_at"]).toBe(before.cluster["updated_at"]);
  });

  it("recovers with a new token, and fills the time in which it could not be read", async () => {
    const before = (await status()).watermark!;
    await delay(OUTAGE_MS);
    const patched = await api.patch(CLUSTER, { kubeconfig: await newKubeconfig(ACCOUNTS.second) });
    expect({ status: patched.status, error: patched.error }).toEqual({ status: 200 });
    expect(await collect()).toMatchObject({ outcome: "successful", error: null });
    const after = await status();
    expect(after).toMatchObject({ state: "healthy", gaps: [] });
    expect(after.last_error).toBeNull();
    expect(Date.parse(after.watermark!) - Date.parse(before)).toBeGreaterThan(OUTAGE_MS);
  });

  it("is sealed anew with a new key while rounds and changes go on", async () => {
    const kubeconfig = await readFile(join(directory, "managed.kubeconfig"), "utf8");
    for (const id of OTHERS) {
      const body = { id, name: id, platform: "test", kubeconfig, enabled: false };
      expect(await api.create(body, "?check=false")).toMatchObject({ status: 201 });
    }
    await keysCommand("rotate");
    const isSealed = (): boolean => bridge!.output().includes("sealed credentials anew");
    const outcomes: string[] = [];
    let changes = 0;
    const change = async (): Promise<void> => {
      const labels = { changes: String(++changes) };
      const answers = await Promise.all([CLUSTER, ...OTHERS].map((id) => api.patch(id, { labels })));
      expect(answers.filter((answer) => answer.status !== 200)).toEqual([]);
    };
    const load = async (): Promise<void> => {
      while (!isSealed()) {
        outcomes.push((await collect()).outcome);
        await change();
      }
    };
    await Promise.race([load(), delay(180_000)]);
    expect(isSealed()).toBe(true);
    // One more of both with everything sealed anew.
    outcomes.push((await collect()).outcome);
    await change();
    expect(new Set(outcomes)).toEqual(new Set(["successful"]));
    const shown = await api.list();
    expect(new Set(shown.map(({ labels }) => JSON.stringify(labels)))).toEqual(
      new Set([JSON.stringify({ changes: String(changes) })]),
    );
    process.stderr.write(`sealed anew during ${outcomes.length} rounds and ${changes} changes of each\n`);
  });

  it("has stored exactly what Prometheus knows: nothing missing, nothing twice", async () => {
    // Resets (every 60 s) and samples that arrived 45 s late must be inside of the time that is compared.
    await delay(Math.max(0, startedAt + (LAG_SECONDS + COMPARED_SECONDS) * 1000 - Date.now()));
    expect(await collect()).toMatchObject({ outcome: "successful" });
    expect(await status()).toMatchObject({ gaps: [] });
    await stop();
    const progress = await readState(async (store) => {
      return (await store.get<ClusterProgress>(`progress:${CLUSTER}`))!.value;
    });
    const compared = await compareEverything(
      { database: stack.database, source, clusterId: CLUSTER },
      progress,
    );
    process.stderr.write(`${JSON.stringify(compared)}\n`);
    expect(compared.total).toMatchObject({ missing: 0, extra: 0, twice: 0, different: 0 });
    expect(compared.total.samples).toBeGreaterThan(0);
    expect(compared.wrong).toEqual([]);
  });

  it("needs the old key no more", async () => {
    const keys = (await readdir(keysDirectory)).toSorted();
    expect(keys).toHaveLength(2);
    const records = await readState((store) =>
      Promise.all([CLUSTER, ...OTHERS].map((id) => store.get<ClusterRecord>(`cluster:${id}`))),
    );
    const kids = new Set(records.map((record) => decodeProtectedHeader(record!.value.jwe)["kid"]));
    expect(kids.size).toBe(1);
    sealed = records[0]!.value.jwe.split(".").at(-2)!.slice(0, 64);
    await unlink(join(keysDirectory, keys[0]!));
    await start();
    expect(await collect()).toMatchObject({ outcome: "successful" });
  });

  it("is deleted in the middle of a round: its work ends, nothing of it is left", async () => {
    // The round waits for the Collector, and that for ClickHouse.
    await stack.freezeClickHouse();
    const round = bridge!.collect();
    await expect.poll(async () => (await status()).collecting, { timeout: 20_000, interval: 5 }).toBe(true);
    expect(await api.remove(CLUSTER)).toMatchObject({ status: 204 });
    expect((await round).clusters[0]).toMatchObject({ error: { code: "cluster_deleted" } });
    await stack.thawClickHouse();
    expect((await api.get(CLUSTER)).status).toBe(404);
    expect(await bridge!.collect()).toMatchObject({ total: 0 });
    expect(await status()).toBeUndefined();
    for (const id of OTHERS) expect(await api.remove(id)).toMatchObject({ status: 204 });
    await stop();
    const left = await readState((store) =>
      Promise.all(
        ["clusters:index", `cluster:${CLUSTER}`, `progress:${CLUSTER}`].map((key) => store.get(key)),
      ),
    );
    expect(left[0]?.value).toEqual({ ids: [], creating: [], deleting: [] });
    expect(left.slice(1)).toEqual([undefined, undefined]);
    // Nor in a free page of the file.
    const bytes = await stateBytes();
    expect([sealed, "promql_hash"].filter((text) => bytes.includes(text))).toEqual([]);
  });

  it("has told nobody any of its tokens", () => {
    expect(used).toHaveLength(3);
    for (const secret of [...used, ...Object.values(TOKENS)]) expect(written).not.toContain(secret);
  });
});
