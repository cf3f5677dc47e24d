import type { ServerResponse } from "node:http";
import { systemClock } from "#lib/clock.ts";
import { sendRaw, type RawAnswer } from "#simulator/raw-answer.ts";
import type { DaprRequestKind } from "../helpers/fake-dapr.ts";
import type { Behaviour } from "./behaviour.ts";
import {
  DRIPPED_BODY,
  ENDLESS_HEADERS,
  ENDLESS_INTERIM,
  endlessError,
  NO_HTTP,
  redirect,
  SHORT_BODY,
} from "./http-bytes.ts";
import { HOSTILE } from "./stage.ts";

// One store keeps the records of all clusters: here it does harm to the hostile cluster's alone. Conflicts that are told as failures and failures
// that are told as conflicts (dapr/components-contrib#16, #3584, dapr/dapr#2619), writes that are not checked (components-contrib#1010), and a sidecar that
// hangs or talks without end.

const KEY = `progress:${HOSTILE}`;
const TIMEOUT = {
  limit: "REQUEST_TIMEOUT_MS",
  lift: { source: [["const REQUEST_TIMEOUT_MS = 10_000", "const REQUEST_TIMEOUT_MS = 20_000"]] },
} as const;
const JSON_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

/** Answers requests of these kinds about the hostile cluster's progress. */
const on =
  (kinds: readonly DaprRequestKind[], answer: (response: ServerResponse, kind: DaprRequestKind) => void) =>
  ({ dapr }: Parameters<Behaviour["set"]>[0]): void => {
    dapr!.intercept = (kind, response, request) => {
      const text = decodeURIComponent(request.path) + request.body.toString("utf8");
      if (!kinds.includes(kind) || !text.includes(KEY)) return false;
      answer(response, kind);
      return true;
    };
  };
const raw = (answer: RawAnswer): Behaviour["set"] =>
  on(["read"], (response) => {
    if (response.socket) void sendRaw(response.socket, answer, systemClock);
  });
const json = (kinds: readonly DaprRequestKind[], body: string, status = 200): Behaviour["set"] =>
  on(kinds, (response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(body);
  });
const row = (fields: object): Behaviour["set"] => json(["read"], JSON.stringify([{ key: KEY, ...fields }]));
const envelope = (text: string): Behaviour["set"] =>
  row({ data: { json: text, write: "a-write" }, etag: "7" });

export const STATE_STORE: readonly Behaviour[] = [
  {
    name: "takes the request and never answers",
    ...TIMEOUT,
    set: on(["read"], () => {}),
    code: "state_unavailable",
    says: /did not answer in 10 s/,
  },
  {
    name: "sends a byte of the body now and then",
    ...TIMEOUT,
    set: raw(DRIPPED_BODY),
    code: "state_unavailable",
    says: /did not answer in 10 s/,
  },
  {
    name: "sends interim answers without end",
    ...TIMEOUT,
    set: raw(ENDLESS_INTERIM),
    code: "state_unavailable",
    says: /did not answer in 10 s/,
  },
  {
    name: "sends headers without end",
    limit: "Node's limit of headers",
    lift: { env: { NODE_OPTIONS: "--max-http-header-size=1000000000" } },
    set: raw(ENDLESS_HEADERS),
    code: "state_unavailable",
    says: /failed/,
  },
  {
    name: "sends a record without end",
    limit: "ANSWER_BYTES_MAX",
    lift: { source: [["const ANSWER_BYTES_MAX = 8 << 20", "const ANSWER_BYTES_MAX = 0"]] },
    set: raw({ head: `${JSON_HEAD}\r\n[{"key":"${KEY}","data":"`, piece: "x".repeat(1000) }),
    code: "state_unavailable",
    says: /larger than/,
  },
  {
    name: "fails with a text without end",
    limit: "ANSWER_BYTES_MAX",
    lift: { source: [["const ANSWER_BYTES_MAX = 8 << 20", "const ANSWER_BYTES_MAX = 0"]] },
    set: raw(endlessError(500, "Internal Server Error")),
    code: "state_unavailable",
    says: /larger than/,
  },
  {
    name: "does not speak HTTP",
    limit: "HTTP parser",
    lift: { byHand: "node:http itself fails" },
    set: raw(NO_HTTP),
    code: "state_unavailable",
    says: /"statestore" failed$/,
  },
  {
    name: "ends in the middle of the record",
    limit: "an answer must be whole",
    lift: { byHand: "node-fetch itself fails" },
    set: raw(SHORT_BODY),
    code: "state_unavailable",
    says: /did not answer|failed/,
  },
  {
    name: "redirects to somewhere else",
    limit: "no redirect is followed",
    lift: { source: [['redirect: "error",', 'redirect: "follow",']] },
    set: raw(redirect("http://127.0.0.1:1/")),
    code: "state_unavailable",
    says: /leads elsewhere/,
  },
  {
    name: "answers for another key",
    limit: "check of the key",
    lift: {
      source: [['isObject(each) && each["key"] === storedKey', "isObject(each)"]],
    },
    set: json(["read"], JSON.stringify([{ key: "progress:sim-2", data: null }])),
    code: "state_unavailable",
    says: /"statestore" failed$/,
  },
  {
    name: "tells the failure of the store behind it as a success",
    limit: "check of the error",
    lift: { source: [['if (typeof row["error"] === "string" && row["error"] !== "")', "if (false)"]] },
    set: row({ error: "redis: connection pool timeout" }),
    code: "state_unavailable",
    says: /"statestore" failed$/,
  },
  {
    name: "gives a record of another program",
    limit: "check of the record",
    lift: { byHand: "what is missing can't be parsed either" },
    set: row({ data: { hello: 1 }, etag: "7" }),
    code: "state_record_damaged",
    says: /was not written by this program/,
  },
  {
    name: "gives a record without an ETag",
    limit: "check of the ETag",
    lift: { source: [['if (typeof etag !== "string" || etag === "")', "if (false)"]] },
    set: row({ data: { json: "{}", write: "a-write" } }),
    code: "state_unavailable",
    says: /gives no ETags/,
  },
  {
    name: "gives a record that is cut",
    limit: "check of the record",
    lift: { byHand: "JSON.parse itself fails" },
    set: envelope('{"version":1,"que'),
    code: "state_record_damaged",
    says: /was not written by this program/,
  },
  {
    name: "gives a record of another kind",
    limit: "check of the frame",
    lift: { source: [["if (version === 1 && isFrame)", "if (true)"]] },
    set: envelope("[1,2,3]"),
    code: "state_record_damaged",
    says: /is not a collection's progress/,
  },
  {
    name: "tells each write as a conflict",
    limit: "check of what is stored after a failed write",
    lift: { byHand: "test/unit/state/dapr-store.test.ts" },
    set: json(["save"], '{"errorCode":"ERR_STATE_SAVE","message":"possible etag mismatch"}', 409),
    code: "state_unavailable",
    says: /409 ERR_STATE_SAVE/,
  },
  {
    name: "says that it stored what it did not",
    limit: "check of the write's id",
    lift: { byHand: "test/unit/state/dapr-store.test.ts" },
    set: on(["save"], (response) => {
      response.writeHead(204);
      response.end();
    }),
    code: "state_conflict",
    says: /was changed by/,
  },
];
