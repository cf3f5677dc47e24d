import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";

export interface ConnectionLimits {
  connectionsMax: number;
  /** Connections beyond connectionsMax, on which only health, readiness and the program's own metrics are answered. */
  connectionsReserved: number;
}

/** Least time between two log lines about closed connections. */
const LOG_INTERVAL_MS = 60_000;
const RETRY_AFTER_SECONDS = 1;

interface Connection {
  /** One of its requests had a known token, or no token is needed. */
  isKnown: boolean;
  /** Requests that are not answered yet. */
  unanswered: number;
  /** It was accepted when only reserved places were left. */
  isReserved: boolean;
}

export interface Connections {
  /**
   * Counts a request whose headers are there until its answer is sent. Throws `too_many_connections`: the connection has a reserved place, and
   * the request is not one of those that it is kept for.
   */
  requestBegun(response: ServerResponse, request: { isKnown: boolean; mayUseReserve: boolean }): void;
}

/**
 * Limits the number of connections so that no client can lock out the others by holding connections. When all places are taken, a new
 * connection replaces an old one: first one without a known token (it sent nothing, half of its headers, or requests that need no token),
 * then an idle one of a known caller; in both cases the one that was inactive the longest. A request of a known caller is never aborted.
 */
export function createConnections(
  server: Server,
  deps: { clock: Clock; logger: Pick<Logger, "warn"> },
  limits: ConnectionLimits,
): Connections {
  /** In the order of their last activity: the start of the connection, or its last answer. */
  const open = new Map<Socket, Connection>();
  const gaveWay = { count: 0, loggedAt: -Infinity };

  const log = (): void => {
    gaveWay.count++;
    const now = deps.clock.monotonic();
    if (now - gaveWay.loggedAt < LOG_INTERVAL_MS) return;
    deps.logger.warn(
      { connections: open.size, limit: limits.connectionsMax, gave_way: gaveWay.count },
      "as many connections as allowed: the ones idle for longest, anonymous ones first, are closed for new ones",
    );
    gaveWay.count = 0;
    gaveWay.loggedAt = now;
  };

  const closeOne = (): boolean => {
    for (const mayClose of GIVE_WAY) {
      for (const [socket, connection] of open) {
        if (!mayClose(connection)) continue;
        open.delete(socket);
        socket.destroy();
        return true;
      }
    }
    return false;
  };

  server.on("connection", (socket: Socket) => {
    if (open.size >= limits.connectionsMax) {
      log();
      let closed = true;
      while (closed && open.size >= limits.connectionsMax) closed = closeOne();
      if (open.size >= limits.connectionsMax + limits.connectionsReserved) {
        socket.destroy();
        return;
      }
    }
    const isReserved = open.size >= limits.connectionsMax;
    open.set(socket, { isKnown: false, unanswered: 0, isReserved });
    socket.once("close", () => open.delete(socket));
  });

  return {
    requestBegun: (response, { isKnown, mayUseReserve }) => {
      const { socket } = response;
      const connection = socket ? open.get(socket) : undefined;
      if (!socket || !connection) return;
      connection.unanswered++;
      response.once("close", () => {
        connection.unanswered--;
        // Last in the map's order.
        if (open.delete(socket)) open.set(socket, connection);
      });
      if (connection.isReserved && open.size <= limits.connectionsMax) connection.isReserved = false;
      if (connection.isReserved && !mayUseReserve) throw tooMany(limits.connectionsMax);
      if (isKnown) connection.isKnown = true;
    },
  };
}

/** The order in which connections are closed for new ones. */
const GIVE_WAY: readonly ((connection: Connection) => boolean)[] = [
  ({ isKnown }) => !isKnown,
  ({ unanswered }) => unanswered === 0,
];

function tooMany(max: number): BridgeError {
  return new BridgeError("too_many_connections", `${max} connections have requests under way`, {
    details: { retry_after_seconds: RETRY_AFTER_SECONDS },
  });
}
