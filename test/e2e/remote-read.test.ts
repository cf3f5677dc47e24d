import { expect, test } from "vitest";
import { encodeReadRequest, READ_HEADERS } from "#prometheus/remote-read/request.ts";
import { decodeAnswer } from "../helpers/remote-read-answers.ts";
import {
  byName,
  expectedSeries,
  toHistogramWriteRequest,
  WRITTEN_WINDOW,
  writtenSeries,
} from "../helpers/remote-read-scenario.ts";
import { remoteWrite, startPrometheus } from "./prometheus.ts";

// What a real Prometheus got by remote write, floats with each payload of NaN and native histograms, and what it gives back by remote read in both forms.
// The answers in test/fixtures/remote-read are those of this test.

const ANSWER_TYPES = {
  samples: "application/x-protobuf",
  chunks: "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
} as const;

test.each([
  { version: "2.42.0", written: writtenSeries("2.42"), features: ["native-histograms"] },
  { version: "3.15.0", written: writtenSeries("3"), features: [] },
  {
    version: "3.15.0",
    written: writtenSeries("3"),
    features: ["xor2-encoding", "histograms-st-encoding", "st-storage"],
  },
])("Prometheus $version gives back each bit, features $features", async ({ version, written, features }) => {
  const prometheus = await startPrometheus({ version, features });
  try {
    const { host, port } = prometheus.address;
    const origin = `http://${host}:${port}`;
    await remoteWrite(origin, toHistogramWriteRequest(written));
    for (const form of ["samples", "chunks"] as const) {
      const query = {
        startMs: WRITTEN_WINDOW.fromMs + 1,
        endMs: WRITTEN_WINDOW.toMs,
        matchers: [{ type: "=~", name: "__name__", value: "written_.*" }] as const,
      };
      const answer = await fetch(`${origin}/api/v1/read`, {
        method: "POST",
        headers: READ_HEADERS,
        body: encodeReadRequest(query, [form]),
      });
      expect(answer.headers.get("content-type")).toBe(ANSWER_TYPES[form]);
      const bytes = Buffer.from(await answer.arrayBuffer());
      expect(byName(decodeAnswer(form, [bytes], WRITTEN_WINDOW))).toEqual(expectedSeries(written, form));
    }
  } finally {
    await prometheus.stop();
  }
});
