import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createMatrixScanner, SCAN_LIMITS } from "#prometheus/matrix-scanner.ts";
import { createChunkedAnswer } from "#prometheus/remote-read/chunked-answer.ts";
import { crc32c } from "#prometheus/remote-read/crc32c.ts";
import type { ReadOptions } from "#prometheus/remote-read/read-series.ts";
import { createSamplesAnswer } from "#prometheus/remote-read/samples-answer.ts";
import { decompressSnappy, toSnappyBlock } from "#prometheus/remote-read/snappy.ts";
import {
  bitsOf,
  encodeChunkedSeries,
  encodeFrame,
  encodeReadResponse,
  encodeXor,
  type FloatSample,
} from "../helpers/remote-read-encoder.ts";
import { answerChunks, windowOf } from "./workload.ts";

// Decoding the same samples as chunks and as samples of remote read, and as JSON of the query API: samples a second of processor time, and memory.
// Each in a process of its own, from pieces of 64 KiB.

const WORKLOAD = { series: 300, samplesPerSeries: 240 };
const CHUNK_SAMPLES = 120;
const PIECE_BYTES = 64 << 10;
const RUNS = 60;
const WARM_UPS = 20;
const FORMS = ["matrix", "chunks", "samples"] as const;
type Form = (typeof FORMS)[number];

interface Matrix {
  data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
}

function encodeAll(): Record<Form, Buffer> {
  const matrix = Buffer.concat([...answerChunks(WORKLOAD, PIECE_BYTES)]);
  const { data } = JSON.parse(matrix.toString()) as Matrix;
  const series = data.result.map(({ metric, values }) => ({
    labels: Object.entries(metric),
    samples: values.map(([t, v]): FloatSample => ({ t: Math.round(t * 1000), bits: bitsOf(Number(v)) })),
  }));
  const frames = series.map(({ labels, samples }) => {
    const chunks = Array.from({ length: Math.ceil(samples.length / CHUNK_SAMPLES) }, (_, i) => ({
      encoding: 1,
      data: encodeXor(samples.slice(i * CHUNK_SAMPLES, (i + 1) * CHUNK_SAMPLES)),
    }));
    return encodeFrame(encodeChunkedSeries(labels, chunks));
  });
  return { matrix, chunks: Buffer.concat(frames), samples: toSnappyBlock(encodeReadResponse(series)) };
}

/** Returns how many samples there were. */
function decode(form: Form, pieces: readonly Buffer[]): number {
  const window = windowOf(WORKLOAD);
  const sink = { series: () => {}, histogram: () => {} };
  const options: ReadOptions = { sink, window, limits: SCAN_LIMITS, hide: (words) => words };
  if (form === "matrix") {
    const scanner = createMatrixScanner(sink, window);
    for (const piece of pieces) for (let at = 0; at < piece.length;) at = scanner.scan(piece, at);
    return scanner.end().samples;
  }
  const decoder = form === "chunks" ? createChunkedAnswer(options) : createSamplesAnswer(options);
  for (const piece of pieces) for (let at = 0; at < piece.length;) at = decoder.scan(piece, at);
  while (decoder.drain());
  return decoder.end().samples;
}

function cpuSeconds(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
}

function measure(form: Form, file: string): string {
  const bytes = readFileSync(file);
  const pieces = Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, i) =>
    bytes.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES),
  );
  const before = process.memoryUsage.rss();
  const seconds: number[] = [];
  let samples = 0;
  for (let run = 0; run < WARM_UPS + RUNS; run++) {
    const taken = cpuSeconds(() => (samples = decode(form, pieces)));
    if (run >= WARM_UPS) seconds.push(taken);
  }
  const sorted = seconds.toSorted((a, b) => a - b);
  const perSecond = (taken: number): string => (samples / taken / 1e6).toFixed(1);
  const grownMb = (process.resourceUsage().maxRSS / 1024 - before / 2 ** 20).toFixed(0);
  const speed = `${perSecond(sorted[RUNS >> 1]!)} M samples/s (best ${perSecond(sorted[0]!)})`;
  return `${form.padEnd(8)} ${speed}, ${(bytes.length / samples).toFixed(1)} B a sample, peak RSS +${grownMb} MB`;
}

const [, , form, file] = process.argv;
if (form && file) console.log(measure(form as Form, file));
else {
  const folder = mkdtempSync(join(tmpdir(), "bench-remote-read-"));
  try {
    console.log(`${WORKLOAD.series} series of ${WORKLOAD.samplesPerSeries} samples with 12 labels`);
    const all = encodeAll();
    for (const each of FORMS) {
      const path = join(folder, each);
      writeFileSync(path, all[each]);
      const { stdout, stderr } = spawnSync(process.execPath, [import.meta.filename, each, path], {
        encoding: "utf8",
      });
      console.log(stdout.trim() || stderr);
    }
    const mebibyte = Buffer.alloc(1 << 20, "0123456789abcdef");
    const rateOf = (work: () => unknown): string => {
      for (let i = 0; i < 20; i++) work();
      return (
        100 /
        1024 /
        cpuSeconds(() => {
          for (let i = 0; i < 100; i++) work();
        })
      ).toFixed(2);
    };
    console.log(`CRC-32C: ${rateOf(() => crc32c(mebibyte))} GiB/s`);
    const block = toSnappyBlock(mebibyte);
    console.log(`snappy, literals: ${rateOf(() => decompressSnappy(block, 1 << 20))} GiB/s`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
