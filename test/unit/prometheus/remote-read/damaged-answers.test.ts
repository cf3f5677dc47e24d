import { expect, test } from "vitest";
import { createChunkedAnswer } from "#prometheus/remote-read/chunked-answer.ts";
import type { ReadSink } from "#prometheus/remote-read/read-series.ts";
import { RemoteReadError } from "#prometheus/remote-read/remote-read-error.ts";
import { createSamplesAnswer } from "#prometheus/remote-read/samples-answer.ts";
import { crc32c } from "#prometheus/remote-read/crc32c.ts";
import { decompressSnappy, toSnappyBlock } from "#prometheus/remote-read/snappy.ts";
import { createRandom } from "../../../helpers/random.ts";
import {
  optionsOf,
  readPieces,
  recordedAnswer,
  type AnswerForm,
  type RecordedAnswer,
} from "../../../helpers/remote-read-answers.ts";

// Real answers, damaged at random: whatever comes, it is an answer or a RemoteReadError. One that hangs ends by the test's timeout.

const MUTATIONS = Number(process.env["FUZZ_MUTATIONS"] ?? 100_000);
/** With what is not collected yet: decoders are made 100,000 times. */
const HEAP_BYTES_MAX = 256 << 20;
const CHECKSUM_BYTES = 4;
const SEED = 20_261_130;

interface Original {
  form: AnswerForm;
  /** What the frames hold, or each series of the answer with its tag and length. */
  messages: Buffer[];
}

/** A varint's value and the position after it. */
function varintAt(bytes: Buffer, start: number): [value: number, at: number] {
  let value = 0;
  for (let at = start, shift = 0; ; shift += 7) {
    const byte = bytes[at++]!;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
  }
}

function framesOf(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const [size, head] = varintAt(bytes, at);
    at = head + CHECKSUM_BYTES + size;
    messages.push(bytes.subarray(at - size, at));
  }
  return messages;
}

function seriesOf(response: Buffer): Buffer[] {
  const series: Buffer[] = [];
  const [, first] = varintAt(response, 1);
  for (let at = first; at < response.length;) {
    const [size, head] = varintAt(response, at + 1);
    series.push(response.subarray(at, head + size));
    at = head + size;
  }
  return series;
}

/** A ReadResponse with one result. */
function responseOf(series: readonly Buffer[]): Buffer {
  const result = Buffer.concat(series);
  return Buffer.concat([Buffer.of(0x0a), varint(result.length), result]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

const ORIGINALS = (
  [
    "prometheus-2.42.0-chunks",
    "prometheus-2.42.0-samples",
    "prometheus-3.15.0-chunks",
    "prometheus-3.15.0-samples",
    "prometheus-3.15.0-new-encodings-chunks",
  ] satisfies RecordedAnswer[]
).map((name): Original => {
  const whole = recordedAnswer(name);
  return name.endsWith("samples")
    ? { form: "samples", messages: seriesOf(decompressSnappy(whole, 1 << 20)) }
    : { form: "chunks", messages: framesOf(whole) };
});

type Random = (below: number) => number;

const HARMFUL = [0x00, 0x7f, 0x80, 0xff];

function damaged(original: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(original);
  for (let count = 1 + random(3); count > 0 && bytes.length > 0; count--) {
    const at = random(bytes.length);
    const kind = random(6);
    if (kind === 0) bytes[at]! ^= 1 << random(8);
    else if (kind === 1) bytes[at] = HARMFUL[random(HARMFUL.length)]!;
    else if (kind === 2) bytes = bytes.subarray(0, at);
    else if (kind === 3) {
      const inserted = Buffer.from(Array.from({ length: 1 + random(10) }, () => random(256)));
      bytes = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)]);
    } else if (kind === 4) {
      bytes = Buffer.concat([
        bytes.subarray(0, at),
        bytes.subarray(Math.min(bytes.length, at + 1 + random(20))),
      ]);
    } else bytes.copy(bytes, at, random(bytes.length));
  }
  return bytes;
}

/**
 * A few of an answer's frames or series. Half of the damages lie inside, behind a right checksum or in a whole snappy block: there they reach the decoders of messages and
 * chunks.
 */
function mutation({ form, messages }: Original, random: Random): Buffer {
  const isInside = random(2) === 0;
  const some = Array.from({ length: 1 + random(3) }, () => messages[random(messages.length)]!);
  if (isInside) some[0] = damaged(some[0]!, random);
  if (random(4) === 0) some.reverse();
  const answer = form === "chunks" ? Buffer.concat(some.map(frame)) : toSnappyBlock(responseOf(some));
  return isInside ? answer : damaged(answer, random);
}

function frame(message: Buffer): Buffer {
  const checksum = Buffer.alloc(CHECKSUM_BYTES);
  checksum.writeUInt32BE(crc32c(message));
  return Buffer.concat([varint(message.length), checksum, message]);
}

function cutInPieces(bytes: Buffer, random: Random): Buffer[] {
  if (random(2) === 0 || bytes.length === 0) return [bytes];
  const at = random(bytes.length);
  return [bytes.subarray(0, at), bytes.subarray(at)];
}

test(`${MUTATIONS} damaged answers end in an answer or one class of error, in bounded memory`, () => {
  const numbers = createRandom(SEED);
  const random: Random = (below) => Math.floor(numbers() * below);
  let handed = 0;
  const sink: ReadSink = {
    series: ({ sampleCount, timestamps, bytes, labelCount, labels }) => {
      handed += sampleCount;
      if (timestamps[sampleCount - 1] === undefined || labels[labelCount * 4 - 1]! > bytes.length) {
        throw new Error("a series points behind its bytes");
      }
    },
    histogram: (_, { positiveCounts }) => void (handed += positiveCounts.length),
  };
  const ends = new Map<string, number>();
  const strange: string[] = [];
  const heapBefore = process.memoryUsage();
  let heapMax = 0;
  for (let i = 0; i < MUTATIONS; i++) {
    const original = ORIGINALS[i % ORIGINALS.length]!;
    const bytes = mutation(original, random);
    const options = optionsOf(sink);
    const decoder = original.form === "chunks" ? createChunkedAnswer(options) : createSamplesAnswer(options);
    let end = "whole";
    try {
      readPieces(decoder, cutInPieces(bytes, random));
      decoder.end();
    } catch (error) {
      if (error instanceof RemoteReadError) end = error.reason;
      else strange.push(`${i}: ${String(error)}`);
    }
    ends.set(end, (ends.get(end) ?? 0) + 1);
    if (i % 1000 === 0) {
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      heapMax = Math.max(heapMax, heapUsed + arrayBuffers);
    }
  }
  expect(strange.slice(0, 5)).toEqual([]);
  // Each reason was reached, and damages behind a right checksum were read.
  expect([...ends.keys()].toSorted()).toEqual(
    ["checksum", "invalid", "too_large", "truncated", "unknown_encoding", "whole"].toSorted(),
  );
  expect(handed).toBeGreaterThan(MUTATIONS);
  expect(heapMax - heapBefore.heapUsed - heapBefore.arrayBuffers).toBeLessThan(HEAP_BYTES_MAX);
}, 120_000);
