import type { ErrorKind } from "./error-kind.ts";

/** The codes of a collection: the Collector and the round. A part of ERRORS. */
export const COLLECTION_ERRORS = {
  // The Collector
  collector_unreachable: {
    cause: "No connection to the Collector: its name does not resolve, or nothing listens there.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Check OTEL_COLLECTOR_ENDPOINT, that the Collector's Pod runs, and that no NetworkPolicy stands between.",
  },
  collector_timeout: {
    cause: "The Collector did not answer in EXPORT_TIMEOUT.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The Collector did not answer in EXPORT_TIMEOUT, which must be longer than its own retries (retry_on_failure.max_elapsed_time); check its queue and ClickHouse.",
  },
  collector_unavailable: {
    cause: "The Collector answered 429, 502, 503 or 504, or cut the connection: it can't store data now.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "The Collector is there but can't take data now: ClickHouse behind it is down, or its queue or memory_limiter is full. Look at its log.",
  },
  collector_refused: {
    cause: "The Collector answered 400, 413 or 500 to data that was sent alone, while it takes other data.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The Collector refuses the data for good; its own words are in the message. Look at its log and configuration.",
  },
  samples_lost: {
    cause:
      "Samples that were not collected yet became older than MAX_BACKFILL, or no ready Prometheus Pod has them any more (seen twice, at least COLLECTION_INTERVAL apart).",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The gaps marked lost in the status name the queries and times. Prometheus must keep samples longer than the bridge can be away: give it a volume, check its retention, and raise MAX_BACKFILL if its retention is longer.",
  },
  collector_answer_invalid: {
    cause:
      "The Collector answered 200 with a partial success whose count is impossible: negative, no number, or more points than it was sent.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "The Collector, or a proxy before it, breaks the OTLP specification: rejected_data_points must be between 0 and the points that were sent. Upgrade or replace it. The windows stay open and are sent again; a sample that comes twice is one row.",
  },
  collector_misconfigured: {
    cause: "What answers at OTEL_COLLECTOR_ENDPOINT is not an OTLP receiver that lets the bridge in.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "OTEL_COLLECTOR_ENDPOINT answers, but not as an OTLP/HTTP receiver for us: check its path (/v1/metrics), OTLP_HEADERS and the receiver's authentication.",
  },

  // A round
  collection_disabled: {
    cause: "METRICS_COLLECTION_ENABLED is false.",
    retryable: false,
    httpStatus: 200,
    remedy: "Set METRICS_COLLECTION_ENABLED=true to collect.",
  },
  cluster_busy: {
    cause: "The cluster's collection of an earlier round still runs.",
    retryable: true,
    httpStatus: 409,
    remedy: "An earlier round still works on this cluster; it is not started twice.",
  },
  cluster_deadline_exceeded: {
    cause: "The cluster's collection took longer than CLUSTER_DEADLINE.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The cluster did not finish in CLUSTER_DEADLINE; what was acknowledged is kept, the rest comes in the next round. Raise the value if it repeats.",
  },
  cluster_deleted: {
    cause: "DELETE /clusters/{id} came while the cluster was being collected.",
    retryable: false,
    httpStatus: 409,
    remedy: "The cluster was deleted while it was collected; nothing is to be done.",
  },
  diagnosis_timeout: {
    cause: "A step of a diagnosis, or all of them together, did not end in their time.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "A step may take METRICS_COLLECTION_TIMEOUT, all of them four times that; what hangs is this step or what it needs. Raise the value if the way is just slow.",
  },
  diagnosis_busy: {
    cause: "As many diagnoses run as may at once.",
    retryable: true,
    httpStatus: 429,
    remedy: "Wait until one of the running diagnoses has ended.",
  },
  shutting_down: {
    cause: "The process got SIGTERM or SIGINT.",
    retryable: true,
    httpStatus: 503,
    remedy: "The process is ending; what was acknowledged is kept, the rest comes after the restart.",
  },
} as const satisfies Record<string, ErrorKind>;
