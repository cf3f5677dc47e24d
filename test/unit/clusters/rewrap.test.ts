import { afterEach, expect, test } from "vitest";
import type { Envelope } from "#clusters/envelope.ts";
import { startRewrap, type RewrapDeps } from "#clusters/rewrap.ts";
import { BridgeError } from "#errors/error.ts";
import { createSecret } from "#lib/secret.ts";
import { createLogger } from "#telemetry/logger.ts";
import { createLatch } from "../../helpers/latch.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";
import { clusterRecord, openStoredClusters } from "../../helpers/stored-clusters.ts";
import { kubeconfigOf } from "../../helpers/keys.ts";

const INTERVAL_MS = 60_000;
const stops: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** Seals as "KEY/CLUSTER/TEXT". */
function createFakeKeyring(): RewrapDeps["keyring"] & { newest: string; older: string[]; lost: Set<string> } {
  const keyring = {
    newest: "k1",
    older: [] as string[],
    lost: new Set<string>(),
    keys: () => [...keyring.older, keyring.newest].map((kid) => ({ name: `${kid}.pem`, kid, bits: 3072 })),
    isNewest: (jwe: string) => jwe.startsWith(`${keyring.newest}/`),
    seal: async (id: string, envelope: Envelope) =>
      await Promise.resolve(`${keyring.newest}/${id}/${kubeconfigOf(envelope)}`),
    open: async (_id: string, jwe: string) => {
      const [kid = "", , text = ""] = jwe.split("/");
      if (keyring.lost.has(kid)) throw new BridgeError("credentials_key_unknown", `no key ${kid}`);
      return await Promise.resolve({ kubeconfig: createSecret(text) });
    },
  };
  return keyring;
}

async function createBench(records: Record<string, string>) {
  const store = createMemoryStore();
  const clock = createManualClock(1_700_000_000_000);
  const { clusters } = openStoredClusters(store, { clock });
  for (const [id, jwe] of Object.entries(records)) await clusters.create(clusterRecord(id, { jwe }));
  const keyring = createFakeKeyring();
  const logs: Record<string, unknown>[] = [];
  const destination = {
    write: (line: string) => void logs.push(JSON.parse(line) as Record<string, unknown>),
  };
  const logger = createLogger({ level: "info", destination });
  const jweOf = async (id: string): Promise<string | undefined> => (await clusters.read(id))?.record.jwe;
  const start = (parts: Partial<RewrapDeps> = {}): void => {
    stops.push(startRewrap({ clusters, keyring, clock, logger, ...parts }, INTERVAL_MS));
  };
  return { store, clock, clusters, keyring, logs, jweOf, start };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what is not of the newest key is sealed anew at the start, and when a newer key comes", async () => {
  const bench = await createBench({ a: "k0/a/A", b: "k1/b/B", c: "k0/c/C" });
  const before = (await bench.clusters.read("b"))?.etag;
  bench.start();
  await settled();
  expect([await bench.jweOf("a"), await bench.jweOf("c")]).toEqual(["k1/a/A", "k1/c/C"]);
  expect((await bench.clusters.read("b"))?.etag).toBe(before);
  expect(bench.logs).toMatchObject([{ clusters: 2, kid: "k1" }]);
  expect((await bench.clusters.list()).map(({ credentials }) => credentials)).toContainEqual({
    kind: "sealed",
    jwe: "k1/a/A",
  });

  bench.keyring.newest = "k2";
  bench.clock.advance(INTERVAL_MS);
  await settled();
  for (const id of ["a", "b", "c"]) expect(await bench.jweOf(id)).toBe(`k2/${id}/${id.toUpperCase()}`);
});

test("a change that comes in between is kept", async () => {
  const bench = await createBench({ a: "k0/a/old" });
  const isSealing = createLatch();
  const goOn = createLatch();
  const { keyring } = bench;
  const slow = {
    ...keyring,
    seal: async (...input: Parameters<typeof keyring.seal>) => {
      isSealing.open();
      await goOn.opened;
      return await keyring.seal(...input);
    },
  };
  bench.start({ keyring: slow });
  await isSealing.opened;
  const { record, etag } = (await bench.clusters.read("a"))!;
  await bench.clusters.replace({ ...record, name: "changed", jwe: "k0/a/new" }, etag);
  goOn.open();
  await settled();
  expect(await bench.clusters.read("a")).toMatchObject({ record: { name: "changed", jwe: "k1/a/new" } });
});

test("what can't be opened stays, hurts no other, and is not tried again with the same keys", async () => {
  const bench = await createBench({ a: "k0/a/A", b: "kx/b/B", c: "k0/c/C" });
  bench.keyring.lost.add("kx");
  bench.start();
  await settled();
  expect(await bench.jweOf("b")).toBe("kx/b/B");
  expect(await bench.jweOf("c")).toBe("k1/c/C");
  const warned = (): number => bench.logs.filter((line) => line["cluster_id"] === "b").length;
  expect(warned()).toBe(1);
  bench.clock.advance(INTERVAL_MS);
  await settled();
  expect(warned()).toBe(1);
  // Its key was put back from a copy: nothing may need that once more.
  bench.keyring.older.push("kx");
  bench.keyring.lost.delete("kx");
  bench.clock.advance(INTERVAL_MS);
  await settled();
  expect(await bench.jweOf("b")).toBe("k1/b/B");
});

test("an outage of the store is waited out", async () => {
  const bench = await createBench({ a: "k0/a/A" });
  bench.store.failure = new BridgeError("state_unavailable", "the store is away");
  bench.start();
  await settled();
  bench.store.failure = undefined;
  bench.clock.advance(INTERVAL_MS);
  await settled();
  expect(await bench.jweOf("a")).toBe("k1/a/A");
});

test("a cluster that is deleted meanwhile is left alone", async () => {
  const bench = await createBench({ a: "k0/a/A" });
  const { keyring, clusters } = bench;
  const deleting = {
    ...keyring,
    seal: async (...input: Parameters<typeof keyring.seal>) => {
      await clusters.remove("a");
      return await keyring.seal(...input);
    },
  };
  bench.start({ keyring: deleting });
  await settled();
  expect(await bench.store.get("cluster:a")).toBeUndefined();
  expect(await clusters.list()).toEqual([]);
});
