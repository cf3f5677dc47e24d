import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeReadRequest, READ_HEADERS, type AnswerForm } from "#prometheus/remote-read/request.ts";
import type { Window } from "#prometheus/window.ts";
import type { PrometheusFault } from "#simulator/fault-kinds.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { expectAllStoredOnce, expectCutsAreOpen, HOWS } from "../helpers/cut-answers.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";
import { createJumpingClock, type JumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createRandom } from "../helpers/random.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";

// An answer of remote read that ends early, in both forms: each byte position on a cluster of its own, the ways that HTTP knows one round after
// another (faults-truncation.test.ts has the same of the query API).

const CUT = "kube_pod_info";
const MATCHERS = [{ name: "__name__", type: "=", value: CUT } as const];
const LAG_MS = 90_000;
const MINUTE = 60_000;
/** Until each stretch is compared, read again and compared again. */
const PROOF_ROUNDS = 5;
const STEP_MS = 15_000;
const PAUSE_MS = 240_000;
const CHECKSUM_BYTES = 4;
const CLUSTERS = 20;
const SEED = 20_261_130;

/** Each frame of a stream: where it begins, and how many bytes its size has. */
function framesOf(stream: Uint8Array): { start: number; sizeBytes: number; end: number }[] {
  const frames = [];
  for (let start = 0; start < stream.length;) {
    let size = 0;
    let at = start;
    for (let shift = 0; ; shift += 7) {
      size += (stream[at]! & 0x7f) << shift;
      if (stream[at++]! < 0x80) break;
    }
    const end = at + CHECKSUM_BYTES + size;
    frames.push({ start, sizeBytes: at - start, end });
    start = end;
  }
  return frames;
}

/** The border between two frames is no end that can be seen: "at a border" tests what finds it. */
function positionsOf(form: AnswerForm, answer: Uint8Array, random: () => number): number[] {
  const inside = (): number => 1 + Math.floor(random() * (answer.length - 1));
  if (form === "samples") return [0, 1, 2, 3, 50, answer.length - 2, answer.length - 1, inside()];
  const frames = framesOf(answer);
  const middle = frames[Math.floor(frames.length / 2)]!;
  const last = frames.at(-1)!;
  const places = [frames[0]!, middle, last].flatMap(({ start, sizeBytes, end }) => [
    // In the size, before the CRC, in it, behind it, before the last byte.
    ...Array.from({ length: sizeBytes - 1 }, (_, i) => start + 1 + i),
    start + sizeBytes,
    start + sizeBytes + 2,
    start + sizeBytes + CHECKSUM_BYTES,
    end - 1,
  ]);
  const borders = new Set(frames.map(({ end }) => end));
  return [...places, inside(), inside()].filter((at) => !borders.has(at));
}

describe.each([
  { form: "samples", lengthMin: 500 },
  { form: "chunks", lengthMin: 1000 },
] as const)("an answer of remote read in the form of $form", ({ form, lengthMin }) => {
  let clock: JumpingClock;
  let beginMs: number;
  let simulator: Simulator;
  let collector: OtlpCollector;
  let bridge: TestBridge;
  const random = createRandom(SEED);

  beforeAll(async () => {
    clock = createJumpingClock();
    simulator = await startSimulator({ clock, clusters: CLUSTERS, shape: SMALL });
    collector = await startOtlpCollector();
    const environment = { METRICS_BATCH_SIZE: "20" };
    bridge = await startTestBridge({ simulator, collector, clock, metrics: ["up", CUT], environment });
    if (form === "chunks") await readAsChunks(simulator);
    await bridge.collect();
    beginMs = clock.now() - LAG_MS;
    clock.jump(PAUSE_MS);
  });
  afterAll(async () => {
    await bridge?.stop();
    await collector?.stop();
    await simulator?.stop();
  });

  it.each(HOWS)("%s: is never a success, at no byte", { timeout: 20_000 }, async (how) => {
    await simulator.faults.clear();
    clock.jump(STEP_MS);
    const positions: number[] = [];
    for (const [i, { id, prometheusUrl }] of simulator.clusters.entries()) {
      // The window has stayed open since the beginning.
      const window = { fromMs: beginMs, toMs: clock.now() - LAG_MS };
      const answer = await answerOf(prometheusUrl, form, window);
      expect(answer.length).toBeGreaterThan(lengthMin);
      const places = positionsOf(form, answer, random);
      positions[i] = places[i % places.length]!;
      await simulator.faults.set(id, truncated(positions[i], how));
    }
    const round = await bridge.collect();
    await expectCutsAreOpen(bridge, round, { query: CUT, positions, beginMs });
  });

  it("has lost and doubled nothing when a whole answer follows", { timeout: 20_000 }, async () => {
    await simulator.faults.clear();
    clock.jump(STEP_MS);
    for (const { id } of simulator.clusters) simulator.faults.forget(id);
    expect(await bridge.collect()).toMatchObject({ successful: CLUSTERS });
    await expectAllStoredOnce(bridge, collector, simulator);
    for (const { id } of simulator.clusters) {
      const { requests } = simulator.faults.traffic(id);
      expect(requests.some(({ query }) => query?.startsWith(`${CUT}[`))).toBe(false);
    }
  });
});

/** The stream of chunks has no mark of its end: well-formed HTTP around the first frames is an answer with fewer series. */
it(
  "an answer that ends between two frames is taken for a whole one, and the proof of completeness finds what it lacked",
  { timeout: 30_000 },
  async () => {
    const clock = createJumpingClock();
    const simulator = await startSimulator({ clock, clusters: 2, shape: SMALL });
    const collector = await startOtlpCollector();
    const environment = { PROOF_STRETCH: "1m", PROOF_DELAY: "30s" };
    const bridge = await startTestBridge({ simulator, collector, clock, metrics: ["up", CUT], environment });
    const ids = simulator.clusters.map(({ id }) => id);
    try {
      await readAsChunks(simulator);
      expect(await bridge.collect()).toMatchObject({ successful: 2 });
      const window = { fromMs: clock.now() - LAG_MS, toMs: clock.now() - LAG_MS + PAUSE_MS };
      clock.jump(PAUSE_MS);
      for (const [i, { id, prometheusUrl }] of simulator.clusters.entries()) {
        const frames = framesOf(await answerOf(prometheusUrl, "chunks", window));
        const border = frames[Math.floor(frames.length / 2)]!.start;
        await simulator.faults.set(id, truncated(border, i === 0 ? "close" : "complete"));
      }
      expect(await bridge.collect()).toMatchObject({ successful: 2 });
      await simulator.faults.clear();
      for (let round = 0; round < PROOF_ROUNDS; round++) {
        clock.jump(MINUTE);
        expect(await bridge.collect()).toMatchObject({ successful: 2 });
      }
      for (const id of ids) {
        const answer = await fetch(`${bridge.url}/metrics/completeness?cluster=${id}`);
        const { stretches } = (await answer.json()) as {
          stretches: { query: string; to: string; state: string; late: number }[];
        };
        const settled = stretches.filter(({ to }) => Date.parse(to) <= window.toMs);
        expect(settled.filter(({ state }) => state !== "proved")).toEqual([]);
        const late = (name: string): number =>
          settled.reduce((sum, stretch) => sum + (stretch.query === name ? stretch.late : 0), 0);
        expect({ up: late("up"), cut: late(CUT) > 10 }).toEqual({ up: 0, cut: true });
      }
      for (const { id, world } of simulator.clusters) {
        const compared = compareWithExpected(collector, world, await bridge.progress(id));
        expect(compared).toEqual(noDifferences(compared.samples));
      }
    } finally {
      await bridge.stop();
      await collector.stop();
      await simulator.stop();
    }
  },
);

/** The answer that a cluster gives about a window. */
async function answerOf(
  prometheusUrl: string,
  form: AnswerForm,
  { fromMs, toMs }: Window,
): Promise<Uint8Array<ArrayBuffer>> {
  const body = encodeReadRequest({ startMs: fromMs + 1, endMs: toMs, matchers: MATCHERS }, [form]);
  const init = { method: "POST", headers: READ_HEADERS, body: Uint8Array.from(body) };
  const answer = await fetch(`${prometheusUrl}/api/v1/read`, init);
  return new Uint8Array(await answer.arrayBuffer());
}

/** A block of samples that is too large lets the bridge read the query as chunks from then on. */
async function readAsChunks(simulator: Simulator): Promise<void> {
  const place = { layer: "prometheus", path: "/api/v1/read", query: CUT } as const;
  for (const { id } of simulator.clusters)
    await simulator.faults.set(id, { ...place, kind: "remote-read", problem: "bomb", times: 1 });
}

function truncated(atByte: number, how: (typeof HOWS)[number]): PrometheusFault {
  return { layer: "prometheus", path: "/api/v1/read", query: CUT, kind: "truncate", atByte, how };
}
