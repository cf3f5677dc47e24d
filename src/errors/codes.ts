import { HTTP_ERRORS, type ErrorKind } from "./codes-http.ts";

/**
 * Every error code of the program. The code is the log field `code`, the own metrics' `error.type` and the HTTP body's `error.code`.
 * Codes are never renamed: alerts and clients depend on them.
 */
export const ERRORS = {
  // Starting up
  config_invalid: {
    retryable: false,
    httpStatus: 500,
    hint: "Correct the named environment variables; .env.example lists all of them.",
  },
  clusters_file_invalid: {
    retryable: false,
    httpStatus: 500,
    hint: "Correct the named field of CLUSTERS_FILE.",
  },
  queries_file_invalid: {
    retryable: false,
    httpStatus: 500,
    hint: "Correct the named entry of QUERIES_FILE.",
  },
  tokens_file_invalid: {
    retryable: false,
    httpStatus: 500,
    hint: "Correct the named entry of API_TOKENS_FILE.",
  },
  credentials_keys_invalid: {
    retryable: false,
    httpStatus: 500,
    hint: "CREDENTIALS_KEYS_DIR must be a directory with private RSA keys of at least 3072 bits, each a PEM file (PKCS #8) whose name ends in .pem: `npm run keys -- generate DIR` makes one.",
  },
  file_descriptors_exhausted: {
    retryable: false,
    httpStatus: 503,
    hint: "Raise the limit of open files for this process: `ulimit -n 65536`, LimitNOFILE= of a systemd unit, `docker run --ulimit nofile=65536`. When the whole machine is out of them (ENFILE), raise fs.file-max or find what holds them.",
  },
  state_unavailable: {
    retryable: true,
    httpStatus: 503,
    hint: "Check that DATA_DIR is writable and not full, and that no other process holds it.",
  },
  state_damaged: {
    retryable: false,
    httpStatus: 503,
    hint: "Stop the program and run the commands of its start's message; docs/operations.md (Damaged data) explains them. Nothing is deleted or moved unasked.",
  },
  state_conflict: {
    retryable: true,
    httpStatus: 409,
    hint: "Somebody else changed the same record; the next round reads it again.",
  },
  state_record_damaged: {
    retryable: false,
    httpStatus: 503,
    hint: "Restore the record from a backup of the state store. A cluster of the API can also be deleted and registered again.",
  },

  // The credentials of a managed cluster
  kubeconfig_invalid: {
    retryable: false,
    httpStatus: 400,
    hint: "Give a kubeconfig of one cluster with certificate-authority-data and a token or a client certificate inline.",
  },
  kubeconfig_refused: {
    retryable: false,
    httpStatus: 400,
    hint: "Use inline credentials (token, client-certificate-data, client-key-data); only a cluster with `trusted: true` in CLUSTERS_FILE may use files and plugins.",
  },
  credentials_invalid: {
    retryable: false,
    httpStatus: 422,
    hint: "Give the cluster's kubeconfig again (PATCH /clusters/{id}); the stored one is damaged or belongs to another cluster.",
  },
  credentials_key_unknown: {
    retryable: false,
    httpStatus: 500,
    hint: "Put the private key that the credentials were sealed with back into CREDENTIALS_KEYS_DIR, or give the kubeconfig again.",
  },
  credentials_keys_missing: {
    retryable: false,
    httpStatus: 503,
    hint: "Set CREDENTIALS_KEYS_DIR to a directory with a private key (`npm run keys -- generate`); without one no credentials are taken.",
  },
  api_server_refused: {
    retryable: false,
    httpStatus: 422,
    hint: "Use an address of the API server that is not this machine's own, link-local or a cloud's metadata service. Where it is meant (kind, minikube), allow it with API_SERVER_CIDRS or ALLOW_PRIVATE_API_SERVERS=true.",
  },

  // The Kubernetes API of a managed cluster
  cluster_unreachable: {
    retryable: true,
    httpStatus: 502,
    hint: "Check that the API server's address in the kubeconfig resolves and answers from here (firewall, VPN, NetworkPolicy egress).",
  },
  cluster_timeout: {
    retryable: true,
    httpStatus: 504,
    hint: "The API server did not answer in METRICS_COLLECTION_TIMEOUT; check its load and the network, or raise the value.",
  },
  cluster_tls_untrusted: {
    retryable: false,
    httpStatus: 502,
    hint: "Put the API server's CA into certificate-authority-data and check the server's name and validity; VALIDATE_CERTS=false (or validate_certs of this cluster) turns the check off, at the price of trusting anybody on the way.",
  },
  cluster_unauthorized: {
    retryable: false,
    httpStatus: 502,
    hint: "The API server does not accept the credentials: the token may have expired or been revoked. Register a new kubeconfig.",
  },
  cluster_forbidden: {
    retryable: false,
    httpStatus: 502,
    hint: "Grant the named right to the kubeconfig's user: get services, list endpointslices, get and create pods/portforward in Prometheus' namespace, list nodes.",
  },
  cluster_api_error: {
    retryable: true,
    httpStatus: 502,
    hint: "The API server failed; look at its own log.",
  },

  // The way to Prometheus
  prometheus_service_not_found: {
    retryable: false,
    httpStatus: 502,
    hint: "Set PROMETHEUS_NAMESPACE and PROMETHEUS_SERVICE_NAME, or this cluster's prometheus.namespace and prometheus.service.",
  },
  prometheus_service_unsupported: {
    retryable: false,
    httpStatus: 502,
    hint: "Name a Service with a selector and Pods behind it; an ExternalName Service can't be forwarded to.",
  },
  prometheus_port_not_found: {
    retryable: false,
    httpStatus: 502,
    hint: "Set PROMETHEUS_PORT, or this cluster's prometheus.port, to one of the Service's ports.",
  },
  prometheus_pod_not_ready: {
    retryable: true,
    httpStatus: 502,
    hint: "Look at Prometheus' Pods in the cluster: none is ready and not terminating.",
  },
  tunnel_refused: {
    retryable: true,
    httpStatus: 502,
    hint: "Nothing listens on the port inside Prometheus' Pod; check the Service's targetPort and Prometheus' --web.listen-address.",
  },
  tunnel_timeout: {
    retryable: true,
    httpStatus: 504,
    hint: "The port-forward did not get ready or stopped answering; check the API server's way to the node's kubelet.",
  },
  tunnel_closed: {
    retryable: true,
    httpStatus: 502,
    hint: "The port-forward ended in the middle: a restarted Pod, kubelet or load balancer. The next round goes on from the last committed window.",
  },
  tunnel_protocol: {
    retryable: false,
    httpStatus: 502,
    hint: "The API server (or a proxy before it) does not speak the WebSocket port-forward v4.channel.k8s.io; Kubernetes 1.27 or newer is needed.",
  },

  // Prometheus
  prometheus_unreachable: {
    retryable: true,
    httpStatus: 502,
    hint: "Prometheus closed the connection; look at its log.",
  },
  prometheus_timeout: {
    retryable: true,
    httpStatus: 504,
    hint: "Prometheus did not answer in METRICS_COLLECTION_TIMEOUT; it may be overloaded. Raise the value or cut the catalogue with QUERIES_FILE.",
  },
  prometheus_tls_untrusted: {
    retryable: false,
    httpStatus: 502,
    hint: "Put the CA of Prometheus' certificate into this cluster's prometheus.ca; the certificate must be for <service>.<namespace>.svc. VALIDATE_CERTS does not apply here.",
  },
  prometheus_not_ready: {
    retryable: true,
    httpStatus: 502,
    hint: "Prometheus is starting (replaying its log) or shutting down; wait for its readiness.",
  },
  prometheus_overloaded: {
    retryable: true,
    httpStatus: 502,
    hint: "Prometheus refuses queries for now; look at its --query.max-concurrency, --query.timeout and memory.",
  },
  prometheus_unauthorized: {
    retryable: false,
    httpStatus: 502,
    hint: "Give the cluster what its Prometheus asks for (prometheus.bearer_token or prometheus.basic_auth), or point prometheus.port at an unprotected port.",
  },
  prometheus_unexpected_answer: {
    retryable: false,
    httpStatus: 502,
    hint: "What answers there is not Prometheus' HTTP API; check the Service, the port and prometheus.path_prefix.",
  },
  prometheus_query_failed: {
    retryable: false,
    httpStatus: 502,
    hint: "Prometheus refused the query; its own words are in the message.",
  },
  prometheus_too_many_samples: {
    retryable: false,
    httpStatus: 502,
    hint: "Even the smallest window has more samples than Prometheus allows: raise its --query.max-samples or narrow the selector in QUERIES_FILE.",
  },
  prometheus_answer_too_large: {
    retryable: false,
    httpStatus: 502,
    hint: "Even the smallest window's answer is over the limit of bytes or series: narrow the selector in QUERIES_FILE.",
  },
  prometheus_too_many_metrics: {
    retryable: false,
    httpStatus: 502,
    hint: 'Narrow the selector in QUERIES_FILE: name the metrics that are wanted, for example {__name__=~"app_requests_.*"}.',
  },
  prometheus_answer_truncated: {
    retryable: true,
    httpStatus: 502,
    hint: "The answer ended before it was whole; the window is read again in the next round.",
  },
  prometheus_answer_invalid: {
    retryable: false,
    httpStatus: 502,
    hint: "The answer is not a result of Prometheus' query API; check what stands between (proxy, other backend).",
  },
  prometheus_label_too_large: {
    retryable: false,
    httpStatus: 502,
    hint: "The series' samples are recorded as refused, all other series are stored. A series may have 256 labels and 65536 bytes of label names and values: drop the named label in Prometheus' metric_relabel_configs or narrow the selector.",
  },

  // The Collector
  collector_unreachable: {
    retryable: true,
    httpStatus: 502,
    hint: "Check OTEL_COLLECTOR_ENDPOINT, that the Collector's Pod runs, and that no NetworkPolicy stands between.",
  },
  collector_timeout: {
    retryable: true,
    httpStatus: 504,
    hint: "The Collector did not answer in EXPORT_TIMEOUT, which must be longer than its own retries (retry_on_failure.max_elapsed_time); check its queue and ClickHouse.",
  },
  collector_unavailable: {
    retryable: true,
    httpStatus: 502,
    hint: "The Collector is there but can't take data now: ClickHouse behind it is down, or its queue or memory_limiter is full. Look at its log.",
  },
  collector_refused: {
    retryable: false,
    httpStatus: 502,
    hint: "The Collector refuses the data for good; its own words are in the message. Look at its log and configuration.",
  },
  samples_lost: {
    retryable: false,
    httpStatus: 502,
    hint: "The gaps marked lost in the status name the queries and times. Prometheus must keep samples longer than the bridge can be away: give it a volume, check its retention, and raise MAX_BACKFILL if its retention is longer.",
  },
  collector_answer_invalid: {
    retryable: true,
    httpStatus: 502,
    hint: "The Collector, or a proxy before it, breaks the OTLP specification: rejected_data_points must be between 0 and the points that were sent. Upgrade or replace it. The windows stay open and are sent again; a sample that comes twice is one row.",
  },
  collector_misconfigured: {
    retryable: false,
    httpStatus: 502,
    hint: "OTEL_COLLECTOR_ENDPOINT answers, but not as an OTLP/HTTP receiver for us: check its path (/v1/metrics), OTLP_HEADERS and the receiver's authentication.",
  },

  // A round
  collection_disabled: {
    retryable: false,
    httpStatus: 200,
    hint: "Set METRICS_COLLECTION_ENABLED=true to collect.",
  },
  cluster_busy: {
    retryable: true,
    httpStatus: 409,
    hint: "An earlier round still works on this cluster; it is not started twice.",
  },
  cluster_deadline_exceeded: {
    retryable: true,
    httpStatus: 504,
    hint: "The cluster did not finish in CLUSTER_DEADLINE; what was acknowledged is kept, the rest comes in the next round. Raise the value if it repeats.",
  },
  cluster_deleted: {
    retryable: false,
    httpStatus: 409,
    hint: "The cluster was deleted while it was collected; nothing is to be done.",
  },
  diagnosis_timeout: {
    retryable: true,
    httpStatus: 504,
    hint: "A step may take METRICS_COLLECTION_TIMEOUT, all of them four times that; what hangs is this step or what it needs. Raise the value if the way is just slow.",
  },
  diagnosis_busy: {
    retryable: true,
    httpStatus: 429,
    hint: "Wait until one of the running diagnoses has ended.",
  },
  shutting_down: {
    retryable: true,
    httpStatus: 503,
    hint: "The process is ending; what was acknowledged is kept, the rest comes after the restart.",
  },

  // Storage
  storage_unavailable: {
    retryable: true,
    httpStatus: 503,
    hint: "ClickHouse does not answer; check CLICKHOUSE_URL and the server.",
  },
  storage_failed: {
    retryable: false,
    httpStatus: 500,
    hint: "ClickHouse refused the statement; its own words are in the log.",
  },
  storage_damaged: {
    retryable: false,
    httpStatus: 500,
    hint: "Stop the program and move the named file away as docs/operations.md (Damaged data) describes. Nothing is deleted or moved unasked.",
  },
  engine_unavailable: {
    retryable: false,
    httpStatus: 500,
    hint: "ROLE=all-in-one needs the optional package chdb (Linux with glibc, or macOS; x64 or arm64): run `npm ci` without --omit=optional, or use the roles bridge and query with a ClickHouse server.",
  },
  migration_failed: {
    retryable: false,
    httpStatus: 500,
    hint: "Look at the named migration and ClickHouse's answer; run `migrate` again when the cause is gone.",
  },
  migration_conflict: {
    retryable: false,
    httpStatus: 500,
    hint: "The database was migrated by another version of this program; use that version or a newer one.",
  },
  storage_layout_unknown: {
    retryable: false,
    httpStatus: 500,
    hint: "Rename the named tables (RENAME TABLE a TO b) or set CLICKHOUSE_DATABASE to another database, and set create_schema: false in the Collector's clickhouse exporter. Nothing was changed.",
  },
  storage_version_unsupported: {
    retryable: false,
    httpStatus: 500,
    hint: "Upgrade the ClickHouse server; docs/clickhouse.md names the versions that were tested.",
  },

  ...HTTP_ERRORS,
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;
