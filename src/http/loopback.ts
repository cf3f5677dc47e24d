import { BridgeError } from "#errors/error.ts";

const LOOPBACK_V4 = /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

/** Is this a name or address of this machine, without a port: localhost, 127.0.0.0/8, ::1 (with or without brackets)? */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, "$1");
  return name === "localhost" || name === "::1" || LOOPBACK_V4.test(name.replace(/^::ffff:/, ""));
}

/**
 * A server without tokens must not be reachable from other machines.
 * Throws config_invalid when `host` (HOST) is not loopback and no token is configured.
 */
export function refuseOpenBind(host: string, hasTokens: boolean): void {
  if (hasTokens || isLoopback(host)) return;
  throw new BridgeError(
    "config_invalid",
    `HOST=${host} would open every route to the network, because no token is configured`,
    {
      hint: "Set API_TOKENS_FILE (and APP_API_TOKEN for Dapr), or bind to this machine only with HOST=127.0.0.1. Where something else keeps strangers away, AUTH_ENABLED=false serves everybody.",
    },
  );
}

/** The parts of a request that the checks below need. */
export interface RequestOrigin {
  method: string;
  host: string | undefined;
  origin: string | undefined;
  secFetchSite: string | undefined;
}

/**
 * Keeps web pages away from a server without tokens. A page whose name was rebound to 127.0.0.1 still sends its own name as Host; a page
 * that posts across origins is named by Origin or Sec-Fetch-Site. Programs (curl, Dapr's sidecar) send neither. `hosts`: the names by
 * which the server may be called; with any name, DNS rebinding can't be detected.
 * Answers host_refused or cross_origin_refused.
 */
export function refuseForeignPages(
  request: RequestOrigin,
  hosts: "this machine" | "any",
): BridgeError | undefined {
  const host = request.host?.toLowerCase() ?? "";
  if (hosts === "this machine" && !isLoopback(host.replace(/:\d{1,5}$/, ""))) {
    return new BridgeError("host_refused", "the Host header does not name this machine");
  }
  if (SAFE_METHODS.has(request.method)) return undefined;
  const { origin, secFetchSite } = request;
  // A proxy may terminate TLS in front of any host, but not in front of this machine.
  const own = hosts === "any" ? [`http://${host}`, `https://${host}`] : [`http://${host}`];
  const sameOrigin = origin === undefined || own.includes(origin.toLowerCase());
  const sameSite = secFetchSite === undefined || secFetchSite === "same-origin" || secFetchSite === "none";
  if (sameOrigin && sameSite) return undefined;
  return new BridgeError("cross_origin_refused", `a page of another origin may not ${request.method} here`);
}
