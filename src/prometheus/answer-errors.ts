import { errors } from "undici";
import { BridgeError, toBridgeError, type ErrorCode } from "#errors/error.ts";
import { toRemoteText } from "#lib/remote-text.ts";
import { createHider, type Secret } from "#lib/secret.ts";
import { isTlsAlert, strangerOf } from "./stranger.ts";

const MESSAGE_MAX = 500;
const ERROR_TYPE_MAX = 50;
const PAGE_TEXT_MAX = 120;

/** The authentication and further headers that each request to a Prometheus carries. */
export interface Authorization {
  scheme: "bearer" | "basic" | "sigv4" | "none";
  headers: readonly { name: string; value: Secret }[];
  /** The parts of them that an answer could quote. */
  secrets: readonly Secret[];
  /** Headers that depend on the request: a signature. The URL as it is sent, and the headers that are to be signed. */
  sign?(
    request: { method: string; url: string; headers: Readonly<Record<string, string>>; body: string },
    signal: AbortSignal,
  ): Promise<Record<string, string>>;
}

/** A text of a Prometheus, fit to be shown: without the secrets that it was sent, control characters, addresses and names of users. */
export function hiderOf(authorization: Authorization | undefined): (words: string) => string {
  const hide = createHider(authorization?.secrets.map((secret) => secret.expose()) ?? []);
  return (words) => toRemoteText(words, { hide });
}

/** An answer that is no success of the API. */
interface RefusedAnswer {
  status: number;
  headers: Record<string, unknown>;
  /** Its beginning. */
  body: Buffer;
  /** The path that was asked for. */
  asked: string;
}

/** The error behind an answer whose status is not 200, or a page with any status. Its message quotes the answer as {@link hiderOf} leaves it. */
export function toAnswerError(
  { status, headers, body, asked }: RefusedAnswer,
  authorization: Authorization | undefined,
): BridgeError {
  const show = hiderOf(authorization);
  const text = body.toString("utf8");
  const api = parseApiError(text);
  if (api) {
    const errorType = show(api.errorType).slice(0, ERROR_TYPE_MAX);
    const message = `Prometheus answered ${status} ${errorType}: ${show(api.error)}`.slice(0, MESSAGE_MAX);
    return toError(codeOfApiError(status, api), message, { status, error_type: errorType }, authorization);
  }
  // Remote read's refusal of --storage.remote.read-sample-limit: a text, as it speaks no JSON.
  if (status === 400 && /exceeded sample limit/i.test(text)) {
    const message = `Prometheus answered ${status}: ${show(text.trim())}`.slice(0, MESSAGE_MAX);
    return toError("prometheus_too_many_samples", message, { status }, authorization);
  }
  const type = headers["content-type"];
  const isPage = (typeof type === "string" && /html/i.test(type)) || /^\s*<(!doctype|html)/i.test(text);
  const words = isPage ? "an HTML page" : `"${show(text).slice(0, PAGE_TEXT_MAX)}"`;
  const message = `Prometheus answered ${status} with ${words}`;
  const stranger = strangerOf({ status, location: headers["location"], asked, text, isPage });
  if (stranger)
    return new BridgeError(stranger.code, `${message}${stranger.remark}`, { details: { status } });
  return toError(codeOfStatus(status, isPage), message, { status }, authorization);
}

const UNAUTHORIZED = {
  none: {
    sent: "it was sent no authentication",
    hint: "Give this cluster what its Prometheus asks for (prometheus.bearer_token or prometheus.basic_auth, or a header in prometheus.headers), or point prometheus.port at an unprotected port.",
  },
  bearer: {
    sent: "it was sent this cluster's token (bearer)",
    hint: "This cluster's Prometheus credentials may have expired, been revoked, or lack a right (OpenShift: the ClusterRole cluster-monitoring-view). Give a new prometheus.bearer_token.",
  },
  basic: {
    sent: "it was sent this cluster's user name and password (basic)",
    hint: "Correct this cluster's prometheus.basic_auth: Prometheus does not know this user name with this password, or it may not read.",
  },
  sigv4: {
    sent: "it was signed with AWS keys (sigv4)",
    hint: "Check the keys, the role and the region in this cluster's prometheus.sigv4: the identity needs the right aps:QueryMetrics and aps:GetMetricMetadata on the workspace of prometheus.url (AmazonPrometheusQueryAccess).",
  },
} as const;

function toError(
  code: ErrorCode,
  message: string,
  details: Record<string, unknown>,
  authorization: Authorization | undefined,
): BridgeError {
  if (code !== "prometheus_unauthorized") return new BridgeError(code, message, { details });
  const scheme = authorization?.scheme ?? "none";
  const { sent, hint } = UNAUTHORIZED[scheme];
  const names =
    authorization?.headers.map(({ name }) => name).filter((name) => name !== "authorization") ?? [];
  const besides = names.length > 0 ? ` and the headers ${names.join(", ")}` : "";
  const options = {
    details: { ...details, sent: scheme },
    hint: moreExactHint(message) ?? hint,
  };
  return new BridgeError(code, `${message}; ${sent}${besides}`, options);
}

function moreExactHint(message: string): string | undefined {
  if (NO_TENANT.test(message)) return TENANT_HINT;
  return SKEWED.test(message) ? SKEW_HINT : undefined;
}

/** AWS takes a signature for five minutes before and after its time. */
const SKEWED = /signature (expired|not yet current)|RequestTimeTooSkewed|RequestExpired/i;
const SKEW_HINT =
  "Set the clock of this machine by NTP: AWS refuses a signature whose time is more than five minutes off.";

/** Mimir, Cortex and Loki without a tenant (grafana/dskit, user/id.go). */
const NO_TENANT = /no org id/i;
const TENANT_HINT =
  "Name the tenant in this cluster's prometheus.headers, for example X-Scope-OrgID: my-tenant (Mimir and Cortex with multi-tenancy).";

function parseApiError(text: string): { errorType: string; error: string } | undefined {
  try {
    const parsed = JSON.parse(text) as { status?: unknown; errorType?: unknown; error?: unknown };
    if (parsed?.status !== "error") return undefined;
    const { errorType, error } = parsed;
    return {
      errorType: typeof errorType === "string" ? errorType : "unknown",
      error: typeof error === "string" ? error : "",
    };
  } catch {
    return undefined;
  }
}

function codeOfApiError(status: number, api: { errorType: string; error: string }): ErrorCode {
  // The first is Prometheus' --query.max-samples, the second its 11,000 points a series of query_range.
  if (/too many samples|exceeded maximum resolution/i.test(api.error)) return "prometheus_too_many_samples";
  switch (api.errorType) {
    case "timeout":
    case "canceled":
    case "too_many_requests":
      return "prometheus_overloaded";
    case "unavailable":
      return "prometheus_not_ready";
    case "unauthorized":
    case "forbidden":
      return "prometheus_unauthorized";
    case "execution":
      return /timed out|too many concurrent|queue/i.test(api.error)
        ? "prometheus_overloaded"
        : "prometheus_query_failed";
    default:
      return status === 429 || status === 503 ? "prometheus_overloaded" : "prometheus_query_failed";
  }
}

function codeOfStatus(status: number, isPage: boolean): ErrorCode {
  if (status === 401 || status === 403) return "prometheus_unauthorized";
  if (status === 503 && !isPage) return "prometheus_not_ready";
  if (status === 429 || status === 502 || status === 503 || status === 504) return "prometheus_overloaded";
  return "prometheus_unexpected_answer";
}

/** Any failure of a request as a BridgeError; the tunnel's own pass as they are. An error without a code is a defect, not a network failure. */
export function toRequestError(error: unknown): BridgeError {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof BridgeError) return at;
  }
  const code = (error as { code?: unknown } | undefined)?.code;
  const name = typeof code === "string" ? code : "";
  if (name === "UND_ERR_HEADERS_TIMEOUT" || name === "UND_ERR_BODY_TIMEOUT") {
    return new BridgeError("prometheus_timeout", "Prometheus stopped answering", { cause: error });
  }
  if (
    name === "UND_ERR_RES_CONTENT_LENGTH_MISMATCH" ||
    (error instanceof Error && /aborted|terminated|other side closed/i.test(error.message))
  ) {
    return new BridgeError(
      "prometheus_answer_truncated",
      "the connection closed before the answer was whole",
      { cause: error },
    );
  }
  if (error instanceof errors.HTTPParserError) {
    if (isTlsAlert(error)) {
      return new BridgeError("prometheus_tls_required", "what answers speaks TLS, not plain HTTP", {
        cause: error,
      });
    }
    return new BridgeError("prometheus_unexpected_answer", "what answers does not speak HTTP", {
      cause: error,
    });
  }
  if (name === "") return toBridgeError(error);
  return new BridgeError("prometheus_unreachable", `the request to Prometheus failed (${name})`, {
    cause: error,
  });
}
