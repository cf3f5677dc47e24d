/** `errorType` of Prometheus' API. */
export type QueryErrorType =
  | "bad_data"
  | "execution"
  | "timeout"
  | "canceled"
  | "internal"
  | "unavailable"
  | "not_found";

/** An answer of Prometheus that is an error, with its HTTP status. */
export class QueryError extends Error {
  readonly status: number;
  readonly errorType: QueryErrorType;

  constructor(status: number, errorType: QueryErrorType, message: string) {
    super(message);
    this.name = "QueryError";
    this.status = status;
    this.errorType = errorType;
  }
}

/** The error of Prometheus when a query exceeds --query.max-samples. */
export function tooManySamples(): QueryError {
  return new QueryError(
    422,
    "execution",
    "query processing would load too many samples into memory in query execution",
  );
}
