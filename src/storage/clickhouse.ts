import { randomUUID } from "node:crypto";
import { ClickHouseLogLevel, createClient } from "@clickhouse/client";
import { BridgeError } from "#errors/error.ts";
import type { Secret } from "#lib/secret.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { toClickHouseError } from "./storage-error.ts";

export interface ClickHouseSettings {
  /** `http://` or `https://`, without user and password; a path is the prefix of a proxy. */
  url: string;
  user: string;
  password: Secret;
  /** For statements that name no database; ours always do. */
  database?: string;
  /** For one statement: how long the server may be silent and how long it may work. */
  timeoutMs: number;
  /** ClickHouse's settings of every statement, besides those that a Database needs. */
  settings?: Readonly<Record<string, string | number>>;
  logger: Logger;
}

/** For QUERY_PARALLEL_MAX requests of a few statements each; readiness and roll-ups need some as well. */
const CONNECTIONS_MAX = 40;

/** A ClickHouse server over HTTP. Nothing is connected until the first statement. Throws `config_invalid` for a URL it can't use. */
export function createClickHouse(settings: ClickHouseSettings): Database {
  const { logger, timeoutMs } = settings;
  const url = parseUrl(settings.url);
  const client = createClient({
    url: url.origin,
    // The client takes a path in `url` for the database's name.
    ...(url.pathname === "/" ? {} : { pathname: url.pathname }),
    username: settings.user,
    password: settings.password.expose(),
    ...(settings.database === undefined ? {} : { database: settings.database }),
    application: "budcluster-metrics-bridge",
    request_timeout: timeoutMs,
    max_open_connections: CONNECTIONS_MAX,
    clickhouse_settings: {
      max_execution_time: Math.ceil(timeoutMs / 1000),
      output_format_json_quote_64bit_integers: 1,
      output_format_json_quote_denormals: 1,
      // An exception after the first rows would else arrive inside a body of status 200.
      wait_end_of_query: 1,
      ...settings.settings,
    },
    log: { level: ClickHouseLogLevel.OFF },
  });

  const attempt = async <T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> => {
    try {
      return await run();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const failure = toDatabaseError(error);
      logger.debug({ err: error, code: failure.code }, "a statement failed");
      throw failure;
    }
  };

  /** To close the connection does not end a query on the server; who may run one may also end it. */
  const endOnAbort = (queryId: string, signal: AbortSignal | undefined): (() => void) => {
    const kill = (): void => {
      const query = "KILL QUERY WHERE query_id = {id:String} ASYNC";
      client
        .command({ query, query_params: { id: queryId } })
        .catch((error: unknown) => logger.debug({ err: error }, "an abandoned query could not be ended"));
    };
    signal?.addEventListener("abort", kill, { once: true });
    return () => signal?.removeEventListener("abort", kill);
  };

  /** Runs a statement that ends on the server when the signal is aborted. */
  const ask = <T>(
    run: (id: { query_id: string; abort_signal?: AbortSignal }) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> =>
    attempt(async () => {
      const query_id = randomUUID();
      const ended = endOnAbort(query_id, signal);
      try {
        return await run({ query_id, ...(signal ? { abort_signal: signal } : {}) });
      } finally {
        ended();
      }
    }, signal);

  return {
    command: async (sql, parameters = {}, signal) => {
      await attempt(
        () =>
          client.command({
            query: sql,
            query_params: parameters,
            ...(signal ? { abort_signal: signal } : {}),
          }),
        signal,
      );
    },
    query: <Row>(sql: string, parameters = {}, signal?: AbortSignal) =>
      ask(async (id) => {
        const statement = { query: sql, query_params: parameters, format: "JSONEachRow", ...id } as const;
        return await (await client.query(statement)).json<Row>();
      }, signal),
    queryNative: (sql, parameters = {}, signal) =>
      ask(async (id) => {
        const statement = { query: `${sql} FORMAT Native`, query_params: parameters, ...id };
        const { stream } = await client.exec(statement);
        // stream/consumers would copy it through a Blob.
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk as Buffer);
        return Buffer.concat(chunks);
      }, signal),
    close: () => client.close(),
  };
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    throw new BridgeError("config_invalid", "CLICKHOUSE_URL is not an http:// or https:// URL");
  }
  if (url.username !== "" || url.password !== "") {
    throw new BridgeError("config_invalid", "CLICKHOUSE_URL contains a user or password", {
      hint: "Give them as CLICKHOUSE_USER and CLICKHOUSE_PASSWORD.",
    });
  }
  return url;
}

function toDatabaseError(error: unknown): BridgeError {
  const cause = error instanceof Error ? error : new Error(String(error));
  const code = "code" in cause ? String(cause.code) : "";
  const type = "type" in cause && typeof cause.type === "string" ? cause.type : "";
  if (/^\d+$/.test(code)) return toClickHouseError(Number(code), type, cause);
  // The text of a network error names the server's address: only its code is for everybody.
  const reason = cause.message === "Timeout error." ? "timeout" : code;
  const message = `ClickHouse does not answer${reason === "" ? "" : ` (${reason})`}`;
  return new BridgeError("storage_unavailable", message, { cause });
}
