import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { encodeReadRequest, READ_HEADERS } from "#prometheus/remote-read/request.ts";
import { decompressSnappy } from "#prometheus/remote-read/snappy.ts";

/** Of prompb/remote.proto and prompb/types.proto. */
const ReadRequest = protobuf
  .parse(
    `syntax = "proto3";
     message LabelMatcher { int32 type = 1; string name = 2; string value = 3; }
     message Query { int64 start_timestamp_ms = 1; int64 end_timestamp_ms = 2; repeated LabelMatcher matchers = 3; }
     message ReadRequest { repeated Query queries = 1; repeated int32 accepted_response_types = 2; }`,
    { keepCase: true },
  )
  .root.lookupType("ReadRequest");

function decode(body: Buffer): unknown {
  const message = ReadRequest.decode(decompressSnappy(body, 1 << 20));
  return ReadRequest.toObject(message, { longs: Number, defaults: true });
}

test("a request has one query, its matchers and the forms of answer in their order", () => {
  const body = encodeReadRequest(
    {
      startMs: 1_767_225_600_001,
      endMs: 1_767_225_900_000,
      matchers: [
        { type: "=", name: "__name__", value: "up" },
        { type: "!=", name: "job", value: "" },
        { type: "=~", name: "pod", value: "ä.*" },
        { type: "!~", name: "node", value: "x" },
      ],
    },
    ["chunks", "samples"],
  );
  expect(decode(body)).toEqual({
    queries: [
      {
        start_timestamp_ms: 1_767_225_600_001,
        end_timestamp_ms: 1_767_225_900_000,
        matchers: [
          { type: 0, name: "__name__", value: "up" },
          { type: 1, name: "job", value: "" },
          { type: 2, name: "pod", value: "ä.*" },
          { type: 3, name: "node", value: "x" },
        ],
      },
    ],
    accepted_response_types: [1, 0],
  });
  expect(READ_HEADERS["x-prometheus-remote-read-version"]).toBe("0.1.0");
});

test("times before the epoch are negative numbers of 64 bits", () => {
  const body = encodeReadRequest({ startMs: -5, endMs: 0, matchers: [] }, ["samples"]);
  expect(decode(body)).toMatchObject({ queries: [{ start_timestamp_ms: -5, end_timestamp_ms: 0 }] });
});
