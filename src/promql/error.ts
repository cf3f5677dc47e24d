/** Prometheus' error types (https://prometheus.io/docs/prometheus/latest/querying/api/): `errorType` of the HTTP API. */
export type PromqlErrorType = "bad_data" | "execution" | "canceled" | "timeout";

/** A query that Prometheus would refuse; the message is Prometheus' own text. */
export class PromqlError extends Error {
  readonly type: PromqlErrorType;

  constructor(type: PromqlErrorType, message: string) {
    super(message);
    this.name = "PromqlError";
    this.type = type;
  }
}
