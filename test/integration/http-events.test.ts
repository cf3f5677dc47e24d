import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { RoundWatch, type LiveCluster } from "#collect/live-rounds.ts";
import { addResult, emptyResult, finishRound, newRound } from "#collect/round-result.ts";
import type { RoundResult } from "#collect/status.ts";
import { BridgeError } from "#errors/error.ts";
import { liveEvents, type LiveEventName } from "#http/live-schemas.ts";
import { HTTP_LIMITS } from "#http/server.ts";
import type { ApiToken } from "#http/tokens.ts";
import { testCluster } from "../helpers/collection.ts";
import { readEvents, type EventReader, type ReadEvent } from "../helpers/event-reader.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { ACCESS, errorOf, startHarness, TOKENS } from "./http-harness.ts";

// GET /metrics/events through real sockets: rounds that the test moves on, and a clock that it moves.

const START_MS = Date.parse("2025-06-01T12:00:00Z");
const FEW = "few-token-0123456789";
const bearer = (token: string): RequestInit => ({ headers: { authorization: `Bearer ${token}` } });
const FEW_TOKEN: ApiToken = {
  name: "few",
  sha256: createHash("sha256").update(FEW).digest("hex"),
  scopes: ["read"],
  clusters: ["a"],
};

let ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.toReversed()) await end();
  ends = [];
});

async function start(limits: object = {}) {
  const clock = createManualClock(START_MS);
  const watch = new RoundWatch(clock);
  const harness = await startHarness({
    access: { ...ACCESS, tokens: [...ACCESS.tokens, FEW_TOKEN] },
    deps: { clock, liveRounds: watch },
    settings: { limits },
  });
  ends.push(async () => {
    const stopped = harness.server.stop();
    // A client may have opened a connection that it never used.
    clock.advance(HTTP_LIMITS.stopGraceMs);
    await stopped;
  });
  const open = async (token: string = TOKENS.read): Promise<EventReader> => {
    const reader = await readEvents(`${harness.url}/metrics/events`, bearer(token));
    ends.push(() => reader.leave());
    return reader;
  };
  /** Reads up to an event of this kind, and checks its data against the schema of OpenAPI. */
  const next = async <Name extends LiveEventName>(reader: EventReader, name: Name) => {
    clock.advance(500);
    const { data } = await reader.nextOf(name);
    return liveEvents[name].strict().parse(data) as ReturnType<(typeof liveEvents)[Name]["parse"]>;
  };
  return { ...harness, clock, watch, open, next };
}

/** A round over clusters, which the test moves on. */
function beginRound({ clock, watch }: Awaited<ReturnType<typeof start>>, ids: string[], busy: string[] = []) {
  const clusters = ids.map((id) => testCluster(id));
  const round = newRound(
    "request",
    clusters,
    clusters.filter(({ id }) => busy.includes(id)),
    clock.now(),
  );
  watch.roundStarted(round, clusters);
  const finish = (id: string, points: number, error?: BridgeError): void => {
    const failed = emptyResult(testCluster(id), "failed", error ?? new BridgeError("internal", "none"));
    const result = { ...failed, ...(error ? {} : { outcome: "successful" as const, error: null, points }) };
    addResult(round, result);
    watch.clusterFinished(round.id, result);
  };
  const end = (): RoundResult => {
    finishRound(round, clock.now(), 1);
    watch.roundFinished(round);
    return round;
  };
  return { round, finish, end, of: (id: string) => watch.watch(round.id, id) };
}

const statesOf = (clusters: readonly LiveCluster[]): Record<string, string> =>
  Object.fromEntries(clusters.map(({ cluster_id: id, state }) => [id, state]));

function summaryOf({ clusters: _clusters, ...round }: RoundResult): Omit<RoundResult, "clusters"> {
  return round;
}

it("tells a round from its start to its end, and the sums at the end are the round's", async () => {
  const bench = await start();
  const reader = await bench.open();
  expect(reader.answer.status).toBe(200);
  expect(Object.fromEntries(reader.answer.headers)).toMatchObject({
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
    connection: "close",
  });
  expect(reader.answer.headers.has("content-encoding")).toBe(false);
  expect(await bench.next(reader, "state")).toEqual({ rounds: [], clusters: [] });

  const round = beginRound(bench, ["a", "b"]);
  const started = await bench.next(reader, "round_started");
  expect(started.round).toMatchObject({ id: round.round.id, total: 2, finished_at: null });
  expect(statesOf(started.clusters)).toEqual({ a: "waiting", b: "waiting" });

  round.of("a").began();
  const connecting = await bench.next(reader, "progress");
  expect(statesOf(connecting.clusters)).toEqual({ a: "connecting" });
  expect(connecting.clusters[0]?.started_at).toBe(new Date(bench.clock.now() - 500).toISOString());

  const progress = {
    queries: 3,
    queries_done: 1,
    windows: 4,
    points: 50,
    series: 7,
    reading: [{ query: "up", from: "2025-06-01T11:00:00.000Z", to: "2025-06-01T11:05:00.000Z" }],
  };
  round.of("a").offer(() => progress);
  bench.clock.advance(500);
  const reading = await bench.next(reader, "progress");
  expect(reading.clusters).toMatchObject([{ cluster_id: "a", state: "reading", progress, result: null }]);

  const message = "refused for Bearer abcdefgh12345678";
  const error = new BridgeError("cluster_unauthorized", message, { details: { token: "abcdefgh" } });
  round.finish("b", 0, error);
  const failed = await bench.next(reader, "progress");
  expect(failed.rounds).toMatchObject([{ failed: 1, successful: 0, finished_at: null }]);
  const { error: told } = failed.clusters[0]?.result ?? {};
  expect(told).toMatchObject({ code: "cluster_unauthorized", hint: error.hint });
  expect(JSON.stringify(told)).not.toContain("abcdefgh");

  round.finish("a", 60);
  const ended = round.end();
  const finished = await bench.next(reader, "progress");
  expect(finished.clusters).toMatchObject([
    { cluster_id: "a", state: "finished", progress: { points: 60, reading: [] }, result: { points: 60 } },
  ]);
  expect((await bench.next(reader, "round_finished")).round).toEqual(summaryOf(ended));
  expect(ended).toMatchObject({ total: 2, successful: 1, failed: 1, points: 60 });

  // Who comes later gets the last round as it ended.
  const late = await bench.next(await bench.open(), "state");
  expect(late.rounds).toEqual([summaryOf(ended)]);
  expect(statesOf(late.clusters)).toEqual({ a: "finished", b: "finished" });
});

it("gives who comes in the middle of a round the state so far", async () => {
  const bench = await start();
  const round = beginRound(bench, ["a", "b", "c"], ["c"]);
  round.of("a").began();
  const state = await bench.next(await bench.open(), "state");
  expect(state.rounds).toEqual([summaryOf(round.round)]);
  expect(statesOf(state.clusters)).toEqual({ a: "connecting", b: "waiting", c: "finished" });
});

it("does not show a round that found every cluster busy", async () => {
  const bench = await start();
  const reader = await bench.open();
  await bench.next(reader, "state");
  beginRound(bench, ["a"], ["a"]).end();
  const { round } = beginRound(bench, ["b"]);
  expect((await bench.next(reader, "round_started")).round.id).toBe(round.id);
});

it("tells the rounds in their order, with the clusters of each before its end", async () => {
  const bench = await start();
  const reader = await bench.open();
  await bench.next(reader, "state");
  const first = beginRound(bench, ["a"]);
  await bench.next(reader, "round_started");
  first.finish("a", 1);
  first.end();
  const second = beginRound(bench, ["a"]);
  second.of("a").began();
  bench.clock.advance(500);
  const events: ReadEvent[] = [];
  for (let i = 0; i < 3; i++) events.push((await reader.next())!);
  expect(events.map(({ event }) => event)).toEqual(["progress", "round_finished", "round_started"]);
  expect(events.map(({ id }) => Number(id))).toEqual([3, 4, 5]);
  expect(events[2]?.data).toMatchObject({ clusters: [{ state: "connecting" }] });
});

it("looks at progress only while somebody reads", async () => {
  const bench = await start();
  const round = beginRound(bench, ["a"]);
  const read = vi.fn<() => null>(() => null);
  round.of("a").began();
  round.of("a").offer(read);
  bench.clock.advance(60_000);
  expect(read).not.toHaveBeenCalled();
  const before = bench.clock.pending();
  const reader = await bench.open();
  await bench.next(reader, "state");
  bench.clock.advance(1000);
  expect(read).toHaveBeenCalled();
  reader.leave();
  await vi.waitFor(() => expect(bench.clock.pending()).toBe(before));
});

it("sends a comment every 15 s", async () => {
  const bench = await start();
  const reader = await bench.open();
  await bench.next(reader, "state");
  bench.clock.advance(15_000);
  expect((await reader.next())?.event).toBe("comment");
  bench.clock.advance(15_000);
  expect((await reader.next())?.event).toBe("comment");
});

it("shows a token for some clusters these, and rounds as if they had only these", async () => {
  const bench = await start();
  const reader = await bench.open(FEW);
  await bench.next(reader, "state");
  const round = beginRound(bench, ["a", "b"]);
  const started = await bench.next(reader, "round_started");
  expect(started).toMatchObject({ round: { total: 1 }, clusters: [{ cluster_id: "a" }] });
  round.finish("b", 1000);
  round.of("a").began();
  const progress = await bench.next(reader, "progress");
  expect(progress).toMatchObject({ rounds: [{ total: 1, successful: 0, points: 0 }] });
  expect(statesOf(progress.clusters)).toEqual({ a: "connecting" });
  round.finish("a", 5);
  round.end();
  const { round: sums } = await bench.next(reader, "round_finished");
  expect(sums).toMatchObject({ total: 1, successful: 1, points: 5 });
});

it("ends a stream when its token is removed or changed, and leaves the others", async () => {
  const bench = await start();
  const [few, all] = [await bench.open(FEW), await bench.open()];
  await Promise.all([bench.next(few, "state"), bench.next(all, "state")]);
  bench.server.replaceTokens([...ACCESS.tokens, { ...FEW_TOKEN, clusters: ["a", "b"] }]);
  expect(await few.rest()).toMatchObject([{ event: "end", data: { error: { code: "unauthenticated" } } }]);
  const wider = await bench.open(FEW);
  await bench.next(wider, "state");
  // The same rights in another entry of the file change nothing.
  bench.server.replaceTokens([{ ...FEW_TOKEN, clusters: ["b", "a"] }, ...ACCESS.tokens]);
  beginRound(bench, ["a", "b"]);
  expect((await bench.next(wider, "round_started")).round.total).toBe(2);
  bench.server.replaceTokens(ACCESS.tokens);
  expect((await wider.rest()).at(-1)?.event).toBe("end");
  expect((await bench.next(all, "round_started")).round.total).toBe(2);
  expect(await (await bench.open(FEW)).answer.json()).toMatchObject({ error: { code: "unauthenticated" } });
});

it("ends every stream at once when the server stops", async () => {
  const bench = await start();
  const readers = [await bench.open(), await bench.open()];
  await Promise.all(readers.map((reader) => bench.next(reader, "state")));
  // No time passes: the grace period of requests is not used.
  await bench.server.stop();
  for (const reader of readers) {
    expect(await reader.rest()).toMatchObject([{ event: "end", data: { error: { code: "shutting_down" } } }]);
  }
});

it("refuses streams beyond the limits, and takes others when some have ended", async () => {
  const bench = await start({ streamsMax: 3, streamsPerCallerMax: 2 });
  const readers = [await bench.open(), await bench.open()];
  const refused = (await bench.open()).answer;
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "10"]);
  expect(await errorOf(refused)).toMatchObject({ code: "too_many_streams", details: { limit: "caller" } });
  expect((await bench.open(FEW)).answer.status).toBe(200);
  expect(await errorOf((await bench.open(TOKENS.admin)).answer)).toMatchObject({ details: { limit: "all" } });
  readers[0]!.leave();
  await vi.waitFor(async () => {
    const { answer } = await bench.open(TOKENS.admin);
    if (answer.status !== 200) throw new Error(await answer.text());
  });
});

it("serves 100 readers, each with everything", async () => {
  const bench = await start();
  const readers = await Promise.all(Array.from({ length: 100 }, () => bench.open()));
  const round = beginRound(bench, ["a", "b"]);
  round.finish("a", 1);
  round.finish("b", 2);
  const ended = round.end();
  bench.clock.advance(1000);
  // Whatever each saw on the way, it knows the end.
  for (const reader of readers) {
    const { data } = (await reader.next())!;
    expect(liveEvents.state.parse(data).rounds).toEqual([summaryOf(ended)]);
  }
});

it("keeps only the latest for a reader that does not read, and gives it up after a minute", async () => {
  const bench = await start();
  const socket = connect(bench.port, "127.0.0.1");
  ends.push(() => socket.destroy());
  socket.on("error", () => {});
  socket.write(
    `GET /metrics/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKENS.read}\r\n\r\n`,
  );
  await once(socket, "data");
  socket.pause();
  const ids = Array.from({ length: 200 }, (_, i) => `cluster-${i}`);
  const reading = (windows: number) => ({
    queries: 1,
    queries_done: 0,
    windows,
    points: windows,
    series: 1,
    reading: [{ query: "q".repeat(1000), from: "", to: "" }],
  });
  const round = beginRound(bench, ids);
  let windows = 0;
  for (const id of ids) round.of(id).offer(() => reading(windows));
  for (; windows < 400; windows++) {
    bench.clock.advance(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
  // The time of the server stands still from here on: it has given the reader up already.
  let bytes = 0;
  socket.on("data", (chunk) => (bytes += chunk.length));
  await once(socket.resume(), "close");
  // 200 clusters with 1 kB each, 400 times.
  expect(bytes).toBeLessThan(10e6);
});

it("gives a slow reader that reads again the latest state", async () => {
  const bench = await start({ slowMsMax: 3_600_000 });
  const socket = connect(bench.port, "127.0.0.1");
  ends.push(() => socket.destroy());
  socket.write(
    `GET /metrics/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKENS.read}\r\n\r\n`,
  );
  await once(socket, "data");
  socket.pause();
  const text = "q".repeat(100_000);
  let windows = 0;
  let round = beginRound(bench, ["a"]);
  round.of("a").offer(() => ({
    queries: 1,
    queries_done: 0,
    windows,
    points: 0,
    series: 0,
    reading: [{ query: text, from: "", to: "" }],
  }));
  for (; windows < 200; windows++) {
    bench.clock.advance(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
  // More rounds than are kept for it.
  round.finish("a", 1);
  round.end();
  for (let i = 0; i < 5; i++) {
    round = beginRound(bench, ["a"]);
    round.finish("a", i);
    round.end();
  }
  let got = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => (got += chunk));
  socket.resume();
  await vi.waitFor(() => {
    bench.clock.advance(500);
    // The first one, and one instead of all that it missed.
    expect(got.match(/^event: state$/gm)).toHaveLength(2);
    expect(got).toContain(`"id":"${round.round.id}"`);
  });
  expect((got.match(/^event: progress$/gm) ?? []).length).toBeLessThan(150);
});

it("does nothing more for a reader that has gone away", async () => {
  const bench = await start();
  const before = bench.clock.pending();
  const reader = await bench.open();
  await bench.next(reader, "state");
  reader.leave();
  await vi.waitFor(() => expect(bench.clock.pending()).toBe(before));
});
