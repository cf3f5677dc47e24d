import type { Fault, TunnelFault } from "#simulator/fault-kinds.ts";
import type { RawAnswer } from "#simulator/raw-answer.ts";
import type { Behaviour } from "./behaviour.ts";
import {
  DRIPPED_HEADERS,
  ENDLESS_HEADERS,
  ENDLESS_INTERIM,
  endlessError,
  INTERIM,
  redirect,
} from "./http-bytes.ts";
import { HOSTILE } from "./stage.ts";
import { frame, message, OPCODE } from "./websocket-frames.ts";

// Proxies that strip upgrade headers or answer upgrades themselves (portainer/portainer#12880, kubernetes/kubernetes#67329), kubelets that break off,
// and a server that uses the WebSocket protocol against its client.

const TIMEOUT = { limit: "METRICS_COLLECTION_TIMEOUT", lift: { env: { METRICS_COLLECTION_TIMEOUT: "60" } } };
const WS = { limit: "the WebSocket protocol", lift: { byHand: "ws itself fails" } };
const UPGRADED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

type Without<T> = T extends unknown ? Omit<T, "layer"> : never;
const tunnel =
  (...list: Without<TunnelFault>[]): Behaviour["set"] =>
  ({ simulator }) =>
    simulator.faults.set(HOSTILE, ...list.map((fault): Fault => ({ layer: "tunnel", ...fault })));
/** In place of an answer to the upgrade request. */
const answer = (raw: RawAnswer): Behaviour["set"] => tunnel({ kind: "raw", raw });
/** On the open WebSocket, behind the port messages. */
const frames = (raw: RawAnswer): Behaviour["set"] => tunnel({ kind: "raw", raw, after: "ports" });

export const WEBSOCKET: readonly Behaviour[] = [
  {
    name: "never answers the upgrade request",
    ...TIMEOUT,
    set: tunnel({ kind: "hang-upgrade" }),
    code: "tunnel_timeout",
    says: /port-forward was not ready/,
  },
  {
    name: "answers the upgrade a header line at a time",
    ...TIMEOUT,
    set: answer({ ...DRIPPED_HEADERS, head: UPGRADED }),
    code: "tunnel_timeout",
    says: /port-forward was not ready/,
  },
  {
    name: "answers the upgrade with headers without end",
    limit: "Node's limit of headers",
    lift: { env: { NODE_OPTIONS: "--max-http-header-size=1000000000" } },
    set: answer({ ...ENDLESS_HEADERS, head: UPGRADED }),
    code: "tunnel_protocol",
    says: /WebSocket handshake failed/,
  },
  {
    name: "answers the upgrade with interim answers without end",
    ...INTERIM,
    set: answer(ENDLESS_INTERIM),
    code: "tunnel_protocol",
    says: /interim answers \(1xx\) to the port-forward/,
  },
  {
    name: "refuses the upgrade with a text without end",
    limit: "ERROR_BODY_BYTES_MAX",
    lift: { source: [["const ERROR_BODY_BYTES_MAX = 64 * 1024", "const ERROR_BODY_BYTES_MAX = 1e12"]] },
    set: answer(endlessError(502, "Bad Gateway")),
    code: "cluster_api_error",
    says: /answered 502/,
  },
  {
    name: "redirects the upgrade to another cluster",
    limit: "followRedirects",
    lift: { source: [["followRedirects: false", "followRedirects: true"]] },
    set: async (stage) => {
      await answer(redirect(stage.simulator.cluster("sim-2").apiServerUrl))(stage);
    },
    code: "tunnel_protocol",
    says: /answered 307/,
  },
  {
    name: "accepts the upgrade with a wrong key",
    ...WS,
    set: answer({ head: `${UPGRADED}Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n` }),
    code: "tunnel_protocol",
    says: /Sec-WebSocket-Accept/,
  },
  {
    name: "opens the WebSocket and no port",
    ...TIMEOUT,
    set: tunnel({ kind: "hang" }),
    code: "tunnel_timeout",
    says: /port-forward was not ready/,
  },
  {
    name: "opens the port and sends nothing more",
    ...TIMEOUT,
    set: tunnel({ kind: "stall", afterBytes: 1 }),
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "forwards another port",
    limit: "check of the port messages",
    lift: { source: [["header.readUInt16LE() !== this.#options.port", "false"]] },
    set: tunnel({ kind: "wrong-port" }),
    code: "tunnel_protocol",
    says: /forwards another port/,
  },
  {
    name: "sends text",
    limit: "check of the kind of message",
    lift: { source: [["if (!isBinary || !Buffer.isBuffer(data))", "if (!Buffer.isBuffer(data))"]] },
    set: tunnel({ kind: "text-frame" }),
    code: "tunnel_protocol",
    says: /sent a text message/,
    quick: true,
  },
  {
    name: "uses a channel that nobody opened",
    limit: "check of the channel",
    lift: { source: [["if (channel !== DATA && channel !== ERROR)", "if (false)"]] },
    set: tunnel({ kind: "unknown-channel" }),
    code: "tunnel_protocol",
    says: /used channel 7/,
  },
  {
    name: "announces a message of 2 GiB",
    limit: "MESSAGE_BYTES_MAX",
    lift: { source: [["const MESSAGE_BYTES_MAX = 1024 * 1024", "const MESSAGE_BYTES_MAX = 0"]] },
    set: frames({ head: frame(OPCODE.binary, "\0", { length: 2 ** 31 - 1 }), piece: "x".repeat(1000) }),
    code: "tunnel_protocol",
    says: /WS_ERR_UNSUPPORTED_MESSAGE_LENGTH/,
    quick: true,
  },
  {
    name: "sends a message in parts without end",
    limit: "FRAGMENTS_MAX",
    lift: { source: [["const FRAGMENTS_MAX = 256", "const FRAGMENTS_MAX = 0"]] },
    set: frames({
      head: frame(OPCODE.binary, "\0", { isLast: false }),
      piece: frame(OPCODE.continuation, "x", { isLast: false }),
    }),
    code: "tunnel_protocol",
    says: /WS_ERR_TOO_MANY_BUFFERED_PARTS/,
    quick: true,
  },
  {
    name: "sends pings without end and reads no pong",
    limit: "ws' maxPendingAutoPongs",
    lift: {
      source: [["maxFragments: FRAGMENTS_MAX,", "maxFragments: FRAGMENTS_MAX, maxPendingAutoPongs: 0,"]],
    },
    set: frames({ head: "", piece: frame(OPCODE.ping, "x".repeat(125)) }),
    code: "tunnel_closed",
    says: /broke off/,
  },
  {
    name: "sends messages without content without end",
    ...TIMEOUT,
    set: frames({ head: "", piece: message(0, "") }),
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends an answer before it is asked, a byte a message",
    ...TIMEOUT,
    set: frames({ head: message(0, "HTTP/1.1 200 OK\r\n"), piece: message(0, "x") }),
    code: "prometheus_timeout",
    says: /did not answer in \d s/,
  },
  {
    name: "sends a compressed message that nobody agreed on",
    limit: "perMessageDeflate",
    lift: { byHand: "ws itself fails" },
    set: frames({ head: frame(OPCODE.binary, "\0x", { isCompressed: true }) }),
    code: "tunnel_protocol",
    says: /WS_ERR_UNEXPECTED_RSV_1/,
  },
  {
    name: "sends a frame of a reserved kind",
    ...WS,
    set: frames({ head: frame(OPCODE.reserved, "x") }),
    code: "tunnel_protocol",
    says: /WS_ERR_INVALID_OPCODE/,
  },
  {
    name: "sends a ping of 200 bytes",
    ...WS,
    set: frames({ head: frame(OPCODE.ping, "x".repeat(200)) }),
    code: "tunnel_protocol",
    says: /WS_ERR_/,
  },
  {
    name: "sends a masked frame",
    ...WS,
    set: frames({ head: frame(OPCODE.binary, "\0x", { isMasked: true }) }),
    code: "tunnel_protocol",
    says: /WS_ERR_UNEXPECTED_MASK/,
  },
  {
    name: "closes with bytes that are no text",
    ...WS,
    set: frames({ head: frame(OPCODE.close, "\u0003\u00F3\u00FF\u00FE") }),
    code: "tunnel_protocol",
    says: /WS_ERR_INVALID_UTF8/,
  },
  {
    name: "closes for an internal error, with control characters",
    limit: "remoteText",
    lift: {
      source: [['const text = remoteText(reason.toString("utf8"))', 'const text = reason.toString("utf8")']],
    },
    set: frames({ head: frame(OPCODE.close, "\u0003\u00F3\u001B[2Jpanic\r\n: nil map") }),
    code: "tunnel_closed",
    says: /^the port-forward broke off \(WebSocket code 1011: [^\p{Cc}]*panic[^\p{Cc}]*\)$/u,
    quick: true,
  },
  {
    name: "fails with 900 KB on the error channel",
    limit: "TEXT_MAX",
    lift: {
      source: [
        ["const TEXT_MAX = 500", "const TEXT_MAX = 1e9"],
        ["const TEXT_CHARS_MAX = 500", "const TEXT_CHARS_MAX = 1e9"],
      ],
    },
    set: frames({ head: message(1, `dial tcp \u001B[2J${"x".repeat(900_000)}`) }),
    code: "tunnel_refused",
    says: /^the cluster can't forward to the Pod's port: dial tcp [^\p{Cc}]{1,600}$/u,
  },
  {
    name: "breaks each connection after a kilobyte",
    limit: "UNREACHABLE_MAX",
    lift: { byHand: "the windows that are left are not asked for; without it the round only takes longer" },
    set: tunnel({ kind: "reset", afterBytes: 1000 }),
    code: "tunnel_closed",
    says: /broke off \(WebSocket code 1006\)/,
  },
];
