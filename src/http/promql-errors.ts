import type { BridgeError, ErrorBody } from "#errors/error.ts";
import type { PromqlError, PromqlErrorType } from "#promql/error.ts";

/** An error as Prometheus' API has it. */
export interface PrometheusError {
  status: number;
  body: { status: "error"; errorType: string; error: string };
}

const STATUS: Record<PromqlErrorType, number> = {
  bad_data: 400,
  execution: 422,
  canceled: 499,
  timeout: 503,
};

export function toPromqlAnswer({ type, message }: PromqlError): PrometheusError {
  return { status: STATUS[type], body: { status: "error", errorType: type, error: message } };
}

const TYPES: Record<number, string> = {
  400: "bad_data",
  401: "unauthorized",
  403: "forbidden",
  404: "not_found",
  429: "too_many_requests",
  503: "unavailable",
};

/** `told`: what may be told of the error. Grafana shows `error` only. It sends what is answered by 400 once more as GET, which a query that is too large must not be. */
export function toPrometheusAnswer(error: BridgeError, told: ErrorBody): PrometheusError {
  const { code, message, hint } = told;
  const answer = (status: number, errorType: string): PrometheusError => ({
    status,
    body: { status: "error", errorType, error: `${message} (${code}). ${hint}` },
  });
  if (code === "query_too_large") return answer(422, "execution");
  if (code === "query_timeout") return answer(503, "timeout");
  return answer(
    error.httpStatus,
    TYPES[error.httpStatus] ?? (error.httpStatus < 500 ? "bad_data" : "internal"),
  );
}
