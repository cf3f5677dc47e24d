import type { ErrorKind } from "./error-kind.ts";

/** The codes of the HTTP API; a part of ERRORS. */
export const HTTP_ERRORS = {
  request_invalid: {
    cause: "A field, a parameter or the body of the request is invalid.",
    retryable: false,
    httpStatus: 400,
    remedy: "Correct the named field; /docs describes the request.",
  },
  unauthenticated: {
    cause: "The request has no token, or an unknown one.",
    retryable: false,
    httpStatus: 401,
    remedy: "Send `Authorization: Bearer <token>` with a token of API_TOKENS_FILE.",
  },
  forbidden: {
    cause: "The token is valid, but lacks permission for this request.",
    retryable: false,
    httpStatus: 403,
    remedy: "The token lacks the scope that this route needs; see `scopes` in API_TOKENS_FILE.",
  },
  too_many_failed_logins: {
    cause:
      "This address, or all addresses together, sent too many unknown tokens: a caller uses an old token, or somebody is guessing.",
    retryable: true,
    httpStatus: 429,
    remedy:
      "Wait as long as Retry-After says and send a token of API_TOKENS_FILE; a valid token is always accepted.",
  },
  not_found: {
    cause: "The path does not exist.",
    retryable: false,
    httpStatus: 404,
    remedy: "/docs lists the paths.",
  },
  method_not_allowed: {
    cause: "The path does not support this method.",
    retryable: false,
    httpStatus: 405,
    remedy: "The Allow header names the methods of this path; see /docs.",
  },
  host_refused: {
    cause:
      "Without tokens the program only answers requests to this machine, and the request's Host header names another one.",
    retryable: false,
    httpStatus: 421,
    remedy:
      "Without API_TOKENS_FILE only requests to localhost, 127.0.0.1 or [::1] are answered; use one of these names, or configure tokens.",
  },
  cross_origin_refused: {
    cause: "No tokens are configured, and a web page of another site sent a request that changes something.",
    retryable: false,
    httpStatus: 403,
    remedy:
      "Without API_TOKENS_FILE, web pages of other origins may not change anything; send the request from a program, or configure tokens.",
  },
  request_timeout: {
    cause: "The client sent its request too slowly.",
    retryable: true,
    httpStatus: 408,
    remedy: "Send the whole request without long pauses.",
  },
  expectation_failed: {
    cause: "The request has an Expect header with a value other than 100-continue.",
    retryable: false,
    httpStatus: 417,
    remedy: "Send no Expect header, or `Expect: 100-continue`.",
  },
  headers_too_large: {
    cause: "The request's headers are larger than allowed.",
    retryable: false,
    httpStatus: 431,
    remedy: "Send fewer or shorter headers.",
  },
  cluster_not_found: {
    cause: "No cluster has this id; or, in the query API, nothing was ever collected from it.",
    retryable: false,
    httpStatus: 404,
    remedy: "GET /clusters lists the known clusters; in the query API GET /cluster-metrics.",
  },
  cluster_exists: {
    cause: "POST /clusters used an id that is already taken.",
    retryable: false,
    httpStatus: 409,
    remedy: "Change the cluster with PATCH /clusters/{id}, or register this one under another id.",
  },
  cluster_read_only: {
    cause: "PATCH and DELETE can't change a cluster that CLUSTERS_FILE or the command line defines.",
    retryable: false,
    httpStatus: 409,
    remedy: "CLUSTERS_FILE or the command line defines the cluster: change it there.",
  },
  cluster_limit_reached: {
    cause: "One bridge takes at most 5000 registered clusters.",
    retryable: false,
    httpStatus: 409,
    remedy: "Delete clusters that are no longer used, or run a second bridge.",
  },
  metric_not_found: {
    cause: "No sample of this metric is stored for this cluster.",
    retryable: false,
    httpStatus: 404,
    remedy: "Check the metric's name; GET /cluster-metrics/{cluster_id}/metrics lists the stored ones.",
  },
  query_too_large: {
    cause: "The query would read or return more than the limits allow.",
    retryable: false,
    httpStatus: 400,
    remedy: "Ask for less: a shorter range, filters that match fewer series, or a larger step.",
  },
  query_timeout: {
    cause: "ClickHouse did not finish the query in time.",
    retryable: false,
    httpStatus: 504,
    remedy:
      "Ask for less: a shorter range or filters that match fewer series. If small queries are slow too, check ClickHouse's load.",
  },
  too_many_connections: {
    cause: "Requests of authenticated callers occupy all connections that the server allows.",
    retryable: true,
    httpStatus: 503,
    remedy: "Wait as long as Retry-After says; send fewer requests at once, and reuse connections.",
  },
  too_many_streams: {
    cause:
      "Too many event streams are open: of the same token (without tokens: the same address), or of all callers.",
    retryable: true,
    httpStatus: 429,
    remedy:
      "Close streams that nobody reads and wait as long as Retry-After says, or ask GET /metrics/status instead.",
  },
  query_busy: {
    cause:
      "Too many queries are waiting: of the same token (without tokens: the same address), or of all callers.",
    retryable: true,
    httpStatus: 429,
    remedy:
      "Send fewer queries at once, and wait as long as Retry-After says. QUERY_PARALLEL_MAX and QUERY_QUEUE_MAX set the limits.",
  },
  body_too_large: {
    cause: "The request's body is larger than allowed.",
    retryable: false,
    httpStatus: 413,
    remedy: "Send a smaller body.",
  },
  unsupported_media_type: {
    cause: "The body is not JSON.",
    retryable: false,
    httpStatus: 415,
    remedy: "Send application/json (or application/x-protobuf to /v1/metrics).",
  },
  internal: {
    cause: "A defect of the program.",
    retryable: false,
    httpStatus: 500,
    remedy: "This is a defect of the program; its log has the details under the same request id.",
  },
} as const satisfies Record<string, ErrorKind>;
