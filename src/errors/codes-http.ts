/** How the program treats one kind of failure, and what it tells the person who meets it. */
export interface ErrorKind {
  /** May the same thing succeed when it is tried again later without anybody doing something? */
  retryable: boolean;
  httpStatus: number;
  /** The remedy, for the person who reads the log at night. */
  hint: string;
}

/** The codes of the HTTP API; a part of ERRORS. */
export const HTTP_ERRORS = {
  request_invalid: {
    retryable: false,
    httpStatus: 400,
    hint: "Correct the named field; /docs describes the request.",
  },
  unauthenticated: {
    retryable: false,
    httpStatus: 401,
    hint: "Send `Authorization: Bearer <token>` with a token of API_TOKENS_FILE.",
  },
  forbidden: {
    retryable: false,
    httpStatus: 403,
    hint: "The token lacks the scope that this route needs; see `scopes` in API_TOKENS_FILE.",
  },
  too_many_failed_logins: {
    retryable: true,
    httpStatus: 429,
    hint: "Wait as long as Retry-After says and send a token of API_TOKENS_FILE; a known token is let in at any time.",
  },
  not_found: { retryable: false, httpStatus: 404, hint: "See /docs for the paths." },
  method_not_allowed: {
    retryable: false,
    httpStatus: 405,
    hint: "The Allow header names the methods of this path; see /docs.",
  },
  host_refused: {
    retryable: false,
    httpStatus: 421,
    hint: "Without API_TOKENS_FILE only requests to localhost, 127.0.0.1 or [::1] are answered; use one of these names, or configure tokens.",
  },
  cross_origin_refused: {
    retryable: false,
    httpStatus: 403,
    hint: "Without API_TOKENS_FILE no web page of another origin may change anything here; call from a program, or configure tokens.",
  },
  request_timeout: {
    retryable: true,
    httpStatus: 408,
    hint: "Send the whole request without long pauses.",
  },
  expectation_failed: {
    retryable: false,
    httpStatus: 417,
    hint: "Send no Expect header, or `Expect: 100-continue`.",
  },
  headers_too_large: {
    retryable: false,
    httpStatus: 431,
    hint: "Send fewer or shorter headers.",
  },
  cluster_not_found: {
    retryable: false,
    httpStatus: 404,
    hint: "GET /clusters lists the clusters that are known.",
  },
  cluster_exists: {
    retryable: false,
    httpStatus: 409,
    hint: "Change the cluster with PATCH /clusters/{id}, or register this one under another id.",
  },
  cluster_read_only: {
    retryable: false,
    httpStatus: 409,
    hint: "The cluster is registered by CLUSTERS_FILE or on the command line: change it there.",
  },
  cluster_limit_reached: {
    retryable: false,
    httpStatus: 409,
    hint: "Delete clusters that are not used any more, or run a second bridge.",
  },
  metric_not_found: {
    retryable: false,
    httpStatus: 404,
    hint: "No sample of this metric is stored for this cluster; check the name.",
  },
  query_too_large: {
    retryable: false,
    httpStatus: 400,
    hint: "Ask for less: a shorter range, filters that match fewer series, or a greater step.",
  },
  query_timeout: {
    retryable: false,
    httpStatus: 504,
    hint: "Ask for less: a shorter range or filters that match fewer series. If small queries take long as well, look at ClickHouse's load.",
  },
  too_many_connections: {
    retryable: true,
    httpStatus: 503,
    hint: "Wait as long as Retry-After says; send fewer requests at once, and reuse connections.",
  },
  query_busy: {
    retryable: true,
    httpStatus: 429,
    hint: "Send fewer queries at once, and wait as long as Retry-After says. QUERY_PARALLEL_MAX and QUERY_QUEUE_MAX set the limits.",
  },
  body_too_large: { retryable: false, httpStatus: 413, hint: "Send a smaller body." },
  unsupported_media_type: {
    retryable: false,
    httpStatus: 415,
    hint: "Send application/json (or application/x-protobuf to /v1/metrics).",
  },
  internal: {
    retryable: false,
    httpStatus: 500,
    hint: "This is a defect of the bridge; its log has the details under the same request id.",
  },
} as const satisfies Record<string, ErrorKind>;
