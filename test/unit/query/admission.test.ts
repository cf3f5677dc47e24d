import { expect, test } from "vitest";
import { createQueryAdmission } from "#query/admission.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const NEVER = new AbortController().signal;

/** Lets every promise reaction that is due run. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** `parallelMax: 2, queueMax: 4, timeoutMs: 30_000`; each request runs until it is finished by name. */
function scenario() {
  const clock = createManualClock();
  const admission = createQueryAdmission({ clock }, { parallelMax: 2, queueMax: 4, timeoutMs: 30_000 });
  const finish = new Map<string, () => void>();
  const started: string[] = [];
  const send = (name: string, signal: AbortSignal = NEVER): Promise<string> =>
    admission.run(name[0]!, signal, async () => {
      started.push(name);
      await new Promise<void>((resolve) => finish.set(name, resolve));
      return name;
    });
  return { clock, admission, started, send, finish: (name: string) => finish.get(name)!() };
}

test("runs as many at once as it may, then the next one", async () => {
  const { started, send, finish, clock } = scenario();
  const all = ["a1", "a2", "a3"].map((name) => send(name));
  await settled();
  expect(started).toEqual(["a1", "a2"]);
  finish("a1");
  await settled();
  expect(started).toEqual(["a1", "a2", "a3"]);
  finish("a2");
  finish("a3");
  expect(await Promise.all(all)).toEqual(["a1", "a2", "a3"]);
  expect(clock.pending()).toBe(0);
});

test("a caller may hold half of the queue, all callers the whole", async () => {
  const { started, send } = scenario();
  for (const name of ["a1", "a2", "a3", "a4"]) void send(name);
  const own = await bridgeErrorOf(send("a5"));
  expect([own.code, own.httpStatus, own.details]).toEqual([
    "query_busy",
    429,
    { limit: "caller", retry_after_seconds: 5 },
  ]);
  for (const name of ["b1", "c1"]) void send(name);
  const full = await bridgeErrorOf(send("d1"));
  expect([full.code, full.details?.["limit"]]).toEqual(["query_busy", "queue"]);
  expect(started).toEqual(["a1", "a2"]);
});

test("the caller with the fewest running requests is next, however many another one has waiting before", async () => {
  const { started, send, finish } = scenario();
  for (const name of ["a1", "a2", "a3", "a4", "b1", "b2"]) void send(name);
  for (const name of ["a1", "a2", "b1", "a3"]) {
    await settled();
    finish(name);
  }
  await settled();
  expect(started).toEqual(["a1", "a2", "b1", "a3", "b2", "a4"]);
});

test("waiting counts as time", async () => {
  const { clock, started, send, finish } = scenario();
  const first = [bridgeErrorOf(send("a1")), bridgeErrorOf(send("a2"))];
  clock.advance(20_000);
  const waiting = bridgeErrorOf(send("b1"));
  clock.advance(10_000);
  for (const error of await Promise.all(first)) expect(error.code).toBe("query_timeout");
  await settled();
  expect(started).toEqual(["a1", "a2", "b1"]);
  clock.advance(19_999);
  await settled();
  finish("a1");
  clock.advance(1);
  const error = await waiting;
  expect([error.code, error.httpStatus, error.details]).toEqual(["query_timeout", 504, { limit: "time" }]);
  expect(error.message).toContain("30 s");
  expect(clock.pending()).toBe(0);
});

test("who waits too long never runs, and leaves the queue", async () => {
  const { clock, started, send, admission } = scenario();
  const endless = [1, 2].map((index) =>
    bridgeErrorOf(admission.run(`x${index}`, NEVER, () => new Promise(() => {}))),
  );
  clock.advance(1000);
  const waiting = ["a1", "a2", "b1", "b2"].map((name) => bridgeErrorOf(send(name)));
  clock.advance(28_000);
  await settled();
  expect(started).toEqual([]);
  clock.advance(500);
  expect((await bridgeErrorOf(send("c1"))).code).toBe("query_busy");
  clock.advance(500);
  await Promise.all(endless);
  clock.advance(1000);
  const errors = await Promise.all(waiting);
  expect(errors.map(({ code }) => code)).toEqual(Array(4).fill("query_timeout"));
});

test("a client that goes away frees its place, waiting or running", async () => {
  const { started, send, finish } = scenario();
  const [running, waiting] = [new AbortController(), new AbortController()];
  const gone = new Error("the client is gone");
  const first = send("a1", running.signal);
  void send("a2");
  const second = send("b1", waiting.signal);
  const third = send("c1");
  waiting.abort(gone);
  await expect(second).rejects.toBe(gone);
  running.abort(gone);
  await expect(first).rejects.toBe(gone);
  await settled();
  expect(started).toEqual(["a1", "a2", "c1"]);
  finish("c1");
  expect(await third).toBe("c1");
  await expect(send("d1", running.signal)).rejects.toBe(gone);
});

test("an error frees the place", async () => {
  const { admission, send, finish } = scenario();
  for (let i = 0; i < 5; i++) {
    await expect(admission.run("a", NEVER, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  }
  const after = send("a1");
  await settled();
  finish("a1");
  expect(await after).toBe("a1");
});
