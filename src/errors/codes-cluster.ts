import type { ErrorKind } from "./error-kind.ts";

/** The codes of managed clusters: Kubernetes' API, the tunnel, Prometheus. A part of ERRORS. */
export const CLUSTER_ERRORS = {
  // The Kubernetes API of a managed cluster
  cluster_unreachable: {
    cause:
      "No connection to the API server: its name does not resolve, or nothing answers at its address and port.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Check that the API server's address in the kubeconfig resolves and answers from here (firewall, VPN, NetworkPolicy egress).",
  },
  cluster_timeout: {
    cause: "The API server took the connection, but did not answer in time.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The API server did not answer in METRICS_COLLECTION_TIMEOUT; check its load and the network, or raise the value.",
  },
  cluster_tls_untrusted: {
    cause:
      "The API server's certificate is not signed by the kubeconfig's CA, is for another name, or is not valid now.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Put the API server's CA into certificate-authority-data and check the server's name and validity; VALIDATE_CERTS=false (or validate_certs of this cluster) turns the check off, at the price of trusting anybody on the way.",
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
    cause: "The API server answered with an error of its own, or with something that is not its API.",
    retryable: true,
    httpStatus: 502,
    remedy: "The API server failed; look at its own log.",
  },

  // The way to Prometheus
  prometheus_service_not_found: {
    cause: "There is no Service of the configured name in the configured namespace.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Set PROMETHEUS_NAMESPACE and PROMETHEUS_SERVICE_NAME, or this cluster's prometheus.namespace and prometheus.service.",
  },
  prometheus_service_unsupported: {
    cause: "The Service has no Pods behind it that a port-forward could reach.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Name a Service with a selector and Pods behind it; an ExternalName Service can't be forwarded to.",
  },
  prometheus_port_not_found: {
    cause: "The Service does not have the configured port.",
    retryable: false,
    httpStatus: 502,
    remedy: "Set PROMETHEUS_PORT, or this cluster's prometheus.port, to one of the Service's ports.",
  },
  prometheus_pod_not_ready: {
    cause: "No Pod behind the Service is ready: it starts, crashes or is being replaced.",
    retryable: true,
    httpStatus: 502,
    remedy: "Look at Prometheus' Pods in the cluster: none is ready and not terminating.",
  },
  tunnel_refused: {
    cause: "The port-forward was made, but inside of the Pod nothing listens on the port.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Nothing listens on the port inside Prometheus' Pod; check the Service's targetPort and Prometheus' --web.listen-address.",
  },
  tunnel_timeout: {
    cause:
      "The port-forward was not made in time: the API server can't reach the node's kubelet, or both are slow.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "The port-forward did not get ready or stopped answering; check the API server's way to the node's kubelet.",
  },
  tunnel_closed: {
    cause: "The port-forward was cut while it was used.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "The port-forward ended in the middle: a restarted Pod, kubelet or load balancer. The next round goes on from the last committed window.",
  },
  tunnel_protocol: {
    cause: "What answered the port-forward request does not speak the WebSocket protocol of Kubernetes.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The API server (or a proxy before it) does not speak the WebSocket port-forward v4.channel.k8s.io; Kubernetes 1.27 or newer is needed.",
  },

  // Prometheus
  prometheus_unreachable: {
    cause: "Prometheus took the connection and ended it without an answer.",
    retryable: true,
    httpStatus: 502,
    remedy: "Prometheus closed the connection; look at its log.",
  },
  prometheus_timeout: {
    cause: "Prometheus took the query, but did not answer in time.",
    retryable: true,
    httpStatus: 504,
    remedy:
      "Prometheus did not answer in METRICS_COLLECTION_TIMEOUT; it may be overloaded. Raise the value or cut the catalogue with QUERIES_FILE.",
  },
  prometheus_tls_untrusted: {
    cause: "Prometheus' own certificate (scheme https) is not trusted or is for another name.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Put the CA of Prometheus' certificate into this cluster's prometheus.ca; the certificate must be for <service>.<namespace>.svc. VALIDATE_CERTS does not apply here.",
  },
  prometheus_not_ready: {
    cause: "Prometheus answered 503: it replays its write-ahead log after a start, or ends.",
    retryable: true,
    httpStatus: 502,
    remedy: "Prometheus is starting (replaying its log) or shutting down; wait for its readiness.",
  },
  prometheus_overloaded: {
    cause: "Prometheus has too many queries at once or cancelled one that took too long.",
    retryable: true,
    httpStatus: 502,
    remedy:
      "Prometheus refuses queries for now; look at its --query.max-concurrency, --query.timeout and memory.",
  },
  prometheus_unauthorized: {
    cause: "Prometheus answered 401 or 403: it, or a proxy in its Pod, wants credentials of its own.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Give the cluster what its Prometheus asks for (prometheus.bearer_token or prometheus.basic_auth), or point prometheus.port at an unprotected port.",
  },
  prometheus_unexpected_answer: {
    cause: "The answer is not one of Prometheus' HTTP API: another program, a proxy's page, a wrong path.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "What answers there is not Prometheus' HTTP API; check the Service, the port and prometheus.path_prefix.",
  },
  prometheus_query_failed: {
    cause: "Prometheus answered 4xx to the query.",
    retryable: false,
    httpStatus: 502,
    remedy: "Prometheus refused the query; its own words are in the message.",
  },
  prometheus_too_many_samples: {
    cause:
      "The query would load more samples than Prometheus' --query.max-samples, even in the smallest window.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Even the smallest window has more samples than Prometheus allows: raise its --query.max-samples or narrow the selector in QUERIES_FILE.",
  },
  prometheus_answer_too_large: {
    cause: "The answer has more bytes or series than the program takes, even in the smallest window.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "Even the smallest window's answer is over the limit of bytes or series: narrow the selector in QUERIES_FILE.",
  },
  prometheus_too_many_metrics: {
    cause:
      "The answers of a cluster have more names of metrics than the program keeps types of (1 MiB of names).",
    retryable: false,
    httpStatus: 502,
    remedy:
      'Narrow the selector in QUERIES_FILE: name the metrics that are wanted, for example {__name__=~"app_requests_.*"}.',
  },
  prometheus_answer_truncated: {
    cause: "The connection ended before the answer did.",
    retryable: true,
    httpStatus: 502,
    remedy: "The answer ended before it was whole; the window is read again in the next round.",
  },
  prometheus_answer_invalid: {
    cause: "The answer's JSON is not a result of the query API.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The answer is not a result of Prometheus' query API; check what stands between (proxy, other backend).",
  },
  prometheus_label_too_large: {
    cause: "A series has more labels, or longer ones, than the program takes.",
    retryable: false,
    httpStatus: 502,
    remedy:
      "The series' samples are recorded as refused, all other series are stored. A series may have 256 labels and 65536 bytes of label names and values: drop the named label in Prometheus' metric_relabel_configs or narrow the selector.",
  },
} as const satisfies Record<string, ErrorKind>;
