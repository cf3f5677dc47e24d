import type { ApiFault, Fault } from "#simulator/fault-kinds.ts";
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
import { HOSTILE, type Stage } from "./stage.ts";

// Load balancers that take a connection and let it hang (kubernetes/kubernetes#44557, #99602), proxies that answer with pages of their own or cut
// streams, and an API server that somebody else controls.

const MIB = 1 << 20;
const TIMEOUT = { limit: "METRICS_COLLECTION_TIMEOUT", lift: { env: { METRICS_COLLECTION_TIMEOUT: "60" } } };

const faults =
  (...list: Fault[]): Behaviour["set"] =>
  ({ simulator }) =>
    simulator.faults.set(HOSTILE, ...list);
type Without<T> = T extends unknown ? Omit<T, "layer"> : never;
const api = (fault: Without<ApiFault>): Behaviour["set"] => faults({ layer: "api", ...fault });
const raw = (answer: RawAnswer): Behaviour["set"] => api({ kind: "raw", resource: "services", raw: answer });
const flood = (resource: string, answer: Flood): Behaviour["set"] =>
  api({ kind: "flood", resource, flood: answer });
const answer = (resource: string, body: object, status = 200): Behaviour["set"] =>
  api({ kind: "answer", resource, status, contentType: "application/json", body: JSON.stringify(body) });
const tokenOf = ({ simulator }: Stage): string => simulator.cluster(HOSTILE).token;
const answerLimit = (name: string, value: string): Pick<Behaviour, "limit" | "lift"> => ({
  limit: `ANSWER_LIMITS.${name}`,
  lift: { source: [[`${name}: ${value}`, `${name}: 1e12`]] },
});

export const API_SERVER: readonly Behaviour[] = [
  {
    name: "takes connections and says nothing, not even in TLS",
    ...TIMEOUT,
    set: api({ kind: "mute" }),
    code: "cluster_timeout",
    says: /did not answer to .* in \d+ ms/,
  },
  {
    name: "reads the request and never answers",
    ...TIMEOUT,
    set: api({ kind: "hang", resource: "services" }),
    code: "cluster_timeout",
    says: /did not answer to get service/,
  },
  {
    name: "sends a header line now and then",
    ...TIMEOUT,
    set: raw(DRIPPED_HEADERS),
    code: "cluster_timeout",
    says: /did not answer to get service/,
  },
  {
    name: "sends a byte of the body now and then",
    ...TIMEOUT,
    set: raw(DRIPPED_BODY),
    code: "cluster_timeout",
    says: /did not answer to get service/,
  },
  {
    name: "sends headers without end",
    limit: "Node's limit of headers",
    lift: { env: { NODE_OPTIONS: "--max-http-header-size=1000000000" } },
    set: raw(ENDLESS_HEADERS),
    code: "cluster_unreachable",
    says: /HPE_HEADER_OVERFLOW/,
    quick: true,
  },
  {
    name: "sends interim answers without end",
    ...INTERIM,
    set: raw(ENDLESS_INTERIM),
    code: "cluster_api_error",
    says: /interim answers \(1xx\) to get service/,
  },
  {
    name: "sends a chunk extension with each byte",
    ...TIMEOUT,
    set: raw(CHUNK_EXTENSIONS),
    code: "cluster_timeout",
    says: /did not answer to get service/,
  },
  {
    name: "does not speak HTTP within TLS",
    limit: "HTTP parser",
    lift: { byHand: "nothing to switch off" },
    set: raw(NO_HTTP),
    code: "cluster_unreachable",
    says: /does not speak HTTPS/,
  },
  {
    name: "ends in the middle of the body",
    limit: "an answer must be whole",
    lift: { byHand: "node:http itself fails" },
    set: raw(SHORT_BODY),
    code: "cluster_unreachable",
    says: /the connection was reset/,
  },
  {
    name: "sends a body without end",
    ...answerLimit("bytesMax", "8 << 20"),
    set: flood("services", { open: '{"x":"', piece: "x".repeat(1000), bytes: 400 * MIB }),
    code: "cluster_api_error",
    says: /larger than/,
  },
  {
    name: "sends brackets within brackets",
    ...answerLimit("depthMax", "64"),
    set: flood("services", { open: '{"spec":', piece: "[", bytes: 16 * MIB }),
    code: "cluster_api_error",
    says: /nested deeper than 64/,
    quick: true,
  },
  {
    name: "sends endpoints without end",
    ...answerLimit("valuesMax", "50_000"),
    set: flood("endpointslices", {
      open: '{"items":[{"endpoints":[',
      piece: '{"targetRef":{"kind":"Pod","name":"p#"}},',
      bytes: 31 * MIB,
    }),
    code: "cluster_api_error",
    says: /more than 50000 values/,
  },
  {
    name: "names a port with 60 KB",
    ...answerLimit("textBytesMax", "16 << 10"),
    set: answer("services", { spec: { ports: [{ name: "x".repeat(60_000), port: 9090 }] } }),
    code: "cluster_api_error",
    says: /text of more than 16384 bytes/,
    quick: true,
  },
  {
    name: "sends EndpointSlices without end on one page",
    limit: "SLICES_MAX",
    lift: { source: [["const SLICES_MAX = 2000", "const SLICES_MAX = 1e12"]] },
    set: flood("endpointslices", { open: '{"items":[', piece: "{},", close: "]}", bytes: 31 * MIB }),
    code: "cluster_api_error",
    says: /more than 2000 items/,
  },
  {
    name: "says after each empty page that another follows",
    limit: "POOR_PAGES_MAX",
    lift: { source: [["const POOR_PAGES_MAX = 20", "const POOR_PAGES_MAX = 1e12"]] },
    set: answer("endpointslices", { items: [], metadata: { continue: "more" } }),
    code: "prometheus_pod_not_ready",
  },
  {
    name: "forgets each list at once",
    limit: "RESTARTS_MAX",
    lift: { source: [["const RESTARTS_MAX = 2", "const RESTARTS_MAX = 1e12"]] },
    set: answer("endpointslices", { kind: "Status", code: 410, message: "too old" }, 410),
    code: "cluster_api_error",
    says: /410 to list endpointslices/,
  },
  {
    name: "names nodes without end",
    limit: "NODES_MAX",
    lift: { source: [["const NODES_MAX = 10_000", "const NODES_MAX = 1e12"]] },
    set: flood("nodes", {
      open: '{"items":[',
      piece: '{"metadata":{"name":"n#"}},',
      close: "]}",
      bytes: 31 * MIB,
    }),
    warns: /more than 10000 items/,
  },
  {
    name: "fails with a text without end",
    limit: "ERROR_BODY_BYTES_MAX",
    lift: { source: [["const ERROR_BODY_BYTES_MAX = 64 * 1024", "const ERROR_BODY_BYTES_MAX = 1e12"]] },
    set: raw(endlessError(500, "Internal Server Error")),
    code: "cluster_api_error",
    says: /answered 500 to get service/,
  },
  {
    name: "fails with 60 KB of control characters",
    limit: "TEXT_MAX",
    lift: {
      source: [
        ["const TEXT_MAX = 500", "const TEXT_MAX = 1e9"],
        ["const TEXT_CHARS_MAX = 500", "const TEXT_CHARS_MAX = 1e9"],
      ],
    },
    set: answer(
      "services",
      { kind: "Status", message: "\u001B[2J\u0000\r\n".repeat(1000) + "x".repeat(30_000) },
      500,
    ),
    code: "cluster_api_error",
    says: /^the API server answered 500 to get services [^\p{Cc}]{1,700}$/u,
  },
  {
    name: "quotes the token that it was sent",
    limit: "hideSecrets",
    lift: { source: [["hideSecrets(body, secretsOf(sent))", "body"]] },
    set: async (stage) => {
      const message = `no user has the token ${tokenOf(stage)}`;
      await answer("services", { kind: "Status", message }, 500)(stage);
    },
    code: "cluster_api_error",
    says: /no user has the token/,
    secret: tokenOf,
    quick: true,
  },
  {
    name: "redirects to another cluster",
    limit: "no redirect is followed",
    lift: { byHand: "no code follows redirects" },
    set: async (stage) => {
      await raw(redirect(stage.simulator.cluster("sim-2").apiServerUrl))(stage);
    },
    code: "cluster_api_error",
    says: /answered 307 to get service/,
  },
  {
    name: "answers 429 and asks to wait for a year",
    limit: "no wait within a round",
    lift: { byHand: "no code waits for Retry-After of an API server" },
    set: raw({
      head: "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n",
    }),
    code: "cluster_api_error",
    says: /429/,
  },
  {
    name: "presents a certificate of somebody else",
    limit: "VALIDATE_CERTS",
    lift: { env: { VALIDATE_CERTS: "false" } },
    set: api({ kind: "tls", problem: "untrusted" }),
    code: "cluster_tls_untrusted",
    says: /certificate is not trusted/,
  },
];
