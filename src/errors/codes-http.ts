import type { ErrorKind } from "./error-kind.ts";

/** The codes of the HTTP API; a part of ERRORS. */
export const HTTP_ERRORS = {
  request_invalid: {
    cause: "A field, parameter or the body of the request is not as described.",
    retryable: false,
    httpStatus: 400,
    remedy: "Correct the named field; /docs describes the request.",
  },
  unauthenticated: {
    cause: "The request has no token, or one that is not known.",
    retryable: false,
    httpStatus: 401,
    remedy: "Send `Authorization: Bearer <token>` with a token of API_TOKENS_FILE.",
  },
  forbidden: {
    cause: "The token is known, but may not do this.",
    retryable: false,
    httpStatus: 403,
    remedy: "The token lacks the scope that this route needs; see `scopes` in API_TOKENS_FILE.",
  },
  too_many_failed_logins: {
    cause:
      "This address, or all together, sent too many tokens that are not known: a caller with an old token, or somebody who guesses.",
    retryable: true,
    httpStatus: 429,
    remedy:
      "Wait as long as Retry-After says and send a token of API_TOKENS_FILE; a known token is let in at any time.",
  },
  not_found: {
    cause: "There is no such path.",
    retryable: false,
    httpStatus: 404,
    remedy: "See /docs for the paths.",
  },
  method_not_allowed: {
    cause: "The path exists, but not for this method.",
    retryable: false,
    httpStatus: 405,
    remedy: "The Allow header names the methods of this path; see /docs.",
  },
  host_refused: {
    cause:
      "Without tokens the program answers this machine only, and the request's Host header names another.",
    retryable: false,
    httpStatus: 421,
    remedy:
      "Without API_TOKENS_FILE only requests to localhost, 127.0.0.1 or [::1] are answered; use one of these names, or configure tokens.",
  },
  cross_origin_refused: {
    cause: "Without tokens, a web page of another site tried to change something.",
    retryable: false,
    httpStatus: 403,
    remedy:
      "Without API_TOKENS_FILE no web page of another origin may change anything here; call from a program, or configure tokens.",
  },
  request_timeout: {
    cause: "The client sent its request too slowly.",
    retryable: true,
    httpStatus: 408,
    remedy: "Send the whole request without long pauses.",
  },
  expectation_failed: {
    cause: "The request has an Expect header with another value than 100-continue.",
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
    cause: "No cluster has this id; or, for the query API, nothing was ever collected from it.",
    retryable: false,
    httpStatus: 404,
    remedy: "GET /clusters lists the clusters that are known.",
  },
  cluster_exists: {
    cause: "POST /clusters named an id that a cluster has already.",
    retryable: false,
    httpStatus: 409,
    remedy: "Change the cluster with PATCH /clusters/{id}, or register this one under another id.",
  },
  cluster_read_only: {
    cause: "PATCH or DELETE of a cluster that CLUSTERS_FILE or the command line registers.",
    retryable: false,
    httpStatus: 409,
    remedy: "The cluster is registered by CLUSTERS_FILE or on the command line: change it there.",
  },
  cluster_limit_reached: {
    cause: "As many clusters are registered as one bridge takes (5000).",
    retryable: false,
    httpStatus: 409,
    remedy: "Delete clusters that are not used any more, or run a second bridge.",
  },
  metric_not_found: {
    cause: "No sample of this metric is stored for this cluster.",
    retryable: false,
    httpStatus: 404,
    remedy: "No sample of this metric is stored for this cluster; check the name.",
  },
  query_too_large: {
    cause: "The query would read or answer more than the limits allow.",
    retryable: false,
    httpStatus: 400,
    remedy: "Ask for less: a shorter range, filters that match fewer series, or a greater step.",
  },
  query_timeout: {
    cause: "ClickHouse did not finish the query in time.",
    retryable: false,
    httpStatus: 504,
    remedy:
      "Ask for less: a shorter range or filters that match fewer series. If small queries take long as well, look at ClickHouse's load.",
  },
  too_many_connections: {
    cause: "All connections that the server allows have requests of known callers under way.",
    retryable: true,
    httpStatus: 503,
    remedy: "Wait as long as Retry-After says; send fewer requests at once, and reuse connections.",
  },
  query_busy: {
    cause:
      "Too many queries of the same token (without tokens: of the same address), or of all callers, wait for an answer.",
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
    remedy: "This is a defect of the bridge; its log has the details under the same request id.",
  },
} as const satisfies Record<string, ErrorKind>;
