import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { BridgeError } from "#errors/error.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import { createDaprStore } from "#state/dapr-store.ts";
import type { StateStore } from "#state/store.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { FAKE_STORE, startFakeDapr, type DaprRequestKind, type FakeDapr } from "../../helpers/fake-dapr.ts";
import { closedOrigin } from "../../helpers/http-server.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { testStore } from "../../helpers/store-contract.ts";

const TOKEN = "a-token-of-the-sidecar";
let shared: FakeDapr;
let dapr: FakeDapr;

beforeAll(async () => {
  shared = await startFakeDapr();
});
afterAll(() => shared.close());
beforeEach(async () => {
  dapr = await startFakeDapr(TOKEN);
});
afterEach(() => dapr.close());

testStore("Dapr", () =>
  createDaprStore({ clock: systemClock }, { storeName: FAKE_STORE, port: shared.port }),
);

interface Options {
  clock?: Clock;
  token?: string;
  storeName?: string;
  port?: number;
}

async function open({ clock = systemClock, token = TOKEN, storeName = FAKE_STORE, port }: Options = {}) {
  return await createDaprStore(
    { clock },
    { storeName, port: port ?? dapr.port, apiToken: createSecret(token), requestTimeoutMs: 5000 },
  );
}

/** The error of what hangs until its time limit. */
async function timedOut(clock: ReturnType<typeof createManualClock>, work: Promise<unknown>) {
  const error = bridgeErrorOf(work);
  clock.advance(5000);
  return await error;
}

test.each([409, 500] as const)("a create conflict answered with %d is a conflict", async (status) => {
  dapr.createConflictStatus = status;
  const [one, two] = [await open(), await open()];
  // Both have seen that there is nothing before either writes.
  let readers = 0;
  const waiting: (() => void)[] = [];
  dapr.intercept = (kind, response) => {
    if (kind !== "read" || readers >= 2) return false;
    const answer = (): void => void response.end(JSON.stringify([{ key: "a" }]));
    waiting.push(answer);
    if (++readers === 2) for (const each of waiting) each();
    return true;
  };
  const results = await Promise.allSettled([one.put("a", 1, undefined), two.put("a", 2, undefined)]);
  const lost = results.filter((result) => result.status === "rejected");
  expect(lost).toHaveLength(1);
  expect(lost[0]!.reason).toMatchObject({ code: "state_conflict", message: "the record a exists already" });
});

test("a write whose answer is lost is known to be done", async () => {
  const store = await open();
  dapr.afterSave = (response) => {
    response.destroy();
    return true;
  };
  const etag = await store.put("a", 1, undefined);
  expect(await store.get("a")).toEqual({ value: 1, etag });
});

test("a write that was refused without reason is no conflict", async () => {
  const store = await open();
  const etag = await store.put("a", 1, undefined);
  dapr.intercept = (kind, response) => {
    if (kind !== "save") return false;
    response
      .writeHead(500)
      .end('{"errorCode":"ERR_STATE_SAVE","message":"redis at 10.1.2.3:6379 is read only"}');
    return true;
  };
  const error = await bridgeErrorOf(store.put("a", 2, etag));
  expect(error.code).toBe("state_unavailable");
  expect(error.message).toBe(`Dapr's state store "${FAKE_STORE}" failed (500 ERR_STATE_SAVE)`);
  dapr.intercept = () => false;
  expect(await store.get("a")).toEqual({ value: 1, etag });
});

test("somebody's write between the look and the save is a conflict, also on a store that begins to count anew", async () => {
  const [mine, theirs] = [await open(), await open()];
  const etag = await mine.put("a", 1, undefined);
  let isBetween = false;
  dapr.intercept = (kind, response) => {
    if (kind !== "save" || isBetween) return false;
    isBetween = true;
    void theirs.put("a", 2, etag).then(
      () => response.writeHead(409).end('{"errorCode":"ERR_STATE_SAVE","message":"etag mismatch"}'),
      (error: unknown) => response.destroy(error as Error),
    );
    return true;
  };
  expect((await bridgeErrorOf(mine.put("a", 3, etag))).code).toBe("state_conflict");
  expect((await mine.get("a"))?.value).toBe(2);
});

test("a sidecar that hangs costs the time limit and holds no socket; it is used again when it is back", async () => {
  const clock = createManualClock();
  const store = await open({ clock });
  const etag = await store.put("a", 1, undefined);
  const closed: Promise<unknown>[] = [];
  const hang: FakeDapr["intercept"] = (_kind, response) => {
    closed.push(new Promise((resolve) => response.once("close", resolve)));
    return true;
  };
  const hanging = async (run: () => Promise<unknown>) => {
    const asked = dapr.nextRequest();
    const work = run();
    await asked;
    const error = await timedOut(clock, work);
    await closed.pop();
    return error;
  };
  dapr.intercept = hang;
  const error = await hanging(() => store.get("a"));
  expect(error.code).toBe("state_unavailable");
  expect(error.message).toContain("did not answer in 5 s");
  expect((await hanging(() => store.check())).code).toBe("state_unavailable");
  dapr.intercept = () => false;
  expect(await store.get("a")).toEqual({ value: 1, etag });
  expect(clock.pending()).toBe(0);
});

test.each<DaprRequestKind>(["read", "save", "delete"])(
  "a %s that hangs fails alone, and releases its socket",
  async (kind) => {
    const clock = createManualClock();
    const store = await open({ clock });
    await store.check();
    const etag = await store.put("hangs", 1, undefined);
    const held = new Map<string, ServerResponse>();
    const isHeld = { hangs: Promise.withResolvers<void>(), neighbour: Promise.withResolvers<void>() };
    dapr.intercept = (asked, response, { path, body }) => {
      const key = `${path} ${body.toString()}`.includes("hangs") ? "hangs" : "neighbour";
      if (held.has(key) || (key === "hangs" && asked !== kind)) return false;
      held.set(key, response);
      isHeld[key].resolve();
      return true;
    };
    const run = {
      read: () => store.get("hangs"),
      save: () => store.put("hangs", 2, etag),
      delete: () => store.delete("hangs"),
    }[kind as "read" | "save" | "delete"];
    const error = bridgeErrorOf(run());
    await isHeld.hangs.promise;
    // Later, so that only the first one runs into its limit.
    clock.advance(2000);
    const neighbour = store.get("neighbour");
    await isHeld.neighbour.promise;
    const closed = once(held.get("hangs")!, "close");
    clock.advance(3000);
    await closed;
    held.get("neighbour")!.end('[{"key":"neighbour"}]');
    expect(await neighbour).toBeUndefined();
    expect((await error).message).toContain("did not answer in 5 s");
    // The connection pool still works.
    expect(await store.get("neighbour")).toBeUndefined();
    expect(clock.pending()).toBe(0);
  },
);

test("a sidecar that hangs from the beginning costs the time limit too", async () => {
  const clock = createManualClock();
  const store = await open({ clock });
  dapr.intercept = () => true;
  const asked = dapr.nextRequest();
  const work = store.get("a");
  await asked;
  expect((await timedOut(clock, work)).message).toContain("did not answer in 5 s");
});

test("no sidecar is said at once, at the beginning and later", async () => {
  const { port } = new URL(await closedOrigin());
  const early = await bridgeErrorOf((await open({ port: Number(port) })).check());
  expect(early).toMatchObject({
    code: "state_unavailable",
    message: `Dapr's sidecar does not answer on port ${port}`,
  });
  expect(early.hint).toContain("DAPR_HTTP_PORT");
  const store = await open();
  await store.check();
  await dapr.close();
  const late = await bridgeErrorOf(store.get("a"));
  expect(late.message).toBe(`Dapr's sidecar does not answer on port ${dapr.port}`);
  dapr = await startFakeDapr();
});

test.each([
  ["a wrong token", { token: "another-token" }, "refuses the token", "DAPR_API_TOKEN"],
  ["an unknown component", { storeName: "other" }, 'has no state store "other"', "DAPR_STATE_STORE"],
])("%s is named with its remedy", async (_what, options, message, hint) => {
  const error = await bridgeErrorOf((await open(options)).check());
  expect(error.code).toBe("state_unavailable");
  expect(error.message).toContain(message);
  expect(error.hint).toContain(hint);
});

test.each([
  ["no JSON", "<html>", "failed"],
  ["another object", '{"hello":1}', "failed"],
  ["an empty answer", "", "failed"],
  ["another key", '[{"key":"b","data":{"json":"1","write":"x"},"etag":"1"}]', "failed"],
  ["a failure of the store", '[{"key":"a","error":"dial tcp 10.1.2.3:6379: refused"}]', "failed"],
  ["a store without ETags", '[{"key":"a","data":{"json":"1","write":"x"}}]', "gives no ETags"],
])("%s as an answer is state_unavailable", async (_what, body, message) => {
  const store = await open();
  dapr.intercept = (kind, response) => {
    if (kind !== "read") return false;
    response.end(body);
    return true;
  };
  const error = await bridgeErrorOf(store.get("a"));
  expect(error.code).toBe("state_unavailable");
  expect(error.message).toContain(message);
  expect(error.message).not.toContain("10.1.2.3");
});

test.each([
  ["foreign", '[{"key":"a","data":{"hello":1},"etag":"1"}]'],
  ["damaged", '[{"key":"a","data":{"json":"{","write":"x"},"etag":"1"}]'],
])("a %s record is told apart from a store that fails", async (_what, body) => {
  const store = await open();
  dapr.intercept = (kind, response) => {
    if (kind !== "read") return false;
    response.end(body);
    return true;
  };
  const error = await bridgeErrorOf(store.get("a"));
  expect(error.code).toBe("state_record_damaged");
  expect(error.message).toContain("was not written by this program");
});

test("a record that is too large for the sidecar says so", async () => {
  const store = await open();
  dapr.intercept = (kind, response) => {
    if (kind !== "save") return false;
    response.writeHead(413).end();
    return true;
  };
  expect((await bridgeErrorOf(store.put("a", 1, undefined))).hint).toContain("max-body-size");
  const large = await bridgeErrorOf(store.put("a", "x".repeat(4 * 1024 * 1024), undefined));
  expect(large.code).toBe("internal");
});

test("the token is in no error and nothing is printed", async () => {
  const printed = [vi.spyOn(console, "log"), vi.spyOn(console, "error"), vi.spyOn(console, "info")];
  const store: StateStore = await open();
  await store.put("a", 1, undefined);
  dapr.intercept = (_kind, response) => {
    response.writeHead(500).end("boom");
    return true;
  };
  const error: BridgeError = await bridgeErrorOf(store.delete("a"));
  const words = [error.message, error.hint, String(error.cause), JSON.stringify(error.details)].join();
  expect(words).not.toContain(TOKEN);
  for (const each of printed) {
    expect(each).not.toHaveBeenCalled();
    each.mockRestore();
  }
  expect(dapr.requests.every((request) => request.headers["dapr-api-token"] === TOKEN)).toBe(true);
});

test("refuses work after close", async () => {
  const store = await open();
  await store.close();
  expect((await bridgeErrorOf(store.get("a"))).message).toBe("the state store is closed");
});
