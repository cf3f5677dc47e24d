import { BridgeError } from "#errors/error.ts";

/**
 * ClickHouse's codes (src/Common/ErrorCodes.cpp) of a server that can't do now what it could do later: TIMEOUT_EXCEEDED,
 * TOO_MANY_SIMULTANEOUS_QUERIES, SOCKET_TIMEOUT, NETWORK_ERROR, MEMORY_LIMIT_EXCEEDED, TABLE_IS_READ_ONLY, NOT_ENOUGH_SPACE, TOO_MANY_PARTS,
 * ALL_CONNECTION_TRIES_FAILED, KEEPER_EXCEPTION.
 */
const PASSING = new Set([159, 202, 209, 210, 241, 242, 243, 252, 279, 999]);
const TOO_MANY_PARTS = 252;
const WRONG_CREDENTIALS = new Set([192, 193, 194, 516]);

/**
 * ClickHouse's exception as BridgeError. Its own text may quote the statement and so stays in `cause`; the message has the code and its name.
 * `storage_unavailable` for what may pass by itself, else `storage_failed`; `details.clickhouse_code` is the number.
 */
export function toClickHouseError(code: number, name: string, cause: Error): BridgeError {
  const details = { clickhouse_code: code };
  // One INSERT over more days than the limit has the code of a table with too many parts, but will never pass.
  const manyDays = code === TOO_MANY_PARTS && cause.message.includes("partitions for single INSERT");
  if (PASSING.has(code) && !manyDays) {
    const message = `ClickHouse can't do it now: code ${code} ${name}`.trimEnd();
    return new BridgeError("storage_unavailable", message, { cause, details });
  }
  const options = WRONG_CREDENTIALS.has(code)
    ? { hint: "Check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD." }
    : {};
  const message = `ClickHouse refused the statement: code ${code} ${name}`.trimEnd();
  return new BridgeError("storage_failed", message, { cause, details, ...options });
}

/** The number of ClickHouse's exception behind an error of a Database, if there is one. */
export function clickHouseCode(error: unknown): number | undefined {
  const code = error instanceof BridgeError ? error.details?.["clickhouse_code"] : undefined;
  return typeof code === "number" ? code : undefined;
}
