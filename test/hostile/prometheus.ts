import type { PrometheusFault } from "#simulator/fault-kinds.ts";
import type { Flood } from "#simulator/flood.ts";
import type { RawAnswer } from "#simulator/raw-answer.ts";
import type { Behaviour } from "./behaviour.ts";
import {
  CHUNK_EXTENSIONS,
  DRIPPED_BODY,
  DRIPPED_HEADERS,
  ENDLESS_HEADERS,
  ENDLESS_INTERIM,
  INTERIM,
  endlessError,
  NO_HTTP,
  redirect,
  SHORT_BODY,
} from "./http-bytes.ts";
import { HOSTILE } from "./stage.ts";

// Proxies that compress what nobody asked to be compressed (prometheus-community/prom-label-proxy#35), backends that tell warnings and partial answers
// in their own way (thanos-io/thanos#622, #1129), and exporters whose labels or names grow without bound.

const MIB = 1 << 20;
const TIMEOUT = { limit: "METRICS_COLLECTION_TIMEOUT", lift: { env: { METRICS_COLLECTION_TIMEOUT: "60" } } };
const MATRIX = '{"status":"success","data":{"resultType":"matrix","result":[';
const OK_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

type Without<T> = T extends unknown ? Omit<T, "layer" | "query" | "path"> : never;
const prometheus =
  (place: { query?: string; path?: string }) =>
  (fault: Without<PrometheusFault>): Behaviour["set"] =>
  ({ simulator }) =>
    simulator.faults.set(HOSTILE, { layer: "prometheus", ...place, ...fault });
/** Only one metric is hit; the others of the cluster are read. */
const samples = prometheus({ query: "node_load15[" });
const raw = (answer: RawAnswer): Behaviour["set"] => samples({ kind: "raw", raw: answer });
const flood = (answer: Flood): Behaviour["set"] => samples({ kind: "flood", flood: answer });
const body = (text: string): Behaviour["set"] => samples({ kind: "wrong-shape", body: text });
const extraSeries = (metric: string): Behaviour["set"] => samples({ kind: "extra-series", metric });
/** Prometheus' own time, which windows end by. */
const time = (value: string): Behaviour["set"] =>
  prometheus({ query: "time()" })({
    kind: "wrong-shape",
    body: `{"status":"success","data":{"resultType":"scalar","result":[1,"${value}"]}}`,
  });
const wholeAnswer = (text: string): string => `${OK_HEAD}Content-Length: ${text.length}\r\n\r\n${text}`;

/** Some of these samples are in the window of a round that begins now: it ends 90 s ago. */
function recentSamples(): string {
  const now = Math.floor(Date.now() / 1000);
  return [-93, -92, -91, -90].map((seconds) => `[${now + seconds},"1"]`).join(",");
}

export const PROMETHEUS: readonly Behaviour[] = [
  {
    name: "takes the query and never answers",
    ...TIMEOUT,
    set: samples({ kind: "hang" }),
    outcome: "partial",
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends a header line now and then",
    ...TIMEOUT,
    set: raw(DRIPPED_HEADERS),
    outcome: "partial",
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends a byte of the body now and then",
    ...TIMEOUT,
    set: raw(DRIPPED_BODY),
    outcome: "partial",
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends headers without end",
    limit: "Node's limit of headers",
    lift: { env: { NODE_OPTIONS: "--max-http-header-size=1000000000" } },
    set: raw(ENDLESS_HEADERS),
    outcome: "partial",
    code: "prometheus_unreachable",
    says: /UND_ERR_HEADERS_OVERFLOW/,
  },
  {
    name: "sends interim answers without end",
    ...INTERIM,
    set: raw(ENDLESS_INTERIM),
    outcome: "partial",
    code: "prometheus_unexpected_answer",
    says: /interim answers \(1xx\) without end/,
  },
  {
    name: "sends a chunk extension with each byte",
    ...TIMEOUT,
    set: raw(CHUNK_EXTENSIONS),
    outcome: "partial",
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "does not speak HTTP",
    limit: "HTTP parser",
    lift: { byHand: "undici itself fails" },
    set: raw(NO_HTTP),
    outcome: "partial",
    code: "prometheus_unexpected_answer",
    says: /does not speak HTTP/,
  },
  {
    name: "ends in the middle of the body",
    limit: "an answer must be whole",
    lift: { byHand: "undici itself fails" },
    set: raw(SHORT_BODY),
    outcome: "partial",
    code: "prometheus_answer_truncated",
  },
  {
    name: "answers a query and, unasked, the next one",
    limit: "one answer for each request",
    lift: { byHand: "undici itself fails" },
    set: raw({ head: wholeAnswer(`${MATRIX}]}}`) + wholeAnswer(`${MATRIX}]}}`) }),
  },
  {
    name: "compresses its answer in a way that can't be read",
    limit: "check of Content-Encoding",
    lift: { source: [['if (encoding === "") return body', "if (true) return body"]] },
    set: raw({
      head: `${OK_HEAD}Content-Encoding: br\r\nContent-Length: 20\r\n\r\n\u001F\u008B`,
      piece: "\0",
    }),
    outcome: "partial",
    code: "prometheus_unexpected_answer",
    says: /compressed \(br\)/,
    quick: true,
  },
  {
    name: "redirects to somewhere else",
    limit: "no redirect is followed",
    lift: { byHand: "undici's request follows none" },
    set: raw(redirect("http://127.0.0.1:1/")),
    outcome: "partial",
    code: "prometheus_unexpected_answer",
    says: /answered 307/,
  },
  {
    name: "sends one label without end",
    ...TIMEOUT,
    set: raw({ head: `${OK_HEAD}\r\n${MATRIX}{"metric":{"a":"`, piece: "x".repeat(1000) }),
    outcome: "partial",
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "has a series with a label of 70 KB",
    limit: "labelBytesMax",
    lift: { source: [["labelBytesMax: 64 << 10", "labelBytesMax: 1e9"]] },
    set: extraSeries(`{"__name__":"node_load15","annotation":"${"x".repeat(70_000)}"}`),
    outcome: "partial",
    code: "prometheus_label_too_large",
    says: /"annotation"/,
    quick: true,
  },
  {
    name: "has a series with 300 labels",
    limit: "labelsMax",
    lift: { source: [["labelsMax: 256", "labelsMax: 1e9"]] },
    set: extraSeries(
      `{"__name__":"node_load15",${Array.from({ length: 300 }, (_, i) => `"l${i}":"v"`).join(",")}}`,
    ),
    outcome: "partial",
    code: "prometheus_label_too_large",
    says: /more than 256 labels/,
  },
  {
    name: "has a label with half of a surrogate pair",
    limit: "check of UTF-8",
    lift: { byHand: "the label's bytes can't be written without it" },
    set: extraSeries(String.raw`{"__name__":"node_load15","bad":"\ud800"}`),
    outcome: "partial",
    code: "prometheus_answer_invalid",
    says: /"bad" is not valid/,
  },
  {
    name: "nests brackets without end",
    limit: "DEPTH_MAX",
    lift: { source: [["const DEPTH_MAX = 64", "const DEPTH_MAX = 1e6"]] },
    set: flood({ open: MATRIX, piece: "[", bytes: 16 * MIB }),
    outcome: "partial",
    code: "prometheus_answer_invalid",
    says: /an object as a series/,
  },
  {
    name: "sends a megabyte beside its series",
    limit: "FRAME_BYTES_MAX",
    lift: { source: [["const FRAME_BYTES_MAX = 256 << 10", "const FRAME_BYTES_MAX = 1e12"]] },
    set: body(`{"status":"success","x":"${"y".repeat(MIB)}","data":{"resultType":"matrix","result":[]}}`),
    outcome: "partial",
    code: "prometheus_answer_invalid",
    says: /too much beside its series/,
    quick: true,
  },
  {
    name: "makes up a name for each series",
    limit: "TYPES_BYTES_MAX",
    lift: { source: [["const TYPES_BYTES_MAX = 1 << 20", "const TYPES_BYTES_MAX = 1e12"]] },
    set: async (stage) => {
      const piece = `{"metric":{"__name__":"name_of_a_metric_#"},"values":[${recentSamples()}]},`;
      await flood({ open: MATRIX, piece, close: "]}}", bytes: 32 * MIB })(stage);
    },
    outcome: "partial",
    code: "prometheus_too_many_metrics",
    says: /so many names of metrics/,
  },
  {
    name: "writes a value as a hexadecimal number",
    limit: "check of values",
    lift: { byHand: "see test/unit/prometheus" },
    set: body(`${MATRIX}{"metric":{},"values":[[1,"0x10"]]}]}}`),
    outcome: "partial",
    code: "prometheus_answer_invalid",
  },
  {
    name: "says that it is not a time",
    limit: "check of time()",
    lift: { source: [["if (!(seconds > 0)) throw", "if (false) throw"]] },
    set: time("NaN"),
    code: "prometheus_answer_invalid",
    says: /time\(\) is not a time/,
  },
  {
    name: "fails with a text without end",
    limit: "ERROR_BYTES_MAX",
    lift: { source: [["const ERROR_BYTES_MAX = 64 << 10", "const ERROR_BYTES_MAX = 1e9"]] },
    set: raw(endlessError(500, "Internal Server Error")),
    outcome: "partial",
    code: "prometheus_unexpected_answer",
    says: /answered 500/,
  },
  {
    name: "fails with 50 KB of control characters",
    limit: "MESSAGE_MAX",
    lift: {
      source: [
        ["const MESSAGE_MAX = 500", "const MESSAGE_MAX = 1e9"],
        ["const TEXT_CHARS_MAX = 500", "const TEXT_CHARS_MAX = 1e9"],
      ],
    },
    set: samples({
      kind: "error",
      status: 422,
      errorType: "execution",
      message: `${"\u001B[2J\r\n".repeat(1000)}${"x".repeat(30_000)}`,
    }),
    outcome: "partial",
    code: "prometheus_query_failed",
    says: /^Prometheus answered 422 execution: [^\p{Cc}]{1,500}$/u,
  },
  {
    name: "answers the metadata with brackets within brackets",
    limit: "depthMax of small answers",
    lift: { source: [["depthMax: 64", "depthMax: 1e9"]] },
    set: prometheus({ path: "/api/v1/metadata" })({
      kind: "flood",
      flood: { open: '{"status":"success","data":', piece: '{"a":', bytes: 16 * MIB },
    }),
    warns: /nested deeper than 64/,
  },
  {
    name: "answers the metadata without end",
    limit: "METRICS_COLLECTION_TIMEOUT",
    lift: { env: { METRICS_COLLECTION_TIMEOUT: "60" } },
    set: prometheus({ path: "/api/v1/metadata" })({
      kind: "raw",
      raw: { ...DRIPPED_BODY },
    }),
    warns: /did not answer in \d s/,
  },
];
