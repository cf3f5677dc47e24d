/** Why samples are read the way they are. The first one goes with remote read, the others with the query API. */
export type TransportReason =
  | "remote_read_answers"
  | "switched_off"
  | "signed_requests"
  | "not_served"
  | "forbidden"
  | "no_answer"
  | "unknown_format"
  | "configuration_closed"
  | "configuration_unreadable"
  | "external_labels_unclear";

/** Each reason in words, and what to do where that would allow remote read. */
export const TRANSPORT_REASONS: Record<TransportReason, { text: string; remedy?: string }> = {
  remote_read_answers: { text: "Prometheus answers remote read (/api/v1/read)" },
  switched_off: { text: "remote read is switched off (REMOTE_READ=off)" },
  signed_requests: { text: "requests are signed (sigv4), and Amazon's service has no remote read" },
  not_served: { text: "the source does not serve remote read (/api/v1/read)" },
  forbidden: {
    text: "the source refuses remote read (/api/v1/read) with these credentials",
    remedy: "Allow POST /api/v1/read in the proxy in front of Prometheus: stale markers are known then.",
  },
  no_answer: { text: "the source did not answer a small remote read (/api/v1/read)" },
  unknown_format: { text: "the source's remote read answers have a format that this program does not know" },
  configuration_closed: {
    text: "/api/v1/status/config is closed: without it, the labels that Prometheus adds to remote read's answers are not known",
    remedy:
      "Allow GET /api/v1/status/config in the proxy in front of Prometheus (Prometheus shows no secrets there).",
  },
  configuration_unreadable: {
    text: "/api/v1/status/config does not show Prometheus' external_labels, which it adds to remote read's answers",
  },
  external_labels_unclear: {
    text: "series have labels of the names of Prometheus' external_labels: which of them it added can't be told",
  },
};
