import type { ErrorKind } from "./error-kind.ts";

/** The codes of managed clusters: Kubernetes' API, the tunnel, Prometheus. A part of ERRORS. */
export const CLUSTER_ERRORS = {
  // The Kubernetes API of a managed cluster
  cluster_unreachable: {
    cause:
      "No connection to the API server, or to the server of prometheus.url: its name does not resolve, or nothing answers at its address and port.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Check that the API server's address in the kubeconfig resolves and answers from here (firewall, VPN, NetworkPolicy egress).",
  },
  cluster_timeout: {
    cause:
      "The API server accepted the connection, but did not answer in time; or the server of prometheus.url did not open a connection in time.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The API server did not answer within METRICS_COLLECTION_TIMEOUT; check its load and the network, or raise the value.",
  },
  cluster_tls_untrusted: {
    cause:
      "The API server's certificate is not signed by the kubeconfig's CA, is for another name, or is not valid now.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Put the API server's CA into certificate-authority-data and check the server's name and validity; VALIDATE_CERTS=false (or validate_certs of this cluster) turns the check off, but then anyone on the network path can read the credentials.",
  },
  cluster_unauthorized: {
    cause: "The API server answered 401: the token or the client certificate is expired, revoked or wrong.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The API server does not accept the credentials: the token may have expired or been revoked. Register a new kubeconfig.",
  },
  cluster_forbidden: {
    cause: "The API server answered 403: the kubeconfig's user lacks a right.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Grant the named right to the kubeconfig's user: get services, list endpointslices, get and create pods/portforward in Prometheus' namespace, list nodes.",
  },
  cluster_api_error: {
    cause:
      "The API server answered with an internal error, or the answer did not come from a Kubernetes API server.",
    retryable: true,
    httpStatus: 502,
    remedy: "The API server failed; check its log.",
  },

  // The path to Prometheus
  prometheus_service_not_found: {
    cause: "The configured namespace has no Service of the configured name.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Set PROMETHEUS_NAMESPACE and PROMETHEUS_SERVICE_NAME, or this cluster's prometheus.namespace and prometheus.service.",
  },
  prometheus_service_unsupported: {
    cause: "The Service has no Pods that a port-forward could reach.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Name a Service with a selector and Pods; a port-forward to an ExternalName Service is not possible.",
  },
  prometheus_port_not_found: {
    cause: "The Service does not have the configured port.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Set PROMETHEUS_PORT, or this cluster's prometheus.port, to one of the Service's ports, or prometheus.pod_port to the port on which Prometheus listens in its Pod.",
  },
  prometheus_pod_not_ready: {
    cause: "No Pod behind the Service is ready: the Pods are starting, crashing or being replaced.",
    retryable: true,
    httpStatus: 502,
    remedy: "Check Prometheus' Pods in the cluster: each one is unready or terminating.",
  },
  prometheus_shards_mismatch: {
    cause:
      "The Pods behind the Service are not the shards that prometheus.shards expects, or a Pod belongs to none of the shards.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Compare prometheus.shards with the Pods of the Service: each shard needs a ready Pod whose name (as Prometheus operator gives it) or whose targets tell it from the others. `auto` lets the bridge decide; `none` reads one Pod.",
  },
  prometheus_query_spans_shards: {
    cause:
      "The query is an expression that combines series, and the cluster's Prometheus is several shards: each would compute it from its part of the series.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Collect the series themselves (a plain selector) and combine them when you query; or read from a backend in front of all shards (Thanos, a remote-write target); or set prometheus.shards: none if one Pod has all series.",
  },
  tunnel_refused: {
    cause: "The port-forward was opened, but nothing listens on the port inside the Pod.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Nothing listens on the port inside Prometheus' Pod; check the Service's targetPort, or this cluster's prometheus.pod_port, and Prometheus' --web.listen-address.",
  },
  tunnel_timeout: {
    cause:
      "The port-forward was not opened in time: the API server can't reach the node's kubelet, or one of them is slow.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The port-forward did not open or stopped responding; check the connection from the API server to the node's kubelet.",
  },
  tunnel_closed: {
    cause: "The port-forward was closed while it was in use.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "The port-forward closed during a request, for example because the Pod, the kubelet or a load balancer restarted. The next round continues from the last committed window.",
  },
  tunnel_protocol: {
    cause: "The server that answered the port-forward request does not speak Kubernetes' WebSocket protocol.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The API server, or a proxy in front of it, does not speak the WebSocket port-forward protocol v4.channel.k8s.io; Kubernetes 1.27 or newer is required.",
  },

  // Prometheus
  prometheus_unreachable: {
    cause: "Prometheus accepted the connection and closed it without an answer.",
    retryable: true,
    httpStatus: 502,
    remedy: "Prometheus closed the connection; check its log.",
  },
  prometheus_timeout: {
    cause: "Prometheus accepted the query, but did not answer in time.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "Prometheus did not answer within METRICS_COLLECTION_TIMEOUT; it may be overloaded. Raise the value or shorten the catalogue with QUERIES_FILE.",
  },
  prometheus_tls_untrusted: {
    cause:
      "Prometheus' own certificate (scheme https, or a url with https) is not trusted, has expired, or is for another name.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Put the CA of Prometheus' certificate into this cluster's prometheus.ca; the certificate must be for <service>.<namespace>.svc. VALIDATE_CERTS does not apply here.",
  },
  prometheus_plain_http: {
    cause:
      "prometheus.url begins with http://, and the cluster has credentials for this Prometheus: anyone on the network path could read them.",
    retryable: false,
    httpStatus: 422,
    remedy:
      "Begin prometheus.url with https://, or remove the credentials (bearer_token, basic_auth, headers, client_certificate). validate_certs: false for this cluster sends them in clear text all the same.",
  },
  prometheus_tls_required: {
    cause: "The port speaks TLS (https), but the request was plain HTTP.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Set this cluster's prometheus.scheme to https, and prometheus.ca to the CA of Prometheus' certificate if it is not a public one.",
  },
  prometheus_login_required: {
    cause:
      "A login page answered instead of Prometheus: a proxy such as oauth2-proxy, or an ingress, sends everyone without a session to it.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Point prometheus.service and prometheus.port at Prometheus itself, behind the login proxy, or give what the proxy accepts from programs: prometheus.bearer_token, prometheus.basic_auth or prometheus.headers.",
  },
  prometheus_not_ready: {
    cause: "Prometheus answered 503: it is replaying its write-ahead log after a start, or shutting down.",
    retryable: true,
    httpStatus: 502,
    remedy: "Prometheus is starting (replaying its log) or shutting down; wait until it is ready.",
  },
  prometheus_overloaded: {
    cause: "Prometheus runs too many queries at once, or cancelled a query that took too long.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Prometheus temporarily refuses queries; check its --query.max-concurrency, --query.timeout and memory.",
  },
  prometheus_unauthorized: {
    cause: "Prometheus answered 401 or 403: it, or a proxy in its Pod, requires its own credentials.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Set the credentials that this Prometheus requires (prometheus.bearer_token, prometheus.basic_auth or prometheus.headers of the cluster), or point prometheus.port at an unprotected port.",
  },
  aws_credentials_unavailable: {
    cause:
      "The keys that sign the requests to Amazon Managed Service for Prometheus can't be obtained: STS or the EKS Pod Identity agent refuses or does not answer, or this program has no AWS identity.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Check the role's trust policy and that this program reaches STS (port 443) or the EKS Pod Identity agent; a cluster with trusted: true may use the identity of this program's ServiceAccount, others need prometheus.sigv4 with access_key_id and secret_access_key.",
  },
  prometheus_unexpected_answer: {
    cause: "The answer is not from Prometheus' HTTP API: another program, a proxy's page, a wrong path.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Another program than Prometheus answers there; check the Service, the port and prometheus.path_prefix.",
  },
  prometheus_query_failed: {
    cause: "Prometheus answered 4xx to the query.",
    retryable: false,
    httpStatus: 502,
    remedy: "Prometheus refused the query; the message quotes its answer.",
  },
  prometheus_too_many_samples: {
    cause:
      "The query would load more samples than Prometheus' --query.max-samples (or, by remote read, --storage.remote.read-sample-limit), even in the smallest window.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Even the smallest window has more samples than Prometheus allows: raise its --query.max-samples and --storage.remote.read-sample-limit, or narrow the selector in QUERIES_FILE.",
  },
  prometheus_answer_too_large: {
    cause:
      "The answer has more bytes or series than the program accepts (8 MiB of samples after compression), even in the smallest window.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Even the smallest window's answer exceeds the limit on bytes or series: narrow the selector in QUERIES_FILE.",
  },
  prometheus_too_many_metrics: {
    cause:
      "The answers of a cluster have more metric names than the program keeps the types of (1 MiB of names).",
    retryable: false,
    httpStatus: 502,
    remedy:
      'Narrow the selector in QUERIES_FILE to the metrics that you need, for example {__name__=~"app_requests_.*"}; with CATALOGUE=all, leave metrics out with `drop`.',
  },
  prometheus_too_many_series: {
    cause:
      "CATALOGUE=all would read more series of a Prometheus than CATALOGUE_SERIES_MAX. None of these queries is read; the queries of the base catalogue are.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Leave metrics out with `drop` in QUERIES_FILE (docs/queries.md), or raise CATALOGUE_SERIES_MAX. Time up to MAX_BACKFILL back is read then.",
  },
  prometheus_answer_truncated: {
    cause: "The connection ended before the answer did.",
    retryable: true,
    httpStatus: 502,
    remedy: "The answer ended before it was complete; the next round reads the window again.",
  },
  prometheus_answer_partial: {
    cause:
      "The backend says that a part of the data may be missing: a store of Thanos, a storage node of VictoriaMetrics or a remote read could not be reached. Nothing of such an answer counts as collected.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Bring the store that the message names back, or remove it from the backend's configuration. If it is gone for good, set prometheus.accept_partial: true for this cluster: answers then count as they are, and missing data are not noticed.",
  },
  prometheus_answer_invalid: {
    cause: "The answer's JSON is not a result of the query API.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The answer is not a result of Prometheus' query API; check for a proxy or another backend in between.",
  },
  prometheus_histogram_refused: {
    cause:
      "A native histogram has no form in OTLP: its counts are not whole numbers, it is a gauge histogram, or its buckets contradict each other.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The histogram is recorded as refused, with the reason; all others are stored. Collect the histogram that it is computed from, or store a plain number of it with a recording rule (histogram_quantile, histogram_count, histogram_sum).",
  },
  prometheus_label_too_large: {
    cause: "A series has more labels, or longer ones, than the program accepts.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The series' samples are recorded as refused; all other series are stored. A series may have 256 labels and 65536 bytes of label names and values: drop the named label in Prometheus' metric_relabel_configs or narrow the selector.",
  },
} as const satisfies Record<string, ErrorKind>;
