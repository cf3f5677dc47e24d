import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import { limitShape } from "#allinone/otlp-shape.ts";
import { BridgeError } from "#errors/error.ts";
import { encodeField } from "#otlp/wire.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { toOtlpRequest, writeOtherKinds } from "../../helpers/otlp-request.ts";

const MAX = 100_000;
const EMPTY = Buffer.from([0x0a, 0x00]);
const many = (pair: Buffer, count = MAX + 1): Buffer => Buffer.alloc(pair.length * count, pair);
/** `inner` within fields of these numbers, the outermost first. */
const within = (numbers: readonly number[], inner: Buffer): Buffer =>
  numbers.reduceRight((body, number) => encodeField(number * 8 + 2, body), inner);

const RESOURCE_ATTRIBUTES = [1, 1];
const POINT = [1, 2, 2, 5, 1];
const VALUE = [7, 2];

const limit = async (bytes: Buffer) =>
  await bridgeErrorOf(Promise.resolve().then(() => limitShape(bytes, MAX)));

test.each([
  ["resources", many(EMPTY)],
  ["attributes of a resource", within(RESOURCE_ATTRIBUTES, many(EMPTY))],
  ["scopes", within([1], many(Buffer.from([0x12, 0x00])))],
  ["metrics", within([1, 2], many(Buffer.from([0x12, 0x00])))],
  ["points", within(POINT.slice(0, -1), many(EMPTY))],
  ["attributes of a point", within(POINT, many(Buffer.from([0x3a, 0x00])))],
  ["values in an array", within([...POINT, ...VALUE, 5], many(EMPTY))],
  ["pairs in a map", within([...POINT, ...VALUE, 6], many(EMPTY))],
  ["exemplars", within(POINT, many(Buffer.from([0x2a, 0x00])))],
  ["bounds of a histogram", within([1, 2, 2, 9, 1, 7], Buffer.alloc(MAX + 1))],
  ["packed buckets", within([1, 2, 2, 10, 1, 8, 2], Buffer.alloc(MAX + 1))],
  ["unpacked numbers", within([1, 2, 2, 10, 1, 8], many(Buffer.from([0x10, 0x01])))],
  ["quantiles", within([1, 2, 2, 11, 1], many(Buffer.from([0x32, 0x00])))],
  ["unknown fields", many(Buffer.from([0x78, 0x01]))],
])("too many %s are refused before they are decoded", async (_what, bytes) => {
  expect((await limit(bytes)).code).toBe("body_too_large");
});

test("what is nested too deep is refused", async () => {
  const deep = Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? 5 : 1));
  expect((await limit(within([...POINT, ...VALUE, ...deep], EMPTY))).code).toBe("request_invalid");
});

test("what the decoder takes passes, and what is cut does not", () => {
  const codec = createOtlpCodec();
  const request = toOtlpRequest(
    { a: "b" },
    [{ name: "m", kind: "sum", points: [{ bits: 1n, time: 5n, labels: { x: "y" } }] }],
    (scope) => writeOtherKinds(scope, 7n),
  );
  limitShape(request, MAX);
  expect(codec.decodeRequest(request).resourceMetrics).toHaveLength(1);
  for (let length = 1; length < request.length; length++) {
    expect(() => limitShape(request.subarray(0, length), MAX)).toThrow("not an ExportMetricsServiceRequest");
  }
});

/** The verdict on any bytes; any other failure fails the test. */
function verdictOn(bytes: Uint8Array): string {
  try {
    limitShape(bytes, 100);
    return "passes";
  } catch (error) {
    return error instanceof BridgeError ? error.code : String(error);
  }
}

test("any bytes end with a verdict", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
      expect(["passes", "body_too_large", "request_invalid"]).toContain(verdictOn(bytes));
    }),
  );
});
