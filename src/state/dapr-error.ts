import { BridgeError } from "#errors/error.ts";

export interface DaprPlace {
  storeName: string;
  port: number;
}

/** The content of an error of `@dapr/dapr`'s HTTP client, which puts the answer into its message as JSON. */
interface Answer {
  status?: number;
  /** Dapr's own: ERR_STATE_STORE_NOT_FOUND and so on. */
  errorCode?: string;
}

/** The store was named, but the sidecar has no such component. */
const NO_COMPONENT = new Set(["ERR_STATE_STORE_NOT_FOUND", "ERR_STATE_STORE_NOT_CONFIGURED"]);
/** Node's codes of a connection that was not made or was cut. */
const NO_CONNECTION = /\b(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|UND_ERR_SOCKET)\b|socket hang up/;
const ERROR_CODE = /^[A-Z0-9_]{1,64}$/;

/**
 * Converts any failure of a request to the sidecar to `state_unavailable` with the remedy. Dapr's own text is in the cause only: they can name
 * the store's address.
 */
export function toDaprError(error: unknown, { storeName, port }: DaprPlace): BridgeError {
  if (error instanceof BridgeError) return error;
  const answer = parseAnswer(error);
  const unavailable = (message: string, hint: string): BridgeError =>
    new BridgeError("state_unavailable", message, { cause: error, hint });
  if (answer === undefined && NO_CONNECTION.test(textOf(error))) {
    return unavailable(
      `Dapr's sidecar does not answer on port ${port}`,
      "Check that the sidecar runs and listens on DAPR_HTTP_PORT; in Kubernetes: the Pod's daprd container and its log.",
    );
  }
  const problem = (error as { type?: unknown } | undefined)?.type;
  if (problem === "max-size" || problem === "no-redirect") {
    const text = problem === "max-size" ? "is larger than any record" : "leads elsewhere (a redirect)";
    return unavailable(
      `the answer of Dapr's sidecar on port ${port} ${text}`,
      "Check that DAPR_HTTP_PORT is the port of Dapr's sidecar and of nothing else.",
    );
  }
  if (answer?.status === 401 || answer?.status === 403) {
    return unavailable(
      "Dapr's sidecar refuses the token",
      "Set DAPR_API_TOKEN to the token that the sidecar was started with.",
    );
  }
  if (answer?.errorCode !== undefined && NO_COMPONENT.has(answer.errorCode)) {
    return unavailable(
      `Dapr's sidecar has no state store ${JSON.stringify(storeName)}`,
      "DAPR_STATE_STORE must be the metadata.name of a state store component that the sidecar has loaded; look at the component's scopes and at the sidecar's log.",
    );
  }
  if (answer?.status === 413) {
    return unavailable(
      "the record is larger than Dapr's sidecar takes",
      "Raise the sidecar's limit (dapr.io/max-body-size, daprd --max-body-size).",
    );
  }
  const what = [answer?.status, answer?.errorCode].filter((part) => part !== undefined).join(" ");
  return unavailable(
    `Dapr's state store ${JSON.stringify(storeName)} failed${what === "" ? "" : ` (${what})`}`,
    "Look at the sidecar's log and at the store behind the component.",
  );
}

function parseAnswer(error: unknown): Answer | undefined {
  const answer = parseJson(error instanceof Error ? error.message : "");
  const status = answer?.["status"];
  if (typeof status !== "number") return undefined;
  const errorCode = parseJson(answer?.["error_msg"])?.["errorCode"];
  return {
    status,
    ...(typeof errorCode === "string" && ERROR_CODE.test(errorCode) ? { errorCode } : {}),
  };
}

function parseJson(text: unknown): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(String(text));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** fetch() keeps the connection's error as the cause. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const code = "code" in error ? String(error.code) : "";
  return `${code} ${error.message} ${textOf(error.cause)}`;
}
