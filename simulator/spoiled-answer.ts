import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "#lib/clock.ts";
import type { PrometheusFault } from "./fault-kinds.ts";
import { sendFlood } from "./flood.ts";
import { sendRaw } from "./raw-answer.ts";

const HTML = `<!DOCTYPE html>
<html><head><title>Sign in</title></head><body><h1>Sign in</h1><p>This is not Prometheus.</p></body></html>
`;

/** Gives the answer of a fault that replaces Prometheus' own. True when the request is dealt with. */
export async function wholesaleAnswer(
  fault: PrometheusFault | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  clock: Clock,
): Promise<boolean> {
  switch (fault?.kind) {
    case "hang":
      if (!response.destroyed) await once(response, "close");
      return true;
    case "slow":
      await clock.sleep(fault.delayMs);
      return false;
    case "authorization":
      if (request.headers.authorization === fault.header) return false;
      response.setHeader("www-authenticate", 'Basic realm="prometheus"');
      return give(response, 401, "text/plain; charset=utf-8", "Unauthorized\n");
    case "not-ready":
      return give(response, 503, "text/plain; charset=utf-8", "Service Unavailable");
    case "html":
      return give(response, fault.status ?? 200, "text/html; charset=utf-8", HTML);
    case "status":
      return give(
        response,
        fault.status,
        "text/plain; charset=utf-8",
        fault.body ?? `status ${fault.status}\n`,
      );
    case "error": {
      const { errorType, message } = fault;
      const body = JSON.stringify({ status: "error", errorType, error: message });
      return give(response, fault.status, "application/json", body);
    }
    case "raw":
      if (response.socket) await sendRaw(response.socket, fault.raw, clock);
      return true;
    case "flood":
      await sendFlood(response, fault.flood);
      return true;
    case "wrong-shape":
      return give(response, 200, "application/json", fault.body ?? '{"message":"ok","result":[]}');
    case undefined:
    case "drip":
    case "truncate":
    case "max-samples":
    case "layout":
    case "histograms":
    case "extra-series":
    case "pod-restart":
    case "remote-read":
    case "remote-read-flood":
      break;
  }
  return false;
}

function give(response: ServerResponse, status: number, contentType: string, body: string): true {
  response.writeHead(status, { "content-type": contentType, "content-length": Buffer.byteLength(body) });
  response.end(body);
  return true;
}
