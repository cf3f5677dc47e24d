import type { ErrorCode } from "./error.ts";

/** What makes each error happen, for docs/troubleshooting.md; what to do about it is the error's hint. */
export const CAUSES: Readonly<Record<ErrorCode, string>> = {
  config_invalid:
    "An environment variable or an argument has a value that is not allowed, contradicts another one, or is misspelt.",
  clusters_file_invalid:
    "CLUSTERS_FILE can't be read, is not YAML of the described form, or holds a kubeconfig that is refused.",
  queries_file_invalid: "QUERIES_FILE can't be read, is not of the described form, or holds wrong PromQL.",
  tokens_file_invalid: "API_TOKENS_FILE can't be read or an entry is not of the described form.",
  credentials_keys_invalid:
    "CREDENTIALS_KEYS_DIR can't be read or has no key, or one of its keys is damaged, encrypted, too short or not a private RSA key.",
  file_descriptors_exhausted:
    "The process, or the whole machine, may not open more files and connections while the program starts.",
  state_unavailable:
    "The state store does not work: DATA_DIR is full, read-only or held by another process, or Dapr's state store does not answer.",
  state_damaged:
    "The state file is damaged, is not a SQLite database of this program, or comes from a newer version of it.",
  state_conflict: "Two writers changed the same state record; the second one was refused.",
  state_record_damaged:
    "A record of the state store is not what this program writes: it was cut or changed, or another program writes the same keys. Only the cluster that it is about is concerned.",
  kubeconfig_invalid: "The kubeconfig is not well-formed or not complete.",
  kubeconfig_refused:
    "The kubeconfig would run a program, read a file, dial another host, impersonate somebody or skip the check of certificates.",
  credentials_invalid: "The stored, encrypted credentials are damaged, or were sealed for another cluster.",
  credentials_key_unknown:
    "The private key that the credentials were sealed with is not in CREDENTIALS_KEYS_DIR.",
  credentials_keys_missing: "Credentials were given to a bridge that has no key to seal them with.",
  api_server_refused:
    "The kubeconfig's API server is, or its name resolves to, an address of this machine, its link, a multicast group or a cloud's metadata service.",
  cluster_unreachable:
    "No connection to the API server: its name does not resolve, or nothing answers at its address and port.",
  cluster_timeout: "The API server took the connection, but did not answer in time.",
  cluster_tls_untrusted:
    "The API server's certificate is not signed by the kubeconfig's CA, is for another name, or is not valid now.",
  cluster_unauthorized:
    "The API server answered 401: the token or the client certificate is expired, revoked or wrong.",
  cluster_forbidden: "The API server answered 403: the kubeconfig's user lacks a right.",
  cluster_api_error:
    "The API server answered with an error of its own, or with something that is not its API.",
  prometheus_service_not_found: "There is no Service of the configured name in the configured namespace.",
  prometheus_service_unsupported: "The Service has no Pods behind it that a port-forward could reach.",
  prometheus_port_not_found: "The Service does not have the configured port.",
  prometheus_pod_not_ready: "No Pod behind the Service is ready: it starts, crashes or is being replaced.",
  tunnel_refused: "The port-forward was made, but inside of the Pod nothing listens on the port.",
  tunnel_timeout:
    "The port-forward was not made in time: the API server can't reach the node's kubelet, or both are slow.",
  tunnel_closed: "The port-forward was cut while it was used.",
  tunnel_protocol:
    "What answered the port-forward request does not speak the WebSocket protocol of Kubernetes.",
  prometheus_unreachable: "Prometheus took the connection and ended it without an answer.",
  prometheus_timeout: "Prometheus took the query, but did not answer in time.",
  prometheus_tls_untrusted:
    "Prometheus' own certificate (scheme https) is not trusted or is for another name.",
  prometheus_not_ready: "Prometheus answered 503: it replays its write-ahead log after a start, or ends.",
  prometheus_overloaded: "Prometheus has too many queries at once or cancelled one that took too long.",
  prometheus_unauthorized:
    "Prometheus answered 401 or 403: it, or a proxy in its Pod, wants credentials of its own.",
  prometheus_unexpected_answer:
    "The answer is not one of Prometheus' HTTP API: another program, a proxy's page, a wrong path.",
  prometheus_query_failed: "Prometheus answered 4xx to the query.",
  prometheus_too_many_samples:
    "The query would load more samples than Prometheus' --query.max-samples, even in the smallest window.",
  prometheus_answer_too_large:
    "The answer has more bytes or series than the program takes, even in the smallest window.",
  prometheus_too_many_metrics:
    "The answers of a cluster have more names of metrics than the program keeps types of (1 MiB of names).",
  prometheus_answer_truncated: "The connection ended before the answer did.",
  prometheus_answer_invalid: "The answer's JSON is not a result of the query API.",
  prometheus_label_too_large: "A series has more labels, or longer ones, than the program takes.",
  collector_unreachable:
    "No connection to the Collector: its name does not resolve, or nothing listens there.",
  collector_timeout: "The Collector did not answer in EXPORT_TIMEOUT.",
  collector_unavailable:
    "The Collector answered 429, 502, 503 or 504, or cut the connection: it can't store data now.",
  collector_refused:
    "The Collector answered 400, 413 or 500 to data that was sent alone, while it takes other data.",
  samples_lost:
    "Samples that were not collected yet became older than MAX_BACKFILL, or no ready Prometheus Pod has them any more (seen twice, at least COLLECTION_INTERVAL apart).",
  collector_answer_invalid:
    "The Collector answered 200 with a partial success whose count is impossible: negative, no number, or more points than it was sent.",
  collector_misconfigured:
    "What answers at OTEL_COLLECTOR_ENDPOINT is not an OTLP receiver that lets the bridge in.",
  collection_disabled: "METRICS_COLLECTION_ENABLED is false.",
  cluster_busy: "The cluster's collection of an earlier round still runs.",
  cluster_deadline_exceeded: "The cluster's collection took longer than CLUSTER_DEADLINE.",
  diagnosis_timeout: "A step of a diagnosis, or all of them together, did not end in their time.",
  diagnosis_busy: "As many diagnoses run as may at once.",
  cluster_deleted: "DELETE /clusters/{id} came while the cluster was being collected.",
  shutting_down: "The process got SIGTERM or SIGINT.",
  storage_unavailable: "ClickHouse does not answer, or refuses the user.",
  storage_failed: "ClickHouse refused a statement.",
  storage_damaged:
    "A file of the embedded database is damaged: empty, cut or changed, by a full or failing disk or by another program.",
  engine_unavailable: "The embedded ClickHouse engine is not installed or can't run on this machine.",
  migration_failed: "A statement of a migration failed.",
  migration_conflict:
    "The database holds a migration that this version does not know, or another text of one that it knows.",
  storage_layout_unknown:
    "A table has a name of ours and is something else, such as the one that the Collector makes by itself.",
  storage_version_unsupported: "The ClickHouse server is older than the tested minimum.",
  request_invalid: "A field, parameter or the body of the request is not as described.",
  unauthenticated: "The request has no token, or one that is not known.",
  forbidden: "The token is known, but may not do this.",
  too_many_failed_logins:
    "This address, or all together, sent too many tokens that are not known: a caller with an old token, or somebody who guesses.",
  not_found: "There is no such path.",
  method_not_allowed: "The path exists, but not for this method.",
  host_refused:
    "Without tokens the program answers this machine only, and the request's Host header names another.",
  cross_origin_refused: "Without tokens, a web page of another site tried to change something.",
  request_timeout: "The client sent its request too slowly.",
  expectation_failed: "The request has an Expect header with another value than 100-continue.",
  headers_too_large: "The request's headers are larger than allowed.",
  cluster_not_found: "No cluster has this id; or, for the query API, nothing was ever collected from it.",
  cluster_exists: "POST /clusters named an id that a cluster has already.",
  cluster_read_only: "PATCH or DELETE of a cluster that CLUSTERS_FILE or the command line registers.",
  cluster_limit_reached: "As many clusters are registered as one bridge takes (5000).",
  metric_not_found: "No sample of this metric is stored for this cluster.",
  query_too_large: "The query would read or answer more than the limits allow.",
  query_timeout: "ClickHouse did not finish the query in time.",
  too_many_connections: "All connections that the server allows have requests of known callers under way.",
  query_busy:
    "Too many queries of the same token (without tokens: of the same address), or of all callers, wait for an answer.",
  body_too_large: "The request's body is larger than allowed.",
  unsupported_media_type: "The body is not JSON.",
  internal: "A defect of the program.",
};
