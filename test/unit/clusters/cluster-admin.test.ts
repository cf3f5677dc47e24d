import { expect, test } from "vitest";
import { createClusterAdmin } from "#clusters/cluster-admin.ts";
import type { Envelope, Keyring } from "#clusters/envelope.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { tokenKubeconfig } from "../../helpers/keys.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";
import { openStoredClusters } from "../../helpers/stored-clusters.ts";

// Duration and outcome of the connection check; everything else is tested over HTTP (test/integration/clusters-api.test.ts).

const CHECK_MS = 60_000;
const keyring: Keyring = {
  seal: (id: string, _envelope: Envelope) => Promise.resolve(`jwe of ${id}`),
  open: () => Promise.reject(new Error("nothing is opened here")),
  isNewest: () => true,
};
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** One check at a time; each hangs until it is told to end. */
function createBench() {
  const { clusters, clock } = openStoredClusters(createMemoryStore());
  const checks = new Map<string, { end: () => void; signal: AbortSignal }>();
  const admin = createClusterAdmin(
    {
      clusters,
      fixedIds: new Set(),
      keyring,
      clock,
      checkServer: () => Promise.resolve(),
      checkConnection: ({ id }, signal) =>
        new Promise((resolve, reject) => {
          checks.set(id, { end: resolve, signal });
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        }),
    },
    {
      defaults: {
        prometheus: { namespace: "n", service: "s", port: 9090, scheme: "http", pathPrefix: "" },
        validateCerts: true,
      },
      checkTimeoutMs: CHECK_MS,
      checksAtOnce: 1,
    },
  );
  const create = (id: string, signal = new AbortController().signal) =>
    admin.create({ id, name: id, platform: "p", kubeconfig: tokenKubeconfig("t") }, { check: true, signal });
  const ids = async () => (await clusters.list()).map(({ id }) => id);
  return { checks, clock, create, ids };
}

test("a check that waits for others says so when its time is over, and is never begun", async () => {
  const { checks, clock, create, ids } = createBench();
  const first = bridgeErrorOf(create("first"));
  const second = bridgeErrorOf(create("second"));
  await settled();
  clock.advance(CHECK_MS);
  expect(await first).toMatchObject({ code: "cluster_timeout", httpStatus: 422 });
  expect((await first).message).toContain("the check did not finish in 60 s");
  expect((await second).message).toContain("the check did not get its turn in 60 s");
  expect((await second).hint).toContain("?check=false");
  const third = create("third");
  await settled();
  expect([...checks.keys()]).toEqual(["first", "third"]);
  checks.get("third")!.end();
  await third;
  expect(await ids()).toEqual(["third"]);
});

test("a client that goes away while its check waits is let go at once", async () => {
  const { checks, create, ids } = createBench();
  const first = create("first");
  const leaving = new AbortController();
  const second = create("second", leaving.signal);
  await settled();
  leaving.abort(new Error("gone"));
  await expect(second).rejects.toThrow("gone");
  checks.get("first")!.end();
  await first;
  await settled();
  expect([...checks.keys()]).toEqual(["first"]);
  expect(await ids()).toEqual(["first"]);
});
