import type { RawAnswer } from "#simulator/raw-answer.ts";
import { ACCEPT, refusal, type Answer } from "../helpers/otlp-collector.ts";
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

// One Collector serves all clusters: here it does harm whenever it gets the hostile cluster's points, and serves the others. Answers above 64 KB
// (open-telemetry/opentelemetry-collector#15386), wrong retryable statuses (#9636, #9892), pages of proxies, counts that can't be.

const TIMEOUT = { limit: "EXPORT_TIMEOUT", lift: { env: { EXPORT_TIMEOUT: "60" } } };
const OTLP_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n";
/** What the bridge sends the Collector in OTLP_HEADERS. */
const COLLECTOR_SECRET = "collector-secret-0123456789";
export const COLLECTOR_ENVIRONMENT = { OTLP_HEADERS: `authorization=Bearer%20${COLLECTOR_SECRET}` };

const to =
  (answer: Answer): Behaviour["set"] =>
  ({ collector }) => {
    collector.onRequest = ({ clusterIds }) => (clusterIds.has(HOSTILE) ? answer : ACCEPT);
  };
const raw = (answer: RawAnswer, isStored = false): Behaviour["set"] =>
  to({ kind: "raw", raw: answer, isStored });

export const COLLECTOR: readonly Behaviour[] = [
  {
    name: "takes the points and never answers",
    ...TIMEOUT,
    set: to({ kind: "hang" }),
    code: "collector_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends a header line now and then",
    ...TIMEOUT,
    set: raw(DRIPPED_HEADERS),
    code: "collector_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends a byte of the body now and then",
    ...TIMEOUT,
    set: raw(DRIPPED_BODY),
    code: "collector_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends headers without end",
    limit: "Node's limit of headers",
    lift: { env: { NODE_OPTIONS: "--max-http-header-size=1000000000" } },
    set: raw(ENDLESS_HEADERS),
    code: "collector_misconfigured",
    says: /UND_ERR_HEADERS_OVERFLOW/,
  },
  {
    name: "sends interim answers without end",
    ...INTERIM,
    set: raw(ENDLESS_INTERIM),
    code: "collector_misconfigured",
    says: /interim answers \(1xx\) without end/,
  },
  {
    name: "sends a success with a chunk extension for each byte",
    ...TIMEOUT,
    // Slow enough that the time is over before the 64 KiB of an answer.
    set: raw(
      { ...CHUNK_EXTENSIONS, head: `${OTLP_HEAD}Transfer-Encoding: chunked\r\n\r\n`, delayMs: 1 },
      true,
    ),
    code: "collector_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends a success without end",
    limit: "ANSWER_BYTES_MAX",
    lift: { source: [["const ANSWER_BYTES_MAX = 64 << 10", "const ANSWER_BYTES_MAX = 512 << 20"]] },
    set: raw(
      {
        head: `${OTLP_HEAD}Transfer-Encoding: chunked\r\n\r\n`,
        piece: `400\r\n${"x".repeat(1024)}\r\n`,
      },
      true,
    ),
    code: "collector_misconfigured",
    says: /answered 200 without an OTLP response/,
  },
  {
    name: "does not speak HTTP",
    limit: "HTTP parser",
    lift: { byHand: "undici itself fails" },
    set: raw(NO_HTTP),
    code: "collector_misconfigured",
    says: /does not speak HTTP/,
    quick: true,
  },
  {
    name: "stores the points and ends in the middle of its answer",
    limit: "an answer must be whole",
    lift: { byHand: "undici itself fails" },
    set: raw(SHORT_BODY, true),
    code: "collector_unavailable",
    says: /closed the connection before its answer was whole/,
  },
  {
    name: "breaks the connection before it answers",
    limit: "an answer must be whole",
    lift: { byHand: "undici itself fails" },
    set: to({ kind: "reset", when: "before", isStored: true }),
    code: "collector_unavailable",
    says: /closed the connection before its answer was whole/,
  },
  {
    name: "asks to wait for a year",
    limit: "EXPORT_RETRY_MAX_ELAPSED",
    lift: {
      source: [["if (clock.monotonic() - startedAt + pause > settings.maxElapsedMs) return result;", ""]],
    },
    set: to(refusal(429, "slow down", { "retry-after": "31536000" })),
    code: "collector_unavailable",
    says: /answered 429: slow down/,
  },
  {
    name: "refuses more points than it was sent",
    limit: "check of the count",
    lift: { byHand: "test/integration/collector-faults.test.ts" },
    set: to({ kind: "impossible", count: 1_000_000 }),
    code: "collector_answer_invalid",
    says: /1000000/,
    quick: true,
  },
  {
    name: "refuses a negative number of points",
    limit: "check of the count",
    lift: { byHand: "test/integration/collector-faults.test.ts" },
    set: to({ kind: "impossible", count: -1 }),
    code: "collector_answer_invalid",
    says: /-1/,
  },
  {
    name: "refuses every point and its parts",
    limit: "isolationRequestsMax",
    lift: { byHand: "test/unit/otlp/exporter.test.ts counts the requests" },
    set: to(refusal(400, "bad data")),
    code: "collector_refused",
    says: /answered 400: bad data/,
  },
  {
    name: "finds every request too large",
    limit: "isolationRequestsMax",
    lift: { byHand: "test/unit/otlp/exporter.test.ts counts the requests" },
    set: to(refusal(413)),
    code: "collector_refused",
    says: /answered 413/,
  },
  {
    name: "answers with a page",
    limit: "an OTLP response must be one",
    lift: { byHand: "a page is no protobuf either" },
    set: to({ kind: "page" }),
    code: "collector_misconfigured",
    says: /without an OTLP response/,
    quick: true,
  },
  {
    name: "redirects to somewhere else",
    limit: "no redirect is followed",
    lift: { byHand: "undici's request follows none" },
    set: raw(redirect("http://127.0.0.1:1/")),
    code: "collector_misconfigured",
    says: /answered 307/,
  },
  {
    name: "fails with a text without end",
    limit: "ANSWER_BYTES_MAX",
    lift: { source: [["const ANSWER_BYTES_MAX = 64 << 10", "const ANSWER_BYTES_MAX = 512 << 20"]] },
    set: raw(endlessError(503, "Service Unavailable")),
    code: "collector_unavailable",
    says: /answered 503/,
  },
  {
    name: "fails with 50 KB of control characters",
    limit: "TEXT_CHARS_MAX",
    lift: { source: [["const TEXT_CHARS_MAX = 500", "const TEXT_CHARS_MAX = 1e9"]] },
    set: to(refusal(429, `${"\u001B[2J\r\n".repeat(1000)}${"x".repeat(30_000)}`)),
    code: "collector_unavailable",
    says: /^the Collector answered 429: [^\p{Cc}]{1,500}$/u,
  },
  {
    name: "quotes the secret that it was sent",
    limit: "createHider",
    lift: { source: [["hide: createHider(secrets),", "hide: (text: string) => text,"]] },
    set: to(refusal(429, `nobody has the token ${COLLECTOR_SECRET}`)),
    code: "collector_unavailable",
    says: /nobody has the token/,
    secret: () => COLLECTOR_SECRET,
    quick: true,
  },
];
