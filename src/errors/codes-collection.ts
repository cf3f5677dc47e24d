import type { ErrorKind } from "./error-kind.ts";

/** The codes of a collection: the Collector and the round. A part of ERRORS. */
export const COLLECTION_ERRORS = {
  // The Collector
  collector_unreachable: {
    cause: "No connection to the Collector: its name does not resolve, or nothing listens there.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Check OTEL_COLLECTOR_ENDPOINT, that the Collector's Pod runs, and that no NetworkPolicy blocks the connection.",
  },
  collector_timeout: {
    cause: "The Collector did not answer within EXPORT_TIMEOUT.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The Collector did not answer within EXPORT_TIMEOUT, which must be longer than its own retries (retry_on_failure.max_elapsed_time); check its queue and ClickHouse.",
  },
  collector_unavailable: {
    cause: "The Collector answered 429, 502, 503 or 504, or closed the connection: it can't store data now.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "The Collector runs but can't accept data now: ClickHouse behind it is down, its queue is full, or its memory_limiter refuses data. Check its log.",
  },
  collector_refused: {
    cause: "The Collector answered 400, 413 or 500 to data that was sent alone, while it accepts other data.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The Collector permanently refuses the data; the message quotes its answer. Check its log and configuration.",
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
      "The Collector, or a proxy in front of it, breaks the OTLP specification: rejected_data_points must be between 0 and the points that were sent. Upgrade or replace it. The windows stay open and are sent again; a sample that is sent twice is stored as one row.",
  },
  collector_misconfigured: {
    cause: "The server at OTEL_COLLECTOR_ENDPOINT is not an OTLP receiver, or refuses the bridge.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The server at OTEL_COLLECTOR_ENDPOINT does not accept the bridge's OTLP/HTTP requests: check the URL's path (/v1/metrics), OTLP_HEADERS and the receiver's authentication.",
  },

  // A round
  collection_disabled: {
    cause: "METRICS_COLLECTION_ENABLED is false.",
    retryable: false,
    httpStatus: 200,
    remedy: "Set METRICS_COLLECTION_ENABLED=true to collect.",
  },
  cluster_busy: {
    cause: "An earlier round is still collecting this cluster.",
    retryable: true,
    httpStatus: 409,
    remedy: "Wait for the earlier round; a cluster is never collected twice at the same time.",
  },
  cluster_quarantined: {
    cause:
      "The collection of this cluster ended a worker process that it had for itself: it blocked the event loop, used too much memory, or crashed it.",
    retryable: true,
    httpStatus: 503,
    remedy:
      "The cluster is tried again at the time that the message names; other clusters are not affected. Find out what its API server or Prometheus answers, and report it with the log line of the worker's end. Raise WORKER_MEMORY_MAX when the cluster is only large.",
  },
  worker_unavailable: {
    cause: "No worker process for collections could be started.",
    retryable: true,
    httpStatus: 503,
    remedy:
      "See the log for why a worker could not start: too little memory, or too many processes or open files. The program tries again by itself.",
  },
  cluster_deadline_exceeded: {
    cause: "The cluster's collection took longer than CLUSTER_DEADLINE.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The cluster's collection did not finish within CLUSTER_DEADLINE. Acknowledged samples are kept; the next round reads the rest. If this repeats, diagnose the cluster (POST /clusters/{id}/diagnose): a Collector that is down, or a slow link, uses up the time. If every step passes, raise the value.",
  },
  cluster_deleted: {
    cause: "The cluster was deleted (DELETE /clusters/{id}) while it was being collected.",
    retryable: false,
    httpStatus: 409,
    remedy: "The cluster was deleted while it was being collected; no action is needed.",
  },
  lease_lost: {
    cause:
      "Another replica of the bridge owns the cluster now, or this one could not renew its own record in the state store.",
    retryable: true,
    httpStatus: 409,
    remedy:
      "No action is needed: the owner reads what is missing, and nothing is stored twice. If it repeats, look at the replicas in GET /metrics/status and at the state store: a slow store or a paused process loses its clusters after 20 s.",
  },
  replica_name_taken: {
    cause: "Two processes over one state store have the same REPLICA_NAME.",
    retryable: true,
    httpStatus: 503,
    remedy:
      "Give each replica its own REPLICA_NAME (default: the host's name). The process that started last has the name; the other one collects nothing until that one has ended.",
  },
  diagnosis_timeout: {
    cause: "A step of a diagnosis, or the whole diagnosis, took too long.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "A step may take METRICS_COLLECTION_TIMEOUT, the whole diagnosis four times that. Check this step and the servers that it depends on; if the connection is just slow, raise the value.",
  },
  diagnosis_busy: {
    cause: "The maximum number of diagnoses is already running.",
    retryable: true,
    httpStatus: 429,
    remedy: "Wait until one of the running diagnoses has finished.",
  },
  shutting_down: {
    cause: "The process received SIGTERM or SIGINT.",
    retryable: true,
    httpStatus: 503,
    remedy:
      "The process is shutting down. Acknowledged samples are kept; the rest is read after the restart.",
  },
} as const satisfies Record<string, ErrorKind>;
